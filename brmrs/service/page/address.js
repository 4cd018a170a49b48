// The state of the page is its address, so that a link reproduces it and the back button works.

const BRANCHES = ["fused", "text", "visual"];
const COUNTS = [10, 20, 50];
const MOST_PICKS = 50;

export { BRANCHES, COUNTS, MOST_PICKS };

/**
 * The state in the address bar. Values that the page does not know become the defaults.
 * @returns {{user: string, picks: string[], branch: string, item: string, k: number,
 *   category: string, seen: boolean, run: string, beside: string}}
 */
export function read(search = location.search) {
  const given = new URLSearchParams(search);
  const branch = given.get("branch");
  const k = Number(given.get("k"));
  const user = given.get("user") ?? "";
  const picks = user ? [] : [...new Set(given.getAll("pick").filter(Boolean))];
  return {
    user,
    picks: picks.slice(0, MOST_PICKS),
    branch: BRANCHES.includes(branch) ? branch : "fused",
    item: given.get("item") ?? "",
    k: COUNTS.includes(k) ? k : 20,
    category: given.get("category") ?? "",
    seen: given.get("seen") === "1",
    run: given.get("run") ?? "",
    beside: given.get("beside") ?? "",
  };
}

/** The address of a state; defaults are left out. */
function write(state) {
  const query = new URLSearchParams();
  if (state.user) query.set("user", state.user);
  for (const pick of state.user ? [] : state.picks) query.append("pick", pick);
  if (state.branch !== "fused") query.set("branch", state.branch);
  if (state.k !== 20) query.set("k", state.k);
  if (state.category) query.set("category", state.category);
  if (state.seen) query.set("seen", "1");
  if (state.run) query.set("run", state.run);
  if (state.beside) query.set("beside", state.beside);
  if (state.item) query.set("item", state.item);
  const text = query.toString();
  return text ? `?${text}` : "./";
}

/** The address of the present state with some values changed. */
export const withChanges = (changes) => write({ ...read(), ...changes });

const listeners = [];

/** Call a function after every change of the address. */
export function onChange(listener) {
  listeners.push(listener);
}

/** Go to the present state with some values changed. */
export function go(changes) {
  open(withChanges(changes));
}

/** Go to an address of this page. */
export function open(address) {
  history.pushState(null, "", address);
  for (const listener of listeners) listener();
}

addEventListener("popstate", () => {
  for (const listener of listeners) listener();
});

// Links of this page change the state without a new page; those with a modifier key open as usual.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.target || link.origin !== location.origin) return;
  if (link.pathname !== location.pathname || link.hash) return;
  event.preventDefault();
  if (link.href !== location.href) open(link.getAttribute("href"));
});
