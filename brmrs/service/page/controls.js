// The heading and the controls of a user's page.

import { COUNTS, go } from "./address.js";
import { branchesOf, NAMES } from "./data.js";
import { el, icon } from "./dom.js";

export const head = el("div.head");
export const toolbar = el("div.toolbar");

/** Whose page it is, and the choice of a run to compare with. */
export function drawHead(state, status) {
  const title = state.user || "New user";
  const over = state.user ? "Recommendations for user" : "Recommendations for your picks";
  const text = el("div.head-text", {}, el("p.over", {}, over), el("h1", { title }, title));
  const runs = status.other_runs.map(({ run, model }) => [run, `${model} · ${run}`]);
  const options = [["", "No other run"], ...runs];
  const compare = runs.length
    ? choice("beside", "Compare with", options, state.beside, (beside) => go({ beside }))
    : null;
  keepFocus(() => head.replaceChildren(...[text, compare].filter(Boolean)));
}

/** What is ranked by which branch. */
export function drawToolbar(state, status, categories) {
  const branches = branchesOf(status);
  const names = [...new Set([...categories, state.category].filter(Boolean))];
  const options = [["", "All"], ...names.map((name) => [name, name])];
  const counts = COUNTS.map((k) => [String(k), String(k)]);
  const parts = [
    branches.length > 1 ? segments(state, branches) : null,
    names.length > 1
      ? choice("category", "Category", options, state.category, (category) => go({ category }))
      : null,
    choice("k", "Show", counts, String(state.k), (k) => go({ k: Number(k) })),
    tick("seen", "Include the history", state.seen, (seen) => go({ seen })),
  ];
  keepFocus(() => toolbar.replaceChildren(...parts.filter(Boolean)));
}

/** Replace controls; the one with the focus gets it back, found by its id. */
function keepFocus(replace) {
  const { id } = document.activeElement;
  replace();
  if (id && document.activeElement.id !== id) document.getElementById(id)?.focus({ preventScroll: true });
}

function segments(state, branches) {
  const options = branches.map((branch) => {
    const input = el("input", {
      type: "radio",
      name: "branch",
      id: `branch-${branch}`,
      value: branch,
      checked: branch === state.branch,
      change: () => go({ branch }),
    });
    return el(`label.segment.${branch}`, {}, input, el("span", {}, icon(branch), NAMES[branch]));
  });
  return el("fieldset.segments", {}, el("legend.unseen", {}, "Rank by"), ...options);
}

function choice(id, label, options, value, change) {
  const select = el(
    "select",
    { id, change: (event) => change(event.target.value) },
    ...options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
  );
  return el("label.choice", {}, el("span", {}, label), select);
}

function tick(id, label, checked, change) {
  const box = el("input", { id, type: "checkbox", checked, change: () => change(box.checked) });
  return el("label.tick", {}, box, label);
}
