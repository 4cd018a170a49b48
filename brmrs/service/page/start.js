// The start page: example users, and items to pick as a new user.

import { get } from "./api.js";
import { withChanges } from "./address.js";
import { el, icon, plural } from "./dom.js";
import { moveByArrows, tabStop } from "./keys.js";
import { failure, outlines } from "./messages.js";
import { pictureOf } from "./pictures.js";
import { details } from "./tiles.js";

const EXAMPLES = 6;
const PICTURES = 4; // of an example user
const TO_PICK = 12;

export const element = el("div.start");

/** Show the start page. */
export async function update(state, signal) {
  document.title = "brmrs";
  const users = moveByArrows(el("ul.examples", { "aria-label": "Example users" }), "a");
  const items = moveByArrows(el("ul.grid.pickable", { "aria-label": "Items to pick" }), "a");
  users.append(...Array.from({ length: EXAMPLES }, () => el("li.outline", {}, el("span.frame"))));
  items.append(...outlines(TO_PICK));
  element.replaceChildren(
    el(
      "div.hero",
      {},
      el("h1", {}, "Recommendations from text, pictures and purchases"),
      el(
        "p.lead",
        {},
        "Choose a user, or pick a few items as a new user. See how the ranking changes by ",
        el("b.text", {}, "text"),
        ", by ",
        el("b.visual", {}, "picture"),
        " and by ",
        el("b.fused", {}, "both"),
        ".",
      ),
    ),
    el("section", {}, el("h2", {}, "Users"), users),
    el(
      "section",
      {},
      el("h2", {}, "New user"),
      el("p.soft", {}, "Pick an item to start a history. Search finds others by title."),
      items,
    ),
  );
  try {
    await fill(state, users, items, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    element.replaceChildren(failure(error, () => update(state, new AbortController().signal)));
  }
}

async function fill(state, users, items, signal) {
  const { users: found } = await get("users", { limit: EXAMPLES, run: state.run }, signal);
  const histories = await Promise.all(
    found.map(({ id }) => get(`users/${encodeURIComponent(id)}/history`, { run: state.run }, signal)),
  );
  users.replaceChildren(...found.map((user, index) => card(user, histories[index].items)));
  const all = histories.flatMap((history) => history.items);
  const distinct = [...new Map(all.map((item) => [item.item, item])).values()];
  items.replaceChildren(...distinct.slice(0, TO_PICK).map(pickable));
  tabStop(users);
  tabStop(items);
}

function card(user, history) {
  const frames = history.slice(0, PICTURES).map((item) => el("span.frame", {}, pictureOf(item)));
  while (frames.length < PICTURES) frames.push(el("span.frame.blank"));
  return el(
    "li",
    {},
    el(
      "a.example",
      { href: withChanges({ user: user.id, picks: [] }) },
      el("span.collage", { "aria-hidden": "true" }, ...frames),
      el("span.example-name", {}, user.id),
      el("span.soft", {}, plural(user.n_history, "item")),
    ),
  );
}

function pickable(item) {
  return el(
    "li",
    {},
    el(
      "a.tile",
      { href: withChanges({ picks: [item.item] }), "aria-label": `Pick ${item.title || item.item}` },
      el("span.frame", {}, pictureOf(item), el("span.add", {}, icon("plus"))),
      el("span.tile-title", {}, item.title || item.item),
      el("span.tile-details", {}, details(item)),
    ),
  );
}
