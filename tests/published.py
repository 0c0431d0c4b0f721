"""Code that the documentation shows, for tests that compare with it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def published_order():
    """Return the function ``order(counts, quotas, seed)`` of ``docs/commands/mix.md``."""
    page = (ROOT / "docs/commands/mix.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(code, names)
    return names["order"]
