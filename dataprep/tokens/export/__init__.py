"""Save a tokenizer with its chat template so that `AutoTokenizer` loads it."""
