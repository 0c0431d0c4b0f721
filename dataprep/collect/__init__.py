"""Join teachers' answers to references, and report how well they agree."""
