// Lambdas: found, read, run; their versions, tags and traffic.
import { get, lambdaPath, send, token } from "./api.js";
import { answerOf, curlOf } from "./answer.js";
import { timeline } from "./chart.js";
import { columns, copier, count, failure, finder, make, since, table } from "./dom.js";
import { parameterForm } from "./form.js";

const firstLine = text => text.trim().split("\n")[0];

export async function lambdas(name, query) {
  const [{ lambdas: all }, traffic] = await Promise.all([get("/v1/lambdas"), get("/v1/traffic")]);
  const calls = {};
  for (const row of traffic.calls || []) calls[row.name] = (calls[row.name] || 0) + row.n;
  const side = finder("lambda", all.map(l => ({ href: `#/lambdas/${encodeURIComponent(l.name)}`, here: l.name === name, name: l.name, about: firstLine(l.description),
    note: calls[l.name] ? make("span", { className: "dim small", title: "calls in 24 hours", textContent: count(calls[l.name]) }) : null })));
  const detail = make("section", { className: "detail" });
  if (name) detail.append(make("a", { className: "back", href: "#/lambdas", textContent: "← all lambdas" }), await one(name, query, traffic));
  else detail.append(make("p", { className: "dim", textContent: all.length ? `${all.length} lambdas. Pick one to read it and to run it.` : "No lambda is deployed: write one in realtime/lambdas/ and run duet deploy." }));
  return { page: make("div", { className: `split${name ? " chosen" : ""}` }, side, detail), title: name || "Lambdas" };
}

async function one(name, query, traffic) {
  const at = query.get("~at") || "", version = at.startsWith("versions/") ? at.slice(9) : "";
  let found;
  try { found = await get(`${lambdaPath(name, "definition")}${version ? `?version=${encodeURIComponent(version)}` : ""}`); } catch (error) {
    if (error.status === 404) return failure(error);
    throw error;
  }
  return make("article", {},
    make("div", { className: "head" }, make("h1", { textContent: found.name }), make("span", { className: "grow" }), versionChoice(found, at)),
    make("p", { className: "words", textContent: found.description }), reads(found.depends_on), found.calls ? make("p", { className: "dim small words", textContent: found.calls }) : null, runner(found, at, query),
    make("h2", { textContent: "SQL" }), sql(found),
    make("h2", { textContent: "Versions and tags" }), versions(found, (traffic.calls || []).filter(r => r.name === name)),
    make("h2", { textContent: "Traffic, 24 hours" }), quarters((traffic.quarters || []).filter(r => r.name === name)), statuses((traffic.calls || []).filter(r => r.name === name), traffic.calls === null),
    make("h2", { textContent: "Columns of the answer" }), columns(found.columns));
}

const reads = names => names.length ? make("p", { className: "small" }, make("span", { className: "dim", textContent: "reads " }),
  ...names.flatMap((n, i) => [i ? ", " : "", make("a", { href: `#/${n.includes(".") ? "sources" : "models"}/${encodeURIComponent(n)}`, textContent: n })])) : null;

function versionChoice(found, at) {
  const choice = make("select", { aria: { label: "Version" } }, make("option", { value: "", textContent: found.latest ? `latest (${found.latest})` : "not deployed any more" }),
    ...found.tags.map(t => make("option", { value: `tags/${t.tag}`, textContent: `tag ${t.tag}` })), ...[...found.versions].reverse().map(v => make("option", { value: `versions/${v.version}`, textContent: v.version })));
  choice.value = at;
  choice.addEventListener("change", () => { location.hash = `#/lambdas/${encodeURIComponent(found.name)}${choice.value ? `?~at=${encodeURIComponent(choice.value)}` : ""}`; });
  return choice;
}

function runner(found, at, query) {
  const form = parameterForm(found.parameters), answer = make("div", { className: "answer", aria: { live: "polite" } }), curl = make("div");
  const run = make("button", { type: "submit", textContent: "Run" });
  const examples = found.examples.map((values, i) => {
    const button = make("button", { type: "button", className: "quiet", textContent: found.examples.length > 1 ? `Example ${i + 1}` : "Example" });
    button.addEventListener("click", () => { form.fill(values); show(); });
    return button;
  });
  const request = () => {
    const body = form.body(), asked = form.query(), path = lambdaPath(found.name, at);
    return { path: body || !asked.size ? path : `${path}?${asked}`, body };
  };
  const show = () => { const { path, body } = request(); curl.replaceChildren(curlOf(path, body, !!token())); };
  const element = make("form", {}, make("div", { className: "fields" }, ...form.rows), make("div", { className: "buttons" }, run, ...examples,
    make("span", { className: "dim small", textContent: found.parameters.length ? "" : "It takes no parameters." })));
  // Another parameter is another answer, whose pages begin anew.
  element.addEventListener("input", event => { if (found.paged && !["cursor", "page_size"].includes(form.nameOf(event.target))) form.set("cursor", ""); show(); });
  const turn = cursor => { form.set("cursor", cursor); show(); element.requestSubmit(); };
  element.addEventListener("keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element.requestSubmit(); });
  element.addEventListener("submit", async event => {
    event.preventDefault();
    const { path, body } = request(), started = performance.now();
    const kept = form.query();
    if (at) kept.set("~at", at);
    history.replaceState(null, "", `#/lambdas/${encodeURIComponent(found.name)}${kept.size ? `?${kept}` : ""}`);
    run.disabled = true;
    try {
      const reply = await send(path, body ? { method: "POST", body, headers: { "Content-Type": "application/json" } } : {});
      answer.replaceChildren(answerOf(reply, performance.now() - started, turn));
    } catch (error) { answer.replaceChildren(failure(error)); }
    run.disabled = false;
    run.focus({ preventScroll: true });
  });
  if ([...query.keys()].some(k => k !== "~at")) form.read(query);
  else if (found.examples.length) form.fill(found.examples[0]);
  show();
  return make("div", {}, element, curl, answer);
}

function sql(found) {
  const texts = { ClickHouse: found.clickhouse, DuckDB: found.duckdb }, pre = make("pre", { tabIndex: 0 }), buttons = make("div", { className: "buttons", role: "group", aria: { label: "Which SQL" } });
  const titles = { ClickHouse: "compiled, as it runs here", DuckDB: "as authored, rendered by dbt" }, note = make("span", { className: "dim small" });
  const choose = which => {
    pre.textContent = texts[which];
    note.textContent = titles[which];
    for (const button of buttons.querySelectorAll("button[aria-pressed]")) button.setAttribute("aria-pressed", button.textContent === which);
  };
  for (const which of Object.keys(texts).filter(w => texts[w])) {
    const button = make("button", { type: "button", className: "quiet", textContent: which, aria: { pressed: "false" } });
    button.addEventListener("click", () => choose(which));
    buttons.append(button);
  }
  buttons.append(note, make("span", { className: "grow" }), copier(() => pre.textContent));
  choose("ClickHouse");
  return make("div", {}, buttons, pre, make("p", { className: "dim small words", textContent: found.together ? `Concurrent calls are not answered by one query: ${found.together}` : "Concurrent calls that differ in one key are answered by one query." }));
}

function versions(found, calls) {
  const pointing = version => found.tags.flatMap(t => {
    const all = t.versions.reduce((sum, s) => sum + s.weight, 0), own = t.versions.find(s => s.version === version);
    return own ? [make("span", { className: "tag", textContent: own.weight === all ? t.tag : `${t.tag} ${Math.round(100 * own.weight / all)} %` }), " "] : [];
  });
  const called = version => calls.filter(c => c.version === version).reduce((sum, c) => sum + c.n, 0);
  return make("div", {}, table(["version", "points to it", "deployed", "#calls, 24 h"], [...found.versions].reverse().map(v => [
    make("a", { href: `#/lambdas/${encodeURIComponent(found.name)}?~at=${encodeURIComponent(`versions/${v.version}`)}` }, make("code", { textContent: v.version })),
    make("td", {}, v.version === found.latest ? make("span", { className: "tag insert", textContent: "latest" }) : null, " ", ...pointing(v.version)), since(v.deployed), count(called(v.version))])),
    found.tags.length ? null : make("p", { className: "dim small" }, "No tags. ", make("code", { textContent: `duet lambda tag ${found.name} production latest` }), " makes one."));
}

function quarters(rows) {
  if (!rows.length) return null;
  const now = Math.floor(Date.now() / 9e5) * 900, values = Array(96).fill(0), failed = Array(96).fill(0);
  for (const row of rows) { const i = 95 - (now - row.since) / 900; if (i >= 0 && i < 96) { values[i] = row.n; failed[i] = row.failed; } }
  const sum = list => count(list.reduce((a, b) => a + b, 0));
  return timeline(values, `${sum(values)} calls, ${sum(failed)} failed`, "24 h ago", failed);
}

const statuses = (rows, unknown) => table(["status", "version", "tag", "#calls", "#mean ms", "#slowest ms", "last"], rows.map(r => [
  make("td", {}, make("span", { className: r.status < 400 ? "good" : "bad", textContent: String(r.status) })), make("code", { textContent: r.version }), r.tag, count(r.n), r.mean_ms.toFixed(1), r.most_ms.toFixed(1), since(r.last)]),
  unknown ? "not known: the server's log has the reason" : "No calls that are written down yet: that happens every ten seconds.");
