import { describe, expect, it } from 'vitest';
import { diff } from './diff';
import { layout, nowhere } from './layout';
import { buildModel, bytes, loads, memory, weight, type Container, type Image, type Model } from './model';

const base = { id: 'sha256:base', size: 3_000_000 };
const image = (id: string, tag: string, ...layers: { id: string; size: number }[]): [string, Image] => [`image/${id}`, { id, tags: [tag], created: 1, layers }];
const nginx = image('i1', 'nginx:latest', base, { id: 'sha256:server', size: 1_000_000 });
const alpine = image('i2', 'alpine:latest', base);
const hello = image('i3', 'hello-world:latest', { id: 'sha256:hello', size: 4_000 });

const container = (id: string, imageId = 'i1', more: Partial<Container> = {}): [string, Container] => [
  `container/${id}`,
  { id, name: id, image: 'nginx', imageId, state: 'running', exit: 0, command: '', created: id.charCodeAt(0), ports: [], networks: [{ name: 'bridge', address: '172.17.0.2' }], volumes: [], ...more },
];
const bridge: [string, unknown] = ['network/bridge', { name: 'bridge', driver: 'bridge', subnet: '172.17.0.0/16' }];
const host: [string, unknown] = ['network/host', { name: 'host', driver: 'host' }];

describe('the model', () => {
  it('stacks what images share once', () => {
    const m = buildModel([nginx, alpine, hello]);
    const shared = m.roots.find((s) => s.id === 'sha256:base')!;
    expect(m.roots.map((s) => s.id).sort()).toEqual(['sha256:base', 'sha256:hello']);
    expect([shared.images, shared.above.map((s) => s.images)]).toEqual([['i2'], [['i1']]]);
    expect(weight(m)).toEqual({ once: 4_004_000, apart: 7_004_000 });
  });

  it('keeps a layer apart that stands on another base', () => {
    const other = image('i4', 'x', { id: 'sha256:hello', size: 4_000 }, { id: 'sha256:server', size: 1_000_000 });
    const m = buildModel([nginx, other]);
    expect(m.roots.map((s) => s.above.map((a) => a.key))).toEqual([['/sha256:base/sha256:server'], ['/sha256:hello/sha256:server']]);
  });

  it('holds up containers whose image was removed', () => {
    const m = buildModel([container('a', 'gone')]);
    expect(m.images.map((i) => i.id)).toEqual(['gone']);
  });

  it('tells what runs from two readings of the meters', () => {
    const first = { a: { cpu: 1e9, memory: 100 } };
    expect(loads({}, first, 0)).toEqual({ a: { memory: 100, limit: undefined } });
    expect(loads(first, { a: { cpu: 1.5e9, memory: 200, limit: 300 } }, 2)).toEqual({ a: { cpu: 0.25, memory: 200, limit: 300 } });
    expect(loads(first, { a: { cpu: 0, memory: 50 } }, 2).a.cpu).toBeUndefined(); // it was started anew
  });

  it.each([[0, '0B'], [999, '999B'], [13256, '13.3kB'], [4_000_000, '4MB'], [1_234_000_000, '1.23GB']])('writes %d bytes as Docker does', (n, want) => expect(bytes(n)).toBe(want));
  it('writes memory as docker stats does', () => expect([memory(512), memory(1.5 * 2 ** 20)]).toEqual(['512B', '1.5MiB']));
});

describe('the difference', () => {
  it('takes one that was made anew under its name for another', () => {
    const d = diff(buildModel([container('a', 'i1', { name: 'web' })]), buildModel([container('b', 'i1', { name: 'web' })]));
    expect([d.created.map((c) => c.id), d.removed.map((c) => c.id)]).toEqual([['b'], ['a']]);
  });
  it('sees a state change', () => {
    const d = diff(buildModel([container('a')]), buildModel([container('a', 'i1', { state: 'exited', exit: 137 })]));
    expect([d.created, d.turned.map((c) => c.state)]).toEqual([[], ['exited']]);
  });
});

const apart = (boxes: { x: number; y: number; w: number; h: number }[]) =>
  boxes.every((a, i) => boxes.slice(i + 1).every((b) => a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y));

describe('the layout', () => {
  const all = (...more: [string, unknown][]): Model => buildModel([nginx, alpine, hello, bridge, host, ...more]);

  it('draws layers in true proportion, the shared one under both', () => {
    const l = layout(all(), nowhere, 900);
    const h = (id: string) => l.slabs.find((s) => s.sheet.id === id)!;
    expect(h('sha256:base').h / h('sha256:server').h).toBeCloseTo(3, 5);
    expect(h('sha256:base').w).toBeGreaterThan(h('sha256:server').w * 2);
    expect([h('sha256:base').shared, h('sha256:server').shared]).toEqual([2, 1]);
    expect(h('sha256:hello').h).toBeGreaterThan(0); // thin, but there
  });

  it('is the same for the same', () => expect(layout(all(container('a')), nowhere, 900)).toEqual(layout(all(container('a')), nowhere, 900)));

  it.each([300, 388, 640, 900, 1400])('overlaps nothing at %d pixels', (width) => {
    const l = layout(all(...[...'abcdefgh'].map((n) => container(n)), container('k', 'i3'), ['volume/v', { name: 'v' }], ['volume/w', { name: 'w' }], ['work/1', { id: 1, kind: 'pull', name: 'x', done: 1, steps: 0 }]), nowhere, width);
    expect(apart([...l.cards, ...l.plates, ...l.slabs, ...l.drums, ...l.bars])).toBe(true);
    expect(l.cards).toHaveLength(9);
    for (const b of [...l.cards, ...l.slabs, ...l.drums]) expect([b.x >= 0, b.y >= 0, b.x + b.w <= l.width, b.y + b.h <= l.height]).toEqual([true, true, true, true]);
  });

  it('leaves what stays where it is', () => {
    const before = layout(all(container('a'), container('b'), container('c')), nowhere, 900);
    const after = layout(all(container('a'), container('c')), before.places, 900);
    const at = (l: typeof before, id: string) => ((c) => [c.x, c.y - l.ground[0]])(l.cards.find((c) => c.container.id === id)!);
    expect([at(after, 'a'), at(after, 'c')]).toEqual([at(before, 'a'), at(before, 'c')]);
    const again = layout(all(container('a'), container('c'), container('d')), after.places, 900);
    expect(at(again, 'd')).toEqual(at(before, 'b')); // the seat that was free
  });

  it('ties those on a network to its rail, and draws none for host', () => {
    const l = layout(all(container('a'), container('b', 'i1', { state: 'exited', networks: [{ name: 'bridge' }] })), nowhere, 900);
    expect(l.rails.map((r) => r.network.name)).toEqual(['bridge']);
    expect(l.rails[0].ties.map((x) => [x.id, x.live])).toEqual([['a', true], ['b', false]]);
  });

  it('draws five hundred containers small', () => {
    const l = layout(all(...Array.from({ length: 500 }, (_, i) => container('c' + i))), nowhere, 900);
    expect(l.cards.every((c) => c.detail === 'dot')).toBe(true);
    expect(apart(l.cards)).toBe(true);
  });
});
