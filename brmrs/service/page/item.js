// The panel of one item: what it is, why it is recommended, and which items are like it.

import { go, MOST_PICKS, read } from "./address.js";
import { explanation, itemOf, similarTo } from "./data.js";
import { byId, el, icon } from "./dom.js";
import { moveByArrows, tabStop } from "./keys.js";
import { closing, failure } from "./messages.js";
import { pictureOf } from "./pictures.js";
import { details, stripTile } from "./tiles.js";
import { why } from "./why.js";

const SIMILAR = 12;
const LIKENESS = {
  text: "Similar by text",
  visual: "Similar by picture",
  purchases: "Bought by the same users",
  fused: "Similar by the model",
};
const NONE = {
  text: "This item has no text.",
  visual: "This item has no picture.",
  purchases: "No user has this item and another one.",
  fused: "There are no other items.",
};

const panel = byId("panel");
let cancel = new AbortController();
let shown = "";

panel.addEventListener("cancel", (event) => {
  event.preventDefault();
  close();
});
// A click on the backdrop has the dialog itself as its target.
panel.addEventListener("click", (event) => {
  if (event.target === panel) close();
});

const close = () => go({ item: "" });

/** Open, change or close the panel, as the state says. */
export async function update(state, status) {
  const key = JSON.stringify([state.item, state.user, state.picks, state.run]);
  if (key === shown) return;
  cancel.abort();
  shown = key;
  if (!state.item) {
    if (panel.open) panel.close();
    return;
  }
  cancel = new AbortController();
  const { signal } = cancel;
  const outline = el("div.outline.tall", {}, el("span.frame"), el("span.line"), el("span.line.short"));
  const body = el("div.panel-body", {}, outline);
  panel.replaceChildren(closing(close), body);
  if (!panel.open) panel.showModal();
  panel.focus(); // not the button that closes it
  panel.scrollTop = 0;
  panel.ariaBusy = "true";
  try {
    const item = await itemOf(state.item, state.run, signal);
    const { elements, filled } = sections(state, item, signal, status.modalities);
    body.replaceChildren(description(state, item), ...elements);
    await filled;
    if (!signal.aborted) panel.ariaBusy = "false";
  } catch (error) {
    if (error.name === "AbortError") return;
    panel.ariaBusy = "false";
    body.replaceChildren(
      el("h2.unseen", { id: "panel-title" }, "Item"),
      failure(error, () => {
        shown = "";
        update(read(), status);
      }),
    );
  }
}

/** Forget what is shown, as the server's run changed. */
export function reset() {
  shown = "";
}

function description(state, item) {
  return el(
    "header.about",
    {},
    el("div.frame.large", {}, pictureOf(item)),
    el(
      "div",
      {},
      el("p.over", {}, details(item)),
      el("h2", { id: "panel-title" }, item.title || item.item),
      el("p.id", {}, item.item),
      pick(state, item),
    ),
  );
}

/** The button that adds the item to the picks, or removes it. */
function pick(state, item) {
  if (state.picks.includes(item.item)) {
    const rest = state.picks.filter((one) => one !== item.item);
    const remove = () => go({ picks: rest, item: "" });
    return el("button", { type: "button", click: remove }, icon("close"), "Remove from picks");
  }
  const full = state.picks.length >= MOST_PICKS;
  const name = full
    ? `At most ${MOST_PICKS} picks`
    : state.user
      ? "Pick as a new user"
      : "Add to picks";
  const picks = [...(state.user ? [] : state.picks), item.item];
  const add = () => go({ user: "", picks, item: "" });
  return el("button", { type: "button", disabled: full, click: add }, icon("plus"), name);
}

/** The sections, which fill themselves, and a promise for the time when all are filled. */
function sections(state, item, signal, modalities) {
  const known = Object.entries(LIKENESS).filter(([modality]) => modalities.includes(modality));
  const parts = known.map(([modality, title]) =>
    section(title, modality, async () => {
      const { items } = await similarTo(item.item, modality, SIMILAR, state.run, signal);
      return items.length ? strip(title, items) : el("p.soft", {}, NONE[modality]);
    }),
  );
  if (state.user || state.picks.length) {
    const title = state.user ? "Why for this user" : "Why for your picks";
    parts.unshift(section(title, "fused", async () => why(await explanation(state, item.item, signal))));
  }
  return { elements: parts.map((part) => part.element), filled: Promise.all(parts.map((part) => part.filled)) };
}

/** A section that fills itself; a failure stays within it. */
function section(title, kind, content) {
  const place = el("div.section-body", {}, el("span.line"));
  const fill = async () => {
    try {
      place.replaceChildren(await content());
      place.querySelectorAll("[data-stops]").forEach(tabStop);
    } catch (error) {
      if (error.name !== "AbortError") place.replaceChildren(refusal(error, fill));
    }
  };
  const heading = el("h3", {}, icon(kind), title);
  const element = el("section", { class: `part ${kind}`, "aria-label": title }, heading, place);
  return { element, filled: fill() };
}

/** Why a section is empty. Statuses of the 400s do not change by trying again. */
function refusal(error, again) {
  const final = error.status >= 400 && error.status < 500;
  const button = el("button.link", { type: "button", click: again }, "Try again");
  return el("p.soft", { role: "alert" }, `${error.message} `, final ? null : button);
}

function strip(title, items) {
  const list = moveByArrows(el("ul.strip", { "aria-label": title }), "a");
  list.append(...items.map((item) => el("li", {}, stripTile(item))));
  return list;
}
