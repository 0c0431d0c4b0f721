"""Experiments on real models, whose results ``docs/results.md`` shows; ``make results`` runs them."""
