"""What a reply is worth by its task's own metric, and how sure a figure is; pure functions."""
