"""The style sheet of a review's page, beside what all pages have: on screens of any width and on paper."""

STYLE = """\
:root {
  --bar: #3a78b8; --uniform: #1d1c1a; --gold: #c9c4b8;
  --ok: #3a78b8; --length: #d9a62e; --refused: #8a5fb0; --empty: #b3aea4; --failed: #c23b3b;
  --right: #2f8f6b; --wrong: #d4713a; --unread: #b3aea4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bar: #5b9bdc; --uniform: #e9e6df; --gold: #5c5952;
    --ok: #5b9bdc; --length: #e2b84c; --refused: #b08ad6; --empty: #6f6b64; --failed: #e06666;
    --right: #4db58d; --wrong: #e58a55; --unread: #6f6b64;
  }
}
main { max-width: 54rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 0.75rem; }
h3 { font-size: 1rem; margin: 2rem 0 0.5rem; }
p { max-width: 44rem; }
.note, figcaption, footer { font-size: 0.85rem; }
section { margin-top: 2.5rem; padding-top: 2rem; }
.wide { overflow-x: auto; }
figure { margin: 1.75rem 0; }
figcaption { margin-top: 0.4rem; }
svg { display: block; width: 100%; min-width: 34rem; height: auto; font-family: inherit; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { fill: var(--ink); font-variant-numeric: tabular-nums; }
table {
  border-collapse: collapse; margin: 0.5rem 0 1rem;
  font-variant-numeric: tabular-nums; font-size: 0.9rem;
}
th, td {
  padding: 0.3rem 0.75rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
}
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; }
tr > :first-child { text-align: start; padding-left: 0; }
th[scope="row"] { font-weight: 600; }
.names { width: 100%; }
.names th[scope="row"], td.name { text-align: start; min-width: 9rem; overflow-wrap: anywhere; }
.names thead th:nth-child(2):nth-last-child(5) { text-align: start; }
.confusion th, .confusion td { padding: 0.3rem 0.5rem; min-width: 2.4rem; text-align: center; }
.many th, .many td { padding: 0.2rem 0.1rem; min-width: 1.55rem; font-size: 0.75rem; }
.many th:last-child, .many td:last-child { padding-left: 0.6rem; }
.confusion td { border: 1px solid var(--page); }
.confusion td:last-child { text-align: right; color: var(--muted); }
.confusion .right { background: color-mix(in srgb, var(--right) var(--tint, 0%), var(--panel)); }
.confusion .wrong { background: color-mix(in srgb, var(--wrong) var(--tint, 0%), var(--panel)); }
.confusion .none { background: var(--panel); color: var(--muted); }
.replies { width: 100%; table-layout: fixed; }
.replies th, .replies td { overflow-wrap: anywhere; text-align: start; }
.replies th:first-child { width: 32%; font-weight: 400; color: var(--muted); }
.replies tbody th { font: 0.8rem/1.75 ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace; }
.replies td { white-space: pre-wrap; }
.tests { margin: 0; padding-left: 1.1rem; }
@media print { section { break-inside: avoid-page; } main { max-width: none; } }
"""
