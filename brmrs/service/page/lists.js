// The page of a user, or of picked items: the history beside the recommendations.

import { go, withChanges } from "./address.js";
import { compare } from "./compare.js";
import { drawHead, drawToolbar, head, toolbar } from "./controls.js";
import { branchesOf, categoriesOf, DEPTH, historyOf, ranksOf, recommendations } from "./data.js";
import { announce, count, el, icon, plural } from "./dom.js";
import { moveByArrows, tabStop } from "./keys.js";
import { failure, nothing, outlineRows, outlines } from "./messages.js";
import { arrange, historyRow, rankedTile, setRanks } from "./tiles.js";

const PATIENCE = 150; // ms until outlines show that something is awaited
const BY = { fused: "the fused score", text: "text", visual: "picture" };

const summary = el("p.summary");
const grid = moveByArrows(el("ol.grid"), "a");
const columns = el("div.columns", { hidden: true });
const message = el("div");
const aside = el("aside.history", { "aria-label": "History", hidden: true });
export const element = el(
  "div.lists",
  {},
  head,
  aside,
  el("section.results", { "aria-label": "Recommendations" }, toolbar, summary, message, grid, columns),
);

let shown = ""; // what `lists` is of
let lists = {};
let tiles = new Map();
let tilesOf = ""; // the run that gave their titles and pictures
let heldOut = new Set();
let categories = [];

/**
 * Show the state; what is already here only changes its order.
 * @returns {Promise<string|undefined>} the run that answered
 */
export async function update(state, signal, status) {
  const key = JSON.stringify([state.user, state.picks, state.category, state.seen, state.run]);
  document.title = `${state.user || "New user"} · brmrs`;
  drawHead(state, status);
  drawToolbar(state, status, categories);
  let run;
  try {
    if (key !== shown) run = await load(state, key, signal, status);
    message.replaceChildren();
    draw(state);
    const list = lists[state.branch] ?? [];
    if (state.beside) await compare(columns, state, status, list, heldOut, signal);
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    const again = () => update(state, new AbortController().signal, status);
    clear(failed(error, state, status, again));
  }
  return run;
}

/** Outlines of what is awaited. */
function outline(number) {
  grid.replaceChildren(...outlines(number));
  aside.hidden = false;
  aside.replaceChildren(el("h2", {}, "History"), el("ul.mini", {}, ...outlineRows(6)));
}

/** A message in the place of everything else. */
function clear(instead) {
  shown = "";
  grid.replaceChildren();
  toolbar.replaceChildren();
  aside.hidden = columns.hidden = true;
  summary.textContent = "";
  message.replaceChildren(instead);
}

/** The message for a request that failed. */
function failed(error, state, status, again) {
  if (error.status !== 404 || !error.message.startsWith("no user")) return failure(error, again);
  const text =
    `“${state.user}” is not among the ${count(status.users)} users of ${status.data}. ` +
    "Search finds users by the start of their id.";
  const search = () => document.getElementById("query").focus();
  return nothing(
    "No such user",
    text,
    el("button.primary", { type: "button", click: search }, "Search"),
    el("a.button", { href: "./" }, "Start page"),
  );
}

/** Forget what is shown, as the server's run changed. */
export function reset() {
  shown = "";
}

async function load(state, key, signal, status) {
  const waiting = setTimeout(() => outline(state.k), PATIENCE);
  try {
    const branches = branchesOf(status);
    const [history, names, ...answers] = await Promise.all([
      historyOf(state, signal),
      categoriesOf(state.run, signal),
      ...branches.map((branch) => recommendations(state, branch, state.run, signal)),
    ]);
    lists = Object.fromEntries(branches.map((branch, index) => [branch, answers[index].items]));
    categories = names;
    heldOut = new Set(history.heldOut.map((item) => item.item));
    shown = key;
    drawHistory(state, history);
    drawToolbar(state, status, categories);
    if (answers[0].run !== tilesOf) tiles.clear();
    tilesOf = answers[0].run;
    return tilesOf;
  } finally {
    clearTimeout(waiting);
    grid.querySelectorAll(".outline").forEach((one) => one.remove());
  }
}

function draw(state) {
  const all = lists[state.branch];
  columns.hidden = !state.beside;
  grid.hidden = Boolean(state.beside);
  if (!all) {
    const text = `The model of this run has no branch “${state.branch}”.`;
    return message.replaceChildren(
      nothing(
        "No such ranking",
        text,
        el("a.button", { href: withChanges({ branch: "fused" }) }, "Show fused"),
      ),
    );
  }
  const list = all.slice(0, state.k);
  if (!list.length) {
    summary.textContent = "";
    message.replaceChildren(nothing("No items", "Nothing is left under these conditions."));
  }
  const ranks = ranksOf(lists);
  const entries = list.map((item) => {
    const entry = tiles.get(item.item) ?? rankedTile(item);
    tiles.set(item.item, entry);
    setRanks(entry, { ...item, heldOut: heldOut.has(item.item) }, state.branch, ranks, DEPTH);
    return entry;
  });
  if (tiles.size > 1000) tiles = new Map(entries.map((entry) => [entry.dataset.item, entry]));
  if (!state.beside) arrange(grid, entries);
  tabStop(grid);
  summarise(state, list, ranks);
}

function summarise(state, list, ranks) {
  if (!list.length) return;
  const by = `${plural(list.length, "item")} by ${BY[state.branch]}`;
  const inFused = list.filter((item) => ranks.fused?.get(item.item) <= state.k).length;
  const hits = list.filter((item) => heldOut.has(item.item)).length;
  const note = [
    heldOut.size ? ` · ${hits} of ${plural(heldOut.size, "held-out item")}` : "",
    state.branch === "fused"
      ? ""
      : ` · ${inFused} also among the first ${state.k} of fused · ▲▼ against fused`,
  ].join("");
  summary.textContent = by + note;
  announce(`${by} for ${state.user || "your picks"}${note}`);
}

function drawHistory(state, { items, leftOut, unknown }) {
  const list = moveByArrows(el("ul.mini"), "a, button");
  for (const item of items) {
    const entry = el("li", {}, historyRow(item));
    if (!state.user) entry.append(removal(state, item));
    list.append(entry);
  }
  const name = state.user ? "History" : "Your picks";
  aside.hidden = false;
  aside.replaceChildren(
    el("h2", {}, name, el("span.number", {}, String(items.length))),
    list,
    ...notes(state, items, leftOut, unknown),
  );
  tabStop(list);
}

/** What is to be known about a history. */
function notes(state, items, leftOut, unknown) {
  const found = [];
  const note = (...content) => found.push(el("p.soft", {}, ...content));
  if (leftOut) note(`${plural(leftOut, "more item")} not shown`);
  if (unknown.length) note(`Not among the items of this run: ${unknown.join(", ")}`);
  if (!state.user) {
    note("Search for a title to add an item, or open an item and pick it.");
    found.push(el("a.button", { href: withChanges({ picks: [], item: "" }) }, "Start again"));
  } else if (!items.length) note("No items.");
  if (heldOut.size) {
    const which = plural(heldOut.size, "item");
    note(el("span.mark", {}, "✓"), ` ${which} of the user, held out of training`);
  }
  return found;
}

function removal(state, item) {
  const name = item.title || item.item;
  return el(
    "button.remove",
    {
      type: "button",
      "aria-label": `Remove ${name}`,
      title: `Remove ${name}`,
      click: () => go({ picks: state.picks.filter((pick) => pick !== item.item) }),
    },
    icon("close"),
  );
}
