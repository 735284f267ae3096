/** What the picture shows, from the objects that the API serves. Pure. */

export type Json = any; // an object as the API serves it

export interface Requests {
  Total: number;
  Failed: number;
  ByPod?: Record<string, number> | null;
}

export type PodState = 'ready' | 'running' | 'creating' | 'pulling' | 'pending' | 'unschedulable' | 'terminating' | 'succeeded' | 'failed' | 'unknown';

export interface Pod {
  key: string; // namespace/name
  uid: string;
  name: string;
  namespace: string;
  /** What a person calls it: the Deployment's name, or its own. */
  app: string;
  /** What tells it from its siblings. */
  suffix: string;
  tag: string; // of its first image
  image: string;
  node: string; // '' = none yet
  state: PodState;
  reason: string; // upstream's own word (OOMKilled, CrashLoopBackOff), '' if there is none
  message: string;
  ready: boolean;
  restarts: number;
  ip: string;
  cpu: number; // requested, in cores
  memory: number; // requested, in bytes
  limits: string;
  requests: string;
  labels: Record<string, string>;
}

export interface Node {
  name: string;
  ready: boolean;
  cordoned: boolean;
  controlPlane: boolean;
  cpu: number;
  memory: number;
  cpuUsed: number;
  memoryUsed: number;
}

export interface Service {
  key: string;
  name: string;
  namespace: string;
  port: string;
  selector: string; // 'app=web', '' = selects nothing
  pods: string[]; // keys of pods that it leads to
  requests: number;
  failed: number;
  byPod: Record<string, number>; // by pod key
}

export interface Model {
  nodes: Node[];
  pods: Pod[];
  services: Service[];
}

export const empty: Model = { nodes: [], pods: [], services: [] };

const scale: Record<string, number> = { '': 1, n: 1e-9, u: 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 };

/** A Kubernetes quantity as a number; 0 for what is none. */
export function quantity(s: unknown): number {
  const m = /^([+-]?[0-9.]+(?:e[+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?$/i.exec(String(s ?? ''));
  return m ? Number(m[1]) * (scale[m[2] ?? ''] ?? 0) : 0;
}

/** Bytes as Kubernetes writes them. */
export function bytes(n: number): string {
  for (const [unit, size] of [['Gi', 2 ** 30], ['Mi', 2 ** 20], ['Ki', 2 ** 10]] as const) {
    if (n >= size) return `${Math.round((n / size) * 10) / 10}${unit}`;
  }
  return String(Math.round(n));
}

/** Cores as a person writes them. */
export const cores = (n: number) => String(Math.round(n * 100) / 100);

const byName = <T extends { name: string }>(a: T, b: T) => a.name.localeCompare(b.name, 'en', { numeric: true });

/** Builds the model of everything known. */
export function buildModel(objects: Iterable<[string, Json]>, requests: Record<string, Requests> = {}): Model {
  const nodes: Node[] = [];
  const pods: Pod[] = [];
  const services: Service[] = [];
  const slices: Json[] = [];
  for (const [key, o] of objects) {
    const resource = key.slice(0, key.indexOf('/'));
    if (resource === 'nodes') nodes.push(node(o));
    else if (resource === 'pods') pods.push(pod(o));
    else if (resource === 'services') services.push(service(o));
    else if (resource === 'endpointslices') slices.push(o);
  }
  nodes.sort((a, b) => Number(b.controlPlane) - Number(a.controlPlane) || byName(a, b));
  pods.sort((a, b) => (a.key < b.key ? -1 : 1));
  services.sort(byName);
  const at = new Map(nodes.map((n) => [n.name, n]));
  for (const p of pods) {
    const n = at.get(p.node);
    if (n && p.state !== 'succeeded' && p.state !== 'failed') {
      n.cpuUsed += p.cpu;
      n.memoryUsed += p.memory;
    }
  }
  for (const s of services) attach(s, pods, slices, requests[s.key]);
  return { nodes, pods, services };
}

function node(o: Json): Node {
  const ready = (o.status?.conditions ?? []).find((c: Json) => c.type === 'Ready');
  const room = o.status?.allocatable ?? o.status?.capacity ?? {};
  return {
    name: o.metadata.name,
    ready: ready?.status === 'True',
    cordoned: Boolean(o.spec?.unschedulable),
    controlPlane: 'node-role.kubernetes.io/control-plane' in (o.metadata.labels ?? {}),
    cpu: quantity(room.cpu),
    memory: quantity(room.memory),
    cpuUsed: 0,
    memoryUsed: 0,
  };
}

function pod(o: Json): Pod {
  const name: string = o.metadata.name;
  const containers: Json[] = o.spec?.containers ?? [];
  const statuses: Json[] = o.status?.containerStatuses ?? [];
  const owner = (o.metadata.ownerReferences ?? []).find((r: Json) => r.controller)?.name as string | undefined;
  let app = name;
  let suffix = '';
  if (owner && name.startsWith(owner + '-')) {
    app = o.metadata.labels?.['pod-template-hash'] || /-[0-9a-f]+$/.test(owner) ? owner.replace(/-[^-]+$/, '') : owner;
    suffix = name.slice(owner.length + 1);
  }
  const image: string = containers[0]?.image ?? '';
  const sum = (what: 'cpu' | 'memory') => containers.reduce((n, c) => n + quantity(c.resources?.requests?.[what] ?? c.resources?.limits?.[what]), 0);
  const say = (r: Json) => Object.entries(r ?? {}).map(([k, v]) => `${k} ${v}`).join(' · ');
  return {
    key: `${o.metadata.namespace}/${name}`,
    uid: o.metadata.uid ?? name,
    name,
    namespace: o.metadata.namespace,
    app,
    suffix,
    image,
    tag: /:([^:/@]+)$/.exec(image)?.[1] ?? '',
    node: o.spec?.nodeName ?? '',
    ...podState(o, statuses),
    ready: condition(o, 'Ready')?.status === 'True',
    restarts: statuses.reduce((n, s) => n + (s.restartCount ?? 0), 0),
    ip: o.status?.podIP ?? '',
    cpu: sum('cpu'),
    memory: sum('memory'),
    limits: containers.map((c) => say(c.resources?.limits)).filter(Boolean).join(', '),
    requests: containers.map((c) => say(c.resources?.requests)).filter(Boolean).join(', '),
    labels: o.metadata.labels ?? {},
  };
}

const condition = (o: Json, type: string) => (o.status?.conditions ?? []).find((c: Json) => c.type === type);

function podState(o: Json, statuses: Json[]): { state: PodState; reason: string; message: string } {
  const none = { reason: '', message: '' };
  if (o.metadata.deletionTimestamp) return { state: 'terminating', ...none };
  const phase = o.status?.phase;
  for (const s of statuses) {
    const waiting = s.state?.waiting;
    const ended = s.state?.terminated ?? (waiting?.reason === 'CrashLoopBackOff' ? s.lastState?.terminated : undefined);
    if (ended && ended.reason !== 'Completed') return { state: 'failed', reason: ended.reason || 'Error', message: ended.message ?? waiting?.message ?? '' };
    if (waiting?.reason && !/^(ContainerCreating|PodInitializing)$/.test(waiting.reason)) return { state: 'failed', reason: waiting.reason, message: waiting.message ?? '' };
  }
  if (phase === 'Succeeded') return { state: 'succeeded', ...none };
  if (phase === 'Failed') return { state: 'failed', reason: o.status?.reason ?? '', message: o.status?.message ?? '' };
  const scheduled = condition(o, 'PodScheduled');
  if (scheduled?.status === 'False') return { state: 'unschedulable', reason: '', message: scheduled.message ?? '' };
  if (phase === 'Running') return { state: condition(o, 'Ready')?.status === 'True' ? 'ready' : 'running', ...none };
  if (phase === 'Pending' && o.spec?.nodeName) return { state: 'creating', ...none };
  return { state: phase === 'Pending' || !phase ? 'pending' : 'unknown', ...none };
}

function service(o: Json): Service {
  const ports: Json[] = o.spec?.ports ?? [];
  return {
    key: `${o.metadata.namespace}/${o.metadata.name}`,
    name: o.metadata.name,
    namespace: o.metadata.namespace,
    port: ports.map((p) => p.port + (p.nodePort ? `:${p.nodePort}` : '')).join(','),
    selector: Object.entries(o.spec?.selector ?? {}).map(([k, v]) => `${k}=${v}`).join(','),
    pods: [],
    requests: 0,
    failed: 0,
    byPod: {},
  };
}

/** Finds the pods that a Service leads to: from its EndpointSlices if there are any, else by its selector and readiness. */
function attach(s: Service, pods: Pod[], slices: Json[], r: Requests | undefined) {
  s.requests = r?.Total ?? 0;
  s.failed = r?.Failed ?? 0;
  for (const [name, n] of Object.entries(r?.ByPod ?? {})) s.byPod[`${s.namespace}/${name}`] = n;
  const mine = slices.filter((x) => x.metadata.namespace === s.namespace && x.metadata.labels?.['kubernetes.io/service-name'] === s.name);
  if (mine.length > 0) {
    const ready = new Set<string>();
    for (const x of mine)
      for (const e of x.endpoints ?? []) if (e.conditions?.ready !== false && e.targetRef?.kind === 'Pod') ready.add(`${s.namespace}/${e.targetRef.name}`);
    s.pods = pods.filter((p) => ready.has(p.key)).map((p) => p.key);
    return;
  }
  if (!s.selector) return;
  const want = s.selector.split(',').map((x) => x.split('='));
  s.pods = pods.filter((p) => p.namespace === s.namespace && p.ready && want.every(([k, v]) => p.labels[k] === v)).map((p) => p.key);
}
