// Why an item is recommended: its rank in each branch, and the history items that carry its score.

import { NAMES } from "./data.js";
import { count, el } from "./dom.js";
import { moveByArrows } from "./keys.js";
import { details, smallTile } from "./tiles.js";

const SHOWN = 6; // history items
const SHARES = "The fused score is the sum of the scores of the branches; the bars show their shares.";
const RANKS = "The bars show the rank, on a logarithmic scale: full at rank 1, empty at the last.";

/** The content of the section. */
export function why(found) {
  return el(
    "div.why",
    {},
    el("dl.branches", {}, ...found.branches.flatMap((one) => branch(one, found))),
    el("p.soft.method", {}, found.additive ? SHARES : RANKS),
    el("h4", {}, "History items that carry the score"),
    carriers(found.history, found.history_left_out),
    el("p.soft.method", {}, found.method),
  );
}

/** Name, bar and rank of a branch. */
function branch({ branch: name, rank, of, score, share }, { additive, branches }) {
  const parts = branches.filter((one) => one.share !== null);
  const bar = !additive
    ? meter(el("span.fill"), of > 1 ? 1 - Math.log(rank) / Math.log(of) : 1)
    : name === "fused"
      ? el("span.meter.parts", {}, ...parts.map((one) => filled(el(`span.fill.${one.branch}`), one.share)))
      : meter(el("span.fill"), share);
  return [
    el("dt", { class: name }, NAMES[name] ?? name),
    el(
      "dd",
      { class: name, title: `score ${score.toPrecision(4)}` },
      bar,
      el("span.share", {}, share === null ? "" : `${Math.round(100 * share)} %`),
      el("span.of", {}, el("b", {}, `#${count(rank)}`), ` of ${count(of)}`),
    ),
  ];
}

const meter = (fill, share) => el("span.meter", {}, filled(fill, share));

function filled(fill, share) {
  fill.style.setProperty("--share", Math.min(1, Math.max(0, share)));
  return fill;
}

function carriers(history, leftOut) {
  if (!history.length) return el("p.soft", {}, "The history is empty.");
  const shown = history.slice(0, SHOWN);
  const most = Math.max(...shown.map((item) => Math.abs(item.contribution))) || 1;
  const list = moveByArrows(el("ul.carriers"), "a");
  for (const item of shown) {
    const fill = el(item.contribution < 0 ? "span.fill.against" : "span.fill");
    const bar = meter(fill, Math.abs(item.contribution) / most);
    list.append(
      el(
        "li",
        {},
        smallTile(item, `contribution ${signed(item.contribution)}`),
        el(
          "span.carrier-text",
          { "aria-hidden": "true" },
          el("span.tile-title", {}, item.title || item.item),
          el("span.tile-details", {}, details(item)),
          bar,
        ),
        el("span.value", {}, signed(item.contribution)),
      ),
    );
  }
  const rest = Math.max(0, history.length - SHOWN);
  const notes = [rest ? `${rest} more with a smaller contribution` : "", leftOut ? `${leftOut} not computed` : ""];
  const note = notes.filter(Boolean).join(", ");
  return el("div", {}, list, note ? el("p.soft.method", {}, note) : null);
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
