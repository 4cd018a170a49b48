// What is shown while an answer is awaited, where there is nothing, and where a request failed.

import { el, icon } from "./dom.js";

/** Tiles in outline. */
export function outlines(number) {
  return Array.from({ length: number }, () =>
    el("li.outline", { "aria-hidden": "true" }, el("span.frame"), el("span.line"), el("span.line.short")),
  );
}

/** Rows of a history in outline. */
export function outlineRows(number) {
  return Array.from({ length: number }, () =>
    el("li.outline", { "aria-hidden": "true" }, el("span.frame"), el("span.line")),
  );
}

/** A box that says why there is nothing. */
export function nothing(title, text, ...actions) {
  return el("div.message", {}, el("h2", {}, title), el("p", {}, text), ...actions);
}

/**
 * A box for a failed request.
 * @param {Error} error
 * @param {() => void} again repeats the request
 */
export function failure(error, again) {
  const gone = error.status === 0;
  const button = el("button.primary", { type: "button", click: again }, "Try again");
  const home = el("a.button", { href: "./" }, "Start page");
  const title = gone ? "No answer from the server" : error.status === 404 ? "Not found" : "The request failed";
  const text = gone
    ? `${error.message} It may have been stopped, or the connection was lost.`
    : error.message;
  return el("div.message", { role: "alert" }, el("h2", {}, title), el("p", {}, text), button, home);
}

/** The button of a dialog that closes it. */
export function closing(close) {
  return el(
    "button.round.close",
    { type: "button", "aria-label": "Close", title: "Close (Esc)", click: close },
    icon("close"),
  );
}
