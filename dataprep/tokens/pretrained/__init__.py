"""A tokenizer and a layout as a directory that ``AutoTokenizer.from_pretrained`` loads.

``saving`` writes the directory, ``rank_documents`` and ``sentencepiece_documents`` make a ``tokenizer.json``
of other kinds of files (``piece_file`` reads SentencePiece's), ``chat_templates`` writes layouts in jinja,
``roles`` tells the tokens that begin, end and fill up, and ``checks`` compares what was written with our own
ids and masks.
"""

from dataprep.tokens.pretrained.roles import generation_ids
from dataprep.tokens.pretrained.saving import save_pretrained

__all__ = ["generation_ids", "save_pretrained"]
