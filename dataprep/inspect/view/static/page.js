// The page's own elements: its messages, and the place in its address.

export const $ = (id) => document.getElementById(id);
export const FILTERS = ["text", "source", "status", "mark"];

// The place that an address names: the file, the row, and the filters.
export function placeIn(hash, files) {
  const values = new URLSearchParams(hash.slice(1));
  const number = (name, least) => Math.max(least, Math.trunc(Number(values.get(name))) || least);
  const place = { file: Math.min(number("file", 0), Math.max(files - 1, 0)), row: number("row", 1) };
  for (const name of FILTERS) place[name] = values.get(name) ?? "";
  return place;
}

export function addressOf(place) {
  const values = new URLSearchParams();
  for (const [name, value] of Object.entries(place)) {
    if (value !== "" && !(name === "file" && value === 0)) values.set(name, value);
  }
  return `#${values}`;
}

export function notice(text) {
  $("notice").hidden = !text;
  $("notice").firstElementChild.textContent = text;
}

export function progress(text, stops = false) {
  $("progress").hidden = !text;
  $("progress").firstElementChild.textContent = text;
  $("progress").lastElementChild.hidden = !stops;
}
