// What a call answered: a table, a chart where the columns make one, and how it was asked.
import { Exact, exactly } from "./api.js";
import { chart, drawable } from "./chart.js";
import { copier, count, make } from "./dom.js";

const MOST_ROWS = 1000;
const isNumber = value => typeof value === "number" || value instanceof Exact;
const isMoment = text => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(text);
const asText = value => value instanceof Exact ? value.text : value && typeof value === "object" ? JSON.stringify(value, (_, v) => v instanceof Exact ? JSON.rawJSON(v.text) : v) :
  typeof value === "string" && isMoment(value) ? value.replace("T", " ").replace(/(\.\d*?)0+(Z?)$/, "$1$2").replace(/\.(Z?)$/, "$1") : String(value);

function cell(value) {
  if (value === null || value === undefined) return make("td", { className: "value nothing", textContent: "null" });
  return make("td", { className: isNumber(value) ? "number value" : typeof value === "string" && isMoment(value) ? "moment value" : "value", textContent: asText(value) });
}

function rowsTable(meta, rows) {
  const numeric = meta.map(c => rows.some(r => isNumber(r[c.name])));
  const head = meta.map((c, i) => make("th", { scope: "col", className: numeric[i] ? "number" : "", title: c.type, textContent: c.name }));
  const body = rows.slice(0, MOST_ROWS).map(row => make("tr", {}, ...meta.map(c => cell(row[c.name]))));
  return make("div", { className: "scroll", tabIndex: 0, role: "region", aria: { label: "Rows" } },
    make("table", { className: "rows" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
}

function drawing(plan, rows) {
  const measures = make("select", { aria: { label: "What is drawn" } }, ...plan.numbers.map(n => make("option", { value: n, textContent: n })));
  const place = make("div", { className: "chart" });
  const redraw = () => place.replaceChildren(chart(plan, measures.value, rows, Math.max(260, place.clientWidth - 18)));
  measures.addEventListener("change", redraw);
  let last = 0;
  new ResizeObserver(() => { if (place.clientWidth !== last) { last = place.clientWidth; redraw(); } }).observe(place);
  return make("div", {}, plan.numbers.length > 1 ? make("div", { className: "buttons" }, measures, make("span", { className: "dim small", textContent: `by ${plan.across}` })) : null, place);
}

// Rows of JSON, with a chart above where there is one; `turn` takes the cursor of the next page.
export function answerOf({ reply, text }, milliseconds, turn) {
  const found = exactly(text), rows = found.data, plan = drawable(found.meta, rows);
  const elapsed = found.statistics?.elapsed;
  const notes = [`${count(rows.length)} ${rows.length === 1 ? "row" : "rows"}`, `${milliseconds.toFixed(1)} ms`];
  if (elapsed !== undefined) notes.push(`${(Number(elapsed) * 1000).toFixed(1)} ms in the database`);
  if (rows.length > MOST_ROWS) notes.push(`the first ${count(MOST_ROWS)} are shown`);
  return make("div", {},
    make("p", { className: "outcome" }, make("strong", { className: "good", textContent: String(reply.status) }), make("span", { className: "dim", textContent: `  ${notes.join(" · ")} · version ` }),
      make("code", { textContent: reply.headers.get("x-lambda-version") })),
    plan ? drawing(plan, rows) : null, rows.length ? rowsTable(found.meta, rows) : make("p", { className: "dim", textContent: "no rows" }),
    found.next_cursor ? turner(() => turn(found.next_cursor)) : null);
}

function turner(turn) {
  const button = make("button", { type: "button", className: "quiet", textContent: "Next page" });
  button.addEventListener("click", turn);
  return make("div", { className: "buttons" }, button);
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;

export function curlOf(path, body, withToken) {
  const parts = ["curl -s", quoted(location.origin + path)];
  if (withToken) parts.push('-H "Authorization: Bearer $DUET_TOKEN"');
  if (body) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(body)}`);
  const line = parts.join(" ");
  return make("div", { className: "curl" }, make("pre", { tabIndex: 0, textContent: line }), copier(line));
}
