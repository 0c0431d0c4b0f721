"""Chat formats and masks: against the published formats, against transformers, and on any contents."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import FileError, RowDropped, RowError, TemplateError, TokenizerError, UsageError
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.options import Encoded, spans_of, truncate
from dataprep.tokens.tokenizers.base import decode_after
from tests import chat_templates as templates
from tests.real import needs_llama3
from tests.strategies import filled_texts
from tests.tokens_fakes import encode, encode_one, reference, segments
from tests.toy_tokenizer import NAMES, OTHERS, ToyTokenizer, llama3

TOY, DUMMY = ToyTokenizer(), ToyTokenizer(dummy=True)
DATE = "26 Jul 2024"


def chat(*contents, system=None):
    """Messages of user and assistant in turn, after a system message where one is given."""
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(contents)]
    return ([{"role": "system", "content": system}] if system else []) + messages


def coloured(encoded, tokenizer=TOY):
    """A row as text: what is trained between brackets."""
    text, start = "", 0
    for first, last in spans_of(encoded.mask):
        text += tokenizer.decode(encoded.ids[start:first]) + "⟦"
        text += tokenizer.decode(encoded.ids[first:last]) + "⟧"
        start = last
    return text + tokenizer.decode(encoded.ids[start:])


def named_texts():
    """Texts with the names of special tokens in them, and white space at their ends."""
    piece = filled_texts(8) | st.sampled_from((*NAMES, *OTHERS, "\n\n", " ", "\r\n\r\n", "<|", "[/INST]"))
    return st.lists(piece, min_size=1, max_size=5).map("".join).filter(str.strip)


def chats(texts=named_texts):
    """Well-formed conversations of one or several exchanges, with or without a system message."""
    exchange = st.tuples(texts(), texts())
    turns = st.lists(exchange, min_size=1, max_size=3).map(
        lambda pairs: [text for pair in pairs for text in pair]
    )
    return st.builds(lambda turns, system: chat(*turns, system=system), turns, st.none() | texts())


def plain_texts():
    """Texts without names of special tokens, and without line breaks at their beginning.

    A template's text is encoded as one, so such a line break can be merged with that of a header.
    """
    return filled_texts(20).filter(lambda text: "<" not in text and not text[0].isspace())


# --- the published formats


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "llama3",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n⟦A<|eot_id|>⟧"
            "<|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n⟦a<|eot_id|>⟧",
        ),
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
            "⟦A<|im_end|>⟧\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n",
        ),
        (
            "llama2",
            "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST]⟦ A </s>⟧<s>[INST] q [/INST]⟦ a </s>⟧",
        ),
    ],
)
def test_a_layout_is_written_as_published(name, expected):
    """Each format, letter by letter, with exactly the answers and their ends trained."""
    encoded = encode_one(TOY, chat_format_of(name), chat("Q", "A", "q", "a", system="S"))
    assert coloured(encoded) == expected


def test_llama2_is_encoded_as_metas_reference_does():
    """Question and answer in one text, where the tokenizer puts a space before each text by itself."""
    encoded = encode_one(DUMMY, chat_format_of("llama2"), chat("Q", "A", "q", "a", system="S"))
    first = "[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A "
    begin, end = DUMMY.special("<s>"), DUMMY.special("</s>")
    second = "[INST] q [/INST] a "
    assert encoded.ids == [begin, *DUMMY.encode(first), end, begin, *DUMMY.encode(second), end]
    answers = [DUMMY.decode(encoded.ids[slice(*span)]) for span in spans_of(encoded.mask)]
    assert answers == ["A </s>", "a </s>"]


def test_strip_and_date_are_off_until_they_are_asked_for():
    """Contents stay as they are, and no date is written, unless an option says so."""
    messages = chat(" Q\n", "\tA ", system=" S ")
    plain = coloured(encode_one(TOY, chat_format_of("llama3"), messages))
    assert "\n\n S <|eot_id|>" in plain
    assert "⟦\tA <|eot_id|>⟧" in plain
    assert "Date" not in plain
    both = coloured(encode_one(TOY, chat_format_of("llama3", strip=True, date=DATE), messages))
    head = f"Cutting Knowledge Date: December 2023\nToday Date: {DATE}\n\n"
    assert f"system<|end_header_id|>\n\n{head}S<|eot_id|>" in both
    assert "⟦A<|eot_id|>⟧" in both


def test_options_have_fingerprints():
    """No two chat formats that write otherwise share a fingerprint; equal ones do."""
    made = [
        chat_format_of(name, strip=strip, date=date)
        for name in ("llama3", "chatml", "llama2")
        for strip in (False, True)
        for date in (None, DATE)
        if date is None or name == "llama3"
    ]
    assert len({each.fingerprint for each in made}) == len(made)
    assert chat_format_of("llama3", date=DATE).fingerprint == chat_format_of("llama3", date=DATE).fingerprint


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("alpaca", {}, "llama3, chatml, llama2, plain, template"),
        ("template", {}, "model directory"),
        ("chatml", {"date": DATE}, "writes no date"),
        ("llama3", {"date": "26.07.2024"}, "26 Jul 2024"),
        ("llama3", {"path": "x"}, "fixed"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(name, options, says):
    """What cannot be served is said, with what can."""
    with pytest.raises(UsageError, match=says):
        chat_format_of(name, **options)


# --- bad input


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no messages"),
        ("hello", "no messages"),
        (None, "no messages"),
        (["hello"], "malformed message"),
        ([{"role": "user"}, {"role": "assistant", "content": "A"}], "content is no string"),
        (chat("Q", ""), "empty content"),
        (chat("Q", " \n"), "empty content"),
        (chat("Q"), "no assistant at the end"),
        ([{"role": "model", "content": "x"}, *chat("Q", "A")], "unknown role"),
        ([{"role": [], "content": "x"}, *chat("Q", "A")], "unknown role"),
        (chat("Q", "A")[::-1], "no assistant at the end"),
        (chat("Q", 7), "content is no string"),
    ],
)
@pytest.mark.parametrize("name", ["llama3", "chatml", "llama2"])
def test_what_is_no_chat_row_is_refused(name, messages, reason):
    """Nothing is guessed: the error has the words of ``dataprep validate``."""
    with pytest.raises(RowError) as caught:
        encode_one(TOY, chat_format_of(name), messages)
    assert caught.value.reason == reason
    with pytest.raises(RowError) as caught:
        encode(TOY, chat_format_of(name), [chat("Q", "A"), messages])
    assert caught.value.reason == reason


def test_a_lone_surrogate_fails_its_own_row_only():
    """One bad row in a batch is told from the good ones beside it."""
    rows = [chat("Q", "A"), chat("Q", "\ud800"), chat("q", "a"), "nothing"]
    chat_format = chat_format_of("llama3")
    done = Encoder(TOY, chat_format).encode_messages(rows)
    assert [type(each) for each in done] == [Encoded, RowError, Encoded, RowError]
    assert done[2] == encode_one(TOY, chat_format, rows[2])
    assert "surrogate" in str(done[1])


def test_a_tokenizer_without_the_special_tokens_is_an_error():
    """A chat format for another model's tokenizer gives no ids at all."""
    tokenizer = ToyTokenizer()
    tokenizer.special_tokens = {"<s>": 300, "</s>": 301}
    with pytest.raises(TokenizerError, match=r"<\|im_start\|>"):
        encode_one(tokenizer, chat_format_of("chatml"), chat("Q", "A"))
    with pytest.raises(TokenizerError, match=r"<\|im_start\|>"):
        encode(tokenizer, chat_format_of("chatml"), [chat("Q", "A")])


# --- any contents


@pytest.mark.medium
@pytest.mark.parametrize("tokenizer", [TOY, DUMMY], ids=["bytes", "dummy prefix"])
@pytest.mark.parametrize("name", ["llama3", "chatml", "llama2"])
@given(rows=st.lists(chats(), max_size=4), strip=st.booleans())
def test_ids_and_mask_on_any_contents(tokenizer, name, rows, strip):
    """One mask entry a token; batches as single rows; no special token out of a content; answers as given."""
    chat_format = chat_format_of(name, strip=strip)
    done = encode(tokenizer, chat_format, rows)
    assert done == [reference(tokenizer, chat_format, row) for row in rows]
    for row, encoded in zip(rows, done, strict=True):
        assert len(encoded.ids) == len(encoded.mask)
        assert set(encoded.mask) == {0, 1}
        laid = [tokenizer.special(each.text) for each in segments(chat_format, row) if each.special]
        assert [number for number in encoded.ids if number >= 300] == laid
        answers = [message["content"] for message in row if message["role"] == "assistant"]
        spans = spans_of(encoded.mask)
        assert len(spans) == len(answers)
        for (start, end), answer in zip(spans, answers, strict=True):
            written = decode_after(tokenizer, encoded.ids[start : end - 1]).decode()
            if name == "llama2":
                assert written.strip() == answer.strip()
            else:
                assert written == (answer.strip() if strip else answer)


def test_text_is_encoded_as_one_but_where_the_mask_changes():
    r"""A question's newline merges with the header's, as at inference; an answer's does not."""
    encoded = encode_one(TOY, chat_format_of("llama3"), chat("\nQ", "\nA"))
    merged = TOY.encode("\n\n\n")
    assert len(merged) == 1
    assert encoded.ids.count(merged[0]) == 1
    assert encoded.ids.index(merged[0]) < encoded.mask.index(1)
    assert TOY.decode(encoded.ids[slice(*spans_of(encoded.mask)[0])]) == "\nA<|eot_id|>"


# --- templates


@pytest.mark.medium
@pytest.mark.parametrize("template", [templates.LLAMA3, templates.LLAMA3_MARKED], ids=["prompts", "marks"])
@given(row=chats(plain_texts))
def test_llama3s_template_is_the_llama3_layout(tmp_path_factory, template, row):
    """By its marks or prompt by prompt, the template gives the ids and the mask of the named chat format."""
    path = templates.model_directory(tmp_path_factory.getbasetemp() / f"llama3-{len(template)}", template)
    chat_format = chat_format_of("template", path=path)
    assert encode_one(TOY, chat_format, row) == encode_one(TOY, chat_format_of("llama3"), row)
    assert chat_format.stop_tokens == {"<|eot_id|>"}


@pytest.mark.medium
@given(row=chats(plain_texts))
def test_a_template_that_trims_is_the_layout_that_strips(tmp_path_factory, row):
    """Llama 3.2's own template is the named chat format with both of its options."""
    path = templates.model_directory(tmp_path_factory.getbasetemp() / "llama32", templates.LLAMA32)
    chat_format = chat_format_of("template", path=path, date=DATE)
    assert encode_one(TOY, chat_format, row) == encode_one(
        TOY, chat_format_of("llama3", strip=True, date=DATE), row
    )


@pytest.mark.medium
@given(row=chats(plain_texts))
def test_chatmls_template_is_the_chatml_layout(tmp_path_factory, row):
    """What comes behind the end of turn is not trained on."""
    path = templates.model_directory(tmp_path_factory.getbasetemp() / "chatml", templates.CHATML)
    chat_format = pickle.loads(pickle.dumps(chat_format_of("template", path=path)))
    assert encode(TOY, chat_format, [row]) == [reference(TOY, chat_format_of("chatml"), row)]


def test_a_template_without_special_tokens_in_a_turn(tmp_path):
    """Texts are encoded across their pieces; the space after the prompt belongs to the answer."""
    path = templates.model_directory(tmp_path / "m", templates.VICUNA)
    encoded = encode_one(
        TOY, chat_format_of("template", path=path), chat("go", "so", "and", "it", system="S")
    )
    assert coloured(encoded) == "S USER: go ASSISTANT:⟦ so</s>⟧USER: and ASSISTANT:⟦ it</s>⟧"
    assert encoded.ids[: encoded.mask.index(1)] == TOY.encode("S USER: go ASSISTANT:")


def test_white_space_that_a_special_token_swallows(tmp_path):
    """Tokens that take the white space beside them do so here too, also that of a content."""
    path = templates.model_directory(
        tmp_path / "m", templates.CHATML, rstrip=["<|im_end|>"], lstrip=["<|im_end|>"]
    )
    chat_format = chat_format_of("template", path=path)
    expected = "<|im_start|>user\nQ<|im_end|><|im_start|>assistant\n⟦A<|im_end|>⟧"
    assert coloured(encode_one(TOY, chat_format, chat("Q", "A"))) == expected
    assert coloured(encode_one(TOY, chat_format, chat("Q ", "A\n"))) == expected
    stripped = chat_format_of("template", path=path, strip=True)
    assert coloured(encode_one(TOY, stripped, chat("Q ", "A"))) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            templates.LLAMA3.replace("{{ bos_token }}", "{{ bos_token }}{{ messages | length }}"),
            "<|begin_of_text|>4<|start_header_id|>user<|end_header_id|>\n\ngo<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n⟦so<|eot_id|>⟧"
            "<|start_header_id|>user<|end_header_id|>\n\nand<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n⟦it<|eot_id|>⟧",
        ),
        ("{% for message in messages %}{{ message['content'] }}{% endfor %}</s>", "go⟦so⟧and⟦it</s>⟧"),
        (
            "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '</s>' }}{% endfor %}",
            "<|user|>go</s><|assistant|>⟦so</s>⟧<|user|>and</s><|assistant|>⟦it</s>⟧",
        ),
    ],
    ids=["prefixes differ", "nothing between", "no prompt"],
)
def test_a_mask_needs_no_prompts(tmp_path, template, expected):
    """Where a template writes other text for the beginning of a row, or no prompt, contents tell the mask."""
    chat_format = chat_format_of("template", path=templates.model_directory(tmp_path / "m", template))
    assert coloured(encode_one(TOY, chat_format, chat("go", "so", "and", "it"))) == expected


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for message in messages %", "not well-formed in line 1"),
        ("{{ raise_exception('No chats here.') }}", "No chats here"),
        ("{{ messages[0].role.nothing.more }}", "refuses it"),
        ("<s>", "leaves the answers out: .*'<s>'"),
        ("{{ messages[1].content | length }}{{ messages[1].content }}", "is unknown.*by what they say"),
        (templates.LLAMA32, "today's date"),
    ],
)
def test_a_template_that_tells_no_mask_is_an_error(tmp_path, template, says):
    """The error says why, before any row is laid out."""
    with pytest.raises(TemplateError, match=says):
        chat_format_of("template", path=templates.model_directory(tmp_path / "m", template))


@pytest.mark.parametrize(("change", "answer"), [("lower", "a pear "), ("replace('a', 'b')", "b Pebr ")])
def test_a_template_that_changes_contents_writes_what_it_writes(tmp_path, change, answer):
    """The ids are those of the template's text, and the changed answer is in the loss."""
    template = templates.LLAMA3.replace("message['content']", f"(message['content'] | {change})")
    path = templates.model_directory(tmp_path / "m", template)
    shown = coloured(encode_one(TOY, chat_format_of("template", path=path), chat("An Apple", "a Pear ")))
    assert shown.endswith(f"⟦{answer}<|eot_id|>⟧")


def test_a_system_message_that_the_template_leaves_out_is_counted(tmp_path):
    """No message is lost silently."""
    template = templates.LLAMA3.replace("in messages %}", "in messages if message.role != 'system' %}")
    chat_format = chat_format_of("template", path=templates.model_directory(tmp_path / "m", template))
    encoder = Encoder(TOY, chat_format)
    with_system, without = encoder.encode_messages([chat("Q", "A", system="S"), chat("Q", "A")])
    assert with_system == without
    assert encoder.left_out == {"content": 1}


def test_where_templates_come_from(tmp_path):
    """A jinja file, a list of named templates, a directory without one, another file, broken JSON."""
    path = templates.model_directory(tmp_path / "m", templates.CHATML)
    file = path / "chat_template.jinja"
    first = chat_format_of("template", path=path)
    alone = chat_format_of("template", path=file, special_tokens=TOY.special_tokens)
    assert encode_one(TOY, alone, chat("Q", "A")) == encode_one(TOY, first, chat("Q", "A"))
    with pytest.raises(TokenizerError, match="no special tokens are known"):
        chat_format_of("template", path=file)
    config = path / "tokenizer_config.json"
    found = config.read_text(encoding="utf-8")
    file.unlink()
    with pytest.raises(TemplateError, match="found no chat template"):
        chat_format_of("template", path=path)
    named = (
        '"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ 1 }}"}]'
    )
    config.write_text(found[:-1] + ", " + named + "}", encoding="utf-8")
    with pytest.raises(TemplateError, match="leaves the answers out"):
        chat_format_of("template", path=path)
    with pytest.raises(TemplateError, match="model directory"):
        chat_format_of("template", path=config)
    config.write_text("{", encoding="utf-8")
    with pytest.raises(FileError, match="not JSON"):
        chat_format_of("template", path=path)


def test_a_template_whose_special_tokens_nobody_names_is_an_error(tmp_path):
    """A jinja file alone does not say what bos_token is; none is left out silently."""
    path = templates.model_directory(tmp_path / "m", templates.LLAMA3)
    encode_one(TOY, chat_format_of("template", path=path), chat("Q", "A"))
    with pytest.raises(TemplateError, match=r"jinja: the chat template writes bos_token, .* model directory"):
        chat_format_of("template", path=path / "chat_template.jinja", special_tokens=TOY.special_tokens)
    (path / "tokenizer_config.json").unlink()
    with pytest.raises(TemplateError, match="writes bos_token"):
        chat_format_of("template", path=path, special_tokens=TOY.special_tokens)


def test_a_template_is_in_its_layouts_fingerprint(tmp_path):
    """Another template, another special token or another option makes other shards."""
    made = [
        chat_format_of("template", path=templates.model_directory(tmp_path / "a", templates.CHATML)),
        chat_format_of("template", path=templates.model_directory(tmp_path / "b", templates.LLAMA3)),
        chat_format_of("template", path=tmp_path / "a", strip=True),
        chat_format_of("template", path=tmp_path / "a", date=DATE),
        chat_format_of("template", path=tmp_path / "a", special_tokens=["<|im_start|>", "<|im_end|>"]),
        chat_format_of(
            "template",
            path=templates.model_directory(tmp_path / "c", templates.CHATML, rstrip=["<|im_end|>"]),
        ),
    ]
    assert len({each.fingerprint for each in made}) == len(made)


# --- rows that are too long


def row_of(*lengths):
    """A row with stretches of untrained and trained tokens in turn."""
    mask = b"".join(bytes([number % 2]) * length for number, length in enumerate(lengths))
    return Encoded(list(range(len(mask))), bytearray(mask))


@pytest.mark.parametrize(
    ("lengths", "limit", "length", "cut"),
    [
        ((3, 4), 7, 7, 0),
        ((3, 4), 5, 5, 1),
        ((3, 4), 4, 4, 1),
        ((3, 4, 2, 5), 13, 13, 1),
        ((3, 4, 2, 5), 10, 10, 1),
        ((3, 4, 2, 5), 9, 7, 1),
        ((3, 4, 2, 5), 7, 7, 1),
        ((3, 4, 2, 5), 6, 6, 2),
        ((3, 4, 1), 7, 7, 0),
    ],
)
def test_truncating_keeps_questions_whole(lengths, limit, length, cut):
    """The last answer with room for a token is cut, a question without its answer goes; both are counted."""
    row = row_of(*lengths)
    done, answers = truncate(row, limit, "truncate")
    assert (done.ids, done.mask) == (row.ids[:length], row.mask[:length])
    assert answers == cut
    assert done.mask[-1] == 1 or row is done


def test_what_does_not_fit_is_an_error_or_dropped_with_a_reason():
    """By default no row is changed; the ledger can count each reason."""
    with pytest.raises(RowError, match="found 7 tokens; expected at most 5") as caught:
        truncate(row_of(3, 4), 5)
    assert not isinstance(caught.value, RowDropped)
    with pytest.raises(RowDropped, match="too many tokens"):
        truncate(row_of(3, 4), 5, "drop")
    for limit in (1, 3):
        with pytest.raises(RowDropped, match="no room for an answer"):
            truncate(row_of(3, 4), limit, "truncate")
    with pytest.raises(UsageError, match="error, drop, truncate"):
        truncate(row_of(3, 4), 5, "cut")
    with pytest.raises(UsageError, match="1 token or more"):
        truncate(row_of(3, 4), 0)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=7), st.integers(1, 40))
def test_a_truncated_row_always_has_something_to_train_on(lengths, limit):
    """Whatever the row, it fits, is its beginning, and ends inside or after an answer; or it is dropped."""
    row = row_of(*lengths)
    try:
        done, cut = truncate(row, limit, "truncate")
    except RowDropped:
        assert 1 not in row.mask[:limit]
        return
    assert len(done.ids) == len(done.mask) <= limit
    assert done.ids == row.ids[: len(done.ids)]
    assert 1 in done.mask
    whole = [end for _, end in spans_of(row.mask) if end <= len(done.ids)]
    assert cut == len(spans_of(row.mask)) - len(whole)


# --- Llama 3's own tokenizer, and transformers


def transformers_row(tokenizer, row):
    """Ids and mask by transformers."""
    done = tokenizer.apply_chat_template(row, return_dict=True, return_assistant_tokens_mask=True)
    return done["input_ids"], bytearray(done["assistant_masks"])


@needs_llama3
def test_the_constants_of_llama3():
    """The ids that Meta publishes for an exchange of two words."""
    encoded = encode_one(llama3(), chat_format_of("llama3"), chat("Hi", "Hello"))
    header = [128006, 882, 128007, 271]
    assert encoded.ids == [128000, *header, 13347, 128009, 128006, 78191, 128007, 271, 9906, 128009]
    assert encoded.mask == bytes(11) + b"\1\1"


@pytest.mark.medium
@needs_llama3
@given(row=chats(plain_texts))
def test_any_prompt_is_transformers_prompt_and_any_answer_its_text(row):
    """Up to each answer the ids are those that a model is asked with; then come the answer's own."""
    pytest.importorskip("transformers")
    chat_format, ours = chat_format_of("llama3"), llama3()
    theirs = templates.transformers_llama3(templates.LLAMA3_MARKED)
    clean = [message | {"content": unnamed(message["content"])} for message in row]
    encoded = encode_one(ours, chat_format, clean)
    spans = spans_of(encoded.mask)
    for number, span in zip(
        (n for n, each in enumerate(clean) if each["role"] == "assistant"), spans, strict=True
    ):
        if number == spans_start(clean):
            prompt = theirs.apply_chat_template(clean[:number], add_generation_prompt=True, return_dict=False)
            assert encoded.ids[: span[0]] == prompt
        answer = ours.encode(clean[number]["content"])
        assert encoded.ids[slice(*span)] == [*answer, ours.special("<|eot_id|>")]
    if not any(begins_a_line(message) for message in clean if message["role"] == "assistant"):
        assert (encoded.ids, encoded.mask) == transformers_row(theirs, clean)


def unnamed(text):
    """The text without whole names of special tokens, which transformers would take for the tokens."""
    for name in llama3().special_tokens:
        while name in text:
            text = text.replace(name, "·")
    return text


def spans_start(row):
    """The number of the first assistant message."""
    return next(number for number, message in enumerate(row) if message["role"] == "assistant")


def begins_a_line(message):
    """Whether white space at a content's beginning has a line break in it, which merges with the header's."""
    text = message["content"]
    space = text[: len(text) - len(text.lstrip())]
    return any(character in space for character in "\r\n") or not text.strip()


@needs_llama3
@given(row=chats(plain_texts))
def test_no_content_of_llama3_can_hold_a_special_token(row):
    """Names of special tokens are text: the ids decode to it, and the format's tokens are the only ones."""
    tokenizer, chat_format = llama3(), chat_format_of("llama3")
    encoded = encode_one(tokenizer, chat_format, row)
    pieces = segments(chat_format, row)
    laid = [tokenizer.special(each.text) for each in pieces if each.special]
    assert [number for number in encoded.ids if number >= 128000] == laid
    assert tokenizer.decode(encoded.ids) == "".join(each.text for each in pieces)


@pytest.mark.medium
@needs_llama3
@pytest.mark.parametrize(
    "template", [templates.LLAMA3, templates.LLAMA3_MARKED, templates.LLAMA32, templates.CHATML]
)
def test_templates_are_rendered_as_transformers_renders_them(tmp_path, template):
    """Whatever the template's white space control and filters, the text is the one transformers makes."""
    pytest.importorskip("transformers")
    chat_format = chat_format_of(
        "template", path=templates.model_directory(tmp_path / "m", template), date=DATE
    )
    theirs = templates.transformers_llama3(templates.LLAMA3_MARKED)
    for row in (chat("Q", " A\n", "q\t", "a"), chat("Ü {{ x }}", "{% if %}", system=" S ")):
        text = theirs.apply_chat_template(
            row, chat_template=template, tokenize=False, date_string=DATE, bos_token=NAMES[0]
        )
        assert "".join(each.text for each in segments(chat_format, row)) == text


@pytest.mark.parametrize(
    ("template", "left_out"),
    [
        (None, {"key 'mood'": 2, "key 'name'": 1, "reasoning": 1, "tools": 1}),
        (templates.CHATML, {"key 'mood'": 2, "key 'name'": 1, "reasoning": 1, "tools": 1}),
        (
            templates.CHATML.replace("message['content']", "(message.name or '') + message['content']"),
            {"key 'mood'": 2, "reasoning": 1, "tools": 1},
        ),
    ],
    ids=["named format", "template", "template with names"],
)
def test_what_a_format_leaves_out_is_counted(tmp_path, template, left_out):
    """Values of a row that are not in its text are counted by kind, also for rows that share a plan."""
    chat_format = chat_format_of("chatml")
    if template is not None:
        path = templates.model_directory(tmp_path / "m", template)
        chat_format = chat_format_of("template", path=path)
    row = {
        "messages": [
            {"role": "user", "content": "Q", "name": "Ann", "mood": "calm"},
            {"role": "assistant", "content": "A", "reasoning_content": "Hm.", "mood": {"level": 3}},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
    }
    encoder = Encoder(TOY, chat_format)
    for _ in range(3):
        encoder.left_out.clear()
        assert isinstance(encoder.encode_rows([row])[0], Encoded)
        assert encoder.left_out == left_out


@pytest.mark.parametrize("name", ["llama3", "chatml"])
def test_named_formats_write_developer_messages_whatever_else_a_row_has(name):
    """A loss mark or reasoning in another message does not decide whether a role is written."""
    encoder = Encoder(TOY, chat_format_of(name))
    plain = [{"role": "developer", "content": "D"}, *chat("Q", "A")]
    marked = [*plain[:-1], {**plain[-1], "loss": True, "reasoning": "Hm."}]
    one, other = encoder.encode_messages([plain, marked])
    assert one == other
    assert "developer" in coloured(one)
    assert encoder.left_out == {"reasoning": 1}


def test_variables_of_a_template_are_counted_where_no_template_reads_them():
    """The named formats have no variables."""
    encoder = Encoder(TOY, chat_format_of("chatml"))
    row = {"messages": chat("Q", "A"), "chat_template_kwargs": {"enable_thinking": False}}
    (found,) = encoder.encode_rows([row])
    assert found == encode_one(TOY, chat_format_of("chatml"), row["messages"])
    assert encoder.left_out == {"chat_template_kwargs": 1}


def test_what_is_left_out_of_rows_that_fail_is_not_counted():
    """A row that is too long, or has a name of a special token, is counted once, as a whole."""
    encoder = Encoder(TOY, chat_format_of("chatml"), 40, "drop")
    answers = "A", "<|im_end|>", "A" * 60
    rows = [
        [*chat("Q", text)[:-1], {"role": "assistant", "content": text, "thinking": "Hm."}] for text in answers
    ]
    found = encoder.encode_messages(rows)
    assert [isinstance(each, Encoded) for each in found] == [True, False, False]
    assert encoder.left_out == {"reasoning": 1}


def test_a_template_may_look_into_the_arguments_of_calls(tmp_path):
    """LFM 2's takes only "{}" as a text: a mark beside it must not make it another one."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
        "{% for c in m.tool_calls or [] %}"
        "{% if c.function.arguments != '{}' %}{{ raise_exception('no object') }}{% endif %}"
        "[{{ c.function.name }}({{ c.function.arguments }})]{% endfor %}<|im_end|>{% endfor %}"
    )
    chat_format = chat_format_of("template", path=templates.model_directory(tmp_path / "m", template))
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = {"role": "assistant", "tool_calls": [call, call]}
    told = {"role": "tool", "content": "R"}
    row = [
        *chat("Q", "A", "<b>R"),
        asked,
        told,
        told,
        asked,
        told,
        told,
        {"role": "assistant", "content": "B"},
    ]
    start = "<|im_start|>assistant\n"
    calls = f"{start}⟦[look({{}})][look({{}})]<|im_end|>⟧" + "<|im_start|>tool\nR<|im_end|>" * 2
    assert coloured(encode_one(TOY, chat_format, row)).endswith(f"{calls}{calls}{start}⟦B<|im_end|>⟧")


def test_parts_do_not_make_a_special_token_together(tmp_path):
    """A template joins the parts of a content; each row is told, also after rows of its shape."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    )
    chat_format = chat_format_of("template", path=templates.model_directory(tmp_path / "m", template))
    rows = [
        [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}, *chat("Q", "A")[1:]]
        for texts in (("<|im_", "start"), ("<|im_", "end|>"), ("a", "b"), ("<|im_", "end|>"))
    ]
    found = Encoder(TOY, chat_format).encode_messages(rows)
    assert [isinstance(each, Encoded) for each in found] == [True, False, True, False]
    assert found[1].reason == "name of a special token inside content"
    assert "messages[0]: found '<|im_end|>'" in found[1].detail
