// A lambda's parameters as a form: each by its type, with its bounds, its list of values and its default.
import { make } from "./dom.js";

const typeOf = schema => [schema.type || "any"].flat().find(t => t !== "null") || "any";
const isNested = schema => typeOf(schema) === "array" && ["array", "object"].includes(typeOf(schema.items || {}));

function input(parameter, id) {
  const { schema } = parameter, type = typeOf(schema), required = parameter.required;
  const fallback = schema.default === undefined || schema.default === null ? "" : `${schema.default}`;
  if (schema.enum || type === "boolean") {
    const values = schema.enum || [true, false];
    return make("select", { id, required }, make("option", { value: "", textContent: fallback ? `${fallback} (default)` : required ? "choose …" : "null" }),
      ...values.filter(v => v !== null).map(v => make("option", { value: String(v), textContent: String(v) })));
  }
  if (isNested(schema) || type === "object") return make("textarea", { id, required, rows: 3, placeholder: "JSON" });
  if (type === "array") return make("textarea", { id, required, rows: 2, placeholder: fallback ? fallback.replaceAll(",", "\n") : "one a line" });
  if (type === "integer" || type === "number") {
    const found = make("input", { id, required, type: "number", step: type === "integer" ? "1" : "any", placeholder: fallback || "null" });
    // Bounds beyond what a double holds are left to the server.
    for (const [name, bound] of [["min", schema.minimum], ["max", schema.maximum]]) if (Math.abs(bound) < 2 ** 53) found[name] = bound;
    return found;
  }
  const now = parameter.name === "as_of";
  return make("input", { id, required, autocomplete: "off", spellcheck: false,
    placeholder: fallback || (now ? "now" : { "date-time": "2024-05-01 12:00:00", date: "2024-05-01" }[schema.format] || (required ? "" : "null")) });
}

function field(parameter, i) {
  const found = input(parameter, `field-${i}`);
  found.setAttribute("aria-describedby", `hint-${i}`);
  const row = make("div", { className: "field" }, make("label", { htmlFor: found.id }, make("code", { textContent: parameter.name }), " ",
    make("span", { className: "dim small", textContent: parameter.type.toLowerCase() }),
    " ", parameter.required ? make("span", { className: "bad small", textContent: "required" }) : null), found,
    make("div", { className: "hint", id: `hint-${i}`, textContent: [parameter.description, parameter.expected].filter(Boolean).join(" · ") }));
  return { row, input: found, parameter };
}

const shown = (value, schema) => value === null || value === undefined ? "" :
  isNested(schema) || typeOf(schema) === "object" ? JSON.stringify(value) : Array.isArray(value) ? value.join("\n") : String(value);

export function parameterForm(parameters) {
  const fields = parameters.map(field);
  const given = () => fields.filter(f => f.input.value !== "");
  return {
    rows: fields.map(f => f.row),
    fill(values) { for (const f of fields) f.input.value = shown(values[f.parameter.name], f.parameter.schema); },
    nameOf(input) { return fields.find(f => f.input === input)?.parameter.name; },
    set(name, value) { for (const f of fields) if (f.parameter.name === name) f.input.value = value; },
    // What is in the address of the page: texts, a list's several times.
    read(query) { for (const f of fields) if (query.has(f.parameter.name)) f.input.value = query.getAll(f.parameter.name).join("\n"); },
    query() {
      const found = new URLSearchParams();
      for (const { input, parameter } of given()) for (const text of typeOf(parameter.schema) === "array" && !isNested(parameter.schema) ? input.value.split("\n") : [input.value]) found.append(parameter.name, text);
      return found;
    },
    // A list of lists can't be sent in a query string. Values are spliced as text: numbers stay as they were typed.
    body() {
      if (!given().some(f => isNested(f.parameter.schema) || typeOf(f.parameter.schema) === "object")) return null;
      const json = ({ input, parameter: { schema } }) => isNested(schema) || ["object", "integer", "number", "boolean"].includes(typeOf(schema)) ? input.value :
        JSON.stringify(typeOf(schema) === "array" ? input.value.split("\n") : input.value);
      return `{${given().map(f => `${JSON.stringify(f.parameter.name)}: ${json(f)}`).join(", ")}}`;
    },
  };
}
