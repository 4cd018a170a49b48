// Movement with the arrow keys within a group of links or buttons; one of them takes the tab key.

const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];

/**
 * Let the arrow keys move the focus within a group.
 * @param {Element} group it may change; call `tabStop` after that
 * @param {string} selector of what takes the focus
 */
export function moveByArrows(group, selector) {
  group.dataset.stops = selector;
  group.addEventListener("keydown", (event) => {
    if (!MOVES.includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
    const stops = [...group.querySelectorAll(selector)];
    const from = stops.indexOf(event.target.closest(selector));
    const next = from < 0 ? null : target(stops, from, event.key);
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  group.addEventListener("focusin", (event) => {
    const stop = event.target.closest(selector);
    if (stop) only(group, stop);
  });
  return group;
}

/** After a change of the group: the same stop as before takes the tab key, or the first. */
export function tabStop(group) {
  const stops = [...group.querySelectorAll(group.dataset.stops)];
  const focused = stops.find((stop) => stop === document.activeElement);
  const before = stops.find((stop) => stop.tabIndex === 0 && stop.hasAttribute("tabindex"));
  if (stops.length) only(group, focused ?? before ?? stops[0]);
}

function only(group, chosen) {
  for (const stop of group.querySelectorAll(group.dataset.stops)) {
    stop.tabIndex = stop === chosen ? 0 : -1;
  }
}

function target(stops, from, key) {
  if (key === "Home") return stops[0];
  if (key === "End") return stops.at(-1);
  if (key === "ArrowLeft") return stops[from - 1];
  if (key === "ArrowRight") return stops[from + 1];
  return vertically(stops, stops[from], key === "ArrowDown");
}

/** The nearest stop of the next row. */
function vertically(stops, origin, down) {
  const here = origin.getBoundingClientRect();
  let best = null;
  let least = Infinity;
  for (const stop of stops) {
    const there = stop.getBoundingClientRect();
    const rows = down ? there.top - here.top : here.top - there.top;
    if (rows < here.height / 2) continue;
    const distance = rows * 10 + Math.abs(there.left - here.left);
    if (distance < least) [best, least] = [stop, distance];
  }
  return best;
}
