// Pictures of items, and a cover made of words for items without one.

import { el } from "./dom.js";

const SQUARE = 1.15; // a picture whose longer side is at most this multiple of the shorter one
const GRAIN = 16; // pixels of a side of the copy whose border is looked at
const WHITE = 225; // of 255: a channel of a nearly white pixel
const SHADES = 9; // of the covers of one category
const STEP = 15; // degrees of hue between them

/**
 * The picture of an item, or its cover.
 * @param {{item: string, title: string, brand: string, category: string, picture: ?string}} item
 */
export function pictureOf(item) {
  if (!item.picture) return cover(item);
  const image = el("img.picture", { alt: "", decoding: "async", loading: "lazy", draggable: "false" });
  image.addEventListener("load", () => {
    image.classList.add("loaded");
    if (isSquare(image) || hasWhiteBorder(image)) return;
    image.before(el("img.backdrop", { alt: "", src: image.src, draggable: "false" }));
  });
  image.addEventListener("error", () => image.replaceWith(cover(item)));
  // Relative to the page, as a proxy may serve both under a path of its own.
  image.src = new URL(item.picture.slice(1), document.baseURI).href;
  return image;
}

/** Whether a picture fills its square frame; otherwise white or a blurred copy fills the rest. */
function isSquare({ naturalWidth, naturalHeight }) {
  return Math.max(naturalWidth, naturalHeight) <= SQUARE * Math.min(naturalWidth, naturalHeight);
}

/** Whether most of the border is nearly white, as in photos of products. */
function hasWhiteBorder(image) {
  const canvas = el("canvas", { width: GRAIN, height: GRAIN });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, GRAIN, GRAIN);
  const { data } = context.getImageData(0, 0, GRAIN, GRAIN);
  const last = GRAIN - 1;
  const border = Array.from({ length: GRAIN * GRAIN }, (_, at) => at).filter((at) => {
    const [x, y] = [at % GRAIN, Math.floor(at / GRAIN)];
    return x === 0 || y === 0 || x === last || y === last;
  });
  const white = border.filter((at) => Math.min(...data.slice(4 * at, 4 * at + 3)) >= WHITE);
  return white.length >= 0.7 * border.length;
}

/** Title, brand and category on a colour of the category, in a shade of the item. */
function cover(item) {
  const face = el(
    "span.cover",
    { "aria-hidden": "true" },
    el("span.cover-initials", {}, initials(item.title || item.item)),
    el("span.cover-title", {}, item.title || item.item),
    el("span.cover-foot", {}, item.brand || ""),
    el("span.cover-foot", {}, item.category || "no picture"),
  );
  const shade = (hash(item.item) % SHADES) - (SHADES - 1) / 2;
  face.style.setProperty("--hue", (hash(item.category || "") % 360) + STEP * shade);
  return face;
}

/** The first letters of the first two words, for covers too small for words. */
function initials(title) {
  const words = title.match(/[\p{L}\p{N}]+/gu) ?? [];
  return words.slice(0, 2).map((word) => String.fromCodePoint(word.codePointAt(0)).toUpperCase()).join("");
}

function hash(text) {
  let value = 7;
  for (const letter of text) value = (value * 31 + letter.codePointAt(0)) % 1_000_003;
  return value;
}
