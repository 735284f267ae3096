import { describe, expect, it } from 'vitest';
import { diff } from './diff';
import { layout, type Places } from './layout';
import { buildModel, bytes, empty, quantity, type Json, type Model } from './model';

const node = (name: string, memory = '256Mi'): [string, Json] => [
  `nodes//${name}`,
  { metadata: { name, labels: name === 'control-plane' ? { 'node-role.kubernetes.io/control-plane': '' } : {} }, status: { allocatable: { cpu: '2', memory }, conditions: [{ type: 'Ready', status: 'True' }] } },
];

function pod(name: string, on = '', more: Json = {}): [string, Json] {
  return [
    `pods/default/${name}`,
    {
      metadata: { name, namespace: 'default', uid: 'u-' + name, labels: { app: 'web', 'pod-template-hash': '5d' }, ownerReferences: [{ controller: true, kind: 'ReplicaSet', name: 'web-5d' }], ...more.metadata },
      spec: { nodeName: on || undefined, containers: [{ name: 'c', image: 'registry:5000/nginx:1.28', resources: { requests: { cpu: '100m', memory: '100Mi' } } }], ...more.spec },
      status: more.status ?? { phase: on ? 'Running' : 'Pending', conditions: [{ type: 'Ready', status: on ? 'True' : 'False' }] },
    },
  ];
}

const service = (selector: Json = { app: 'web' }): [string, Json] => ['services/default/web', { metadata: { name: 'web', namespace: 'default' }, spec: { selector, ports: [{ port: 80 }] } }];
const nodes = [node('control-plane'), node('node-1'), node('node-2'), node('node-3')];

describe('quantities', () => {
  it.each([
    ['100m', 0.1],
    ['2', 2],
    ['256Mi', 268435456],
    ['1e3', 1000],
    ['1k', 1000],
    [undefined, 0],
    ['many', 0],
  ])('%s is %d', (text, want) => expect(quantity(text)).toBeCloseTo(want, 9));
  it('are written as Kubernetes does', () => expect([bytes(100 * 2 ** 20), bytes(1.5 * 2 ** 30), bytes(12)]).toEqual(['100Mi', '1.5Gi', '12']));
});

describe('the model', () => {
  it('names a pod by its Deployment and what tells it apart', () => {
    const p = buildModel([...nodes, pod('web-5d-x2k', 'node-1')]).pods[0];
    expect([p.app, p.suffix, p.tag, p.state, p.node]).toEqual(['web', 'x2k', '1.28', 'ready', 'node-1']);
  });

  it('adds up what is booked', () => {
    const m = buildModel([...nodes, pod('web-5d-a', 'node-1'), pod('web-5d-b', 'node-1'), pod('web-5d-c')]);
    expect(m.nodes.map((n) => [n.name, n.memoryUsed])).toEqual([['control-plane', 0], ['node-1', 200 * 2 ** 20], ['node-2', 0], ['node-3', 0]]);
  });

  it.each<[string, Json, string, string]>([
    ['no seat', { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '3 Insufficient memory.' }] }, 'unschedulable', ''],
    ['out of memory', { phase: 'Running', containerStatuses: [{ state: { terminated: { reason: 'OOMKilled', exitCode: 137 } } }] }, 'failed', 'OOMKilled'],
    ['out of memory, backing off', { phase: 'Running', containerStatuses: [{ state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: { reason: 'OOMKilled' } } }] }, 'failed', 'OOMKilled'],
    ['no image', { phase: 'Pending', containerStatuses: [{ state: { waiting: { reason: 'ImagePullBackOff', message: 'nothing of that name' } } }] }, 'failed', 'ImagePullBackOff'],
    ['starting', { phase: 'Pending', containerStatuses: [{ state: { waiting: { reason: 'ContainerCreating' } } }] }, 'creating', ''],
    ['finished', { phase: 'Succeeded', containerStatuses: [{ state: { terminated: { reason: 'Completed' } } }] }, 'succeeded', ''],
    ['not ready', { phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }] }, 'running', ''],
  ])('sees %s', (_, status, state, reason) => {
    const p = buildModel([pod('web-5d-a', state === 'unschedulable' ? '' : 'node-1', { status })]).pods[0];
    expect([p.state, p.reason]).toEqual([state, reason]);
  });

  it('leads a Service to the pods of its EndpointSlices', () => {
    const slice: [string, Json] = ['endpointslices/default/web-1', { metadata: { namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } }, endpoints: [{ conditions: { ready: true }, targetRef: { kind: 'Pod', name: 'web-5d-a' } }, { conditions: { ready: false }, targetRef: { kind: 'Pod', name: 'web-5d-b' } }] }];
    expect(buildModel([pod('web-5d-a', 'node-1'), pod('web-5d-b', 'node-2'), service(), slice]).services[0].pods).toEqual(['default/web-5d-a']);
  });

  it('leads a Service that looks for another label nowhere', () => {
    expect(buildModel([pod('web-5d-a', 'node-1'), service({ app: 'wev' })]).services[0].pods).toEqual([]);
  });
});

describe('the diff', () => {
  it('tells what came, went, sat down and became ready', () => {
    const before = buildModel([...nodes, pod('web-5d-a', 'node-1'), pod('web-5d-b')]);
    const after = buildModel([...nodes, pod('web-5d-b', 'node-2'), pod('web-5d-c')]);
    const d = diff(before, after);
    expect({ created: d.created.map((p) => p.name), removed: d.removed.map((p) => p.name), scheduled: d.scheduled.map((p) => p.name), ready: d.ready.map((p) => p.name) }).toEqual({
      created: ['web-5d-c'],
      removed: ['web-5d-a'],
      scheduled: ['web-5d-b'],
      ready: ['web-5d-b'],
    });
  });

  it('takes a pod of the same name with another uid for another', () => {
    const again = pod('web-5d-a', 'node-1', { metadata: { name: 'web-5d-a', namespace: 'default', uid: 'other' } });
    const d = diff(buildModel([pod('web-5d-a', 'node-1')]), buildModel([again]));
    expect([d.created.length, d.removed.length]).toEqual([1, 1]);
  });
});

const none: Places = new Map();
const overlap = (a: { x: number; y: number; w: number; h: number }, b: typeof a) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

/** The straight pieces of a path of M, H and V, as boxes without width. */
function segments(path: string): { x: number; y: number; w: number; h: number }[] {
  const out = [];
  let [x, y] = [NaN, NaN];
  for (const [, letter, args] of path.matchAll(/([MHV])([^MHV]*)/g)) {
    const n = args.trim().split(/\s+/).map(Number);
    const [nx, ny] = letter === 'M' ? n : letter === 'H' ? [n[0], y] : [x, n[0]];
    if (letter !== 'M') out.push({ x: Math.min(x, nx), y: Math.min(y, ny), w: Math.abs(nx - x), h: Math.abs(ny - y) });
    [x, y] = [nx, ny];
  }
  return out;
}

function many(n: number): Model {
  return buildModel([...nodes, ...Array.from({ length: n }, (_, i) => pod(`web-5d-${String(i).padStart(4, '0')}`, `node-${(i % 3) + 1}`)), service()]);
}

describe('the layout', () => {
  it.each([
    ['a few pods on a wide page', 4, 880],
    ['a few pods on a phone', 4, 360],
    ['thirty pods', 30, 880],
    ['a thousand pods', 1000, 880],
  ])('keeps %s apart and inside their rooms', (_, n, width) => {
    const l = layout(many(n), none, width);
    expect(l.tiles).toHaveLength(n);
    for (const t of l.tiles) {
      const room = l.rooms.find((r) => r.node.name === t.pod.node)!;
      expect(t.x >= room.x && t.y >= room.y && t.x + t.w <= room.x + room.w && t.y + t.h <= room.y + room.h, t.pod.name).toBe(true);
    }
    const some = l.tiles.slice(0, 120);
    for (const a of some) for (const b of some) if (a !== b) expect(overlap(a, b)).toBe(false);
    for (const a of l.rooms) for (const b of l.rooms) if (a !== b) expect(overlap(a, b)).toBe(false);
    for (const r of l.rooms) expect(r.x + r.w).toBeLessThanOrEqual(width);
  });

  it('moves nobody when somebody leaves, and gives the seat to the next', () => {
    const names = ['a', 'b', 'c', 'd'];
    const first = layout(buildModel([...nodes, ...names.map((x) => pod('web-5d-' + x, 'node-1'))]), none, 880);
    const second = layout(buildModel([...nodes, ...['a', 'c', 'd'].map((x) => pod('web-5d-' + x, 'node-1'))]), first.places, 880);
    const at = (l: typeof first, x: string) => l.tiles.find((t) => t.pod.suffix === x)!;
    for (const x of ['a', 'c', 'd']) expect([at(second, x).x, at(second, x).y]).toEqual([at(first, x).x, at(first, x).y]);
    const third = layout(buildModel([...nodes, ...['a', 'c', 'd', 'z'].map((x) => pod('web-5d-' + x, 'node-1'))]), second.places, 880);
    expect([at(third, 'z').x, at(third, 'z').y]).toEqual([at(first, 'b').x, at(first, 'b').y]);
  });

  it('keeps the seat of one that is gone while it is still shown', () => {
    const model = buildModel([...nodes, pod('web-5d-a', 'node-1'), pod('web-5d-b', 'node-1')]);
    const first = layout(model, none, 880);
    const ghost = model.pods[0];
    const second = layout(buildModel([...nodes, pod('web-5d-b', 'node-1'), pod('web-5d-c', 'node-1')]), first.places, 880, [ghost]);
    expect(second.tiles.find((t) => t.ghost)!.pod.name).toBe('web-5d-a');
    expect(overlap(second.tiles.find((t) => t.pod.suffix === 'c')!, second.tiles.find((t) => t.ghost)!)).toBe(false);
  });

  it('lets pods without a node wait outside', () => {
    const l = layout(buildModel([...nodes, pod('web-5d-a')]), none, 880);
    expect(l.waiting).toBeDefined();
    expect(l.rooms.some((r) => overlap(r, l.tiles[0]))).toBe(false);
  });

  it('moors a Service at each of its pods', () => {
    const l = layout(many(4), none, 880);
    expect(l.rails[0].moorings.map((m) => m.key).sort()).toEqual(l.tiles.map((t) => t.pod.key).sort());
  });

  it.each([880, 360])('leads no lane through a room’s head, a tile or another Service at %i pixels', (width) => {
    const other: [string, Json] = ['services/default/other', { metadata: { name: 'other', namespace: 'default' }, spec: { selector: { app: 'web' }, ports: [{ port: 81 }] } }];
    const l = layout(buildModel([...nodes, ...[1, 2, 3, 4].map((i) => pod('web-5d-' + i, `node-${(i % 3) + 1}`)), service(), other]), none, width);
    expect(l.rails).toHaveLength(2);
    const heads = l.rooms.map((r) => ({ x: r.x + 1, y: r.y, w: r.w - 2, h: 30 }));
    for (const rail of l.rails)
      for (const lane of rail.lanes)
        for (const part of segments(lane.path)) for (const box of [...heads, ...l.tiles, ...l.rails.filter((r) => r !== rail).map((r) => r.box)]) expect(overlap(part, box), `${lane.path} crosses ${JSON.stringify(box)}`).toBe(false);
  });

  it('leaves the system’s own Services to the table', () => {
    const dns: [string, Json] = ['services/kube-system/kube-dns', { metadata: { name: 'kube-dns', namespace: 'kube-system' }, spec: { selector: { 'k8s-app': 'kube-dns' }, ports: [{ port: 53 }] } }];
    const model = buildModel([...nodes, service(), dns]);
    expect(model.services).toHaveLength(2);
    expect(layout(model, none, 880).rails.map((r) => r.service.name)).toEqual(['web']);
  });

  it('shows rooms of an empty cluster, and nothing at all of none', () => {
    expect(layout(buildModel(nodes), none, 880).rooms).toHaveLength(3);
    expect(layout(empty, none, 880).rooms).toHaveLength(0);
  });

  it('is the same for the same input', () => {
    expect(layout(many(20), none, 700)).toEqual(layout(many(20), none, 700));
  });

  it('gives a node with more memory a larger room', () => {
    const l = layout(buildModel([node('node-1', '256Mi'), node('node-2', '1Gi')]), none, 880);
    expect(l.rooms[1].w).toBeGreaterThan(l.rooms[0].w);
  });
});
