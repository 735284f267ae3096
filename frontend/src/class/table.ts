import type { Said } from '../api';

/** One learner, as the server tells it. */
export interface Row {
  number: number;
  name: string;
  state: 'none' | 'open' | 'away' | 'ended';
  lesson?: string;
  task?: string;
  done: number;
  tasks: number;
  since: string;
  tries: number;
  missing?: Said[];
  seen: string;
  terminals?: string[];
  released?: boolean;
}

/** Works on a task: such a learner can be stuck. */
export const working = (r: Row) => Boolean(r.lesson && r.task && r.state !== 'ended');

/** The longest at one task first; then those who have finished, then those who have not begun, each in the order of joining. */
export function sorted(rows: Row[]): Row[] {
  const rank = (r: Row) => (working(r) ? 0 : r.lesson ? 1 : 2);
  return [...rows].sort((a, b) => rank(a) - rank(b) || (working(a) ? Date.parse(a.since) - Date.parse(b.since) : 0) || a.number - b.number);
}

export const minutes = (since: string, now: number) => Math.max(0, Math.floor((now - Date.parse(since)) / 60_000));

/** Of what is missing the remark on what was tried, else the first. */
export const lastRed = (r: Row): Said | undefined => (working(r) ? (r.missing?.find((m) => m.wrong) ?? r.missing?.[0]) : undefined);

/**
 * A table as CSV (RFC 4180) that spreadsheets read as text: with a byte order mark, by which Excel knows UTF-8, and with an apostrophe before
 * what would be a formula.
 */
export function csv(table: (string | number)[][]): string {
  const cell = (v: string | number) => {
    if (typeof v === 'number') return String(v);
    const safe = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(v.trimStart()) || /^[\t\r\n]/.test(v) ? "'" + v : v;
    return /[",\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  };
  return '\ufeff' + table.map((r) => r.map(cell).join(',') + '\r\n').join('');
}
