// Two runs side by side: their lists, and lines between the places of the same item.

import { withChanges } from "./address.js";
import { recommendations } from "./data.js";
import { announce, el, plural, svgElement } from "./dom.js";
import { moveByArrows, tabStop } from "./keys.js";
import { failure } from "./messages.js";
import { pictureOf } from "./pictures.js";
import { details } from "./tiles.js";

let redraw = () => {};
const resized = new ResizeObserver(() => redraw());

/**
 * Show the list of the run `state.beside` to the right of a list.
 * @param {Element} place
 * @param {Object[]} left the items of the first run
 * @param {Set<string>} heldOut the user's items that were held out of training
 */
export async function compare(place, state, status, left, heldOut, signal) {
  const unknown = { run: state.beside, model: "", metrics: {} };
  const second = status.other_runs.find((one) => one.run === state.beside) ?? unknown;
  let right;
  try {
    right = (await recommendations(state, state.branch, state.beside, signal)).items;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const again = () => compare(place, state, status, left, heldOut, new AbortController().signal);
    const shown = column(status, left, new Map(), heldOut, state);
    place.replaceChildren(shown, failure(error, again));
    return;
  }
  const [ours, theirs] = [left, right].map((list) => new Map(list.map((one) => [one.item, one.rank])));
  const lines = svgElement("svg", { class: "lines", "aria-hidden": "true" });
  const one = column(status, left, theirs, heldOut, state);
  const other = column(second, right, ours, heldOut, state);
  one.classList.add("left");
  other.classList.add("right");
  place.replaceChildren(one, lines, other);
  redraw = () => connect(lines, one, other);
  resized.disconnect();
  resized.observe(place);
  highlightBoth(place);
  const common = left.slice(0, state.k).filter((item) => theirs.get(item.item) <= state.k).length;
  const text = `${common} of ${state.k} items are in both lists; # is the rank in the other list`;
  place.prepend(el("p.common", {}, text));
  announce(text);
}

/**
 * The list of one run.
 * @param {{run: string, model: string, metrics: Object<string, number>}} about
 */
function column(about, items, others, heldOut, state) {
  const shown = items.slice(0, state.k);
  const list = moveByArrows(el("ol.rows"), "a");
  list.append(...shown.map((item) => row(item, others, heldOut.has(item.item), state.k)));
  tabStop(list);
  const only = withChanges({ run: about.run, beside: "" });
  const hits = shown.filter((item) => heldOut.has(item.item)).length;
  return el(
    "section.column",
    { "aria-label": `Run ${about.run}` },
    el("h2", {}, about.model),
    el("p.column-run", { title: about.run }, about.run),
    el("p.column-run", {}, figures(about.metrics)),
    el(
      "p.column-run",
      {},
      heldOut.size ? `${hits} of ${plural(heldOut.size, "held-out item")} · ` : "",
      el("a.link", { href: only }, "show only this run"),
    ),
    list,
  );
}

/** "test recall@20 0.505, ndcg@20 0.228" */
function figures(metrics) {
  const values = Object.entries(metrics).map(([name, value]) => `${name} ${value.toFixed(3)}`);
  return values.length ? `test ${values.join(", ")}` : "not evaluated";
}

function row(item, others, heldOut, k) {
  const there = others.get(item.item);
  const both = there !== undefined && there <= k;
  const place = there === undefined ? "not in the other list" : `${there} in the other list`;
  const link = el(
    "a.row",
    {
      href: withChanges({ item: item.item }),
      "aria-label": `Rank ${item.rank}: ${item.title}, ${place}${heldOut ? ", held out" : ""}`,
    },
    el("span.rank", {}, String(item.rank)),
    el("span.frame", {}, pictureOf(item), heldOut ? el("span.mark", {}, "✓") : null),
    el(
      "span.row-text",
      {},
      el("span.tile-title", {}, item.title || item.item),
      el("span.tile-details", {}, details(item)),
    ),
    el("span.there", { title: place }, there === undefined ? "–" : `#${there}`),
  );
  const entry = el(both ? "li" : "li.unmatched", {}, link);
  entry.dataset.item = item.item;
  return entry;
}

/** Draw a line for each item of both lists. */
function connect(lines, left, right) {
  const box = lines.getBoundingClientRect();
  const height = Math.max(left.scrollHeight, right.scrollHeight);
  lines.setAttribute("viewBox", `0 0 ${box.width || 1} ${height}`);
  const places = new Map([...right.querySelectorAll("li")].map((entry) => [entry.dataset.item, entry]));
  const curves = [];
  for (const entry of left.querySelectorAll("li")) {
    const other = places.get(entry.dataset.item);
    if (!other) continue;
    const [from, to] = [entry, other].map((one) => {
      const { top, height: tall } = one.getBoundingClientRect();
      return top + tall / 2 - box.top;
    });
    const half = box.width / 2;
    const path = svgElement("path", {
      d: `M0 ${from} C${half} ${from} ${half} ${to} ${box.width} ${to}`,
      class: from === to ? "same" : from > to ? "up" : "down",
    });
    path.dataset.item = entry.dataset.item;
    curves.push(path);
  }
  lines.replaceChildren(...curves);
}

/** The item under the pointer or the focus is marked in both lists. */
function highlightBoth(place) {
  const mark = (event) => {
    const item = event.target.closest?.("[data-item]")?.dataset.item;
    for (const one of place.querySelectorAll("[data-item]")) {
      one.classList.toggle("marked", one.dataset.item === item);
    }
  };
  place.onpointerover = mark;
  place.onfocusin = mark;
}
