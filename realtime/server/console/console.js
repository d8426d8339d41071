// The console: what the address asks for, the token, and the keys that work everywhere.
import { get, keep, token } from "./api.js";
import { failure, make, moment } from "./dom.js";
import { lambdas } from "./lambdas.js";
import { models } from "./models.js";
import { sources } from "./sources.js";

const PAGES = { lambdas, models, sources };
const main = document.getElementById("main"), ask = document.getElementById("ask"), secret = document.getElementById("secret");
let leave = () => {}, turn = 0;

async function show() {
  const mine = ++turn, [path, text] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  let [noun, name] = (path || "lambdas").split(/\/(.*)/s);
  if (!PAGES[noun]) [noun, name] = ["lambdas", ""];
  for (const link of document.querySelectorAll(".bar nav a")) link.getAttribute("href") === `#/${noun}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  const searched = main.querySelector(".find")?.value, held = main.dataset.noun === noun && searched;
  let found;
  try { found = await PAGES[noun](decodeURIComponent(name || ""), new URLSearchParams(text || "")); } catch (error) {
    if (mine !== turn) return;
    if (error.status === 401) demand(error);
    found = { page: make("div", { className: "detail" }, failure(error), again()), title: "Console" };
  }
  if (mine !== turn) return found.leave?.();
  leave();
  leave = found.leave || (() => {});
  main.dataset.noun = noun;
  const inside = main.contains(document.activeElement);
  main.replaceChildren(found.page);
  if (inside) focusAgain();
  document.title = `${found.title} · Duet console`;
  const find = main.querySelector(".find");
  if (held && find) { find.value = searched; find.dispatchEvent(new Event("input")); }
  scrollTo(0, 0);
  await about(mine);
}

// Who came by keyboard goes on from where they were: the entry that was chosen, or, where the list is hidden, the page.
function focusAgain() {
  const chosen = main.querySelector(".list a[aria-current]");
  (chosen?.offsetParent ? chosen : main).focus({ preventScroll: true });
}

async function about(mine) {
  try {
    const found = await get("/v1/models");
    if (mine !== turn) return;
    document.getElementById("project").textContent = found.project;
    document.getElementById("deployed").textContent = found.deployed ? `plan ${found.plan}, ${moment(found.deployed)}` : "";
  } catch { /* the page says what is wrong */ }
}

const again = () => {
  const button = make("button", { type: "button", textContent: "Try again" });
  button.addEventListener("click", show);
  return make("p", {}, button);
};

function demand(error) {
  document.getElementById("ask-why").textContent = error ? `${error.message}.` : "Sent as Authorization: Bearer, and kept until this tab is closed.";
  secret.value = "";
  if (!ask.open) ask.showModal();
}

document.getElementById("token").addEventListener("click", () => demand());
ask.addEventListener("submit", event => {
  event.preventDefault();
  keep(event.submitter?.value === "forget" ? "" : secret.value.trim());
  secret.value = "";
  ask.close();
  show();
});
addEventListener("hashchange", show);
addEventListener("keydown", event => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const find = main.querySelector(".find");
  if (find) { event.preventDefault(); find.focus(); find.select(); }
});
show();
