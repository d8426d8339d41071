// The graph from source to lambda: layers from left to right, each node a link.
import { draw } from "./dom.js";

const WIDE = 180, TALL = 40, GAP_X = 44, GAP_Y = 12, PASS = 10;
export const SHAPES = { stream: "insert", aggregate: "insert", latest: "insert", read: "read", refresh: "refresh", published: "refresh" };

// Nodes by id: {id, kind, title, note, href, from: [ids]}.
export function nodesOf(sources, models, lambdas) {
  const nodes = new Map();
  for (const s of sources) nodes.set(s.name, { id: s.name, kind: "source", title: s.name, note: s.topic ? "source, topic" : "source", href: `#/sources/${encodeURIComponent(s.name)}`, from: [] });
  for (const m of models) nodes.set(m.name, { id: m.name, kind: "model", title: m.name, note: m.shape, tone: SHAPES[m.shape], href: `#/models/${encodeURIComponent(m.name)}`, from: m.depends_on });
  for (const l of lambdas) nodes.set(`λ ${l.name}`, { id: `λ ${l.name}`, kind: "lambda", title: l.name, note: "lambda", href: `#/lambdas/${encodeURIComponent(l.name)}`, from: l.depends_on });
  for (const node of nodes.values()) node.from = node.from.filter(id => nodes.has(id));
  return nodes;
}

// What leads to a node, and what it leads to.
export function around(nodes, id) {
  const kept = new Set([id]);
  const up = at => nodes.get(at).from.forEach(f => { if (!kept.has(f)) { kept.add(f); up(f); } });
  up(id);
  const below = new Set([id]);
  for (let grown = true; grown;) {
    grown = false;
    for (const node of nodes.values()) if (!below.has(node.id) && node.from.some(f => below.has(f))) { below.add(node.id); grown = true; }
  }
  return new Map([...nodes].filter(([key]) => kept.has(key) || below.has(key)).map(([key, node]) => [key, { ...node, from: node.from.filter(f => kept.has(f) || below.has(f)) }]));
}

// Layers of ids; an edge that passes a layer has a place of its own there: {from, to}.
function layers(nodes) {
  const rank = new Map(), of = id => {
    if (!rank.has(id)) { rank.set(id, 0); rank.set(id, Math.max(0, ...nodes.get(id).from.map(f => of(f) + 1))); }
    return rank.get(id);
  };
  const found = [], put = (layer, item) => (found[layer] ||= []).push(item);
  for (const id of nodes.keys()) put(of(id), { id, reads: [] });
  const items = new Map(found.flat().map(item => [item.id, item]));
  for (const node of nodes.values()) for (const from of node.from) {
    let before = items.get(from);
    for (let layer = of(from) + 1; layer < of(node.id); layer++) { const pass = { id: "", reads: [before] }; put(layer, pass); before = pass; }
    items.get(node.id).reads.push(before);
  }
  // Each beside the middle of what it reads, from left to right.
  for (const layer of found) {
    const wanted = item => item.reads.length ? item.reads.reduce((sum, r) => sum + r.place, 0) / item.reads.length : .5;
    layer.sort((a, b) => wanted(a) - wanted(b) || (a.id < b.id ? -1 : 1)).forEach((item, i) => { item.place = (i + .5) / layer.length; });
  }
  return found;
}

const cut = text => text.length > 23 ? `${text.slice(0, 22)}…` : text;
const tall = item => item.id ? TALL : PASS;

function curve(a, b) {
  const middle = GAP_X / 2;
  return `M${a.x + WIDE} ${a.y}C${a.x + WIDE + middle} ${a.y} ${b.x - middle} ${b.y} ${b.x} ${b.y}${b.id ? "" : `H${b.x + WIDE}`}`;
}

export function graph(nodes, here) {
  const found = layers(nodes), heights = found.map(layer => layer.reduce((sum, item) => sum + tall(item) + GAP_Y, -GAP_Y));
  const width = found.length * (WIDE + GAP_X) - GAP_X + 4, height = Math.max(...heights) + 4;
  found.forEach((layer, i) => {
    let y = 2 + (height - 4 - heights[i]) / 2;
    for (const item of layer) { item.x = 2 + i * (WIDE + GAP_X); item.y = y + tall(item) / 2; y += tall(item) + GAP_Y; }
  });
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-label": "lineage", role: "group" });
  for (const item of found.flat()) for (const read of item.reads) svg.append(draw("path", { class: "edge", d: curve(read, item) }));
  for (const { id, x, y } of found.flat().filter(item => item.id)) {
    const node = nodes.get(id);
    svg.append(draw("a", { href: node.href, class: id === here ? "here" : "", "aria-label": `${node.note} ${node.title}` },
      draw("title", {}, node.title), draw("rect", { class: "box", x, y: y - TALL / 2, width: WIDE, height: TALL, rx: 5 }),
      draw("text", { class: "title", x: x + 10, y: y - 3 }, cut(node.title)), draw("text", { class: node.tone || "", x: x + 10, y: y + 12 }, node.note)));
  }
  return svg;
}
