"""Recipes: what published trainers do, as options of ``dataprep train``.

A recipe is the default of the options that it names. Options that are given win over it, in the library, in
a file of options and on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

Options = TypeVar("Options")

# The trainer of TinyLLM (Tian et al., arXiv 2402.04616), https://github.com/YikunHan42/TinyLLM: `tiny.py` and
# `train_utils.py`, and the defaults of Hugging Face's trainer that they use. The wording of questions and the
# prefixes of its tasks are those of the objective, with and without the recipe.
_TINYLLM = {
    "gamma": 1.0,  # and 1 for each teacher, which is the default of --alpha and --beta
    "keep_status": ("all",),
    "cue": True,
    # The file also has longer inputs for some sets, in variables that nothing reads.
    "max_length": 100,
    "max_target_length": 256,
    "truncation": "truncate",
    "keep_end": True,
    "learning_rate": 5e-5,
    "schedule": "linear",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "adam_beta2": 0.999,
    "clip": 1.0,
    "batch_size": 8,
    "accumulate": 8,
    "steps": 10_000,
    "seed": 0,
}
RECIPES: Mapping[str, Mapping[str, Any]] = {"tinyllm": _TINYLLM}
# An option that is given takes the place of another one too.
_INSTEAD = {"epochs": "steps"}


def with_recipes(cls: type[Options]) -> type[Options]:
    """Return a class of options whose constructor takes defaults from the recipe that is given to it."""
    construct: Callable[..., None] = cls.__init__

    # Only the constructor knows which options were given. `dataclasses.replace` gives all of them.
    @wraps(construct)
    def init(self: Options, *args: Any, recipe: str | None = None, **given: Any) -> None:
        replaced = {other for name, other in _INSTEAD.items() if given.get(name) is not None}
        defaults = {key: value for key, value in RECIPES.get(recipe or "", {}).items() if key not in replaced}
        construct(self, *args, recipe=recipe, **(defaults | given))

    cls.__init__ = init  # type: ignore[method-assign,assignment]
    return cls


def describe_recipe(options: Any) -> dict[str, Any] | None:
    """Return a recipe's name, what it set, and what was given instead, for the run's records."""
    if options.recipe is None:
        return None
    recipe = RECIPES[options.recipe]
    values = {name: getattr(options, name) for name in (*recipe, *_INSTEAD)}
    values = {name: value for name, value in values.items() if value is not None}
    set_by_recipe = {name: value for name, value in values.items() if value == recipe.get(name)}
    given = {name: value for name, value in values.items() if name not in set_by_recipe}
    return {"name": options.recipe, "set": set_by_recipe, "given": given}
