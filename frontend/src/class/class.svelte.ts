import { api, Refused, type ClassInfo, type LessonText } from '../api';
import { language } from '../messages/index.svelte';
import type { Row } from './table';

/** The teacher's class: the table as the server pushes it, and the texts of the lessons that stand in it. */
export class ClassState {
  info = $state.raw<ClassInfo>();
  rows = $state.raw<Row[]>([]);
  texts = $state.raw<Record<string, LessonText>>({});
  link = $state<'connecting' | 'open' | 'lost' | 'closed'>('connecting');
  failed = $state.raw<Refused>();
  /** The teacher's link, while this page was opened with it: the server does not tell it again. */
  secret = $state('');
  /** The server's clock, read off the last table. */
  private ahead = 0;
  private socket: WebSocket | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private wait = 250;
  private closed = false;

  constructor(readonly id: string) {}

  async start() {
    this.failed = undefined;
    const secret = location.hash.slice(1);
    try {
      if (secret) {
        history.replaceState(null, '', location.pathname); // before anything else can go wrong: it is on a projector
        await api.teach(this.id, secret);
        this.secret = `${location.origin}/class/${this.id}#${secret}`;
      }
      const info = await api.class(this.id);
      if (!info.teacher) throw new Refused(403, 'not-teacher');
      this.info = info;
      this.connect();
    } catch (e) {
      this.failed = e as Refused;
    }
  }

  get now(): number {
    return Date.now() + this.ahead;
  }

  close() {
    this.closed = true;
    clearTimeout(this.retry);
    this.socket?.close();
  }

  connect() {
    if (this.closed) return;
    clearTimeout(this.retry);
    const s = new WebSocket(api.classSocket(this.id, 'live'));
    this.socket = s;
    s.onopen = () => {
      this.wait = 250;
      this.link = 'open';
    };
    s.onmessage = (e) => {
      const m: { now: string; members: Row[] } = JSON.parse(e.data);
      this.ahead = Date.parse(m.now) - Date.now();
      this.rows = m.members;
      for (const r of m.members) if (r.lesson && !this.texts[r.lesson]) void this.fetch(r.lesson);
    };
    s.onclose = (e) => {
      if (this.socket !== s || this.closed) return;
      if (e.reason.startsWith('class-closed')) {
        this.link = 'closed';
        return;
      }
      this.link = 'lost';
      this.retry = setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, 5000);
    };
  }

  private asked = new Set<string>();

  private async fetch(lesson: string) {
    const key = `${lesson} ${language.now}`;
    if (this.asked.has(key)) return;
    this.asked.add(key);
    try {
      const text = await api.lesson(lesson);
      this.texts = { ...this.texts, [lesson]: text };
    } catch {
      this.asked.delete(key); // the next table asks again
    }
  }

  /** Fetches the texts in the page's language. */
  translate() {
    for (const id of Object.keys(this.texts)) void this.fetch(id);
  }
}
