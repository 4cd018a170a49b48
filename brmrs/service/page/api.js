// Requests to the server, and only to it.

const BASE = new URL("v1/", document.baseURI);
const RETRIES = 2;
const CACHED = 200; // answers

/** A request that failed: `status` is 0 without an answer; `message` is for people. */
export class Failed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let askForToken = async () => false;
const answers = new Map();

/** Name the function that asks for a token; it resolves to whether there is a session now. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Forget all answers, for example because the server serves another run. */
export const forget = () => answers.clear();

/**
 * Exchange the token for a cookie, which pictures need, too. Scripts cannot read the cookie.
 * @param {string} token visible ASCII
 * @returns {Promise<boolean>} whether the server accepts the token
 * @throws {Failed}
 */
export async function openSession(token) {
  const headers = { Authorization: `Bearer ${token}` };
  const found = await send(new URL("session", BASE), { method: "POST", headers });
  if (!found.ok && found.status !== 401) throw new Failed(found.status, await reason(found));
  return found.ok;
}

/**
 * The JSON answer to a GET request; equal requests are answered from memory.
 * @param {string} path under /v1/, its parts encoded
 * @param {Object} [parameters] empty values are left out; an array repeats the parameter
 * @param {AbortSignal} [signal]
 * @throws {Failed}
 */
export async function get(path, parameters = {}, signal = undefined) {
  const url = new URL(path, BASE);
  addParameters(url, parameters);
  return remember(url.href, () => json(url, { signal }));
}

/** The JSON answer to a POST request. @throws {Failed} */
export async function post(path, parameters, content, signal = undefined) {
  const url = new URL(path, BASE);
  addParameters(url, parameters);
  const body = JSON.stringify(content);
  const headers = { "Content-Type": "application/json" };
  return remember(`${url.href} ${body}`, () => json(url, { method: "POST", body, headers, signal }));
}

function addParameters(url, parameters) {
  for (const [name, values] of Object.entries(parameters)) {
    for (const value of [values].flat()) {
      if (value !== null && value !== undefined && value !== "") url.searchParams.append(name, value);
    }
  }
}

async function remember(key, ask) {
  if (answers.has(key)) return answers.get(key);
  const found = await ask();
  if (answers.size >= CACHED) answers.delete(answers.keys().next().value);
  answers.set(key, found);
  return found;
}

async function json(url, options) {
  const found = await answer(url, options);
  try {
    return await found.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failed(0, "The answer of the server is incomplete.");
  }
}

async function answer(url, options) {
  for (let attempt = 0; ; attempt += 1) {
    const found = await send(url, options);
    if (found.ok) return found;
    const why = await reason(found); // an answer that nobody reads would hold its connection
    if (found.status === 401 && (await askForToken())) continue;
    if ((found.status === 429 || found.status === 503) && attempt < RETRIES) {
      const seconds = Number(found.headers.get("Retry-After")) || attempt + 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, 5)));
      continue;
    }
    throw new Failed(found.status, why);
  }
}

async function send(url, options) {
  const headers = { Accept: "application/json", ...options.headers };
  try {
    return await fetch(url, { ...options, headers, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failed(0, "The server does not answer.");
  }
}

async function reason(found) {
  try {
    const { error } = await found.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // Not JSON: an answer of a proxy, for example.
  }
  return `The server answered with status ${found.status}.`;
}
