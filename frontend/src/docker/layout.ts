import { type Container, type Image, type Model, type Network, type Sheet, type Volume, type Work } from './model';

/** Where everything stands, in pixels of the picture. Pure: the same model, places and width give the same picture. */

export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}
/** A layer: as high as it is large, as wide as what stands on it. */
export interface Slab extends Box {
  sheet: Sheet;
  shared: number; // images that stand on it
  label: boolean; // there is room for its size
}
/** An image's name, between its top layer and its containers. */
export interface Plate extends Box {
  image: Image;
}
/** A container: a thin writable sheet on top of its image. */
export interface Card extends Box {
  container: Container;
  detail: Detail;
}
export interface Rail {
  network: Network;
  y: number;
  x1: number;
  x2: number;
  ties: { id: string; path: string; live: boolean }[];
}
export interface Drum extends Box {
  volume: Volume;
  users: number;
}
export interface Bar extends Box {
  work: Work;
}
export type Detail = 'full' | 'short' | 'dot';

export interface Layout {
  width: number;
  height: number;
  slabs: Slab[];
  plates: Plate[];
  cards: Card[];
  rails: Rail[];
  drums: Drum[];
  bars: Bar[];
  ground: number[]; // the lines that stacks stand on
  places: Places;
}

/** What keeps its place when the model changes: columns by image id, seats in a column by container id. */
export interface Places {
  columns: ReadonlyMap<string, number>;
  seats: ReadonlyMap<string, number>;
}
export const nowhere: Places = { columns: new Map(), seats: new Map() };

/** Networks that have a rail: those with a bridge. The table has all. */
export const railed = (n: Network) => Boolean(n.subnet);

const pad = 14;
const gap = 14;
const least = 150; // a column's width
const stackHeight = 96; // of the heaviest image
const thin = 5; // of the lightest layer
const plateHeight = 30;
const railGap = 24;
const barHeight = 28;
const drumHeight = 40;
const cardSize: Record<Detail, { w: number; h: number; gap: number }> = { full: { w: 0, h: 46, gap: 5 }, short: { w: 0, h: 22, gap: 4 }, dot: { w: 15, h: 15, gap: 4 } };

/** Lays a model out. Whatever stays keeps its place; what is gone leaves it empty until something new sits down there. */
export function layout(model: Model, before: Places, width: number): Layout {
  const columns = settle(model.images.map((i) => i.id), before.columns);
  const out: Layout = { width, height: 0, slabs: [], plates: [], cards: [], rails: [], drums: [], bars: [], ground: [], places: { columns, seats: new Map() } };
  const seats = out.places.seats as Map<string, number>;
  const images = new Map(model.images.map((i) => [i.id, i]));
  const mine = new Map<string, Container[]>();
  for (const c of model.containers) mine.set(c.imageId, [...(mine.get(c.imageId) ?? []), c]);
  for (const list of mine.values()) settle(list.map((c) => c.id), before.seats).forEach((seat, id) => seats.set(id, seat));

  let y = pad;
  for (const work of model.work) {
    out.bars.push({ work, x: pad, y, w: Math.min(420, width - 2 * pad), h: barHeight });
    y += barHeight + 6;
  }
  const rails = model.networks.filter(railed).map((network, i): Rail => ({ network, y: y + 16 + i * railGap, x1: pad, x2: width - pad, ties: [] }));
  out.rails = rails;
  y += rails.length * railGap + (rails.length > 0 ? 16 : 0);

  const left = pad + 8; // the ties of the first column are on its left
  const room = width - left - pad;
  const across = Math.max(1, Math.floor((room + gap) / (least + gap)));
  const rows = fill(order(model.roots, columns), across);
  const scale = (stackHeight / Math.max(1, ...model.images.map((i) => i.layers.reduce((n, l) => n + l.size, 0)))) || 1;
  const widest = Math.max(1, ...rows.map((r) => r.reduce((n, s) => n + breadth(s), 0)));
  const column = Math.floor((room + gap) / across) - gap; // by the page's width alone, so that one image more moves no other
  out.width = Math.max(width, left + widest * (column + gap) - gap + pad);
  for (const r of rails) r.x2 = out.width - pad;
  for (const row of rows) y = place(out, row, { y, left, column, scale, images, mine, seats, columns });
  rails.forEach((r, lane) => tie(out, r, lane));

  let x = pad;
  if (model.volumes.length > 0) y += 4;
  const drum = Math.min(180, (width - 2 * pad - gap) / 2);
  for (const volume of model.volumes) {
    if (x + drum > out.width - pad) {
      x = pad;
      y += drumHeight + 8;
    }
    out.drums.push({ volume, users: model.containers.filter((c) => c.volumes.some((v) => v.name === volume.name)).length, x, y, w: drum, h: drumHeight });
    x += drum + gap;
  }
  out.height = y + (model.volumes.length > 0 ? drumHeight : 0) + pad;
  return out;
}

interface Row {
  y: number;
  left: number;
  column: number;
  scale: number;
  images: Map<string, Image>;
  mine: Map<string, Container[]>;
  seats: Map<string, number>;
  columns: ReadonlyMap<string, number>;
}

/** Places a row of stacks below row.y and tells where it ends. */
function place(out: Layout, stacks: Sheet[], row: Row): number {
  const used: { sheet: Sheet; x: number; w: number; bottom: number; top: number }[] = [];
  const tops: { image: Image; x: number; up: number }[] = []; // up: pixels above the ground
  let x = row.left;
  const put = (s: Sheet, bottom: number) => {
    const from = x;
    const top = bottom + Math.max(thin, s.size * row.scale);
    for (const id of s.images) {
      tops.push({ image: row.images.get(id)!, x, up: top });
      x += row.column + gap;
    }
    for (const up of order(s.above, row.columns)) put(up, top);
    used.push({ sheet: s, x: from, w: x - gap - from, bottom, top });
  };
  for (const s of stacks) put(s, 0);

  let high = 0;
  const piles = tops.map((t) => {
    const list = row.mine.get(t.image.id) ?? [];
    const detail: Detail = list.length <= 5 ? 'full' : list.length <= 16 ? 'short' : 'dot';
    const { h, gap: between } = cardSize[detail];
    const across = detail === 'dot' ? Math.floor(row.column / (h + between)) : 1;
    const lines = list.length === 0 ? 0 : Math.floor(Math.max(...list.map((c) => row.seats.get(c.id)!)) / across) + 1;
    high = Math.max(high, t.up + plateHeight + lines * (h + between));
    return { ...t, list, detail, across };
  });
  const ground = row.y + high + 12;
  for (const u of used) out.slabs.push({ sheet: u.sheet, shared: breadth(u.sheet), label: u.top - u.bottom >= 17, x: u.x, y: ground - u.top, w: u.w, h: u.top - u.bottom });
  for (const p of piles) {
    const plate = { image: p.image, x: p.x, y: ground - p.up - plateHeight, w: row.column, h: plateHeight };
    out.plates.push(plate);
    const { h, gap: between } = cardSize[p.detail];
    for (const container of p.list) {
      const seat = row.seats.get(container.id)!;
      const line = Math.floor(seat / p.across);
      out.cards.push({ container, detail: p.detail, x: plate.x + (seat % p.across) * (h + between), y: plate.y - (line + 1) * (h + between), w: p.detail === 'dot' ? h : row.column, h });
    }
  }
  out.ground.push(ground);
  return ground + 18;
}

/** Ties the containers that are on a network to its rail, along the gap on their left. */
function tie(out: Layout, rail: Rail, lane: number) {
  for (const c of out.cards) {
    const on = c.container.networks.find((n) => n.name === rail.network.name);
    if (!on || c.detail === 'dot') continue;
    const x = c.x - 4 - (lane % 3) * 3;
    rail.ties.push({ id: c.container.id, live: Boolean(on.address), path: `M${x} ${rail.y}V${c.y + 8 + (lane % 3) * 5}H${c.x}` });
  }
}

const breadth = (s: Sheet): number => s.images.length + s.above.reduce((n, a) => n + breadth(a), 0);

/** Stacks in the order in which their first image came. */
function order(sheets: Sheet[], columns: ReadonlyMap<string, number>): Sheet[] {
  const first = (s: Sheet): number => Math.min(...s.images.map((i) => columns.get(i) ?? 0), ...s.above.map(first));
  return sheets.toSorted((a, b) => first(a) - first(b));
}

/** Fills rows with stacks, of at most `across` columns unless one stack alone is wider. */
function fill(stacks: Sheet[], across: number): Sheet[][] {
  const rows: Sheet[][] = [];
  let free = 0;
  for (const s of stacks) {
    const n = breadth(s);
    if (rows.length === 0 || n > free) {
      rows.push([]);
      free = across;
    }
    rows[rows.length - 1].push(s);
    free -= n;
  }
  return rows;
}

/** Gives each id a number: its old one, else the lowest that is free. */
function settle(ids: string[], before: ReadonlyMap<string, number>): Map<string, number> {
  const out = new Map<string, number>();
  const taken = new Set<number>();
  for (const id of ids) {
    const old = before.get(id);
    if (old !== undefined && !taken.has(old)) {
      out.set(id, old);
      taken.add(old);
    }
  }
  let next = 0;
  for (const id of ids) {
    if (out.has(id)) continue;
    while (taken.has(next)) next++;
    out.set(id, next);
    taken.add(next);
  }
  return out;
}
