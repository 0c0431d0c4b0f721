// Draw rows. Texts come from data: they only ever become text nodes.

const STATUSES = new Set([
  "ok", "unknown", "length", "refused", "empty", "failed", "missing",
  "answer_mismatch", "runaway", "truncated", "no_answer", "unjudged", "wrong", "right",
]);
const LONG = 600;

export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const count = (number) => number.toLocaleString("en");

export function bytes(size) {
  if (size < 1000) return `${size} bytes`;
  return size < 1e6 ? `${(size / 1e3).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

// A text in which what was searched for is marked.
function marked(text, wanted) {
  const pieces = document.createDocumentFragment();
  const lower = wanted ? text.toLowerCase() : "";
  let at = 0;
  // Letters that are longer in lower case would shift the places.
  if (wanted && lower.length === text.length) {
    // Tens of thousands of marks would take a browser seconds.
    for (let found, left = 500; left-- && (found = lower.indexOf(wanted, at)) >= 0; at = found + wanted.length) {
      pieces.append(text.slice(at, found), el("mark", {}, text.slice(found, found + wanted.length)));
    }
  }
  pieces.append(text.slice(at));
  return pieces;
}

function statusChip(status) {
  return el("span", { class: "chip", "data-status": STATUSES.has(status) ? status : "other" }, status);
}

class Drawing {
  constructor(context) {
    this.wanted = context.text.toLowerCase();
    this.showAll = context.showAll;
  }

  text(block, mono) {
    const body = el("div", { class: mono ? "text mono" : "text", dir: "auto" }, marked(block.text, this.wanted));
    if (!block.cut) return body;
    const shown = `Cut: ${count(block.length - block.cut)} of ${count(block.length)} characters are shown. `;
    const all = el("button", { type: "button", on: { click: this.showAll } }, "Show all");
    return el("div", {}, body, el("p", { class: "cut" }, shown, all));
  }

  folded(title, block, mono, open = false) {
    const has = this.wanted !== "" && block.text.toLowerCase().includes(this.wanted);
    const size = el("span", { class: "muted" }, ` ${count(block.length)} characters`);
    return el("details", { open: open || has }, el("summary", {}, title, size), this.text(block, mono));
  }

  block(block) {
    if (block.kind === "reasoning") return this.folded("Reasoning", block, false);
    if (block.kind === "tools") return this.folded("Tools", block, true);
    if (block.kind === "call") {
      const title = el("div", { class: "call-title" }, "calls ", el("code", {}, block.title || "a tool"));
      return el("div", { class: "call" }, title, this.text(block, true));
    }
    if (block.kind === "field") return this.field(block);
    const title = block.title ? el("div", { class: "muted small" }, block.title) : null;
    return el("div", {}, title, this.text(block, /^\s*[[{]"/.test(block.text)));
  }

  field(block) {
    const structured = /^[[{]/.test(block.text);
    if (structured && block.length > LONG) return this.folded(block.title, block, true);
    return el("div", { class: "field" }, el("div", { class: "label" }, block.title || "value"), this.text(block, structured));
  }

  message(message) {
    const known = ["system", "developer", "user", "assistant", "tool"].includes(message.role);
    return el(
      "article",
      { class: "message", "data-role": known ? message.role : "other" },
      el("h3", { class: "label" }, message.role || "no role"),
      ...message.blocks.map((block) => this.block(block)),
    );
  }

  choices(choices) {
    if (!choices.length) return null;
    const items = choices.map((choice) =>
      el("li", { "data-right": choice.right },
        el("span", { class: "letter" }, `(${choice.label})`), " ", el("span", {}, marked(choice.text, this.wanted)),
        choice.right ? el("span", { class: "chip", "data-status": "right" }, "right answer") : null));
    return el("section", { class: "field" }, el("h3", { class: "label" }, "choices"), el("ol", { class: "choices" }, ...items));
  }

  column(column, onOpen) {
    const agrees = { true: ["right", "agrees"], false: ["wrong", "other answer"] }[String(column.agrees)];
    const facts = column.facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
    const other = column.number !== undefined && !column.this;
    return el(
      "article",
      { class: "column", "aria-current": column.this ? "true" : undefined },
      el("h3", {}, column.name),
      el("p", { class: "chips" },
        column.status ? statusChip(column.status) : null,
        agrees ? el("span", { class: "chip", "data-status": agrees[0] }, agrees[1]) : null,
        other ? el("button", { type: "button", class: "small", on: { click: () => onOpen(column) } }, `Row ${count(column.number)}`) : null),
      ...column.blocks.map((block) => this.block(block)),
      facts.length ? el("dl", { class: "facts" }, ...facts) : null,
    );
  }

  columns(columns, onOpen) {
    if (!columns.length) return null;
    return el("section", { class: "columns", "aria-label": "Teachers" }, ...columns.map((column) => this.column(column, onOpen)));
  }
}

export function drawRow(row, context) {
  const drawing = new Drawing(context);
  const facts = row.facts.map(([name, value]) => el("span", {}, el("span", { class: "muted" }, `${name} `), value));
  const findings = row.findings.map(([kind, detail]) => el("li", {}, el("strong", {}, kind), detail ? `: ${detail}` : ""));
  const isRecord = row.kind === "labelled" || row.kind === "example";
  const fields = row.fields.map((block) => drawing.block(block));
  const questions = isRecord ? row.fields.findIndex((block) => !["question", "context"].includes(block.title)) : 0;
  const split = questions < 0 ? fields.length : questions;
  const more = row.more
    ? el("p", { class: "cut" }, `${count(row.more)} more parts are not shown. `,
        el("button", { type: "button", on: { click: context.showAll } }, "Show all"))
    : null;
  return [
    el("div", { class: "place" },
      el("h1", { title: row.place }, `Row ${count(row.number)}`),
      el("p", { class: "meta" }, ...facts, el("span", { class: "muted" }, bytes(row.size)))),
    findings.length ? el("ul", { class: "findings", "aria-label": "Faults" }, ...findings) : null,
    el("div", { id: "request" }),
    ...fields.slice(0, isRecord ? split : 0),
    drawing.choices(row.choices),
    el("div", { id: "teachers" }, drawing.columns(row.columns, context.open) ?? ""),
    ...row.messages.map((message) => drawing.message(message)),
    ...fields.slice(isRecord ? split : 0),
    more,
  ].filter((part) => part !== null);
}

export function drawSame(same, context) {
  const drawing = new Drawing(context);
  const request = same.request
    ? [el("h2", { class: "label" }, "request"), ...same.request.messages.map((message) => drawing.message(message))]
    : [];
  return { request, columns: same.columns.length > 1 ? drawing.columns(same.columns, context.open) : null };
}

export function drawRaw(block, context) {
  const drawing = new Drawing(context);
  return el("section", { class: "raw", "aria-label": "JSON" }, el("h2", { class: "label" }, "JSON"), drawing.text(block, true));
}

export function drawItem(row, href, current) {
  const statuses = (row.statuses ?? []).map(([name, status]) =>
    el("span", { class: "dot", "data-status": STATUSES.has(status) ? status : "other", title: name ? `${name}: ${status}` : status }));
  const mark = row.mark;
  const badges = [
    row.flagged ? el("span", { class: "badge", "data-badge": "fault", title: "not valid" }, "fault") : null,
    mark?.mark ? el("span", { class: "badge", "data-badge": mark.mark }, mark.mark) : null,
    mark?.note ? el("span", { class: "badge", title: mark.note }, "note") : null,
  ];
  const small = el("span", { class: "about" },
    el("span", { class: "number" }, count(row.number)),
    row.source ? el("span", { class: "source" }, row.source) : null,
    row.size > 1e5 ? el("span", {}, bytes(row.size)) : null,
    statuses.length ? el("span", { class: "dots" }, ...statuses) : null,
    ...badges);
  const link = el("a", { href, "aria-current": current ? "true" : undefined, "data-number": row.number },
    small, el("span", { class: "title", dir: "auto" }, row.title || "(no text)"));
  return el("li", {}, link);
}
