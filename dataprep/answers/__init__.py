"""What an answer says: letter, number, conclusion, quality; and the format of rationale files."""
