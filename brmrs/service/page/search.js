// The search field: users by the start of their id, items by their title.

import { go, MOST_PICKS, read } from "./address.js";
import { get } from "./api.js";
import { announce, byId, el, plural } from "./dom.js";
import { pictureOf } from "./pictures.js";
import { details } from "./tiles.js";

const WAIT = 160; // ms after the last key
const USERS = 5;
const ITEMS = 8;

const form = byId("search");
const field = byId("query");
const list = byId("found");
let active = -1;
let timer = 0;
let cancel = new AbortController();
let searched = null;

/** Connect the field. */
export function start() {
  field.addEventListener("input", () => later(WAIT));
  field.addEventListener("focus", () => field.value && later(0));
  field.addEventListener("keydown", onKey);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    enter();
  });
  form.addEventListener("focusout", (event) => {
    if (!form.contains(event.relatedTarget)) hide();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
}

function later(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(search, milliseconds);
}

async function search() {
  const text = field.value.trim();
  cancel.abort();
  cancel = new AbortController();
  searched = null;
  if (!text) return hide();
  const { run } = read();
  try {
    const [{ users }, { items }] = await Promise.all([
      get("users", { query: text, limit: USERS, run }, cancel.signal),
      get("search", { q: text, limit: ITEMS, run }, cancel.signal),
    ]);
    searched = text;
    if (document.activeElement === field) show(users, items, text);
  } catch (error) {
    if (error.name === "AbortError") return;
    open(el("p.none", {}, error.message));
  }
}

/** Enter takes the marked result, or the first one after the answer is there. */
async function enter() {
  clearTimeout(timer);
  if (searched !== field.value.trim()) await search();
  const options = all();
  (options[active] ?? options[0])?.click();
}

function onKey(event) {
  const options = all();
  if (event.key === "Escape" && !list.hidden) {
    event.preventDefault();
    hide();
  } else if (event.key === "Escape") {
    field.value = "";
    field.blur();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && options.length) {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    mark((active + step + options.length + (active < 0 && step < 0 ? 1 : 0)) % options.length);
  }
}

function show(users, items, text) {
  const picking = read().picks.length > 0;
  const parts = [];
  if (users.length) parts.push(group("Users", users.map(userOption)));
  if (items.length) {
    parts.push(group(picking ? "Items: add to your picks" : "Items", items.map((item) => itemOption(item, picking))));
  }
  if (!parts.length) parts.push(el("p.none", {}, `Nothing found for “${text}”. Users are found by the start of their id, items by words of their title.`));
  open(...parts);
  announce(`${plural(users.length, "user")} and ${plural(items.length, "item")} found`);
}

function open(...parts) {
  list.replaceChildren(...parts);
  list.hidden = false;
  field.setAttribute("aria-expanded", "true");
  mark(-1);
}

function hide() {
  clearTimeout(timer);
  cancel.abort();
  list.hidden = true;
  field.setAttribute("aria-expanded", "false");
  mark(-1);
}

const all = () => (list.hidden ? [] : [...list.querySelectorAll("[role=option]")]);

function mark(index) {
  active = index;
  all().forEach((option, place) => {
    option.setAttribute("aria-selected", String(place === index));
    if (place === index) {
      field.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    }
  });
  if (index < 0) field.removeAttribute("aria-activedescendant");
}

function group(name, options) {
  const title = el("p.group-name", { "aria-hidden": "true" }, name);
  return el("div.group", { role: "group", "aria-label": name }, title, ...options);
}

function userOption(user) {
  return option(
    `user-${user.id}`,
    () => go({ user: user.id, picks: [], item: "", category: "" }),
    el("span.option-line", {}, el("b", {}, user.id), el("span.soft", {}, plural(user.n_history, "item"))),
  );
}

function itemOption(item, picking) {
  const choose = () => {
    const { picks } = read();
    if (!picking) return go({ item: item.item });
    if (picks.includes(item.item) || picks.length >= MOST_PICKS) return undefined;
    return go({ picks: [...picks, item.item] });
  };
  return option(
    `item-${item.item}`,
    choose,
    el("span.frame", {}, pictureOf(item)),
    el("span.option-text", {}, el("b", {}, item.title || item.item), el("span.soft", {}, details(item))),
  );
}

function option(id, choose, ...children) {
  const chosen = () => {
    field.value = "";
    hide();
    choose();
  };
  // The field keeps the focus while the pointer is down; otherwise the list would close first.
  const keepFocus = (event) => event.preventDefault();
  return el("div.option", { id, role: "option", "aria-selected": "false", mousedown: keepFocus, click: chosen }, ...children);
}
