"""Ask teacher models, and keep every answer that they give."""
