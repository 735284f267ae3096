import { api } from '../api';
import { language, type Params } from '../messages/index.svelte';
import type { Pasted } from './paste';
import { Session, type Status } from './session';

/** One terminal tab. */
export class Tab {
  status = $state<Status>('connecting');
  code = $state('');
  params = $state.raw<Params>({});
  running = $state('');
  atPrompt = $state(false);
  opened = $state(false); // it has been shown, and so has a session
  pasted = $state.raw<Pasted>();
  session: Session | undefined;

  constructor(
    readonly machine: string,
    readonly number: number,
  ) {}

  get key() {
    return `${this.machine}/${this.number}`;
  }
  get title() {
    return this.number === 1 ? this.machine : `${this.machine} ${this.number}`;
  }
}

/** The terminals of a lab. Commands in the text go to the tab in front. */
export class Terminals {
  tabs = $state.raw<Tab[]>([]);
  current = $state(0);
  ctrl = $state(false);

  constructor(
    private readonly lesson: string,
    private readonly onleave: () => void,
    private readonly oncopied: () => void,
  ) {}

  get tab(): Tab | undefined {
    return this.tabs[this.current];
  }

  /** Sets the tabs up for a lab's machines; tabs of another lab go. */
  machines(names: string[]) {
    for (const t of this.tabs) t.session?.dispose();
    this.tabs = names.map((n) => new Tab(n, 1));
    this.current = 0;
  }

  add() {
    const number = Math.max(...this.tabs.filter((t) => t.machine === 'workstation').map((t) => t.number)) + 1;
    const tab = new Tab('workstation', number);
    const after = this.tabs.findLastIndex((t) => t.machine === 'workstation') + 1;
    this.tabs = [...this.tabs.slice(0, after), tab, ...this.tabs.slice(after)];
    this.current = after;
  }

  remove(tab: Tab) {
    tab.session?.hangUp();
    const i = this.tabs.indexOf(tab);
    this.tabs = this.tabs.filter((t) => t !== tab);
    if (this.current >= i) this.current = Math.max(0, this.current - 1);
  }

  session(tab: Tab, size: number): Session {
    tab.opened = true;
    tab.session = new Session(
      (rows, cols) => api.socket(this.lesson, `terminals/${tab.machine}/${tab.number}?rows=${rows}&cols=${cols}&lang=${language.now}`),
      {
        status: (s, code, params) => {
          tab.status = s;
          tab.code = code ?? '';
          tab.params = params ?? {};
        },
        running: (line) => (tab.running = line),
        prompt: (ready) => (tab.atPrompt = ready),
        paste: (p) => (tab.pasted = p),
        copied: () => this.oncopied(),
        leave: () => this.onleave(),
      },
      this.letters || size,
    );
    return tab.session;
  }

  private letters = 0; // as stage mode has set them

  /** Sets the size of letters, for those to come too. */
  size(px: number) {
    this.letters = px;
    for (const t of this.tabs) t.session?.resize(px);
  }

  insert(command: string, run: boolean): boolean {
    const done = this.tab?.session?.insert(command, run) ?? false;
    if (done) this.tab?.session?.term.focus();
    return done;
  }

  focus() {
    this.tab?.session?.term.focus();
  }

  close() {
    for (const t of this.tabs) t.session?.dispose();
  }
}
