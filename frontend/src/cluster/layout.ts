import type { Model, Node, Pod, Service } from './model';

/** Where everything stands, in pixels of the picture. Pure: the same model, places and width give the same picture. */

export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}
export interface Room extends Box {
  node: Node;
}
export interface Tile extends Box {
  pod: Pod;
  detail: Detail;
  ghost: boolean;
}
export interface Rail {
  service: Service;
  box: Box;
  /** The quay: from the Service's box through the rooms that it reaches, a lane for each row of them. */
  lanes: { y: number; x2: number; row: number; path: string }[];
  moorings: { key: string; path: string; x: number; y: number }[];
}
/** full: name, suffix and state; short: glyph and suffix; dot: glyph alone. */
export type Detail = 'full' | 'short' | 'dot';

export interface Layout {
  width: number;
  height: number;
  plane: Box;
  waiting: Box | undefined;
  rooms: Room[];
  tiles: Tile[];
  rails: Rail[];
  detail: Detail;
  places: Places;
}

/** The seat of each pod in its room, by uid: what stays when the model changes. */
export type Places = ReadonlyMap<string, { node: string; seat: number }>;

/** Services that have a quay: those that select pods, but for the system's own, whose control plane is not in pods here. The table has all. */
export const drawn = (s: Service) => s.selector !== '' && s.namespace !== 'kube-system';

const tileSize: Record<Detail, { w: number; h: number }> = { full: { w: 98, h: 64 }, short: { w: 62, h: 34 }, dot: { w: 18, h: 18 } };
const gap = 12;
const gutter = 10; // left of each tile, for the lines that moor at it
const pad = 12;
const planeHeight = 44;
const serviceWidth = 104;
const serviceHeight = 50;
const head = 32;
const foot = 40;
const laneGap = 9;

/**
 * Lays a model out. Pods keep their seats; one that is gone leaves its seat empty until somebody sits down there, so that nothing moves that did not.
 * ghosts are pods that are gone but still shown for a moment.
 */
export function layout(model: Model, before: Places, width: number, ghosts: Pod[] = []): Layout {
  const services = model.services.filter(drawn);
  const narrow = width < 560;
  const left = services.length === 0 ? pad : narrow ? pad + services.length * laneGap + 2 : serviceWidth + pad * 2 + 6;
  const roomsWidth = width - left - pad;
  const workers = model.nodes.filter((n) => !n.controlPlane || model.pods.some((p) => p.node === n.name));
  const places = seats(model, before, ghosts);
  const perRoom = new Map<string, number>();
  for (const { node, seat } of places.values()) perRoom.set(node, Math.max(perRoom.get(node) ?? 0, seat + 1));
  const detail = choose(workers, model.pods.length, roomsWidth, perRoom);
  const columns = Math.max(1, Math.min(workers.length, Math.floor((roomsWidth + gap) / (minRoom(detail) + gap))));
  const rows = Math.ceil(workers.length / columns);

  const plane = { x: pad, y: pad, w: width - 2 * pad, h: planeHeight };
  let y = plane.y + plane.h + gap;
  // Rooms keep space for two lines of tiles, so that a few pods more do not move the walls.
  const least = detail === 'full' && !narrow && workers.length <= columns ? 2 : 1;
  const stray = [...model.pods, ...ghosts].filter((p) => !workers.some((n) => n.name === p.node));
  const size = tileSize[detail];
  const tiles: Tile[] = [];
  let waiting: Box | undefined;
  if (narrow) y += services.length * (serviceHeight + 8);

  const rails: Rail[] = services.map((service, i) => ({ service, box: { x: narrow ? left : pad, y: 0, w: narrow ? Math.min(220, width - left - pad) : serviceWidth, h: serviceHeight }, lanes: [], moorings: [] as Rail['moorings'], i }));
  const rooms: Room[] = [];
  const firstRow = y;
  const lanesHeight = services.length * laneGap + 6;
  for (let row = 0; row < rows; row++) {
    const here = workers.slice(row * columns, (row + 1) * columns);
    const widths = shares(here, columns, roomsWidth);
    const across = (w: number) => Math.max(1, Math.floor((w - 2 * pad + gap) / (size.w + gutter + 2)));
    const lines = Math.max(least, ...here.map((n, i) => Math.ceil((perRoom.get(n.name) ?? 0) / across(widths[i]))));
    const tilesHeight = lines * (size.h + 8);
    const h = head + tilesHeight + lanesHeight + foot;
    let x = left;
    here.forEach((n, i) => {
      const room = { node: n, x, y, w: widths[i], h };
      rooms.push(room);
      place(room, across(widths[i]), [...model.pods, ...ghosts].filter((p) => p.node === n.name), places, ghosts, detail, tiles);
      x += widths[i] + gap;
    });
    const laneTop = y + head + tilesHeight + 4;
    services.forEach((s, i) => moor(rails[i], s, row, laneTop + i * laneGap, tiles, here));
    y += h + gap;
  }
  const lastRow = y;
  if (stray.length > 0) {
    const word = narrow ? 0 : left - pad;
    const per = Math.max(1, Math.floor((width - 2 * pad - word) / (size.w + gap)));
    const lines = Math.ceil(stray.length / per);
    const top = narrow ? 26 : 10;
    waiting = { x: pad, y, w: width - 2 * pad, h: lines * (size.h + 8) + top + 2 };
    stray.forEach((pod, i) => tiles.push({ pod, detail, ghost: ghosts.includes(pod), x: pad + word + 10 + (i % per) * (size.w + gap), y: y + top + Math.floor(i / per) * (size.h + 8), ...size }));
    y += waiting.h + gap;
  }
  if (narrow) {
    rails.forEach((r, i) => (r.box.y = firstRow - (services.length - i) * (serviceHeight + 8)));
  } else {
    const free = Math.max(serviceHeight + 8, Math.min(serviceHeight + 16, (lastRow - firstRow) / Math.max(1, services.length)));
    rails.forEach((r, i) => {
      const lane = r.lanes[0]?.y ?? firstRow + 30 + i * free;
      r.box.y = services.length === 1 ? Math.max(firstRow, lane - serviceHeight / 2) : firstRow + i * free;
    });
  }
  rails.forEach((r, i) => lead(r, narrow ? pad + i * laneGap : pad + serviceWidth + 4 + (i % 4) * 4, narrow));
  return { width, height: y, plane, waiting, rooms, tiles, rails, detail, places };
}

const minRoom = (d: Detail) => ({ full: 2 * pad + tileSize.full.w + gutter + 4, short: 2 * pad + 2 * (tileSize.short.w + gutter + 2), dot: 120 })[d];

/** The most detail with which a room holds its pods in four lines. */
function choose(workers: Node[], pods: number, width: number, perRoom: Map<string, number>): Detail {
  if (pods > 400) return 'dot';
  const most = Math.max(0, ...perRoom.values());
  for (const d of ['full', 'short'] as const) {
    const columns = Math.max(1, Math.min(workers.length, Math.floor((width + gap) / (minRoom(d) + gap))));
    const each = (width - (columns - 1) * gap) / columns;
    const across = Math.max(1, Math.floor((each - 2 * pad + gap) / (tileSize[d].w + gutter + 2)));
    if (most <= across * (d === 'full' ? 3 : 4) && Math.ceil(workers.length / columns) <= (d === 'full' ? 4 : 8)) return d;
  }
  return 'dot';
}

/** Widths of the rooms in a row, by capacity but never below two thirds of an equal share. */
function shares(nodes: Node[], columns: number, width: number): number[] {
  const each = (width - (columns - 1) * gap) / columns;
  const total = nodes.reduce((n, x) => n + (x.memory || 1), 0);
  const free = each * nodes.length;
  return nodes.map((n) => (each * 2) / 3 + (free / 3) * ((n.memory || 1) / total));
}

function seats(model: Model, before: Places, ghosts: Pod[]): Places {
  const places = new Map<string, { node: string; seat: number }>();
  const taken = new Map<string, Set<number>>();
  const take = (uid: string, node: string, seat: number) => {
    places.set(uid, { node, seat });
    if (!taken.has(node)) taken.set(node, new Set());
    taken.get(node)!.add(seat);
  };
  const all = [...model.pods, ...ghosts].filter((p) => p.node);
  for (const p of all) {
    const old = before.get(p.uid);
    if (old?.node === p.node) take(p.uid, p.node, old.seat);
  }
  for (const p of all) {
    if (places.has(p.uid)) continue;
    let seat = 0;
    while (taken.get(p.node)?.has(seat)) seat++;
    take(p.uid, p.node, seat);
  }
  return places;
}

function place(room: Room, across: number, pods: Pod[], places: Places, ghosts: Pod[], detail: Detail, tiles: Tile[]) {
  const { w, h } = tileSize[detail];
  for (const pod of pods) {
    const { seat } = places.get(pod.uid)!;
    tiles.push({ pod, detail, ghost: ghosts.includes(pod), x: room.x + pad + gutter - 2 + (seat % across) * (w + gutter + 2), y: room.y + head + Math.floor(seat / across) * (h + 8), w, h });
  }
}

/** Draws a Service's lane through a row of rooms, and from it up the gutters to each pod that it leads to. */
function moor(rail: Rail, s: Service, row: number, y: number, tiles: Tile[], here: Node[]) {
  const reach = tiles.filter((t) => !t.ghost && s.pods.includes(t.pod.key) && here.some((n) => n.name === t.pod.node));
  if (reach.length === 0) return;
  let far = 0;
  for (const t of reach) {
    const x = t.x - gutter / 2;
    far = Math.max(far, x);
    rail.moorings.push({ key: t.pod.key, x, y, path: `M${x} ${y}V${t.y + t.h / 2 + 4}q0 -4 ${gutter / 2} -4` });
  }
  rail.lanes.push({ y, x2: far, row, path: '' });
}

/** Leads a Service's lanes out of its box to the quay at x between it and the rooms; where the box stands above them, the quay is on its left. */
function lead(rail: Rail, quay: number, above: boolean) {
  const { x, y, w, h } = rail.box;
  for (const lane of rail.lanes) lane.path = `M${above ? x : x + w} ${y + h / 2}H${quay}V${lane.y}H${lane.x2}`;
}
