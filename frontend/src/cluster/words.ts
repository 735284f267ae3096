import { t, type Key } from '../messages/index.svelte';
import { bytes, type Node, type Pod } from './model';

/** A pod's state in a word or two: upstream's own reason where it gives one. */
export const stateWord = (p: Pod) => p.reason || t(`pod.${p.state}` as Key);

export const nodeWord = (n: Node) => (!n.ready ? t('node.notready') : n.cordoned ? t('node.cordoned') : t('node.ready'));

export const podLabel = (p: Pod) => t('pod.label', { name: p.name, state: stateWord(p), node: p.node || t('pod.nowhere') }) + (p.restarts ? ', ' + t('pod.restarts', { n: p.restarts }) : '');

export const nodeLabel = (n: Node) => t('node.label', { name: n.name, state: nodeWord(n), used: bytes(n.memoryUsed), total: bytes(n.memory) });

/** How a pod looks: a class that also decides its shape. */
export function look(p: Pod): 'ok' | 'wait' | 'bad' | 'leave' | 'done' {
  switch (p.state) {
    case 'ready':
      return 'ok';
    case 'failed':
    case 'unknown':
      return 'bad';
    case 'terminating':
      return 'leave';
    case 'succeeded':
      return 'done';
    default:
      return 'wait';
  }
}
