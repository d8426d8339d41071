// Elements and how values are written. Text is set as text only: nothing that comes from data is ever read as HTML.

export const make = (tag, fields = {}, ...children) => {
  const { aria, ...rest } = fields;
  const found = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(aria || {})) found.setAttribute(`aria-${name}`, value);
  found.append(...children.flat().filter(c => c !== null && c !== undefined && c !== false));
  return found;
};

const SVG = "http://www.w3.org/2000/svg";
export const draw = (tag, attributes = {}, ...children) => {
  const found = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...children.filter(c => c !== null && c !== undefined));
  return found;
};

export const count = n => n === null || n === undefined ? "not known" : n.toLocaleString("en");
export const size = bytes => {
  if (bytes === null || bytes === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, bytes > 0 ? Math.floor(Math.log2(bytes) / 10) : 0);
  return `${(bytes / 1024 ** power).toFixed(power && bytes / 1024 ** power < 10 ? 1 : 0)} ${units[power]}`;
};
export const moment = seconds => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") + "Z";
export const ago = seconds => {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) if (past >= 2 * length) return `${Math.floor(past / length)} ${unit} ago`;
  return `${Math.floor(past)} s ago`;
};
export const since = seconds => seconds ? make("time", { dateTime: new Date(seconds * 1000).toISOString(), title: moment(seconds), textContent: ago(seconds) }) : null;

export const table = (heads, rows, empty = "none") => {
  if (!rows.length) return make("p", { className: "dim", textContent: empty });
  const cell = (value, i) => {
    const className = heads[i].startsWith("#") ? "number" : "";
    return value instanceof HTMLTableCellElement ? value : make("td", { className }, value ?? "");
  };
  return make("div", { className: "scroll", tabIndex: 0 }, make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map(h => make("th", { scope: "col", className: h.startsWith("#") ? "number" : "", textContent: h.replace(/^#/, "") })))),
    make("tbody", {}, ...rows.map(row => make("tr", {}, ...row.map(cell))))));
};

export const facts = pairs => make("dl", { className: "facts" }, ...pairs.filter(([, value]) => value !== null && value !== "" && value !== undefined)
  .map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", {}, value))));

export const columns = found => {
  const described = found.some(c => c.description);
  return table(["column", "type", ...described ? ["description"] : []], found.map(c => [
    make("td", {}, make("code", { textContent: c.name }), c.required ? make("span", { className: "bad small", textContent: " not null" }) : null),
    make("td", {}, make("code", { textContent: c.type })), ...described ? [c.description] : []]));
};

export const failure = error => make("div", { className: "note failed", role: "alert" },
  make("strong", { className: "bad", textContent: error.code ? `${error.status} ${error.code}` : "No answer" }), make("div", { className: "words", textContent: error.message }),
  error.remedy ? make("div", { className: "dim words", textContent: `→ ${error.remedy}` }) : null,
  error.requestId ? make("div", { className: "dim small", textContent: `request ${error.requestId}` }) : null);

export const copier = given => {
  const button = make("button", { className: "quiet", type: "button", textContent: "Copy" });
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(typeof given === "function" ? given() : given); button.textContent = "Copied"; } catch { button.textContent = "Select it"; }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
};

// A search field over a list: arrows move through what it leaves, Enter opens the first.
export const finder = (what, items) => {
  const input = make("input", { type: "search", placeholder: `Find a ${what}  ( / )`, className: "find", aria: { label: `Find a ${what}` } });
  const none = make("p", { className: "dim", hidden: true, textContent: `no ${what} is called so` });
  const list = make("ul", { className: "list" }, ...items.map(({ href, here, name, note, about }) => make("li", {},
    make("a", { href, aria: here ? { current: "page" } : {} }, make("span", { className: "name" }, make("span", { textContent: name }), make("span", { className: "grow" }), note ?? null),
      about ? make("span", { className: "about", textContent: about }) : null))));
  const shown = () => [...list.querySelectorAll("li:not([hidden]) a")];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const li of list.children) li.hidden = !words.every(w => li.textContent.toLowerCase().includes(w));
    none.hidden = shown().length > 0;
  });
  const side = make("div", { className: "side" }, input, none, list);
  side.addEventListener("keydown", event => {
    const places = [input, ...shown()], at = places.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && at >= 0) { event.preventDefault(); places[Math.min(places.length - 1, Math.max(0, at + step))].focus(); }
    if (event.key === "Enter" && at === 0 && places[1]) places[1].click();
  });
  return side;
};
