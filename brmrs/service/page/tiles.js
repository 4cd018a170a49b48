// Tiles of items, and their movement when an order changes.

import { withChanges } from "./address.js";
import { el, still } from "./dom.js";
import { pictureOf } from "./pictures.js";

const MILLISECONDS = 520;
const CALM = "cubic-bezier(.2, .7, .2, 1)";

/** "brand · category", of what is known. */
export const details = (item) => [item.brand, item.category].filter(Boolean).join(" · ");

/** A small tile: the picture, with the title for screen readers and as a hint. */
export function smallTile(item, note = "") {
  const name = [item.title || item.item, details(item), note].filter(Boolean).join(", ");
  return el(
    "a.small-tile",
    { href: withChanges({ item: item.item }), "aria-label": name, title: item.title || item.item },
    el("span.frame", {}, pictureOf(item)),
  );
}

/** A row of the history: picture, title, brand and category. */
export function historyRow(item) {
  return el(
    "a.history-row",
    { href: withChanges({ item: item.item }), title: item.title },
    el("span.frame", {}, pictureOf(item)),
    el(
      "span.row-text",
      {},
      el("span.tile-title", {}, item.title || item.item),
      el("span.tile-details", {}, details(item)),
    ),
  );
}

/** A tile of middle size for strips: picture and title. */
export function stripTile(item) {
  return el(
    "a.strip-tile",
    { href: withChanges({ item: item.item }), title: item.title || item.item },
    el("span.frame", {}, pictureOf(item)),
    el("span.tile-title", {}, item.title || item.item),
  );
}

/**
 * The list item of a recommended item. `setRanks` fills in what depends on the order.
 * @param {Object} item
 */
export function rankedTile(item) {
  const tile = el(
    "a.tile",
    {},
    el("span.frame", {}, pictureOf(item), el("span.rank"), el("span.delta"), el("span.mark", { hidden: true, title: "held out of training" }, "✓")),
    el("span.tile-title", {}, item.title || item.item),
    el("span.tile-details", {}, details(item)),
    el("span.ranks", { "aria-hidden": "true" }),
  );
  const entry = el("li", {}, tile);
  entry.dataset.item = item.item;
  return entry;
}

/**
 * Write the ranks onto a tile.
 * @param {Element} entry of `rankedTile`
 * @param {Object} item with its rank in the list shown, and whether it was held out of training
 * @param {string} branch of the list shown
 * @param {Object<string, Map<string, number>>} ranks by branch and item
 * @param {number} depth ranks beyond it are unknown
 */
export function setRanks(entry, item, branch, ranks, depth) {
  const fused = ranks.fused?.get(item.item);
  const moved = branch === "fused" ? null : change(item.rank, fused, depth);
  entry.querySelector(".rank").textContent = item.rank;
  entry.querySelector(".mark").hidden = !item.heldOut;
  const badge = entry.querySelector(".delta");
  badge.textContent = moved?.short ?? "";
  badge.className = `delta ${moved?.kind ?? "none"}`;
  const branches = Object.keys(ranks);
  entry.querySelector(".ranks").replaceChildren(
    ...(branches.length > 1 ? branches : []).map((name) =>
      el(
        `span.rank-in.${name}${name === branch ? ".on" : ""}`,
        { title: `rank by ${name}` },
        el("i", {}, name),
        String(ranks[name].get(item.item) ?? `${depth}+`),
      ),
    ),
  );
  const link = entry.firstElementChild;
  link.href = withChanges({ item: item.item });
  link.setAttribute(
    "aria-label",
    [`Rank ${item.rank}: ${item.title || item.item}`, details(item), moved?.long, item.heldOut ? "held out of training" : ""]
      .filter(Boolean)
      .join(", "),
  );
}

/** How a rank differs from the fused one: {kind, short, long}. */
export function change(rank, fused, depth) {
  if (fused === undefined) {
    return { kind: "up", short: "▲ new", long: `not among the first ${depth} of fused` };
  }
  const places = fused - rank;
  if (!places) return { kind: "same", short: "=", long: "same rank as in fused" };
  const kind = places > 0 ? "up" : "down";
  const size = Math.abs(places);
  const long = `${size} ${size === 1 ? "place" : "places"} ${places > 0 ? "higher" : "lower"} than in fused`;
  return { kind, short: `${places > 0 ? "▲" : "▼"} ${size}`, long };
}

/**
 * Put entries into a list. Those that stay move to their new place, new ones fade in.
 * @param {Element} list
 * @param {Element[]} entries each with `dataset.item`, in the new order
 */
export function arrange(list, entries) {
  const before = new Map([...list.children].map((one) => [one, one.getBoundingClientRect()]));
  const focused = document.activeElement;
  list.replaceChildren(...entries);
  if (focused && list.contains(focused)) focused.focus({ preventScroll: true });
  if (still() || !before.size) return;
  for (const entry of entries) {
    const from = before.get(entry);
    if (from) move(entry, from);
    else appear(entry);
  }
}

function move(entry, from) {
  const to = entry.getBoundingClientRect();
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (!x && !y) return;
  entry.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], {
    duration: MILLISECONDS,
    easing: CALM,
  });
}

function appear(entry) {
  entry.animate([{ opacity: 0, transform: "scale(.96)" }, { opacity: 1, transform: "none" }], {
    duration: MILLISECONDS,
    easing: CALM,
  });
}
