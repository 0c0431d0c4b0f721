"""Run generated programs in confined processes."""
