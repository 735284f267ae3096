import { language } from './messages/index.svelte';
import type { Params } from './messages/index.svelte';

/** An answer that is not a success: a code of the message catalogue with its parameters. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly params: Params = {},
    /** Seconds after which to try again; 0: nobody knows. */
    readonly after = 0,
  ) {
    super(code);
  }
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const url = path + (path.includes('?') ? '&' : '?') + 'lang=' + language.now;
  let r: Response;
  try {
    r = await fetch(url, { credentials: 'same-origin', ...init });
  } catch {
    throw new Refused(0, 'network');
  }
  if (r.ok) return r;
  const body = await r.json().catch(() => ({}));
  throw new Refused(r.status, body.code ?? 'internal', body.params ?? {}, Number(r.headers.get('Retry-After')) || 0);
}

const json = (method: string, body?: unknown): RequestInit => ({ method, headers: { 'Content-Type': 'application/json' }, body: body === undefined ? undefined : JSON.stringify(body) });

export interface Card {
  id: string;
  title: string;
  summary: string;
  difficulty: 'easy' | 'medium' | 'hard';
  minutes: number;
  tasks: number;
}
export interface Block {
  html?: string;
  command?: string;
  code?: string;
  language?: string;
}
export interface TaskText {
  id: string;
  title: string;
  text: Block[];
  hints: string[];
  checks: string[];
}
export interface LessonText extends Card {
  what: { kind: 'real' | 'own' | 'model' | 'record'; name: string; instead?: string }[];
  intro: Block[];
  list: TaskText[];
  views: ('cluster' | 'docker')[];
  files: string[];
  messages: Record<string, string>;
}
export interface Said {
  code: string;
  params?: Params;
  wrong?: boolean;
}
export interface Link {
  code: string;
  params?: Params;
  rev: number;
}
export interface TaskProgress {
  id: string;
  done: boolean;
  why?: Link[];
  missing?: Said[];
  checks?: Record<string, boolean>;
  tries: number;
}
export interface Progress {
  tasks: TaskProgress[];
  current: number;
}
export interface LabInfo {
  id: string;
  lesson: string;
  machines: string[];
  progress: Progress;
  undo: boolean;
  made: boolean;
  code: string;
}
export interface Applied {
  kind: string;
  namespace?: string;
  name: string;
  result?: 'created' | 'configured' | 'unchanged';
  error?: string;
  warnings?: string[];
}

export interface ClassInfo {
  id: string;
  name: string;
  nickname?: string;
  teacher: boolean;
  join?: string[];
}

const room = (id: string) => `/api/classes/${encodeURIComponent(id)}`;
const socket = (path: string) => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`;
const lab = (lesson: string) => `/api/labs/${encodeURIComponent(lesson)}`;
const file = (path: string) => path.split('/').map(encodeURIComponent).join('/');

export const api = {
  lessons: async (): Promise<Card[]> => (await ask('/api/lessons')).json(),
  lesson: async (id: string): Promise<LessonText> => (await ask(`/api/lessons/${encodeURIComponent(id)}`)).json(),
  differences: async (): Promise<{ html: string }> => (await ask('/api/differences')).json(),
  start: async (lesson: string): Promise<LabInfo> => (await ask('/api/labs', json('POST', { lesson }))).json(),
  labs: async (): Promise<string[]> => (await ask('/api/labs')).json(),
  lab: async (lesson: string): Promise<LabInfo> => (await ask(lab(lesson))).json(),
  reset: async (lesson: string, to: 'task' | 'lab'): Promise<LabInfo> => (await ask(lab(lesson) + '/reset', json('POST', { to }))).json(),
  undo: async (lesson: string): Promise<LabInfo> => (await ask(lab(lesson) + '/undo', json('POST'))).json(),
  read: async (lesson: string, path: string): Promise<string> => (await ask(`${lab(lesson)}/files/${file(path)}`)).text(),
  write: async (lesson: string, path: string, text: string): Promise<void> => void (await ask(`${lab(lesson)}/files/${file(path)}`, { method: 'PUT', body: text })),
  apply: async (lesson: string, text: string): Promise<Applied[]> => (await ask(lab(lesson) + '/apply', { method: 'POST', body: text })).json(),
  why: async (lesson: string, resource: string, namespace: string, name: string): Promise<Link[]> =>
    (await ask(`${lab(lesson)}/why/${resource}/${encodeURIComponent(namespace || '-')}/${encodeURIComponent(name)}`)).json(),
  solution: async (lesson: string, task: string): Promise<string[]> => (await ask(`${lab(lesson)}/solutions/${encodeURIComponent(task)}`)).json(),
  comeBack: async (code: string): Promise<{ lesson: string }> => (await ask('/api/return', json('POST', { code }))).json(),
  renewCode: async (lesson: string): Promise<LabInfo> => (await ask(lab(lesson) + '/code', json('POST'))).json(),
  kubeconfig: (lesson: string) => lab(lesson) + '/kubeconfig',
  socket: (lesson: string, path: string) => socket(`${lab(lesson)}/${path}`),
  openClass: async (name: string): Promise<{ id: string; teacher: string }> => (await ask('/api/classes', json('POST', { name }))).json(),
  class: async (id: string): Promise<ClassInfo> => (await ask(room(id))).json(),
  teach: async (id: string, secret: string): Promise<void> => void (await ask(room(id) + '/teacher', json('POST', { secret }))),
  join: async (id: string, nickname: string): Promise<ClassInfo> => (await ask(room(id) + '/join', json('POST', { nickname }))).json(),
  closeClass: async (id: string): Promise<void> => void (await ask(room(id) + '/close', json('POST'))),
  release: async (id: string, member: number, lesson: string, task: string): Promise<void> => void (await ask(room(id) + '/release', json('POST', { member, lesson, task }))),
  qr: (id: string, link: number) => `${room(id)}/qr.svg?link=${link}`,
  classSocket: (id: string, path: string) => socket(`${room(id)}/${path}`),
};
