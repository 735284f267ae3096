import { diff, none, type Diff } from './diff';
import { buildModel, empty, loads, type Change, type Load, type Model, type Use } from './model';

/** The Docker host as the page sees it. Things live in a plain map; the model is built from it at most once a frame. */
export class DockerState {
  model = $state.raw<Model>(empty);
  last = $state.raw<Diff>(none);
  loads = $state.raw<Record<string, Load>>({});
  loaded = $state(false);

  private things = new Map<string, unknown>();
  private uses: Record<string, Use> = {};
  private usesAt = 0;
  private first = true;

  /** Forgets everything: the next changes are all there is. */
  reset() {
    this.things.clear();
    this.uses = {};
    this.usesAt = 0;
    this.loads = {};
    this.first = true;
  }

  take(changes: Change[]) {
    for (const c of changes) {
      if (c.object === undefined) this.things.delete(`${c.kind}/${c.id}`);
      else this.things.set(`${c.kind}/${c.id}`, c.object);
    }
  }

  /** Takes what the meters read at a time of the lab's clock, in milliseconds. */
  meter(uses: Record<string, Use>, at: number) {
    this.loads = loads(this.uses, uses, this.usesAt ? (at - this.usesAt) / 1000 : 0);
    this.uses = uses;
    this.usesAt = at;
  }

  paint() {
    const next = buildModel(this.things);
    this.last = this.first ? none : diff(this.model, next);
    this.model = next;
    this.first = false;
    this.loaded = true;
  }
}
