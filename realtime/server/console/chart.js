// Small charts: lines over time, bars over categories.
import { draw, make } from "./dom.js";

const HEIGHT = 220, LEFT = 52, RIGHT = 14, TOP = 26, BOTTOM = 24, MOST_SERIES = 6, MOST_BARS = 20;
const isTime = type => /^Nullable\(Date|^Date|TIMESTAMP|^DATE$/i.test(type), isNumber = type => /Int|Float|Decimal|INT|DOUBLE|HUGE|REAL/i.test(type) && !/\(.*,.*\)\[|Array|Map|Tuple|\[\]|STRUCT|INTERVAL/i.test(type);
const isText = type => /String|VARCHAR|Enum|UUID|Bool/i.test(type) && !/Array|Map|\[\]|STRUCT/i.test(type);
const short = n => Math.abs(n) >= 1e4 || (n && Math.abs(n) < .01) ? Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(n) : String(+n.toPrecision(4));

// Which columns can be drawn over which; null where there is nothing to draw.
export function drawable(meta, rows) {
  if (rows.length < 2) return null;
  const of = test => meta.filter(c => test(c.type)).map(c => c.name);
  const times = of(isTime), texts = of(isText), numbers = of(isNumber);
  const across = [times, texts].find(names => names.length)?.[0];
  if (!across || !numbers.length) return null;
  return { across, time: times.length > 0, numbers, by: times.length && new Set(rows.map(r => r[across])).size < rows.length ? texts[0] : undefined };
}

export function chart(plan, measure, rows, width) {
  const label = `${measure} by ${plan.across}`;
  const points = rows.map(row => ({ x: row[plan.across], y: Number(row[measure]), by: plan.by ? String(row[plan.by]) : measure }))
    .filter((p, i) => rows[i][measure] !== null && Number.isFinite(p.y) && p.x !== null);
  const svg = plan.time ? lines(points, width) : bars(points, width);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return svg;
}

const when = text => Date.parse(/[Zz]|[+-]\d\d:?\d\d$/.test(text) || text.length < 11 ? text : `${text.replace(" ", "T")}Z`);

function ticks(low, high, wanted) {
  const span = high - low || 1, power = 10 ** Math.floor(Math.log10(span / wanted));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => span / s <= wanted);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return found;
}

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const STEPS = [1, 2, 5, 10, 30].map(n => n * SECOND).concat([1, 2, 5, 10, 30].map(n => n * MINUTE), [1, 2, 3, 6, 12].map(n => n * HOUR), [1, 2, 7, 14, 30, 90, 180, 365].map(n => n * DAY));

function timeTicks(from, to, most) {
  const step = STEPS.find(s => (to - from) / s < most) || (to - from) / most, found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

function lines(points, width) {
  const names = [...new Set(points.map(p => p.by))].slice(0, MOST_SERIES);
  const at = points.map(p => ({ ...p, x: when(p.x) })).filter(p => Number.isFinite(p.x) && names.includes(p.by)).sort((a, b) => a.x - b.x);
  const svg = draw("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
  if (!at.length) return svg;
  const [from, to] = [at[0].x, at.at(-1).x], low = Math.min(0, ...at.map(p => p.y)), high = Math.max(...at.map(p => p.y), low + 1e-9);
  const x = v => LEFT + (to > from ? (v - from) / (to - from) : .5) * (width - LEFT - RIGHT), y = v => HEIGHT - BOTTOM - (v - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
  for (const tick of ticks(low, high, 4)) svg.append(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }), draw("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
  const parts = to - from > 2 * 864e5 ? [0, 10] : new Date(from).toISOString().slice(0, 10) === new Date(to).toISOString().slice(0, 10) ? [11, 19] : [5, 16];
  for (const value of to > from ? timeTicks(from, to, Math.max(2, Math.floor(width / 110))) : [from]) {
    const place = x(value), anchor = place < LEFT + 30 ? "start" : place > width - 40 ? "end" : "middle";
    svg.append(draw("text", { x: place, y: HEIGHT - 6, "text-anchor": anchor }, new Date(value).toISOString().slice(...parts).replace("T", " ")));
  }
  names.forEach((name, i) => {
    const own = at.filter(p => p.by === name);
    svg.append(draw("path", { class: `line s${i + 1}`, d: own.map((p, j) => `${j ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("") }));
    if (own.length <= 150) for (const p of own) svg.append(draw("circle", { class: `dot s${i + 1}`, cx: x(p.x), cy: y(p.y), r: 3 }, draw("title", {}, `${new Date(p.x).toISOString().slice(0, 19).replace("T", " ")}  ${names.length > 1 ? `${name} ` : ""}${p.y}`)));
  });
  legend(svg, names, new Set(points.map(p => p.by)).size, width);
  return svg;
}

function legend(svg, names, all, width) {
  if (names.length < 2) return;
  const each = (width - LEFT) / names.length, letters = Math.max(3, Math.floor((each - 20) / 6.5));
  names.forEach((name, i) => svg.append(draw("rect", { class: `key s${i + 1}`, x: LEFT + i * each, y: 6, width: 9, height: 9 }),
    draw("text", { x: LEFT + i * each + 13, y: 15 }, name.length > letters ? `${name.slice(0, letters - 1)}…` : name, draw("title", {}, all > names.length ? `${name} (the first ${names.length} of ${all})` : name))));
}

function bars(points, width) {
  const shown = points.slice(0, MOST_BARS), row = 22, height = shown.length * row + (points.length > shown.length ? 24 : 2), names = Math.min(220, width * .38);
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  const low = Math.min(0, ...shown.map(p => p.y)), high = Math.max(0, ...shown.map(p => p.y)), room = width - names - 70;
  const x = v => names + (high > low ? (v - low) / (high - low) : 0) * room, letters = Math.floor(names / 7.4);
  shown.forEach((p, i) => {
    const text = String(p.x), left = Math.min(x(0), x(p.y));
    svg.append(draw("text", { x: names - 8, y: i * row + 15, "text-anchor": "end" }, text.length > letters ? `${text.slice(0, letters - 1)}…` : text || "(empty)", draw("title", {}, text)),
      draw("rect", { class: "bar-shape s1", x: left, y: i * row + 4, width: Math.max(1, Math.abs(x(p.y) - x(0))), height: row - 7, rx: 2 }, draw("title", {}, `${text}  ${p.y}`)),
      draw("text", { x: Math.max(x(0), x(p.y)) + 6, y: i * row + 15 }, short(p.y)));
  });
  if (points.length > shown.length) svg.append(draw("text", { x: names, y: height - 6 }, `the first ${shown.length} of ${points.length} rows`));
  return svg;
}

// Counts side by side, without axes; `failed` is the part that is drawn on top in red. It is as wide as its place.
export function spark(values, title, failed = [], height = 28) {
  const most = Math.max(1, ...values), width = values.length * 8;
  const svg = draw("svg", { class: "counts", width: "100%", height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
    draw("title", {}, title), draw("line", { class: "grid", x1: 0, x2: width, y1: height - .5, y2: height - .5 }));
  values.forEach((value, i) => {
    const tall = value ? Math.max(1.5, value / most * (height - 2)) : 0, part = value ? (failed[i] || 0) / value * tall : 0;
    if (tall) svg.append(draw("rect", { class: "spark", x: i * 8, y: height - tall, width: 7, height: tall }));
    if (part) svg.append(draw("rect", { class: "failed", x: i * 8, y: height - Math.max(1.5, part), width: 7, height: Math.max(1.5, part) }));
  });
  return svg;
}

export const timeline = (values, title, from, failed) => make("figure", {}, spark(values, title, failed, 56),
  make("figcaption", {}, make("span", { textContent: from }), make("span", { textContent: title }), make("span", { textContent: "now" })));
