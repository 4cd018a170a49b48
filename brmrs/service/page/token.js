// The dialog that asks for the token of a protected server.

import { forget, openSession } from "./api.js";
import { byId } from "./dom.js";

const dialog = byId("ask");
let asking = null;

/** Ask for a token; resolves to whether the server accepted one. Simultaneous calls share a dialog. */
export function ask() {
  asking ??= new Promise((resolve) => {
    byId("ask-wrong").textContent = "";
    byId("token").value = "";
    dialog.showModal();
    dialog.addEventListener(
      "close",
      () => {
        asking = null;
        resolve(dialog.returnValue === "given");
      },
      { once: true },
    );
  });
  return asking;
}

/** Connect the form. */
export function start() {
  dialog.addEventListener("cancel", () => {
    dialog.returnValue = "";
  });
  byId("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    // A header holds visible ASCII only; anything else cannot be a token.
    const value = byId("token").value.trim();
    if (!/^[\x21-\x7e]+$/.test(value)) {
      byId("ask-wrong").textContent = "A token has no spaces and no letters beyond ASCII.";
      return;
    }
    exchange(value);
  });
}

async function exchange(value) {
  try {
    if (await openSession(value)) {
      forget();
      dialog.close("given");
    } else byId("ask-wrong").textContent = "The server did not accept this token.";
  } catch (error) {
    byId("ask-wrong").textContent = error.message;
  }
}
