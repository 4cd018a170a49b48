// What the lists show, from the server.

import { BRANCHES } from "./address.js";
import { Failed, get, post } from "./api.js";

const DEPTH = 100; // ranks that are fetched, so that movements between the lists are known

export { DEPTH };

/** What the branches are called on the page. */
export const NAMES = { fused: "Fused", text: "Text", visual: "Visual" };

/** The branches that a run has, fused first. */
export const branchesOf = (status) => BRANCHES.filter((name) => status.branches.includes(name));

/**
 * The recommendations of one branch.
 * @param {Object} state of the address
 * @param {string} branch
 * @param {string} run its name; "" for the served one
 */
export function recommendations(state, branch, run, signal) {
  const common = { k: DEPTH, branch, category: state.category, exclude_seen: !state.seen };
  if (state.user) {
    return get(`users/${encodeURIComponent(state.user)}/recommendations`, { ...common, run }, signal);
  }
  const content = { ...common, category: state.category || null, history: state.picks };
  return post("recommendations", { run }, content, signal);
}

/**
 * What the model knows of a user, or of the picks.
 * @returns {{items: Object[], heldOut: Object[], leftOut: number, unknown: string[]}} the history;
 *   the user's items that were held out of training; how many items of a long history the answer
 *   leaves out; picks that the run lacks
 */
export async function historyOf(state, signal) {
  if (state.user) {
    const path = `users/${encodeURIComponent(state.user)}/history`;
    const found = await get(path, { run: state.run }, signal);
    return { items: found.items, heldOut: found.held_out, leftOut: found.left_out, unknown: [] };
  }
  const found = await Promise.all(state.picks.map((item) => itemOrNull(item, state.run, signal)));
  return {
    items: found.filter(Boolean),
    heldOut: [],
    leftOut: 0,
    unknown: state.picks.filter((_, index) => !found[index]),
  };
}

/** One item. */
export const itemOf = (item, run, signal) => get(`items/${encodeURIComponent(item)}`, { run }, signal);

/** The most similar items by "text", "visual", "fused" or "purchases". */
export const similarTo = (item, modality, k, run, signal) =>
  get(`items/${encodeURIComponent(item)}/similar`, { modality, k, run }, signal);

/** Why an item is recommended to the user, or to the picks. */
export function explanation(state, item, signal) {
  const whom = state.user ? { user: state.user } : { history: state.picks };
  return get("explain", { ...whom, item, run: state.run }, signal);
}

/** The names of the categories, the largest first. */
export async function categoriesOf(run, signal) {
  const { categories } = await get("categories", { run }, signal);
  return categories.map((category) => category.name);
}

/** Ranks by branch and item. */
export function ranksOf(lists) {
  return Object.fromEntries(
    Object.entries(lists).map(([branch, items]) => [branch, new Map(items.map((one) => [one.item, one.rank]))]),
  );
}

async function itemOrNull(item, run, signal) {
  try {
    return await itemOf(item, run, signal);
  } catch (error) {
    if (error instanceof Failed && error.status === 404) return null;
    throw error;
  }
}
