/** What the Docker picture shows, from what the host tells. Pure. */

export interface Change {
  kind: 'image' | 'container' | 'network' | 'volume' | 'work';
  id: string;
  object?: unknown; // none: it is gone
}
export interface Layer {
  id: string;
  size: number; // bytes as transferred
}
export interface Image {
  id: string;
  tags: string[];
  created: number;
  layers: Layer[]; // the lowest first
}
export type State = 'created' | 'running' | 'paused' | 'restarting' | 'exited' | 'dead';
export interface Container {
  id: string;
  name: string;
  image: string;
  imageId: string;
  state: State;
  exit: number;
  oom?: boolean;
  command: string;
  created: number;
  restarts?: number;
  ports: { host: number; container: number }[];
  networks: { name: string; address?: string }[];
  volumes: { name: string; target: string }[];
}
export interface Network {
  name: string;
  driver: string;
  subnet?: string;
}
export interface Volume {
  name: string;
  anonymous?: boolean;
}
export interface Work {
  id: number;
  kind: 'pull' | 'build';
  name: string;
  done: number;
  steps: number; // 0: nobody knows yet
}
/** The meters of a running container, as its cgroup counts. */
export interface Use {
  cpu: number; // nanoseconds since it started
  memory: number;
  limit?: number;
}
/** What a running container takes now: share of one CPU (absent until it was read twice) and bytes. */
export interface Load {
  cpu?: number;
  memory: number;
  limit?: number;
}

/** A layer of the store: drawn once, whoever has it. */
export interface Sheet {
  key: string; // path of layers from the lowest: the same layer on another base is another place
  id: string;
  size: number;
  images: string[]; // whose top it is
  above: Sheet[];
}
export interface Model {
  images: Image[];
  containers: Container[];
  networks: Network[];
  volumes: Volume[];
  work: Work[];
  /** The images' layers as trees: what images share stands once, below both. */
  roots: Sheet[];
}

export const empty: Model = { images: [], containers: [], networks: [], volumes: [], work: [], roots: [] };

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/** Builds the model of everything known. */
export function buildModel(objects: Iterable<[string, unknown]>): Model {
  const m: Model = { images: [], containers: [], networks: [], volumes: [], work: [], roots: [] };
  for (const [key, o] of objects) {
    const kind = key.slice(0, key.indexOf('/')) as Change['kind'];
    if (kind === 'image') m.images.push(o as Image);
    else if (kind === 'container') m.containers.push(o as Container);
    else if (kind === 'network') m.networks.push(o as Network);
    else if (kind === 'volume') m.volumes.push(o as Volume);
    else if (kind === 'work') m.work.push(o as Work);
  }
  m.images.sort((a, b) => (title(a) < title(b) ? -1 : title(a) > title(b) ? 1 : a.id < b.id ? -1 : 1));
  m.containers.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
  m.networks.sort(byName);
  m.volumes.sort(byName);
  m.work.sort((a, b) => a.id - b.id);
  // An image that was removed under its containers still holds them up.
  const known = new Set(m.images.map((i) => i.id));
  for (const c of m.containers) {
    if (known.has(c.imageId)) continue;
    known.add(c.imageId);
    m.images.push({ id: c.imageId, tags: [], created: 0, layers: [] });
  }
  m.roots = stack(m.images);
  return m;
}

/** What a person calls an image. */
export const title = (i: Image) => i.tags[0] ?? i.id.replace('sha256:', '').slice(0, 12);

/** Stacks images so that layers they share from the lowest up stand once. */
export function stack(images: Image[]): Sheet[] {
  const roots: Sheet[] = [];
  for (const i of images) {
    let level = roots;
    let key = '';
    let top: Sheet | undefined;
    for (const l of i.layers.length > 0 ? i.layers : [{ id: 'none ' + i.id, size: 0 }]) {
      key += '/' + l.id;
      top = level.find((s) => s.id === l.id);
      if (!top) level.push((top = { key, id: l.id, size: l.size, images: [], above: [] }));
      level = top.above;
    }
    top!.images.push(i.id);
  }
  return roots;
}

/** Bytes of all layers, each counted once, and as if nobody shared. */
export function weight(m: Model): { once: number; apart: number } {
  const sizes = new Map<string, number>();
  let apart = 0;
  for (const i of m.images)
    for (const l of i.layers) {
      sizes.set(l.id, l.size);
      apart += l.size;
    }
  return { once: [...sizes.values()].reduce((a, b) => a + b, 0), apart };
}

/** What running containers take, from two readings of their meters, seconds apart by the lab's clock. */
export function loads(before: Record<string, Use>, after: Record<string, Use>, seconds: number): Record<string, Load> {
  const out: Record<string, Load> = {};
  for (const [id, u] of Object.entries(after)) {
    const was = before[id];
    out[id] = { memory: u.memory, limit: u.limit };
    if (was && seconds > 0 && u.cpu >= was.cpu) out[id].cpu = (u.cpu - was.cpu) / 1e9 / seconds;
  }
  return out;
}

/** Bytes as Docker writes them: units of a thousand, three digits. */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return Number(n.toPrecision(3)) + units[i];
}

/** Bytes of memory, as docker stats writes them: units of 1024. */
export function memory(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return Number(n.toPrecision(3)) + units[i];
}
