/** What happens to text on its way from the clipboard into a shell. Pure. */

const quotes: Record<string, string> = { '“': '"', '”': '"', '„': '"', '‟': '"', '«': '"', '»': '"', '‘': "'", '’': "'", '‚': "'", '‛': "'" };
const suspicious = /[“”„‟‘’‚‛\u00a0\u2007\u202f\u3000\u200b\ufeff]/;

export interface Pasted {
  /** Line ends as a terminal wants them, no control characters. */
  text: string;
  lines: number;
  /** There are curly quotes or special spaces: what slides and chats make of code. */
  smart: boolean;
  /** The text with those repaired. */
  repaired: string;
  /** A person should look before it goes in. */
  preview: boolean;
}

/** How many lines go in without being shown first. */
export const unseenLines = 5;

export function inspect(raw: string): Pasted {
  // eslint-disable-next-line no-control-regex
  const text = raw.replace(/\r\n?/g, '\n').replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u0080-\u009f]/g, '');
  const lines = text.replace(/\n$/, '').split('\n').length;
  const smart = suspicious.test(text);
  return { text, lines, smart, repaired: smart ? repair(text) : text, preview: smart || lines > unseenLines };
}

export function repair(text: string): string {
  return text
    .replace(/[“”„‟«»‘’‚‛]/g, (c) => quotes[c])
    .replace(/[\u00a0\u2007\u202f\u3000]/g, ' ')
    .replace(/[\u200b\ufeff]/g, '');
}

/** The bytes for the terminal: bracketed where the program asked for it, so that a pasted line end does not run anything. */
export function encode(text: string, bracketed: boolean): string {
  const body = text.replace(/\n/g, '\r');
  return bracketed ? `\u001b[200~${body}\u001b[201~` : body;
}

/** How a person leaves a program. */
export function leaveKeys(program: string): string {
  const name = program.split(/\s+/)[0].split('/').pop() ?? '';
  if (/^(vi|vim|view)$/.test(name)) return 'Esc :q!';
  if (/^(less|more|man|top)$/.test(name)) return 'q';
  if (/^(sh|bash|cat)$/.test(program.trim())) return 'Ctrl+D';
  if (/^kubectl\s+(exec|attach|run|debug)\b.*(-it|-ti|-t\b|--tty)/.test(program)) return 'Ctrl+D';
  return 'Ctrl+C';
}

/** The command line in the options of a shell's mark that one runs (OSC 133 C; cmdline_url as kitty's shell integration has it). */
export function commandLine(options: string): string {
  const encoded = options.split(';').find((o) => o.startsWith('cmdline_url='));
  try {
    // eslint-disable-next-line no-control-regex
    return decodeURIComponent(encoded?.slice(12) ?? '').replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '');
  } catch {
    return '';
  }
}

/** The name of the program that a command line runs. */
export function programOf(line: string): string {
  const words = line.trim().split(/\s+/).filter((w) => !/^\w+=/.test(w));
  if (words[0] === 'kubectl' && words[1]) return `kubectl ${words[1]}`;
  return words[0] ?? '';
}
