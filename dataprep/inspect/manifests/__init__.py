"""Check files against their manifests, and run the commands in them again."""
