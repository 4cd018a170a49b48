// Starts the page and shows the view that the address names.

import { onChange, read, withChanges } from "./address.js";
import { forget, get, onTokenNeeded } from "./api.js";
import { byId, count, el, icon } from "./dom.js";
import * as panel from "./item.js";
import * as lists from "./lists.js";
import { failure } from "./messages.js";
import * as search from "./search.js";
import * as startPage from "./start.js";
import * as token from "./token.js";

const main = byId("main");
const SETTLE = 500; // ms, as the workers of a service change the run one after the other
const THEMES = ["auto", "light", "dark"];
let cancel = new AbortController();
let view = null;
let status = null; // of the run that the address names
let statusOf = "";

async function render() {
  cancel.abort();
  cancel = new AbortController();
  const { signal } = cancel;
  main.ariaBusy = "true";
  await show(read(), signal);
  if (!signal.aborted) main.ariaBusy = "false";
}

async function show(state, signal) {
  try {
    if (!status || statusOf !== state.run) {
      status = await get("status", { run: state.run }, signal);
      statusOf = state.run;
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    view = null;
    status = null;
    main.replaceChildren(failure(error, render));
    return;
  }
  drawStatus();
  const wanted = state.user || state.picks.length ? lists : startPage;
  const changed = wanted !== view;
  if (changed) {
    // After a click on a link of the old view the focus would be nowhere.
    if (view && !byId("search").contains(document.activeElement)) main.focus();
    view = wanted;
    main.replaceChildren(view.element);
    scrollTo(0, 0);
  }
  panel.update(state, status);
  if (!changed && view === startPage) return;
  const answered = await view.update(state, signal, status);
  if (answered && answered !== status.run) runChanged();
}

/** The server serves another run than when the page was opened: show everything anew. */
function runChanged() {
  forget();
  lists.reset();
  panel.reset();
  status = null;
  setTimeout(render, SETTLE);
}

function drawStatus() {
  byId("run").replaceChildren(
    el("span.run-data", {}, `${status.data} · ${status.model}`),
    el("span.run-name", { title: `run ${status.run}` }, status.run),
  );
  byId("facts").textContent =
    `${count(status.users)} users, ${count(status.items)} items of ${status.data}. All requests go to this server.` +
    (status.problem ? ` Another run should be served, but could not be loaded: ${status.problem}` : "");
  document.querySelector(".home").href = withChanges({ user: "", picks: [], item: "", branch: "fused", category: "", beside: "", seen: false });
}

/** The button that goes through the colours: of the system, light, dark. */
function startTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const draw = () => {
    const chosen = root.dataset.theme ?? "auto";
    const names = { auto: "as the system", light: "light", dark: "dark" };
    button.replaceChildren(icon(chosen));
    button.setAttribute("aria-label", `Colours: ${names[chosen]}`);
    button.title = `Colours: ${names[chosen]}`;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Without storage the choice holds until the page is reloaded.
    }
    draw();
  });
  draw();
}

onTokenNeeded(token.ask);
onChange(render);
token.start();
search.start();
startTheme();
render();
