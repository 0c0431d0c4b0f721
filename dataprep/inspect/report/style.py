"""The rules of a report's page, after those of all pages and of reviews."""

STYLE = """\
:root {
  --role-system: #7b6a9c; --role-user: #3a78b8; --role-assistant: #2f8f6b; --role-tool: #b0762a;
  --role-reasoning: #3f8f94; --role-calls: #b8577f; --role-field: #7d776b; --focus: #1a5fb4;
  --link: #24588f; --mark: #fbe7a6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --role-system: #a994cf; --role-user: #5b9bdc; --role-assistant: #4db58d; --role-tool: #d79a4a;
    --role-reasoning: #66b9be; --role-calls: #dc86ab; --role-field: #a29d93; --focus: #8ab8f0;
    --link: #8ab8f0; --mark: #5c4a12;
  }
}
html { scroll-padding-top: 1rem; }
main { max-width: 60rem; }
a { color: var(--link); text-underline-offset: 0.15em; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 0.15rem; }
.skip { position: absolute; left: 1rem; top: -4rem; padding: 0.5rem 0.9rem; background: var(--page); }
.skip:focus { top: 0.5rem; z-index: 1; }
h1, h3, h4, summary, figcaption, caption, dd { overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 0.5rem; }
h4 { font-size: 0.95rem; margin: 1.25rem 0 0.35rem; }
nav ul {
  display: flex; flex-wrap: wrap; gap: 0.25rem 1.1rem; margin: 1rem 0 0; padding: 0; list-style: none;
}
.files { margin: 0 0 0.75rem; padding-left: 1.2rem; }
.files code { overflow-wrap: anywhere; }
caption { text-align: start; color: var(--muted); font-size: 0.85rem; padding-bottom: 0.35rem; }
th[scope="row"] { font-weight: 500; overflow-wrap: anywhere; min-width: 6rem; }
thead bdi { overflow-wrap: anywhere; display: inline-block; min-width: 4.5rem; }
td small { color: var(--muted); white-space: nowrap; }
.bar {
  display: block; width: 7rem; max-width: 100%; height: 0.4rem; margin: 0.2rem 0 0.15rem auto;
  background: var(--panel);
}
.bar span { display: block; height: 100%; border-radius: 0 0.1rem 0.1rem 0; }
.charts {
  display: grid; gap: 0.5rem 2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem),
  1fr));
}
.charts figure { margin: 0.75rem 0 0.25rem; min-width: 0; max-width: 29rem; }
.charts.pair { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.charts figcaption { margin: 0 0 0.35rem; color: var(--ink); font-size: 0.9rem; }
.swatch { display: inline-block; width: 0.65em; height: 0.65em; margin-right: 0.4em; }
svg { min-width: 0; overflow: hidden; }
svg .line { stroke: var(--line); } svg .tick { stroke: var(--muted); }
svg text { font-size: 11px; }
summary {
  cursor: pointer; color: var(--link); font-size: 0.9rem; padding: 0.15rem 0; width: fit-content;
  max-width: 100%;
}
details { margin: 0.35rem 0 0.75rem; }
.share { margin: 0.25rem 0 0.35rem; } .share svg { height: 16px; max-width: 40rem; }
.key2 { margin: 0 0 0.5rem; font-size: 0.85rem; }
.key2 span { white-space: nowrap; margin-right: 1rem; }
.key2 i { display: inline-block; width: 0.7em; height: 0.7em; margin-right: 0.35em; border-radius: 0.15em; }
.s-ok { fill: var(--ok); background: var(--ok); }
.s-truncated { fill: var(--length); background: var(--length); }
.s-runaway { fill: var(--refused); background: var(--refused); }
.s-empty { fill: var(--empty); background: var(--empty); }
.s-no_answer { fill: var(--unknown); background: var(--unknown); }
.s-answer_mismatch { fill: var(--failed); background: var(--failed); }
.s-unjudged { fill: var(--gold); background: var(--gold); }
.s-other { fill: var(--muted); background: var(--muted); }
article {
  border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.75rem 0.9rem; margin: 0.75rem 0;
  min-width: 0;
}
article h3, article h4, article h5 {
  margin: 0 0 0.25rem; font-size: 0.9rem; font-weight: 600; overflow-wrap: anywhere;
}
article .note { margin: 0 0 0.5rem; }
.turn {
  border-left: 3px solid var(--role-field); padding: 0.1rem 0 0.1rem 0.75rem; margin: 0.65rem 0;
  min-width: 0;
}
.turn > p { margin: 0; font-size: 0.8rem; color: var(--muted); }
.turn .text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.92rem; line-height: 1.5; }
.turn .code { font: 0.82rem/1.5 ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace; }
.turn.system, .turn.developer { border-color: var(--role-system); }
.turn.user { border-color: var(--role-user); }
.turn.assistant { border-color: var(--role-assistant); } .turn.tool { border-color: var(--role-tool); }
.turn.reasoning { border-color: var(--role-reasoning); } .turn.call { border-color: var(--role-calls); }
mark { background: var(--mark); color: inherit; border-radius: 0.15rem; }
.more { color: var(--muted); font-size: 0.85em; font-style: italic; }
.fields {
  display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0.1rem 0.75rem; margin: 0.6rem 0 0;
  font-size: 0.82rem;
}
.fields dt { color: var(--muted); } .fields dd { margin: 0; }
.two { display: grid; gap: 0 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.two > * { min-width: 0; }
.two article { margin: 0.4rem 0; }
.key { max-width: none; }
blockquote {
  margin: 0.25rem 0 0.75rem; padding-left: 0.75rem; border-left: 3px solid var(--line); overflow-wrap:
  anywhere; font-size: 0.9rem;
}
.warning { border-left: 3px solid var(--failed); padding-left: 0.75rem; }
@media (max-width: 40rem) {
  h1 { font-size: 1.6rem; }
  th, td { padding: 0.3rem 0.4rem; }
  table { font-size: 0.82rem; }
  .bar { width: 3.5rem; }
  table.rows caption { display: block; }
  .rows td > span { text-align: end; min-width: 0; overflow-wrap: anywhere; }
  .rows th[scope="row"] { display: block; text-align: start; font-weight: 600; }
}
"""
