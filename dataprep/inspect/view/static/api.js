// Ask the server. Its address has the token, and every request is relative to it.

const base = new URL("./", location.href);

export class Gone extends Error {}

async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("The server does not answer. Was dataprep view ended?");
  }
  const value = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(value.error || `The server answered with ${response.status}.`);
  return value;
}

export function get(name, values = {}, signal = undefined) {
  const url = new URL(`api/${name}`, base);
  for (const [key, value] of Object.entries(values)) url.searchParams.set(key, value);
  return answer(url, { signal });
}

export function post(name, value) {
  const headers = { "Content-Type": "application/json" };
  return answer(new URL(`api/${name}`, base), { method: "POST", headers, body: JSON.stringify(value) });
}
