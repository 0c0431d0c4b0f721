"""Join teachers' answers to references, and report how well they agree.

The package can be called as its main function: ``dataprep.collect("responses.jsonl", "examples.jsonl")``.
"""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    def __call__(self, responses: Any, examples: Any, **options: Any) -> Iterator[dict[str, Any]]:
        """Join teachers' answers to their Examples; see ``collector.collect``."""
        from dataprep.collect.collector import collect

        return collect(responses, examples, **options)


# Importing a module of the package makes `dataprep.collect` the package, whatever it was before.
sys.modules[__name__].__class__ = _Package
