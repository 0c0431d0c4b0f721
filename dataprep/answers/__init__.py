"""Read answers: letter, number, conclusion and quality, and the format of rationale files."""
