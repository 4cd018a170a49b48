// Building of elements. Text from the server is only ever set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} name tag, with classes after dots: "p.soft.small"
 * @param {Object} [attributes] attribute values; a function is an event listener, null is left out
 * @param {...(Node|string|null)} children strings become text nodes
 */
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** One of the icons in index.html. */
export function icon(name) {
  const svg = svgElement("svg", { class: "icon", "aria-hidden": "true" });
  svg.append(svgElement("use", { href: `#i-${name}` }));
  return svg;
}

/** An SVG element. */
export function svgElement(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** Tell screen readers what changed. */
export function announce(text) {
  byId("live").textContent = text;
}

/** A number with separators: 12,345. */
export const count = (value) => value.toLocaleString("en");

/** "1 item", "2 items". */
export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Whether the system asks for less motion. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
