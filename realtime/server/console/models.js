// Models: from source to lambda, how each is kept and why, its columns, rows and age.
import { get } from "./api.js";
import { columns, count, facts, failure, finder, make, since, size, table } from "./dom.js";
import { SHAPES, around, graph, nodesOf } from "./lineage.js";

const MOST_NODES = 60;
const tag = shape => make("span", { className: `tag ${SHAPES[shape]}`, textContent: shape });
const link = name => make("a", { href: `#/models/${encodeURIComponent(name)}` }, make("code", { textContent: name }));
const total = (model, what) => model.kept.length && model.kept.every(k => k[what] !== null) ? model.kept.reduce((sum, k) => sum + k[what], 0) : null;

// Models that are kept on insert are as new as what they read; others as old as their last refresh or copy.
function age(model, last) {
  if (model.problem) return make("span", { className: "bad words", textContent: model.problem });
  if (model.every || model.as_of) return make("span", {}, since(model.as_of) ?? "never", make("span", { className: "dim", textContent: model.every ? `, every ${model.every}` : ", from batch" }));
  return last ? make("span", {}, make("span", { className: "dim", textContent: "last row in " }), since(last)) : make("span", { className: "dim", textContent: "with each row" });
}

export async function models(name) {
  const [{ models: all }, { sources }, { lambdas }] = await Promise.all([get("/v1/models"), get("/v1/sources"), get("/v1/lambdas")]);
  const nodes = nodesOf(sources, all, lambdas.map(l => ({ ...l, depends_on: l.depends_on || [] })));
  const newest = new Map(sources.map(s => [s.name, s.minutes?.length ? s.minutes.at(-1).minute : null]));
  const last = id => Math.max(0, ...[...around(nodes, id).keys()].map(k => newest.get(k) || 0));
  const side = finder("model", all.map(m => ({ href: `#/models/${encodeURIComponent(m.name)}`, here: m.name === name, name: m.name, note: tag(m.shape), about: m.description.split("\n")[0] })));
  const detail = make("section", { className: "detail" });
  if (name) detail.append(make("a", { className: "back", href: "#/models", textContent: "← all models" }), await one(name, all, nodes, last));
  else detail.append(make("h1", { className: "plain", textContent: "Models" }), ...overview(all, nodes, last));
  return { page: make("div", { className: `split${name ? " chosen" : ""}` }, side, detail), title: name || "Models" };
}

function overview(all, nodes, last) {
  return [make("h2", { textContent: "Lineage" }), nodes.size && nodes.size <= MOST_NODES ? make("div", { className: "graph", tabIndex: 0 }, graph(nodes)) :
    make("p", { className: "dim", textContent: nodes.size ? `${nodes.size} nodes: pick a model to see what is around it.` : "none" }),
    make("h2", { textContent: "How each is kept" }), table(["model", "shape", "why", "#rows kept", "#size", "age"], all.map(m => [link(m.name), tag(m.shape),
      make("td", { className: "why words", textContent: m.why }), m.kept.length ? count(total(m, "rows")) : "", size(total(m, "bytes")), age(m, last(m.name))]))];
}

async function one(name, all, nodes, last) {
  const model = all.find(m => m.name === name);
  const sql = await get(`/v1/models/${encodeURIComponent(name)}`).catch(error => { if (error.status === 404) return error; throw error; });
  if (!model || sql instanceof Error) return failure(sql);
  return make("article", {}, make("div", { className: "head" }, make("h1", { textContent: name }), tag(model.shape)),
    make("p", { className: "words", textContent: model.description }),
    make("div", { className: "note" }, make("strong", { textContent: model.shape }), make("span", { className: "words", textContent: `: ${model.why}` }), model.remedy ? make("div", { className: "dim words", textContent: `→ to keep it on insert: ${model.remedy}` }) : null),
    facts([["key", model.keys.join(", ")], ["read view", model.relation], ["rows kept", model.kept.length ? count(total(model, "rows")) : ""], ["size", size(total(model, "bytes"))], ["age", age(model, last(name))], ["next refresh", model.due ? new Date(model.due * 1000).toISOString().slice(11, 19) + "Z" : ""]]),
    make("h2", { textContent: "Lineage" }), make("div", { className: "graph", tabIndex: 0 }, graph(around(nodes, name), name)),
    make("h2", { textContent: "Columns" }), columns(model.columns),
    make("h2", { textContent: "SQL of the read view" }), make("pre", { tabIndex: 0, textContent: sql.select }),
    sql.ddl.length ? make("h2", { textContent: "Tables and views that keep it" }) : null, ...sql.ddl.map(statement => make("pre", { tabIndex: 0, textContent: statement })));
}
