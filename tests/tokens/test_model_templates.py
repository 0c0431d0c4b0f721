"""Templates of the shapes that models are published with: ids and masks as transformers makes them.

The tokenizers are small, but of the kinds that those models have: byte level (Qwen, Phi-4), and byte
fallback with a space put before texts (Llama 2, Mistral, Phi-3, Zephyr), before each or the first only.
"""

import functools
import json

import pytest
from typer.testing import CliRunner

from dataprep.cli.app import app
from dataprep.core.errors import RowError
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.options import spans_of
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests.tokens.test_chat_formats import chat
from tests.tokens.test_tokenizers import corpus
from tests.tokens_fakes import encode, encode_one, problems_of

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

MARKS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<start_of_turn>", "<end_of_turn>")
MARKS += ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>")

_CHATML = "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}"
_PROMPT = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
QWEN2 = (
    "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}"
    "{%- endif %}{%- for m in messages %}" + _CHATML + "{%- endfor %}" + _PROMPT
)
# Qwen3: an empty block of thoughts before the last answer, and before no other.
QWEN3 = (
    "{%- for m in messages %}{%- if m.role == 'assistant' and loop.last and '</think>' not in m.content %}"
    "{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' + m.content.lstrip('\n') + '<|im_end|>\n' }}"
    "{%- else %}" + _CHATML + "{%- endif %}{%- endfor %}" + _PROMPT
)
# Phi-3: the end of the text behind the last turn, and none behind a prompt.
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI4 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0].role == 'system' %}"
    "{% set first = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + ((first if loop.first else '') + m.content).strip() "
    "+ ' [/INST]' }}{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('No system message here.') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' "
    "+ ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# Zephyr: blocks on lines of their own, so that the prompt ends before its newline.
ZEPHYR = (
    "{% for m in messages %}\n{{ '<|' + m.role + '|>\n' + m.content + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
TEMPLATES = {
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "phi3": PHI3,
    "phi4": PHI4,
    "llama2": LLAMA2,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "zephyr": ZEPHYR,
}
ROWS = [
    chat("What?", "It is\nthis: é."),
    chat("the quick fox?", "(so) 12 hens.", "And then?", "the lazy dog"),
    chat("quick", "the dog sleeps.", system="Be brief."),
    chat("two  spaces", "a  b\n\n  c\t漢"),
]


def byte_level(space=False):
    """A byte-level BPE, as GPT-2's, Llama 3's and Qwen's are; with ``space`` before each text, as BART's."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=space)
    made.decoder = tokenizers.decoders.ByteLevel()
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        corpus(),
        tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=letters, show_progress=False),
    )
    return made


def byte_fallback(scheme):
    """A BPE of characters that falls back to bytes, as Llama 2's: ▁ for a space, and before each text."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    decoders = tokenizers.decoders
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [" " + word for line in corpus() for word in line.split()]
    made.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=500, special_tokens=names, show_progress=False)
    made.train_from_iterator(words, trainer)
    document = json.loads(made.to_str())
    document["added_tokens"] = document["added_tokens"][:1]
    if scheme == "each":
        steps = [{"type": "Prepend", "prepend": "▁"}, document["normalizer"]]
        document["normalizer"] = {"type": "Sequence", "normalizers": steps}
    else:
        space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
        document |= {"normalizer": None, "pre_tokenizer": space}
    return tokenizers.Tokenizer.from_str(json.dumps(document))


KINDS = {
    "bytes": byte_level,
    "bytes, space before each": functools.partial(byte_level, True),
    "space before each": functools.partial(byte_fallback, "each"),
    "space before the first": functools.partial(byte_fallback, "first"),
    "no space": functools.partial(byte_fallback, "never"),
}


def model(folder, kind, template, eos="</s>", rstrip=False):
    """A model directory, saved by transformers; what it loads, our tokenizer, and the template's format."""
    made = KINDS[kind]()
    added = functools.partial(tokenizers.AddedToken, normalized=False)
    made.add_special_tokens([added(name, rstrip=rstrip and "|" in name) for name in MARKS])
    made.add_tokens([added("<think>"), added("</think>")])
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token=eos)
    theirs.chat_template = template
    theirs.save_pretrained(folder)
    ours = load_tokenizer(folder)
    return theirs, ours, chat_format_of("template", path=folder, special_tokens=ours.special_tokens)


def laid(tokenizer, chat_format, row):
    """A row in tokens, one by one and in a batch, with nothing to lint."""
    encoded = encode_one(tokenizer, chat_format, row)
    assert encode(tokenizer, chat_format, [row]) == [encoded]
    assert problems_of(encoded, row, tokenizer, chat_format) == []
    return encoded


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_are_those_of_transformers(tmp_path, name, kind):
    """Token for token, also where the mask cuts a text; answers and their ends are trained."""
    eos = "<|endoftext|>" if name == "phi3" else "</s>"
    theirs, ours, chat_format = model(tmp_path, kind, TEMPLATES[name], eos)
    refused = {"mistral": ROWS[2]}.get(name)
    for row in ROWS:
        if row is refused:
            with pytest.raises(RowError, match="No system message"):
                encode_one(ours, chat_format, row)
            continue
        encoded = laid(ours, chat_format, row)
        assert encoded.ids == theirs.apply_chat_template(row, return_dict=False)
        answers = [message["content"] for message in row if message["role"] == "assistant"]
        trained = [ours.decode(encoded.ids[slice(*span)]).strip() for span in spans_of(encoded.mask)]
        # Phi-3 ends the last turn, and then the text.
        extra = ["<|endoftext|>"] if name == "phi3" else []
        (end,) = chat_format.stop_tokens - {*extra}
        space = " " if name == "llama2" else ""
        assert trained == [f"{answer}{space}{end}" for answer in answers] + extra


@pytest.mark.parametrize("kind", KINDS)
def test_marks_are_those_of_transformers(tmp_path, kind):
    """The mask is the one that transformers finds by its marks, whichever tokenizer puts spaces where."""
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    )
    theirs, ours, chat_format = model(tmp_path, kind, template)
    for row in ROWS:
        done = theirs.apply_chat_template(row, return_dict=True, return_assistant_tokens_mask=True)
        encoded = laid(ours, chat_format, row)
        assert encoded.ids == done["input_ids"]
        assert [*encoded.mask] == done["assistant_masks"]
        assert encoded == encode_one(ours, chat_format_of("chatml"), row)


@pytest.mark.parametrize("kind", ["bytes", "space before each"])
def test_marks_that_swallow_white_space_are_those_of_transformers(tmp_path, kind):
    """Phi-3's own special tokens take the newline behind them; the ids are the same without it."""
    theirs, ours, chat_format = model(tmp_path, kind, PHI3, "<|endoftext|>", rstrip=True)
    for row in ROWS:
        assert laid(ours, chat_format, row).ids == theirs.apply_chat_template(row, return_dict=False)


def test_a_text_before_any_special_token_has_its_space(tmp_path):
    """A conversation that begins with plain text begins as transformers begins it."""
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    for kind in KINDS:
        theirs, ours, chat_format = model(tmp_path / kind, kind, template)
        for row in ROWS:
            assert laid(ours, chat_format, row).ids == theirs.apply_chat_template(row, return_dict=False)


def test_what_a_template_writes_before_an_answer_is_not_trained(tmp_path):
    """Qwen3's empty thoughts are the template's own; no row says them."""
    _, ours, chat_format = model(tmp_path, "bytes", QWEN3)
    encoded = laid(ours, chat_format, ROWS[0])
    start, end = spans_of(encoded.mask)[0]
    assert ours.decode(encoded.ids[:start]).endswith("assistant\n<think>\n\n</think>\n\n")
    assert ours.decode(encoded.ids[start:end]) == "It is\nthis: é.<|im_end|>"


def test_a_prompt_that_no_conversation_has(tmp_path):
    """DeepSeek-R1's prompt opens thoughts that its template then leaves out: the answer is in the loss."""
    template = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
    _, ours, chat_format = model(tmp_path, "bytes", template)
    encoded = laid(ours, chat_format, ROWS[0])
    assert [ours.decode(encoded.ids[slice(*span)]) for span in spans_of(encoded.mask)] == [
        ROWS[0][1]["content"] + "</s>"
    ]


def test_a_turn_that_ends_in_two_ways(tmp_path):
    """Where only the last turn has an end, the next header is not taken for one."""
    template = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
    _, ours, chat_format = model(tmp_path, "bytes", template)
    encoded = laid(ours, chat_format, ROWS[1])
    trained = [ours.decode(encoded.ids[slice(*span)]) for span in spans_of(encoded.mask)]
    assert trained == [ROWS[1][1]["content"], ROWS[1][3]["content"] + "</s>"]


def test_llama2s_layout_is_metas_reference_with_a_sentencepiece_model(tmp_path):
    """Question and answer encoded as one text, as Meta's program does, by SentencePiece itself."""
    library = pytest.importorskip("sentencepiece")
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_prefix=str(tmp_path / "m"), vocab_size=400, minloglevel=2,
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=True,
    )  # fmt: skip
    theirs, ours = (
        library.SentencePieceProcessor(str(tmp_path / "m.model")),
        load_tokenizer(tmp_path / "m.model"),
    )
    for row in (*ROWS, chat("the dog", "](x) [y]", "12", "  the  fox\n")):
        expected, system = [], ""
        for message in row:
            text = message["content"]
            if message["role"] == "system":
                system = f"<<SYS>>\n{text}\n<</SYS>>\n\n"
            elif message["role"] == "user":
                question, system = system + text, ""
            else:
                expected += [1, *theirs.encode(f"[INST] {question} [/INST] {text} "), 2]
        assert laid(ours, chat_format_of("llama2"), row).ids == expected


def test_show_shows_the_spaces_that_tokens_stand_for(tmp_path):
    """A token alone decodes without its space; shown, it has it."""
    model(tmp_path, "space before each", PHI4)
    done = CliRunner().invoke(app, ["tokenizer", "show", str(tmp_path), "the dog é", "--json"])
    assert "".join(each["piece"] for each in json.loads(done.stdout)) == "·the·dog·<0xC3><0xA9>"
