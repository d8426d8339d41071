// Sources: rows per minute, what is kept, and what waits in quarantine, and why.
import { get } from "./api.js";
import { spark, timeline } from "./chart.js";
import { columns, count, facts, failure, finder, make, since, size, table } from "./dom.js";

const EVERY = 5000;
const HOUR = 60;

function minutes(source) {
  const now = Math.floor(Date.now() / 60000) * 60, values = Array(HOUR).fill(0);
  for (const row of source.minutes || []) { const i = HOUR - 1 - (now - row.minute) / 60; if (i >= 0 && i < HOUR) values[i] = row.n; }
  return values;
}

const rate = source => source.minutes === null ? "not known" : count(minutes(source).at(-2));
const hour = source => minutes(source).reduce((a, b) => a + b, 0);
const rowsInHour = source => `${count(hour(source))} rows in the last hour`;
const waiting = source => source.quarantine.waiting === null ? null : source.quarantine.waiting[0]?.n ?? 0;
const waits = source => make("span", { className: waiting(source) ? "bad" : "dim", textContent: count(waiting(source)) });
const link = name => make("a", { href: `#/sources/${encodeURIComponent(name)}` }, make("code", { textContent: name }));

export async function sources(name) {
  const { sources: all } = await get("/v1/sources");
  const side = finder("source", all.map(s => ({ href: `#/sources/${encodeURIComponent(s.name)}`, here: s.name === name, name: s.name, about: s.description.split("\n")[0],
    note: waiting(s) ? make("span", { className: "tag failed", title: "rows in quarantine", textContent: count(waiting(s)) }) : null })));
  const live = make("div"), detail = make("section", { className: "detail" });
  const show = found => live.replaceChildren(...(name ? one(found.find(s => s.name === name), name, found) : overview(found)));
  if (name) detail.append(make("a", { className: "back", href: "#/sources", textContent: "← all sources" }));
  detail.append(live);
  show(all);
  // Not while somebody is in it with the keyboard or has selected text there: it would be taken away.
  const busy = () => document.hidden || live.contains(document.activeElement) || live.contains(getSelection().anchorNode) && !getSelection().isCollapsed;
  const timer = setInterval(async () => { if (!busy()) { try { const found = (await get("/v1/sources")).sources; if (!busy()) show(found); } catch { /* the next turn may do */ } } }, EVERY);
  return { page: make("div", { className: `split${name ? " chosen" : ""}` }, side, detail), title: name || "Sources", leave: () => clearInterval(timer) };
}

function overview(all) {
  return [make("h1", { className: "plain", textContent: "Sources" }), table(["source", "last hour", "#rows, last minute", "#rows kept", "#size", "#in quarantine", "newest refused"], all.map(s => [
    link(s.name), make("td", { className: "drawn" }, spark(minutes(s), rowsInHour(s), [], 22)), rate(s), count(s.rows), size(s.bytes), waits(s), since(s.quarantine.waiting?.[0]?.last)]), "no source is deployed")];
}

function one(source, name, all) {
  if (!source) return [failure({ status: 404, code: "not_found", message: `there is no source ${name}`, remedy: `the sources are ${all.map(s => s.name).join(", ")}` })];
  const newest = source.quarantine.newest || [];
  return [make("h1", { textContent: source.name }), make("p", { className: "words", textContent: source.description }),
    facts([["rows in the last full minute", rate(source)], ["rows kept", count(source.rows)], ["size", size(source.bytes)], ["mode", source.mode], ["key", source.key.join(", ")], ["topic", source.topic], ["in quarantine", waits(source)]]),
    timeline(minutes(source), rowsInHour(source), "60 min ago"),
    make("h2", { textContent: "Quarantine" }), table(["refused", "why", "row"], newest.map(r => [since(r.at), make("td", { className: "why words", textContent: r.reasons.map((reason, i) => r.columns[i] ? `${r.columns[i]} ${reason}` : reason).join("; ") }), make("td", { className: "value row", textContent: r.text })]),
      source.quarantine.newest === null ? "not known: the server's log has the reason" : waiting(source) ? "none in the last seven days" : "nothing waits"),
    waiting(source) ? make("p", { className: "dim small" }, make("code", { textContent: `duet quarantine list ${source.name}` }), " shows all of them; they can be mended and replayed.") : null,
    make("h2", { textContent: "Columns" }), columns(source.columns), make("h2", { textContent: "Tables" }), ...source.ddl.map(text => make("pre", { tabIndex: 0, textContent: text }))];
}
