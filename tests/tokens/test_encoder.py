"""Many rows at once: the ids and masks of single rows, and no fault that the linter of single rows finds."""

import dataclasses

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.core.errors import RowError
from dataprep.core.io import Block
from dataprep.tokens.encoder import Batch, Encoder
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.linter import Linter
from dataprep.tokens.options import Encoded, spans_of, truncate
from dataprep.tokens.shards.collecting import EncodedBlock
from dataprep.tokens.tokenize import Documents
from tests.tokens.test_chat_formats import chat, chats
from tests.tokens_fakes import problems_of, reference
from tests.toy_tokenizer import ToyTokenizer


class ByteToy(ToyTokenizer):
    """The toy tokenizer, which can be asked for many texts at once."""

    def __init__(self):
        super().__init__()
        self.token_bytes = [*self._bytes, *[None] * (self.vocab_size - len(self._bytes))]


TOY = ByteToy()
LAYOUTS = {name: chat_format_of(name) for name in ("llama3", "chatml", "llama2")}
ROWS = [chat("What?", "This: é.", "And?", "No.", system="Short."), chat("a", "b"), chat("\n\nq", " a b\n")]
EOT, HEADER = TOY.special("<|eot_id|>"), TOY.special("<|start_header_id|>")


def batch_of(rows, chat_format):
    """The rows as a batch, and as the chat format reads them."""
    read = [chat_format.write({"messages": row}) for row in rows]
    return Encoder(TOY, chat_format).encode(read), read


@pytest.mark.medium
@pytest.mark.parametrize("name", LAYOUTS)
@given(rows=st.lists(chats(), max_size=4))
def test_a_batch_holds_what_single_rows_do(name, rows):
    """Any contents, in any number of turns, in each chat format."""
    batch, _ = batch_of(rows, LAYOUTS[name])
    alone = [reference(TOY, LAYOUTS[name], row) for row in rows]
    assert [*batch.results()] == alone
    assert [each.tolist() for each in Batch.of(alone)[:3]] == [each.tolist() for each in batch[:3]]


@pytest.mark.medium
@pytest.mark.parametrize("name", ["llama3", "chatml"])
@given(rows=st.lists(chats(), min_size=1, max_size=4))
def test_sound_rows_are_sound_in_a_batch(name, rows):
    """Of rows in which a linter finds nothing, the linter of batches is sure."""
    chat_format = LAYOUTS[name]
    batch, read = batch_of(rows, chat_format)
    found = [problems_of(reference(TOY, chat_format, row), row, TOY, chat_format) for row in rows]
    assert Linter(TOY, chat_format).all_sound(*batch[:3], read) == (not any(found))


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
@given(rows=st.lists(chats(), min_size=1, max_size=3), data=st.data())
@settings(max_examples=settings().max_examples * 3)
def test_no_fault_of_a_row_passes_in_a_batch(name, rows, data):
    """Whatever is done to ids, mask and lengths: where the linter of batches is sure, no row has a fault."""
    chat_format = LAYOUTS[name]
    batch, read = batch_of(rows, chat_format)
    ids, mask, lengths = (each.copy() for each in batch[:3])
    places = st.integers(0, ids.size - 1)
    for _ in range(data.draw(st.integers(1, 3))):
        change = data.draw(st.sampled_from(("id", "mask", "swap", "border")))
        here, there = data.draw(places), data.draw(places)
        if change == "id":
            ids[here] = data.draw(st.sampled_from((97, 255, 254, EOT, HEADER, TOY.vocab_size)) | places)
        elif change == "mask":
            mask[min(here, there) : max(here, there) + 1] ^= 1
        elif change == "swap":
            ids[[here, there]] = ids[[there, here]]
        elif lengths.size > 1:
            lengths[0] += 1
            lengths[1] -= 1
    changed = Batch(ids, mask, lengths, {})
    if lengths.min() > 0 and Linter(TOY, chat_format).all_sound(ids, mask, lengths, read):
        for encoded, row in zip(changed.results(), rows, strict=True):
            assert not problems_of(encoded, row, TOY, chat_format)


class Copied:
    """Arrays to plant faults in, and where the answers are: two of the first row, one of each other."""

    def __init__(self, batch):
        self.ids, self.mask, self.lengths = (each.copy() for each in batch[:3])
        self.spans = spans_of(batch.mask.tobytes())


def _end_untrained(rows):
    rows.mask[rows.spans[0][1] - 1] = 0


def _unknown(rows):
    rows.ids[2] = TOY.vocab_size


def _special_in_question(rows):
    rows.ids[20] = HEADER


def _special_in_answer(rows):
    rows.ids[rows.spans[0][0]] = HEADER


def _other_answer(rows):
    rows.ids[rows.spans[0][0]] += 1


def _answers_swapped(rows):
    first, second = rows.spans[1][0], rows.spans[2][0]
    rows.ids[[first, second]] = rows.ids[[second, first]]


def _answer_untrained(rows):
    rows.mask[slice(*rows.spans[1])] = 0


def _question_trained(rows):
    rows.mask[20] = 1


def _border_moved(rows):
    rows.lengths[0] += 1
    rows.lengths[1] -= 1


FAULTS = (
    _end_untrained,
    _unknown,
    _special_in_question,
    _special_in_answer,
    _other_answer,
    _answers_swapped,
    _answer_untrained,
    _question_trained,
    _border_moved,
)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault):
    """One fault in one of three rows: the batch is not sound; without it, it is."""
    chat_format = LAYOUTS["llama3"]
    batch, read = batch_of(ROWS, chat_format)
    linter = Linter(TOY, chat_format)
    assert linter.all_sound(*batch[:3], read)
    rows = Copied(batch)
    fault(rows)
    assert not linter.all_sound(rows.ids, rows.mask, rows.lengths, read)


def test_arrays_of_other_sizes_are_found():
    """A mask or lengths that do not fit the ids."""
    chat_format = LAYOUTS["llama3"]
    batch, read = batch_of(ROWS, chat_format)
    linter = Linter(TOY, chat_format)
    assert not linter.all_sound(batch.ids, batch.mask[:-1], batch.lengths, read)
    assert not linter.all_sound(*batch[:2], batch.lengths[:-1], read[:-1])


def test_a_content_that_names_a_special_token_is_found():
    """It is none, and yet a sign that the text was laid out before."""
    chat_format = LAYOUTS["llama3"]
    for named in (chat("a", "b <|eot_id|>"), chat("<|eot_id|>", "b")):
        batch, read = batch_of([ROWS[0], named], chat_format)
        assert not Linter(TOY, chat_format).all_sound(*batch[:3], read)
    batch, read = batch_of([ROWS[0], chat("<|", "eot_id|> <| b <|im_")], chat_format)
    assert Linter(TOY, chat_format).all_sound(*batch[:3], read)


# --- the encoder of `tokenize`


@pytest.mark.medium
@pytest.mark.sampled(4)
@pytest.mark.parametrize("truncation", ["error", "drop", "truncate"])
@pytest.mark.parametrize("longest", [None, 40, 50])
@given(rows=st.lists(chats() | st.just(chat("q <|eot_id|>", "a")) | st.just(ROWS[0]), max_size=4))
def test_rows_are_encoded_alike_at_once_and_one_by_one(longest, truncation, rows):
    """With a tokenizer that is asked for batches and one that is not: ids, masks, errors and cut answers."""
    chat_format = LAYOUTS["llama3"]
    results = []
    for tokenizer in (TOY, ToyTokenizer()):
        encoder = Encoder(tokenizer, chat_format, longest, truncation)
        found = encoder.encode_checked([encoder.read({"messages": row}) for row in rows]).results()
        shown = [(type(each), str(each)) if isinstance(each, RowError) else each for each in found]
        results.append((shown, encoder.cut))
    assert results[0] == results[1]


def test_sound_rows_are_not_looked_at_one_by_one(monkeypatch):
    """Too long rows alone are cut out of a batch; a fault is found row by row."""
    encoder = Encoder(TOY, LAYOUTS["llama3"])
    read = [encoder.read({"messages": row}) for row in ROWS]
    alone = [reference(TOY, LAYOUTS["llama3"], row) for row in ROWS]
    with monkeypatch.context() as patch:
        patch.setattr(Linter, "problems", None)
        assert [*encoder.encode_checked(read).results()] == alone
        cutting = Encoder(TOY, LAYOUTS["llama3"], 60, "truncate")
        assert [*cutting.encode_checked(read).results()] == [
            truncate(each, 60, "truncate").encoded for each in alone
        ]
    named = [encoder.read({"messages": chat("q", "<|eot_id|>")})]
    results = [*encoder.encode_checked(read + named).results()]
    assert [type(each) for each in results] == [Encoded] * 3 + [RowError]


def test_a_text_that_fails_is_the_error_of_its_own_rows_only():
    """In a batch with errors the other rows keep their tokens, and each error its index."""
    chat_format = LAYOUTS["llama3"]
    read = [chat_format.write({"messages": row}) for row in (ROWS[0], chat("\ud800", "b"), ROWS[1])]
    for tokenizer in (TOY, ToyTokenizer()):
        batch = Encoder(tokenizer, chat_format).encode(read)
        assert list(batch.errors) == [1]
        first, error, last = batch.results()
        assert isinstance(error, RowError)
        assert [first, last] == [reference(TOY, chat_format, row) for row in ROWS[:2]]


def block_of(rows):
    """A block of lines in memory."""
    data = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    return Block("rows.jsonl", data=data, first=True)


REFUSED, LONG, NAMED = (
    {"messages": []},
    {"messages": chat("q", "a" * 99)},
    {"messages": chat("q", "<|eot_id|>")},
)
SOUND = {"messages": chat("a", "b")}


@pytest.mark.parametrize(
    ("rows", "places"),
    [
        ([SOUND, SOUND], [0, 1]),
        ([REFUSED, SOUND, REFUSED, SOUND], [1, 3]),
        ([SOUND, LONG, SOUND], [0, 2]),
        ([REFUSED, SOUND, LONG, SOUND, NAMED, SOUND], [1, 3, 5]),
        ([REFUSED, NAMED], []),
    ],
)
def test_documents_of_a_block_know_their_rows(rows, places):
    """Whether all rows are encoded at once or one by one, and whatever was left out before them."""
    outcomes = []
    for tokenizer in (TOY, ToyTokenizer()):
        outcome = Documents(Encoder(tokenizer, LAYOUTS["llama3"], 60, "drop"))(block_of(rows))
        made = EncodedBlock(*outcome.payload)
        assert made.rows(0).tolist() == places
        assert len(made.lengths) == len(places) == outcome.rows_out
        left_out = len(outcome.failures) + sum(outcome.dropped.values())
        assert outcome.rows_in == len(rows) == outcome.rows_out + left_out
        outcomes.append(
            dataclasses.asdict(outcome) | {"payload": (made.lengths.tolist(), made.bits, made.cut)}
        )
    assert outcomes[0] == outcomes[1]
