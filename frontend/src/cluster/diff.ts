import type { Model, Pod } from './model';

/** What changed between two models, as far as it is worth showing or saying. */
export interface Diff {
  created: Pod[];
  removed: Pod[];
  scheduled: Pod[]; // have a node now
  ready: Pod[]; // became ready
}

/** Compares pods by uid: one that was replaced under its old name is another. */
export function diff(before: Model, after: Model): Diff {
  const was = new Map(before.pods.map((p) => [p.uid, p]));
  const is = new Set(after.pods.map((p) => p.uid));
  const d: Diff = { created: [], removed: [], scheduled: [], ready: [] };
  for (const p of after.pods) {
    const old = was.get(p.uid);
    if (!old) d.created.push(p);
    if (p.node && !old?.node) d.scheduled.push(p);
    if (p.ready && !old?.ready) d.ready.push(p);
  }
  d.removed = before.pods.filter((p) => !is.has(p.uid));
  return d;
}
