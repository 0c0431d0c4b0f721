"""Score a reply with the official metric of its task, with confidence intervals."""
