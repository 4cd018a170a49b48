// Pictures of items, and a cover made of words for items without one.

import { el } from "./dom.js";

/**
 * The picture of an item, or its cover.
 * @param {{item: string, title: string, brand: string, category: string, picture: ?string}} item
 */
export function pictureOf(item) {
  if (!item.picture) return cover(item);
  const image = el("img.picture", { alt: "", decoding: "async", loading: "lazy", draggable: "false" });
  image.addEventListener("load", () => image.classList.add("loaded"));
  image.addEventListener("error", () => image.replaceWith(cover(item)));
  image.src = item.picture;
  return image;
}

/** Title, brand and category on a colour that depends on the category. */
export function cover(item) {
  const face = el(
    "span.cover",
    { "aria-hidden": "true" },
    el("span.cover-title", {}, item.title || item.item),
    el("span.cover-foot", {}, item.brand || ""),
    el("span.cover-foot", {}, item.category || "no picture"),
  );
  face.style.setProperty("--hue", hue(item.category || item.brand || item.item));
  return face;
}

function hue(text) {
  let hash = 7;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)) % 3600;
  return String(hash / 10);
}
