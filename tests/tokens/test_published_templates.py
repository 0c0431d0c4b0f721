"""The chat templates that TRL ships, as models are published with them: ids as transformers makes them."""

import importlib.util
import re
from pathlib import Path

import pytest

from dataprep.core.errors import RowError
from dataprep.tokens.options import spans_of
from tests.chat_oracle import (
    byte_level,
    check_rows,
    encoder_of,
    expected_of,
    explain,
    is_equal,
    save_tokenizer,
)
from tests.chat_rows import ROWS

SPEC = importlib.util.find_spec("trl")
FOLDER = Path(SPEC.origin).parent / "chat_templates" if SPEC and SPEC.origin else Path("none")
ALL = sorted(FOLDER.glob("*.jinja"))
PATHS = [path for path in ALL if "_training" not in path.stem]
MARKED = [path for path in ALL if re.search(r"{%-? generation", path.read_text("utf-8"))]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PATHS, reason="trl is not installed: pip install -e '.[bench]'"),
]

BOS, EOS = "<bos>", "<eos>"
# What looks like a special token in a template, also names that it makes of a role; and marks that
# tokenizers list as added tokens without calling them special.
_SPECIAL = re.compile(r"<[|｜][^\s<>{}']*>|<[^\s<>{}'|｜]+\|>|<\w+_of_\w+>|<image>|\[gMASK\]|<sop>|</s>")
_ADDED = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_ROLES = ("<|system|>", "<|developer|>", "<|user|>", "<|assistant|>", "<|tool|>")

PLAIN = ("one turn", "system", "two turns", "two turns without system")


def model(folder, template):
    """A tokenizer that knows a template's special tokens, trained on the template's own text."""
    names = sorted({BOS, EOS, *_ROLES, *_SPECIAL.findall(template)} - {*_ADDED})
    made = byte_level(template.splitlines(keepends=True) * 2)
    return save_tokenizer(folder, made, names, [name for name in _ADDED if name in template], BOS, EOS)


def is_unknown(found):
    """Whether a row is an error because the loss mask is unknown."""
    return isinstance(found, RowError) and found.reason == "the loss mask is unknown"


def as_parts(row):
    """A row whose contents are lists of one part."""
    messages = [m | {"content": [{"type": "text", "text": m["content"]}]} for m in row["messages"]]
    return row | {"messages": messages}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_row_has_the_ids_of_transformers(tmp_path, path):
    """Plain rows, reasoning, tools and calls: the ids of apply_chat_template, or an error for an error."""
    template = path.read_text("utf-8")
    pair = model(tmp_path, template)
    rows = {title: row for title, row in ROWS.items() if "thoughts" not in title}
    found = dict(zip(rows, encoder_of(pair, template).encode_rows([*rows.values()]), strict=True))
    expected = {title: expected_of(pair.theirs, row, template) for title, row in rows.items()}
    faults = [
        f"{title}: {explain(pair, rows[title], expected[title], found[title])}"
        for title in rows
        if not is_equal(expected[title], found[title], masks=False) and not is_unknown(found[title])
    ]
    # Gemma 4 writes the results of tools into the turn that calls them, before its content.
    unknown = {title for title in rows if is_unknown(found[title])}
    assert unknown <= ({"calls with content and reasoning"} if "gemma4" in path.stem else set())
    assert not faults, f"{len(faults)} of {len(rows)} rows differ\n" + "\n\n".join(faults[:2])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_answers_and_their_ends_are_in_the_loss(tmp_path, path):
    """In plain rows each span holds one answer and ends with a special token; no header is in the loss."""
    template = path.read_text("utf-8")
    pair = model(tmp_path, template)
    special_ids = set(pair.ours.special_tokens.values())
    ends = "|".join(map(re.escape, sorted(pair.ours.special_tokens, key=len, reverse=True)))
    own_newline = r"\n?" if "generation" in template else ""  # an author's marks may hold it
    taken = 0
    for title in PLAIN:
        row = ROWS[title]
        expected = expected_of(pair.theirs, row, template)
        if isinstance(expected, Exception) or "the dog" not in expected.text:
            row = as_parts(row)  # some templates take contents in this form only
            expected = expected_of(pair.theirs, row, template)
        if isinstance(expected, Exception):
            continue
        taken += 1
        (found,) = encoder_of(pair, template).encode_rows([row])
        assert not isinstance(found, RowError), f"{title}: {found}"
        answers = [
            message["content"] for message in ROWS[title]["messages"] if message["role"] == "assistant"
        ]
        learned = [pair.theirs.decode(found.ids[slice(*span)]) for span in spans_of(found.mask)]
        # An answer and what ends its turn, and perhaps the end of the text on its own; no header.
        for answer in answers:
            whole = rf"\s*{re.escape(answer)}\s*({ends})*{own_newline}"
            assert re.fullmatch(whole, text := learned.pop(0)), (title, text)
        assert all(re.fullmatch(f"({ends})+", text) for text in learned), (title, learned)
        # Whatever special token stands behind the last answer is in the loss.
        behind = expected.text.rpartition(answers[-1])[2]
        number = len(re.findall(ends, behind))
        special = [bit for id, bit in zip(found.ids, found.mask, strict=True) if id in special_ids]
        assert sum(special[-number:]) == number if number else not special[-1], (title, behind)
    assert taken


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.stem)
def test_marks_of_published_templates_are_as_transformers_reads_them(tmp_path, path):
    """Templates with marks of their own, among them those that TRL trains with: ids and masks."""
    template = path.read_text("utf-8")
    pair = model(tmp_path, template)
    rows = [row for title, row in ROWS.items() if "thoughts" not in title]
    assert check_rows(pair, path.stem, rows, template=template, marked=template)
