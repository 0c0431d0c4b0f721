"""Parts of models that make training on packed rows exact and cheap."""
