"""What a reply is worth: each task's own metric, and how sure a figure is. Pure functions of texts and numbers."""
