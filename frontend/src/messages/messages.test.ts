import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import en from './en.json';
import ko from './ko.json';

const holes = (s: string) => [...s.matchAll(/\{([a-zA-Z]+)\}/g)].map((m) => m[1]).sort();

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? sources(join(dir, e.name)) : /\.(svelte|ts)$/.test(e.name) && !e.name.endsWith('.test.ts') ? [readFileSync(join(dir, e.name), 'utf8')] : [],
  );
}

describe('the message catalogues', () => {
  it('have the same keys', () => {
    expect(Object.keys(en).sort()).toEqual(Object.keys(ko).sort());
  });

  it.each(Object.keys(ko))('say the same in %s', (key) => {
    const k = ko[key as keyof typeof ko];
    const e = en[key as keyof typeof en];
    expect(k.trim()).not.toBe('');
    expect(holes(e)).toEqual(holes(k));
  });

  it('write Korean in Korean', () => {
    const without = Object.entries(ko).filter(([key, s]) => !/[가-힣]/.test(s) && !/^(app\.|view\.docker$|nav\.language$|programs\.item|card\.ip|node\.cpu|why\.(fault|scaled)|error\.file$)/.test(key));
    expect(without).toEqual([]);
  });

  it('hold nothing that the page does not use', () => {
    const all = sources('src').join('\n');
    const dynamic = /^((error|why|what|difficulty|pod|cp|class\.state|manifest\.result|docker\.state)\.|view\.(cluster|docker|table|manifest)$)/;
    const unused = Object.keys(ko).filter((key) => !dynamic.test(key) && !all.includes(`'${key}'`));
    expect(unused).toEqual([]);
  });
});
