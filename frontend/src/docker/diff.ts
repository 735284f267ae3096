import type { Container, Model } from './model';

/** What changed between two models, as far as it is worth saying. */
export interface Diff {
  created: Container[];
  removed: Container[];
  turned: Container[]; // have another state now
}

export const none: Diff = { created: [], removed: [], turned: [] };

/** Compares containers by id: one that was made anew under its old name is another. */
export function diff(before: Model, after: Model): Diff {
  const was = new Map(before.containers.map((c) => [c.id, c]));
  const is = new Set(after.containers.map((c) => c.id));
  return {
    created: after.containers.filter((c) => !was.has(c.id)),
    removed: before.containers.filter((c) => !is.has(c.id)),
    turned: after.containers.filter((c) => was.has(c.id) && was.get(c.id)!.state !== c.state),
  };
}
