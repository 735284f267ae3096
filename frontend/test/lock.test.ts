import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

it('the lock file pins every package by content and names no registry', () => {
  const text = readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8');
  const packages = Object.entries(JSON.parse(text).packages as Record<string, { integrity?: string }>).filter(([path]) => path !== '');
  expect(packages.length).toBeGreaterThan(50);
  expect(packages.filter(([, p]) => !p.integrity).map(([path]) => path)).toEqual([]);
  expect(text).not.toMatch(/"resolved"|\.tgz/);
});
