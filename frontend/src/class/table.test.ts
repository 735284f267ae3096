import { describe, expect, it } from 'vitest';
import { csv, lastRed, minutes, sorted, type Row } from './table';

const row = (r: Partial<Row>): Row => ({ number: 1, name: 'n', state: 'open', lesson: 'l', task: 't', done: 0, tasks: 3, since: '2026-01-01T00:00:00Z', tries: 0, seen: '2026-01-01T00:00:00Z', ...r });

describe('the table', () => {
  it('has the longest at one task first, then who has finished, then who has not begun', () => {
    const rows = [
      row({ number: 1, lesson: undefined, task: undefined, state: 'none' }), row({ number: 2, since: '2026-01-01T00:05:00Z' }), row({ number: 3, task: '' }),
      row({ number: 4, since: '2026-01-01T00:01:00Z' }), row({ number: 5, since: '2026-01-01T00:01:00Z' }), row({ number: 6, state: 'ended', since: '2025-01-01T00:00:00Z' }),
    ];
    expect(sorted(rows).map((r) => r.number)).toEqual([4, 5, 2, 3, 6, 1]);
  });

  it('counts whole minutes and never below none', () => {
    expect(minutes('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:05:59Z'))).toBe(5);
    expect(minutes('2026-01-01T00:00:00Z', Date.parse('2025-12-31T23:59:00Z'))).toBe(0);
  });

  it('shows what was tried before what is missing', () => {
    const missing = [{ code: 'a' }, { code: 'b', wrong: true }];
    expect(lastRed(row({ missing }))?.code).toBe('b');
    expect(lastRed(row({ missing: [{ code: 'a' }] }))?.code).toBe('a');
    expect(lastRed(row({ missing, task: '' }))).toBeUndefined();
  });
});

describe('CSV', () => {
  it.each(['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', ' =1', '\uff1d1'])('keeps %j from being a formula', (s) => {
    const cell = csv([[s]]).slice(1).replace(/^"|"?\r\n$/g, '');
    expect(cell.startsWith("'")).toBe(true);
    expect(cell).toContain(s);
  });

  it('quotes, counts numbers as numbers and begins with a byte order mark', () => {
    expect(csv([['김 "민준"', 'a,b', -3], ['x\ny', '<script>', 0]])).toBe('\ufeff"김 ""민준""","a,b",-3\r\n"x\ny",<script>,0\r\n');
  });
});
