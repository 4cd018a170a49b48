// The page of a user, or of picked items: the history beside the recommendations.

import { COUNTS, go, withChanges } from "./address.js";
import { branchesOf, categoriesOf, DEPTH, historyOf, NAMES, ranksOf, recommendations } from "./data.js";
import { announce, count, el, icon, plural } from "./dom.js";
import { moveByArrows, tabStop } from "./keys.js";
import { failure, nothing, outlines } from "./messages.js";
import { compare } from "./compare.js";
import { arrange, historyRow, rankedTile, setRanks } from "./tiles.js";

const BY = { fused: "the fused score", text: "text", visual: "picture" };

const head = el("div.head");
const toolbar = el("div.toolbar");
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

let shown = ""; // what `lists` and `tiles` are of
let lists = {};
let tiles = new Map();
let heldOut = new Set();
let categories = [];

/**
 * Show the state; what is already here only changes its order.
 * @returns {Promise<string|undefined>} the run that answered
 */
export async function update(state, signal, status) {
  const key = JSON.stringify([state.user, state.picks, state.category, state.seen, state.run]);
  document.title = `${state.user || "New user"} · brmrs`;
  keepFocus(() => drawHead(state, status));
  drawToolbar(state, status);
  let run;
  try {
    if (key !== shown) run = await load(state, key, signal, status);
    message.replaceChildren();
    draw(state);
    if (state.beside) await compare(columns, state, status, lists[state.branch] ?? [], signal);
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    shown = "";
    grid.replaceChildren();
    toolbar.replaceChildren();
    aside.hidden = columns.hidden = true;
    summary.textContent = "";
    message.replaceChildren(failed(error, state, status, () => update(state, new AbortController().signal, status)));
  }
  return run;
}

/** The message for a request that failed. */
function failed(error, state, status, again) {
  if (error.status !== 404 || !state.user) return failure(error, again);
  const text = `“${state.user}” is not among the ${count(status.users)} users of ${status.data}. Search finds users by the start of their id.`;
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
  const waiting = setTimeout(() => grid.replaceChildren(...outlines(state.k)), 150);
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
    drawToolbar(state, status);
    return answers[0].run;
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
      nothing("No such ranking", text, el("a.button", { href: withChanges({ branch: "fused" }) }, "Show fused")),
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
  const inFused = list.filter((item) => (ranks.fused?.get(item.item) ?? Infinity) <= state.k).length;
  const hits = list.filter((item) => heldOut.has(item.item)).length;
  const note = [
    heldOut.size ? ` · ${hits} of ${plural(heldOut.size, "held-out item")}` : "",
    state.branch === "fused" ? "" : ` · ${inFused} also among the first ${state.k} of fused · ▲▼ against fused`,
  ].join("");
  summary.textContent = by + note;
  announce(`${by} for ${state.user || "your picks"}${note}`);
}

function drawHead(state, status) {
  const runs = status.other_runs.map(({ run, model }) => [run, `${model} · ${run}`]);
  const options = [["", "No other run"], ...runs];
  const others = runs.length
    ? [choice("beside", "Compare with", options, state.beside, (value) => go({ beside: value }))]
    : [];
  const title = state.user || "New user";
  head.replaceChildren(
    el(
      "div.head-text",
      {},
      el("p.over", {}, state.user ? "Recommendations for user" : "Recommendations for your picks"),
      el("h1", { title }, title),
    ),
    ...others,
  );
}

function drawHistory(state, { items, unknown }) {
  const list = moveByArrows(el("ul.mini"), "a, button");
  for (const item of items) {
    const entry = el("li", {}, historyRow(item));
    if (!state.user) entry.append(removal(state, item));
    list.append(entry);
  }
  const notes = [];
  if (unknown.length) notes.push(el("p.soft", {}, `Not among the items of this run: ${unknown.join(", ")}`));
  if (!state.user) {
    notes.push(el("p.soft", {}, "Search for a title to add an item, or open an item and pick it."));
    notes.push(el("a.button", { href: withChanges({ picks: [], item: "" }) }, "Start again"));
  } else if (!items.length) notes.push(el("p.soft", {}, "No items."));
  aside.hidden = false;
  aside.replaceChildren(
    el("h2", {}, state.user ? "History" : "Your picks", el("span.number", {}, String(items.length))),
    list,
    ...notes,
    heldOut.size ? el("p.soft", {}, el("span.mark", {}, "✓"), ` marks the ${plural(heldOut.size, "item")} held out of training: the user has them, the model does not know it.`) : "",
  );
  tabStop(list);
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

function drawToolbar(state, status) {
  const branches = branchesOf(status);
  const parts = [];
  if (branches.length > 1) parts.push(segments(state, branches));
  const options = [...new Set([...categories, ...(state.category ? [state.category] : [])])];
  if (options.length > 1) {
    parts.push(
      choice("category", "Category", [["", "All"], ...options.map((one) => [one, one])], state.category, (value) =>
        go({ category: value }),
      ),
    );
  }
  parts.push(
    choice("k", "Show", COUNTS.map((k) => [String(k), String(k)]), String(state.k), (value) => go({ k: Number(value) })),
  );
  parts.push(
    el(
      "label.tick",
      {},
      el("input", { id: "seen", type: "checkbox", checked: state.seen, change: (event) => go({ seen: event.target.checked }) }),
      "Include the history",
    ),
  );
  keepFocus(() => toolbar.replaceChildren(...parts));
}

/** Replace controls; the one with the focus gets it back, found by its id. */
function keepFocus(replace) {
  const { id } = document.activeElement;
  replace();
  if (id && document.activeElement.id !== id) document.getElementById(id)?.focus({ preventScroll: true });
}

function segments(state, branches) {
  const options = branches.map((branch) => {
    const input = el("input", {
      type: "radio",
      name: "branch",
      id: `branch-${branch}`,
      value: branch,
      checked: branch === state.branch,
      change: () => go({ branch }),
    });
    return el(`label.segment.${branch}`, {}, input, el("span", {}, icon(branch), NAMES[branch]));
  });
  return el("fieldset.segments", {}, el("legend.unseen", {}, "Rank by"), ...options);
}

function choice(id, label, options, value, change) {
  const select = el(
    "select",
    { id, change: (event) => change(event.target.value) },
    ...options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
  );
  return el("label.choice", {}, el("span", {}, label), select);
}
