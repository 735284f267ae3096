import { t, type Key } from '../messages/index.svelte';
import { memory, type Container, type Load } from './model';

/** A container's state in a word or two, with its exit code where that says more. */
export const stateWord = (c: Container) => (c.oom ? 'OOMKilled' : c.state === 'exited' ? t('docker.state.exited', { code: c.exit }) : t(`docker.state.${c.state}` as Key));

export const portWords = (c: Container) => c.ports.map((p) => `${p.host}→${p.container}`).join(', ');

/** What it takes now: "3% · 1.2MiB"; '' while nothing was read. */
export function loadWords(l: Load | undefined): string {
  if (!l) return '';
  return (l.cpu === undefined ? '' : `${Math.round(l.cpu * 100)}% · `) + memory(l.memory);
}

export const containerLabel = (c: Container, l: Load | undefined) => [t('docker.container.label', { name: c.name, state: stateWord(c), image: c.image }), portWords(c), loadWords(l)].filter(Boolean).join(', ');

/** How a container looks: a class that also decides its shape. */
export function look(c: Container): 'ok' | 'wait' | 'bad' | 'done' {
  switch (c.state) {
    case 'running':
      return 'ok';
    case 'created':
    case 'paused':
    case 'restarting':
      return 'wait';
    case 'dead':
      return 'bad';
    default:
      return c.exit === 0 ? 'done' : 'bad';
  }
}
