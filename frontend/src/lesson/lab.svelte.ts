import { api, Refused, type LabInfo, type LessonText, type Progress } from '../api';
import { diff, type Diff } from '../cluster/diff';
import { buildModel, empty, type Json, type Model, type Pod, type Requests } from '../cluster/model';
import type { Change as DockerChange, Use } from '../docker/model';
import { DockerState } from '../docker/state.svelte';
import { language } from '../messages/index.svelte';

interface Change {
  rev: number;
  op: 'create' | 'update' | 'delete';
  resource: string;
  namespace?: string;
  name: string;
  object?: Json;
  actor?: string;
  component?: string;
}
interface Message {
  type: 'hello' | 'progress' | 'changes' | 'programs';
  lab?: string;
  machines?: string[];
  undo?: boolean;
  progress?: Progress;
  snapshot?: boolean;
  rev?: number;
  changes?: Change[];
  requests?: Record<string, Requests>;
  programs?: { Name: string; Done: number }[];
  woke?: boolean;
  docker?: DockerChange[];
  uses?: Record<string, Use>;
  usesAt?: string;
  class?: InClass;
}
/** What a learner's page knows of their class. */
export interface InClass {
  name: string;
  nickname: string;
  watched?: boolean;
  closed?: boolean;
  released?: string[];
}

/** How long a pod that is gone stays in the picture. */
const ghostMs = 1600;
/** Over how long a Service's requests are averaged. */
const rateMs = 4000;

export type Link = 'connecting' | 'open' | 'lost' | 'gone';

/**
 * A lesson's lab as the page sees it: its text, the learner's progress and the cluster. Objects live in a plain map; the model is built from it
 * at most once a frame.
 */
export class LabState {
  text = $state.raw<LessonText>();
  info = $state.raw<LabInfo>();
  progress = $state.raw<Progress>();
  undo = $state(false);
  code = $state('');
  woke = $state(false);
  link = $state<Link>('connecting');
  failed = $state.raw<Refused>();
  programs = $state.raw<{ Name: string; Done: number }[]>([]);
  model = $state.raw<Model>(empty);
  last = $state.raw<Diff>({ created: [], removed: [], scheduled: [], ready: [] });
  ghosts = $state.raw<Pod[]>([]);
  rates = $state.raw<Record<string, number>>({});
  /** Which part of the control plane wrote last, and when: it lights up. */
  active = $state.raw<Record<string, number>>({});
  readonly docker = new DockerState();
  loaded = $state(false); // a snapshot is here
  class = $state.raw<InClass>();
  generation = $state(0); // grows with each lab on the desk: terminals belong to one

  private objects = new Map<string, Json>();
  private requests: Record<string, Requests> = {};
  private samples: { at: number; totals: Record<string, number> }[] = [];
  private socket: WebSocket | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private wait = 250;
  private frame = 0;
  private closed = false;
  private timers = new Set<ReturnType<typeof setTimeout>>();

  /** `watch` is the address of another learner's live stream: the lab is looked at and not made. */
  constructor(
    readonly lesson: string,
    private readonly watch = '',
  ) {}

  async start(make: boolean) {
    if (this.failed?.code !== 'labs-full') this.failed = undefined; // who waits for a place goes on seeing that
    this.link = 'connecting';
    try {
      if (this.watch) {
        this.text = await api.lesson(this.lesson);
        if (!this.closed) this.connect();
        return;
      }
      const [text, info] = await Promise.all([api.lesson(this.lesson), make ? api.start(this.lesson) : api.lab(this.lesson)]);
      if (this.closed) return;
      this.failed = undefined;
      this.text = text;
      this.take(info);
      this.connect();
    } catch (e) {
      this.failed = e as Refused;
    }
  }

  /** Fetches the text in the page's language. */
  async translate() {
    void language.now;
    try {
      this.text = await api.lesson(this.lesson);
    } catch (e) {
      this.failed = e as Refused;
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.retry);
    cancelAnimationFrame(this.frame);
    for (const x of this.timers) clearTimeout(x);
    this.socket?.close();
  }

  async reset(to: 'task' | 'lab') {
    this.take(await api.reset(this.lesson, to));
  }

  async renewCode() {
    this.take(await api.renewCode(this.lesson));
  }

  async undoReset() {
    this.take(await api.undo(this.lesson));
  }

  objectsOf(resource: string): Json[] {
    const out: Json[] = [];
    for (const [key, o] of this.objects) if (key.startsWith(resource + '/')) out.push(o);
    return out;
  }

  private take(info: LabInfo) {
    if (this.info && this.info.id !== info.id) this.generation++;
    this.info = info;
    this.progress = info.progress;
    this.undo = info.undo;
    this.code = info.code;
  }

  connectNow() {
    clearTimeout(this.retry);
    this.connect();
  }

  private connect() {
    if (this.closed) return;
    this.socket?.close();
    const s = new WebSocket(this.watch || api.socket(this.lesson, `live?lang=${language.now}`));
    this.socket = s;
    s.onmessage = (e) => this.receive(JSON.parse(e.data));
    s.onopen = () => {
      this.wait = 250;
      this.link = 'open';
    };
    s.onclose = (e) => {
      if (this.socket !== s || this.closed) return;
      if (e.reason.startsWith('class-closed') && this.class) this.class = { ...this.class, closed: true, watched: false };
      void this.lost();
    };
  }

  /** The socket closed: is the lab still there? */
  private async lost() {
    this.link = 'lost';
    if (this.watch) {
      this.later(this.wait, () => this.connect());
      this.wait = Math.min(this.wait * 2, 5000);
      return;
    }
    try {
      const info = await api.lab(this.lesson);
      if (this.closed) return;
      this.take(info);
    } catch (e) {
      if ((e as Refused).status === 404) {
        this.link = 'gone';
        return;
      }
    }
    this.retry = setTimeout(() => this.connect(), this.wait);
    this.wait = Math.min(this.wait * 2, 5000);
  }

  private receive(m: Message) {
    switch (m.type) {
      case 'hello':
        this.docker.reset(); // a socket's first changes are all there is
        if (this.info && m.lab && m.lab !== this.info.id) {
          this.info = { ...this.info, id: m.lab, machines: m.machines ?? this.info.machines };
          this.generation++;
        }
        if (m.progress) this.progress = m.progress;
        this.undo = Boolean(m.undo);
        this.programs = m.programs ?? [];
        this.woke ||= Boolean(m.woke);
        break;
      case 'progress':
        if (m.progress) this.progress = m.progress;
        if (!this.class?.closed) this.class = m.class;
        this.undo = Boolean(m.undo);
        break;
      case 'programs':
        this.programs = m.programs ?? [];
        break;
      case 'changes':
        this.changes(m);
    }
  }

  private changes(m: Message) {
    if (m.snapshot) {
      this.objects.clear();
      this.requests = {};
      this.samples = [];
    }
    if (m.docker) this.docker.take(m.docker);
    if (m.uses) this.docker.meter(m.uses, Date.parse(m.usesAt ?? ''));
    const active: Record<string, number> = {};
    for (const c of m.changes ?? []) {
      const key = `${c.resource}/${c.namespace ?? ''}/${c.name}`;
      if (c.op === 'delete') this.objects.delete(key);
      else if (c.object) this.objects.set(key, c.object);
      const part = partOf(c);
      if (part && !m.snapshot) active[part] = performance.now();
    }
    if (Object.keys(active).length > 0) this.active = { ...this.active, ...active };
    if (m.requests && Object.keys(m.requests).length > 0) {
      Object.assign(this.requests, m.requests);
      this.measure();
    }
    if (m.snapshot) this.loaded = true;
    if (!this.frame) this.frame = requestAnimationFrame(() => this.paint(Boolean(m.snapshot)));
  }

  private paint(first: boolean) {
    this.frame = 0;
    this.docker.paint();
    const next = buildModel(this.objects, this.requests);
    const d = diff(this.model, next);
    this.model = next;
    if (first) {
      this.ghosts = [];
      return;
    }
    this.last = d;
    if (d.removed.length > 0) {
      const gone = d.removed.filter((p) => p.node);
      this.ghosts = [...this.ghosts, ...gone];
      this.later(ghostMs, () => (this.ghosts = this.ghosts.filter((g) => !gone.includes(g))));
    }
  }

  /** Keeps what is needed to say how many requests a second a Service gets, and asks again until that is none. */
  private measure() {
    const now = performance.now();
    const totals = Object.fromEntries(Object.entries(this.requests).map(([k, r]) => [k, r.Total]));
    this.samples.push({ at: now, totals });
    this.samples = this.samples.filter((s, i) => now - s.at <= rateMs || i === this.samples.length - 1 || now - this.samples[i + 1].at > rateMs - 500);
    const from = this.samples[0];
    const seconds = Math.max(1, (now - from.at) / 1000);
    const rates: Record<string, number> = {};
    for (const [k, n] of Object.entries(totals)) {
      const r = (n - (from.totals[k] ?? 0)) / seconds;
      if (r > 0) rates[k] = r;
    }
    this.rates = rates;
    if (Object.keys(rates).length > 0) this.later(1000, () => this.measure(), 'measure');
  }

  private named = new Map<string, ReturnType<typeof setTimeout>>();

  private later(ms: number, f: () => void, name = '') {
    if (name && this.named.has(name)) {
      clearTimeout(this.named.get(name));
      this.timers.delete(this.named.get(name)!);
    }
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      f();
    }, ms);
    this.timers.add(timer);
    if (name) this.named.set(name, timer);
  }
}

/** The part of the control plane that a commit came from. */
export function partOf(c: Pick<Change, 'actor' | 'component'>): 'scheduler' | 'controllers' | 'api' | undefined {
  const who = `${c.actor ?? ''} ${c.component ?? ''}`;
  if (/scheduler/.test(who)) return 'scheduler';
  if (/controller|garbage/.test(who)) return 'controllers';
  return c.actor ? 'api' : undefined;
}
