"""Follow a row back to its source row, through the manifests of the commands that made it."""
