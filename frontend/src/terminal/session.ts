import { FitAddon } from '@xterm/addon-fit';
import { Terminal, type ITheme } from '@xterm/xterm';
import { copy } from '../clipboard';
import type { Params } from '../messages/index.svelte';
import { family } from './fonts';
import { commandLine, encode, inspect, programOf, type Pasted } from './paste';

const theme: ITheme = {
  background: '#14171a', foreground: '#dfe3e6', cursor: '#dfe3e6', cursorAccent: '#14171a', selectionBackground: '#3f6f79', selectionForeground: '#ffffff',
  black: '#3a4048', red: '#ff8a80', green: '#7ee2a8', yellow: '#e9c46a', blue: '#8ab4f8', magenta: '#d7a6f5', cyan: '#68d4c9', white: '#dfe3e6',
  brightBlack: '#8b949e', brightRed: '#ffada6', brightGreen: '#a5f0c3', brightYellow: '#f6dc9a', brightBlue: '#b3cffb', brightMagenta: '#e8ccfa', brightCyan: '#9ce9e1', brightWhite: '#ffffff',
};

export type Status = 'connecting' | 'live' | 'lost' | 'exited' | 'refused';

/** What a terminal tells the page; the page's state follows it. */
export interface Told {
  status(s: Status, code?: string, params?: Params): void;
  /** The command line that has the terminal; '' while the shell waits. */
  running(line: string): void;
  /** A prompt is there: something can be inserted. */
  prompt(ready: boolean): void;
  /** Pasted text that a person should look at first. */
  paste(p: Pasted): void;
  copied(): void;
  leave(): void;
}

/** Reads the reason of a socket's end: a code, a space and its parameters as JSON. */
function refusal(reason: string): [string, Params] {
  const [code, ...rest] = reason.split(' ');
  try {
    return [code, rest.length ? JSON.parse(rest.join(' ')) : {}];
  } catch {
    return [code, {}];
  }
}

const ackEvery = 32 << 10;

/**
 * A terminal in the page: xterm.js on one side, the portal's socket on the other. Bytes never pass through the page's state. It reconnects by
 * itself; the portal repaints what was there.
 */
export class Session {
  readonly term: Terminal;
  private fit = new FitAddon();
  private socket: WebSocket | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private wait = 250;
  private painted = 0;
  private muted = true; // the portal repaints: what the terminal answers to old questions goes nowhere
  private line = '';
  private atPrompt = false;
  private settling = 0; // syllables that are composed but that xterm.js has not read yet, and keys that wait behind them
  private passing = false; // a key that waited is given to xterm.js
  private closed = false;
  private watch: ResizeObserver | undefined;
  /** Ctrl of the phone's key row: goes with the next key. */
  ctrl = false;

  constructor(
    private readonly address: (rows: number, cols: number) => string,
    private readonly told: Told,
    size: number,
    /** Only looks on: nothing is typed, and the size is what the other page says. */
    private readonly watching = false,
  ) {
    this.term = new Terminal({
      disableStdin: watching,
      fontFamily: `${family}, "D2Coding", "Noto Sans Mono CJK KR", ui-monospace, monospace`,
      fontSize: size, lineHeight: 1.25, theme, cursorBlink: false, scrollback: 5000, macOptionIsMeta: true,
      rightClickSelectsWord: false, minimumContrastRatio: 4.5, allowProposedApi: false, rescaleOverlappingGlyphs: true,
    });
    this.term.loadAddon(this.fit);
    this.term.onData((d) => this.type(d));
    this.term.onBinary((d) => this.send(Uint8Array.from(d, (c) => c.charCodeAt(0))));
    this.term.onResize(({ rows, cols }) => !watching && this.tell({ type: 'resize', rows, cols }));
    this.term.parser.registerOscHandler(133, (body) => this.mark(body));
    // Nothing that a program prints may reach the clipboard or open a page.
    this.term.parser.registerOscHandler(52, () => true);
    this.term.parser.registerOscHandler(8, () => true);
    this.term.attachCustomKeyEventHandler((e) => this.key(e));
  }

  open(into: HTMLElement, label: string) {
    this.term.open(into);
    this.term.textarea?.setAttribute('aria-label', label);
    this.term.textarea?.setAttribute('autocapitalize', 'off');
    into.addEventListener('paste', this.onPaste, true);
    into.addEventListener('contextmenu', this.onContext);
    into.addEventListener('compositionend', this.onComposed);
    this.watch = new ResizeObserver(() => this.refit());
    this.watch.observe(into);
    document.fonts.addEventListener('loadingdone', this.onFonts);
    this.refit();
    this.connect();
  }

  /** A piece of the font arrived: widths measured with the system's font are forgotten. The trailing space makes it another value each time. */
  private onFonts = () => {
    const f = this.term.options.fontFamily ?? '';
    this.term.options.fontFamily = f.endsWith(' ') ? f.trimEnd() : f + ' ';
    this.refit();
  };

  label(text: string) {
    this.term.textarea?.setAttribute('aria-label', text);
  }

  /** The size of letters in pixels. */
  resize(size: number) {
    this.term.options.fontSize = size;
    this.refit();
  }

  refit() {
    const box = this.term.element?.parentElement;
    if (!this.watching && box && box.clientWidth > 40 && box.clientHeight > 20) this.fit.fit();
  }

  dispose() {
    this.closed = true;
    clearTimeout(this.retry);
    this.watch?.disconnect();
    document.fonts.removeEventListener('loadingdone', this.onFonts);
    this.socket?.close();
    this.term.dispose();
  }

  /** Ends the shell too, whatever runs in it: its tab is closed. */
  hangUp() {
    this.tell({ type: 'close' });
    this.dispose();
  }

  connect() {
    if (this.closed) return;
    clearTimeout(this.retry);
    this.socket?.close();
    const s = new WebSocket(this.address(this.term.rows, this.term.cols));
    s.binaryType = 'arraybuffer';
    this.socket = s;
    s.onmessage = (e) => (typeof e.data === 'string' ? this.control(JSON.parse(e.data)) : this.output(new Uint8Array(e.data)));
    s.onclose = (e) => {
      if (this.socket !== s || this.closed) return;
      this.setPrompt(false);
      if (e.code >= 4000) {
        this.setRunning('');
        return this.told.status('refused', ...refusal(e.reason));
      }
      if (e.code === 1000) return; // exit has said it
      this.told.status('lost');
      this.retry = setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, 5000);
    };
  }

  private control(m: { type: string; running?: string; rows?: number; cols?: number }) {
    if (m.type === 'size') {
      if (m.rows && m.cols) this.term.resize(m.cols, m.rows);
    } else if (m.type === 'start') {
      this.muted = true;
      this.term.reset();
    } else if (m.type === 'live') {
      this.term.write('', () => {
        this.muted = false;
        this.wait = 250;
        if (m.running) this.setRunning(m.running);
        this.told.status('live');
        if (!this.watching) this.tell({ type: 'resize', rows: this.term.rows, cols: this.term.cols });
      });
    } else if (m.type === 'exit') {
      this.setPrompt(false);
      this.setRunning('');
      this.told.status('exited');
    }
  }

  private output(p: Uint8Array) {
    this.term.write(p, () => {
      this.painted += p.length;
      if (this.painted >= ackEvery) {
        this.tell({ type: 'ack', n: this.painted });
        this.painted = 0;
      }
    });
  }

  private mark(body: string): boolean {
    if (body[0] === 'C') {
      this.setPrompt(false);
      this.setRunning(commandLine(body.slice(2)));
    } else if (body[0] === 'D') {
      this.setRunning('');
    } else if (body[0] === 'B') {
      this.setRunning('');
      this.setPrompt(true);
    }
    return true;
  }

  private setRunning(line: string) {
    this.line = line;
    this.told.running(line);
  }

  private setPrompt(ready: boolean) {
    this.atPrompt = ready;
    this.told.prompt(ready);
  }

  /** Types for the learner: through here goes what keys, compositions and the key row produce. */
  type(data: string) {
    if (this.muted || this.watching) return;
    if (this.ctrl && data.length === 1 && /[a-z@[\\\]^_ ]/i.test(data)) {
      data = String.fromCharCode(data.toUpperCase().charCodeAt(0) & 31);
      this.ctrl = false;
    }
    this.send(new TextEncoder().encode(data));
  }

  private send(p: Uint8Array) {
    if (!this.watching && this.socket?.readyState === WebSocket.OPEN) this.socket.send(p as Uint8Array<ArrayBuffer>);
  }

  private tell(m: object) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(m));
  }

  get program(): string {
    return programOf(this.line);
  }

  /** Puts a command at the prompt, in place of what stands there; with run, presses Enter too. False while a program has the terminal. */
  insert(command: string, run: boolean): boolean {
    if (!this.atPrompt || this.line) return false;
    this.type('\u0005\u0015' + encode(command, this.term.modes.bracketedPasteMode) + (run ? '\r' : ''));
    this.term.scrollToBottom();
    return true;
  }

  paste(text: string) {
    this.type(encode(text, this.term.modes.bracketedPasteMode));
    this.term.focus();
  }

  private onPaste = (e: ClipboardEvent) => {
    e.preventDefault();
    e.stopPropagation();
    this.pasted(e.clipboardData?.getData('text/plain') ?? '');
  };

  private pasted(raw: string) {
    const p = inspect(raw);
    if (p.preview) this.told.paste(p);
    else if (p.text) this.paste(p.text);
  }

  /** Right click pastes where the browser lets the page read the clipboard; elsewhere its own menu does. */
  private onContext = (e: MouseEvent) => {
    if (!isSecureContext || !navigator.clipboard?.readText) return;
    e.preventDefault();
    navigator.clipboard.readText().then((s) => this.pasted(s), () => undefined);
  };

  /** xterm.js reads a composed syllable a moment after its end, in a timer that began just before this one. */
  private onComposed = () => {
    this.settling++;
    setTimeout(() => this.settling--);
  };

  /**
   * A key that comes before xterm.js has read the syllable waits for it: xterm.js would take what it remembers of the textarea, and lose one. Keys
   * behind one that waits do so too, or they would overtake it.
   */
  private afterSyllable(e: KeyboardEvent): boolean {
    if (this.passing || !this.settling || e.type !== 'keydown' || /^(Shift|Control|Alt|Meta)$/.test(e.key)) return false;
    e.preventDefault();
    const { key, code, keyCode, ctrlKey, altKey, shiftKey, metaKey } = e;
    const again = new KeyboardEvent('keydown', { key, code, keyCode, ctrlKey, altKey, shiftKey, metaKey, bubbles: true, cancelable: true });
    const plain = key.length === 1 && !ctrlKey && !altKey && !metaKey;
    this.settling++;
    setTimeout(() => {
      this.settling--;
      if (plain) return this.type(key);
      this.passing = true;
      this.term.textarea?.dispatchEvent(again);
      this.passing = false;
    });
    return true;
  }

  /** Keys that the page takes before the terminal; by code, so that they work with the keyboard on Korean. */
  private key(e: KeyboardEvent): boolean {
    if (e.isComposing || e.keyCode === 229) return true;
    if (this.afterSyllable(e)) return false;
    if (e.code === 'F6' || e.code === 'F8' || (e.altKey && !e.ctrlKey && !e.metaKey && (e.code === 'KeyM' || /^Digit[1-9]$/.test(e.code)))) return false;
    const down = e.type === 'keydown';
    if (e.code === 'Escape' && !this.line && this.atPrompt && !e.ctrlKey && !e.altKey && !e.shiftKey) {
      if (down) this.told.leave();
      return false;
    }
    if (e.ctrlKey && !e.altKey && !e.metaKey && e.code === 'KeyC' && (e.shiftKey || this.term.hasSelection())) {
      if (down && this.term.hasSelection()) {
        e.preventDefault();
        void copy(this.term.getSelection()).then(() => {
          this.told.copied();
          this.term.focus();
        });
        this.term.clearSelection();
      }
      return false;
    }
    if (e.ctrlKey && !e.altKey && e.code === 'KeyV') return false; // the browser pastes
    // With the keyboard on Korean, Ctrl+letter arrives as a Hangul letter: the code tells which key it was.
    if (down && e.ctrlKey && !e.altKey && !e.metaKey && !e.shiftKey && /^Key[A-Z]$/.test(e.code) && e.key.length === 1 && e.key > '\u007f') {
      e.preventDefault();
      this.type(String.fromCharCode(e.code.charCodeAt(3) & 31));
      return false;
    }
    return true;
  }
}
