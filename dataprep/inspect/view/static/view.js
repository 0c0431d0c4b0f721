// The page: what is shown, which keys do what. The place stands in the address, behind the #.

import { get, Gone, post } from "./api.js";
import { count, drawItem, drawRaw, drawRow, drawSame, el } from "./draw.js";
import { $, addressOf, FILTERS, notice, placeIn, progress } from "./page.js";

const PAGE = 50;

let files = [];
let place = { file: 0, row: 1, text: "", source: "", status: "", mark: "" };
let rows = []; // of the list
let cursors = { before: null, after: null }; // where a search continues, in both directions
let generation = null;
let whole = false; // long texts of the row are shown in full
let raw = false;
let search = null; // the AbortController of the search that runs
let searches = 0; // number of the last search: an earlier one must not change the list
let asked = 0; // number of the last row that was asked for: an earlier answer comes too late
let mark = null; // of the row that is shown

const filtered = () => FILTERS.some((name) => place[name]);
const query = () => Object.fromEntries(FILTERS.filter((name) => place[name]).map((name) => [name, place[name]]));
const total = () => files[place.file]?.lines ?? 0;

// ---- the address, and messages

const read = () => { place = placeIn(location.hash, files.length); };
const address = (changes = {}) => addressOf({ ...place, ...changes });
const write = () => history.replaceState(null, "", address());

function failed(error) {
  if (error.name === "AbortError") return;
  progress("");
  notice(error.message);
}

function stop() {
  search?.abort();
  search = null;
  progress("");
}

// ---- the row

async function show(number, { scroll = true } = {}) {
  const mine = ++asked;
  whole = whole && number === place.row;
  place.row = number;
  write();
  try {
    let answer = await get("row", { file: place.file, number, whole: Number(whole) });
    while (!answer.row && !answer.state.complete && mine === asked) {
      const done = answer.state.fraction === null ? "" : ` ${Math.round(answer.state.fraction * 100)} % of the file`;
      progress(`Waiting for row ${count(number)}: ${count(answer.state.lines)} rows are indexed.${done}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
      if (mine !== asked) return;
      answer = await get("row", { file: place.file, number, whole: Number(whole) });
    }
    if (mine !== asked) return;
    if (!search) progress("");
    update(answer.state);
    if (!answer.row) {
      if (!answer.state.lines) return empty();
      notice(`There is no row ${count(number)}: the file has ${count(answer.state.lines)}.`);
      return go(answer.state.lines);
    }
    draw(answer.row);
    if (scroll) window.scrollTo(0, 0);
    if (answer.row.kind === "journal") same(number, mine);
  } catch (error) {
    if (mine === asked) failed(error);
  }
}

function empty() {
  $("row").replaceChildren(el("p", { class: "muted" }, "The file has no rows yet."));
}

const context = () => ({
  text: place.text,
  showAll: () => { whole = true; show(place.row, { scroll: false }); },
  open: (column) => { if (column.file !== place.file) choose(column.file, column.number); else go(column.number); },
});

function draw(row) {
  mark = row.mark;
  $("row").replaceChildren(...drawRow(row, context()));
  $("row").querySelector(".place").append(marks());
  $("number").value = row.number;
  document.title = `Row ${count(row.number)} · ${files[place.file].name}`;
  for (const link of $("list").querySelectorAll("a")) {
    const current = Number(link.dataset.number) === row.number;
    link.toggleAttribute("aria-current", current);
    if (current) link.setAttribute("aria-current", "true");
    if (current && getComputedStyle($("list-box")).overflowY === "auto") reveal(link);
  }
  if (raw) showRaw(row.number);
}

function reveal(link) {
  // Not scrollIntoView, which would scroll the page too.
  const box = $("list-box");
  const top = link.offsetTop - box.offsetTop;
  if (top < box.scrollTop) box.scrollTop = top - 8;
  else if (top + link.offsetHeight > box.scrollTop + box.clientHeight) {
    box.scrollTop = top + link.offsetHeight - box.clientHeight + 8;
  }
}

async function same(number, mine) {
  // Other lines of the request are looked for some at a time.
  for (let done = false; !done && mine === asked; ) {
    const answer = await get("same", { file: place.file, number });
    if (mine !== asked) return;
    const { request, columns } = drawSame(answer, context());
    $("request")?.replaceChildren(...request);
    if (columns) $("teachers")?.replaceChildren(columns);
    done = answer.done;
    if (!done) await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function showRaw(number) {
  $("row").querySelector(".raw")?.remove();
  const block = await get("raw", { file: place.file, number, whole: Number(whole) });
  if (number === place.row && raw && block.text !== undefined) $("row").append(drawRaw(block, context()));
}

// ---- marks

function marks() {
  const button = (name, key, title) =>
    el("button", { type: "button", "data-mark": name, "aria-pressed": String(mark?.mark === name), title: `${title} (${key})`,
      on: { click: () => setMark(mark?.mark === name ? "" : name) } }, title);
  const note = el("input", { id: "note", type: "text", "aria-label": "Note", placeholder: "Note (m)", maxlength: 2000, autocomplete: "off",
    on: { change: () => setMark(mark?.mark ?? "") } });
  note.value = mark?.note ?? "";
  return el("div", { class: "marks" }, button("good", "1", "Good"), button("bad", "2", "Bad"), note);
}

async function setMark(name, note = $("note")?.value ?? "") {
  const number = place.row;
  try {
    const answer = await post("mark", { file: place.file, number, mark: name, note });
    const row = rows.find((item) => item.number === number);
    if (row) {
      row.mark = answer.mark;
      const link = $("list").querySelector(`a[data-number="${number}"]`);
      link?.parentElement.replaceWith(drawItem(row, address({ row: number }), number === place.row));
    }
    if (number !== place.row) return;
    mark = answer.mark;
    // In place: a button that is pressed while a note is stored must still be there.
    for (const button of $("row").querySelectorAll("[data-mark]")) {
      button.setAttribute("aria-pressed", String(mark?.mark === button.dataset.mark));
    }
    if (document.activeElement !== $("note")) $("note").value = mark?.note ?? "";
  } catch (error) {
    failed(error);
  }
}

// ---- the list

function drawList() {
  $("list").replaceChildren(...rows.map((row) => drawItem(row, address({ row: row.number }), row.number === place.row)));
  $("earlier").hidden = !filtered() || cursors.before === null;
  $("later").hidden = !filtered() || cursors.after === null || search !== null;
  const none = rows.length === 0 && search === null;
  $("empty").hidden = !none;
  $("empty").textContent = filtered() ? "No row matches." : "No rows.";
}

async function loadPage(number) {
  const mine = ++searches;
  const at = number - ((number - 1) % PAGE);
  const answer = await get("page", { file: place.file, at, count: PAGE });
  if (mine !== searches) return;
  rows = answer.rows;
  update(answer.state);
  drawList();
}

// Find rows from a number on, or back from it, until `wanted` of them are found; a search is one loop of requests.
async function findRows(from, { back = false, wanted = PAGE, values = query(), onRows = () => {} } = {}) {
  stop();
  const mine = ++searches;
  const own = (search = new AbortController());
  const found = [];
  let next = from;
  try {
    while (next !== null && found.length < wanted) {
      const part = { file: place.file, at: next, back: Number(back), count: wanted - found.length, ...values };
      const answer = await get("find", part, own.signal);
      if (own !== search) throw new DOMException("another search", "AbortError");
      found.push(...answer.rows);
      next = answer.next;
      update(answer.state);
      if (next === null && !back && !answer.state.complete && found.length < wanted) {
        // The search has caught up with the index.
        next = Math.max(from, answer.total + 1);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      if (answer.rows.length || next === null || !found.length) onRows(found, next);
      const share = answer.total && next ? Math.round((100 * (back ? answer.total - next : next)) / answer.total) : 100;
      if (next !== null && found.length < wanted) progress(`Searching: ${share} %, ${count(found.length)} found.`, true);
    }
    search = null;
    progress("");
    return { found, next };
  } catch (error) {
    if (own === search) search = null;
    if (mine === searches) failed(error);
    return { found, next, stopped: true, superseded: mine !== searches };
  }
}

async function loadFound(from) {
  rows = [];
  cursors = { before: from > 1 ? from - 1 : null, after: from };
  $("list").replaceChildren();
  let shown = from !== 1;
  const onRows = (found, next) => {
    rows = [...found];
    cursors.after = next;
    drawList();
    if (!shown && rows.length) show(rows[0].number);
    shown ||= rows.length > 0;
  };
  const { superseded } = await findRows(from, { onRows });
  if (!superseded) drawList();
}

async function extend(back) {
  const start = back ? cursors.before : cursors.after;
  if (start === null) return 0;
  const { found, next, superseded } = await findRows(start, { back });
  if (superseded) return 0;
  rows = back ? [...found.reverse(), ...rows] : [...rows, ...found];
  cursors[back ? "before" : "after"] = next;
  drawList();
  return found.length;
}

// ---- moving

async function go(number) {
  const listed = () => filtered() || rows.some((row) => row.number === number);
  if (!listed() && number <= total()) loadPage(number).catch(failed);
  await show(number);
  // A row that had to be indexed first was in no page before.
  if (!listed() && place.row === number) await loadPage(number).catch(failed);
}

async function step(delta) {
  const number = place.row;
  const near = () => (delta > 0 ? rows.find((row) => row.number > number) : rows.findLast((row) => row.number < number));
  if (filtered()) {
    if (!near()) await extend(delta < 0);
    if (number !== place.row) return;
    if (near()) await show(near().number);
    else if (cursors[delta > 0 ? "after" : "before"] === null) {
      notice(delta > 0 ? "This is the last row that matches." : "This is the first row that matches.");
    }
    return;
  }
  if (rows.some((row) => row.number === number) && near()) return show(near().number);
  const target = place.row + delta;
  if (target < 1) return notice("This is the first row.");
  if (delta > 0 && target > total() && files[place.file].complete) return notice("This is the last row.");
  await loadPage(target).catch(failed);
  // Blank lines are no rows.
  return show(near() ? near().number : target);
}

async function nextFlagged() {
  const { mark: _, ...others } = query();
  const { found, stopped } = await findRows(place.row + 1, { wanted: 1, values: { ...others, mark: "flagged" } });
  drawList();
  if (found.length) await go(found[0].number);
  else if (!stopped) notice("No flagged row comes after this one.");
}

// ---- files

function update(state) {
  const before = files[place.file];
  files[place.file] = { ...before, ...state };
  const of = state.complete ? count(state.lines) : `${count(state.lines)}+`;
  $("total").textContent = `of ${of}`;
  if (generation !== null && generation !== state.generation) {
    generation = state.generation;
    notice("The file was changed. It is read again.");
    refresh();
  }
  generation = state.generation;
  if (state.problem && state.problem !== before?.problem) notice(state.problem);
}

async function poll() {
  try {
    if (document.visibilityState === "visible" && files.length) {
      const states = await get("files");
      const lines = total();
      const complete = files[place.file].complete;
      files = states.map((state, index) => ({ ...files[index], ...state, generation: files[index].generation }));
      update(states[place.file]);
      if (complete && total() > lines) {
        const added = total() - lines;
        notice(`${count(added)} new ${added === 1 ? "row" : "rows"}: the file has ${count(total())} now.`);
      }
      if (!lines && total()) await show(1);
      // The last page, or the first one of a file that is being read, has more rows now.
      if (!filtered() && total() > lines && rows.length < PAGE) await loadPage(place.row);
      if (!complete && states[place.file].complete) values();
    }
  } catch (error) {
    if (error instanceof Gone) notice(error.message);
  }
  setTimeout(poll, files[place.file]?.complete ? 1500 : 500);
}

async function values() {
  const { sources, statuses } = await get("values", { file: place.file });
  $("sources").replaceChildren(...sources.map((name) => el("option", { value: name })));
  const options = statuses.includes(place.status) || !place.status ? statuses : [...statuses, place.status];
  $("status").replaceChildren(el("option", { value: "" }, "Any status"), ...options.map((name) => el("option", { value: name }, name)));
  $("status").value = place.status;
  $("status").disabled = !options.length;
}

// Show the place that the address names.
async function refresh() {
  stop();
  $("file").value = place.file;
  for (const name of FILTERS) $(name).value = place[name];
  $("clear").hidden = !filtered();
  if (filtered()) unfold("filters", "with-query", true);
  const shown = show(place.row);
  if (filtered()) loadFound(place.row).catch(failed);
  else loadPage(place.row).catch(failed);
  await shown;
  values().catch(failed);
}

function choose(file, row = 1) {
  generation = null;
  place = { file, row, text: "", source: "", status: "", mark: "" };
  refresh();
}

// ---- what the user does

$("file").addEventListener("change", () => choose(Number($("file").value)));
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("flagged").addEventListener("click", nextFlagged);
$("earlier").addEventListener("click", () => extend(true));
$("later").addEventListener("click", () => extend(false));
$("help").addEventListener("click", () => $("keys").showModal());
$("progress").lastElementChild.addEventListener("click", stop);
$("notice").lastElementChild.addEventListener("click", () => notice(""));
$("clear").addEventListener("click", () => { choose(place.file, place.row); $("text").focus(); });
// On a narrow screen the list and the filters are folded.
function unfold(button, name, open = !document.body.classList.contains(name)) {
  document.body.classList.toggle(name, open);
  $(button).setAttribute("aria-expanded", String(open));
}
$("toggle").addEventListener("click", () => unfold("toggle", "with-list"));
$("filters").addEventListener("click", () => unfold("filters", "with-query"));
document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); $("row").focus(); });

$("jump").addEventListener("submit", (event) => {
  event.preventDefault();
  const number = Number($("number").value.replace(/[\s,._]/g, ""));
  if (!Number.isInteger(number) || number < 1) return notice("Give the number of a row.");
  notice("");
  $("number").blur();
  go(number);
});

function submit() {
  // The Enter key in a field changes the field, and submits the form too.
  if (!files.length) return;
  if (search && FILTERS.every((name) => place[name] === $(name).value)) return;
  for (const name of FILTERS) place[name] = $(name).value;
  notice("");
  $("clear").hidden = !filtered();
  write();
  stop();
  if (filtered()) loadFound(1).catch(failed);
  else loadPage(place.row).catch(failed);
}
$("query").addEventListener("submit", (event) => { event.preventDefault(); document.activeElement?.blur(); submit(); });
$("status").addEventListener("change", submit);
$("mark").addEventListener("change", submit);
$("source").addEventListener("change", submit);

$("list").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  unfold("toggle", "with-list", false);
  notice("");
  show(Number(link.dataset.number));
});
window.addEventListener("hashchange", () => { read(); refresh(); });

function fold() {
  const parts = [...$("row").querySelectorAll("details")];
  const open = parts.some((part) => !part.open);
  for (const part of parts) part.open = open;
}

const KEYS = {
  j: () => { notice(""); step(1); },
  k: () => { notice(""); step(-1); },
  n: () => { notice(""); nextFlagged(); },
  g: () => { $("number").focus(); $("number").select(); },
  "/": () => { unfold("filters", "with-query", true); $("text").focus(); $("text").select(); },
  1: () => setMark("good"),
  2: () => setMark("bad"),
  0: () => setMark(""),
  m: () => $("note")?.focus(),
  o: fold,
  r: () => { raw = !raw; if (raw) showRaw(place.row).catch(failed); else $("row").querySelector(".raw")?.remove(); },
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, dialog");
  if (event.key === "Escape" && !$("keys").open) {
    stop();
    notice("");
    event.target.blur?.();
  }
  if (field || event.ctrlKey || event.metaKey || event.altKey) return;
  const call = KEYS[event.key];
  if (!call) return;
  event.preventDefault();
  call();
});

async function start() {
  files = await get("files");
  $("file").replaceChildren(...files.map((file, index) => el("option", { value: index }, file.name)));
  read();
  await refresh();
  setTimeout(poll, 500);
}

start().catch(failed);
