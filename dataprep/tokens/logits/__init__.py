"""A teacher's likeliest tokens at each token in the loss of shards: packed, written once, read at random."""
