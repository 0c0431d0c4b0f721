"""Templates that do not end, files of another shape, and the chat format that is used by default."""

import json
import pickle
import time
from pathlib import Path

import orjson
import pytest

from dataprep.core.errors import (
    DataprepError,
    InputError,
    RowError,
    TemplateError,
    TokenizerError,
    UsageError,
)
from dataprep.tokens.formats import limits
from dataprep.tokens.formats.loading import chat_format_for, chat_format_of
from dataprep.tokens.formats.model_template import ChatTemplate, has_template, read_template
from dataprep.tokens.lint_files import lint_files
from dataprep.tokens.lint_page import page
from dataprep.tokens.shards.manifest import checksum
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import ShardOptions, tokenize_files
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.tokens.tokenizers.training import train_tokenizer
from tests import chat_templates as templates
from tests.helpers import chat, write_jsonl

DATE = "26 Jul 2024"
BEGIN = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"
ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a macro that calls itself": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}"
    ),
    "a recursive loop": (
        "{% for a in range(50) recursive %}{% if a %}{{ loop(range(a)) }}{% endif %}{% endfor %}"
    ),
    "a loop with an else": "{% for a in range(9999) %}{% for b in range(99999) if b %}{% else %}{% endfor %}"
    "{% endfor %}",
    "only for some contents": "{% if 'zz' in messages[0].content %}{% for a in range(9999) %}"
    "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}",
}
TOO_LARGE = (
    "{{ 9 ** (9 ** 9) }}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ 10 ** 10 * 'a' }}",
    "{{ [1] * 10 ** 9 }}",
    "{% set ns = namespace(x=3) %}{% for a in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{% for a in range(10 ** 9) %}{% endfor %}",
    "{{ [1] | batch(10 ** 9, 0) | list }}",
    "{{ [1] | slice(10 ** 9) | list }}",
    "{{ 'a' | center(10 ** 10) }}",
    "{{ 'a' | center(width=10 ** 10) }}",
    "{{ 'a\\nb' | indent(10 ** 10) }}",
    "{{ messages | tojson(indent=10 ** 9) }}",
    "{{ 'a'.rjust(10 ** 10) }}",
    "{{ '1'.zfill(10 ** 10) }}",
    "{{ '%9999999999d' % 5 }}",
    "{{ '%*d' % (10 ** 9, 5) }}",
    "{{ '%9999999999d' | format(5) }}",
    "{{ '{:>9999999999}'.format(5) }}",
    "{{ '{:>{}}'.format(5, 10 ** 9) }}",
)


@pytest.fixture
def quick(monkeypatch):
    """A limit of a fraction of a second."""
    monkeypatch.setattr(limits, "SECONDS", 0.15)


def test_a_template_that_does_not_end_is_stopped(tmp_path, quick):
    """Loops, calls and steps that are too large: an error that says what to do, within the limit."""
    del quick
    wrong = []
    for name, loop in ENDLESS.items():
        began = time.monotonic()
        try:
            ChatTemplate(BEGIN + loop, {}, None).render([{"role": "user", "content": "zz"}])
            wrong.append(name)
        except RowError as error:
            if "does not end: it was stopped after 0.15 s" not in str(error):
                wrong.append((name, str(error)))
        if time.monotonic() - began > 2:
            wrong.append((name, "took long"))
    for step in TOO_LARGE:
        try:
            ChatTemplate(BEGIN + step, {}, None).render([])
            wrong.append(step)
        except (RowError, TemplateError) as error:
            if "too large" not in str(error) and "Range too big" not in str(error):
                wrong.append((step, str(error)))
    folder = templates.model_directory(tmp_path / "m", BEGIN + ENDLESS["nested loops"])
    with pytest.raises(TemplateError, match=r"not even a question and an answer: .* does not end"):
        chat_format_of("template", path=folder)
    assert not wrong


def test_the_limit_changes_no_text():
    """Loops know their length, ends and neighbours, and may go over text, mappings and nothing."""
    text = (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}"
        "{{ loop.previtem is defined }}{{ m.content }}{% if loop.index == 2 %}{% break %}{% endif %}"
        "{% endfor %}"
        "{% for c in 'ab' %}{{ c }}{% else %}none{% endfor %}{% for k in {'x': 1} %}{{ k }}{% endfor %}"
        "{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{% endfor %}"
        "{% for n in nothing %}{% else %}no{% endfor %}"
        "{% for x in [1, [2]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}"
        "{{ 3 * 'ab' }}{{ 2 ** 8 }}{{ 'x' | center(3) }}{{ '%2d' % 5 }}{{ '{:>3}'.format(7) }}"
        "{{ 'z'.rjust(2) }}"
        "{{ 7 % 4 }}{{ '20240726 %s' | format(9999999) }}{{ '%d' % 9999999 }}{{ '{}'.format(9999999) }}"
        "{% for x in (messages | selectattr('role', 'equalto', 'user')) %}{{ loop.revindex }}{% endfor %}"
    )
    found = ChatTemplate(text, {}, None).render(chat("Q", "A", "R", "B")["messages"])
    assert (
        found
        == "1/4TrueFalseFalseQ2/4FalseFalseTrueAabxx1no12ababab256 x  5  7 z320240726 99999999999999999999921"
    )


def test_a_template_is_rendered_with_a_clock_for_a_teacher_only():
    """Rows get the same tokens on any day; a prompt says today's date, as transformers does."""
    from datetime import datetime

    asks = "{{ strftime_now('%Y') if strftime_now is defined else 'none' }}"
    assert ChatTemplate(asks, {}, None).render([]) == "none"
    assert ChatTemplate(asks, {}, DATE).render([]) == "2024"
    assert ChatTemplate(asks, {}, None, lambda: datetime(1999, 1, 1)).render([]) == "1999"
    with pytest.raises(TemplateError, match="give a date with --date"):
        ChatTemplate("{{ strftime_now('%Y') }}", {}, None).render([])


# --- files of another shape

DEEP = "[" * 300 + "]" * 300
SHAPES = {
    "tokenizer_config.json": (
        "[]", "3", '{"added_tokens_decoder": [3]}',
        '{"added_tokens_decoder": {"1": "a"}}', '{"bos_token": [1]}',
        '{"added_tokens_decoder": {"1": {"content": 3, "special": true}}}', '{"eos_token": {"text": "a"}}',
        '{"chat_template": 3}', '{"chat_template": [1, "a"]}', '{"chat_template": [{"name": "default"}]}',
        f'{{"a": {DEEP}}}', '{"chat_template": {"default": "a"}}', '{"a": ', "\\ud800", '{"pad_token": {}}',
    ),
    "special_tokens_map.json": ("[]", '{"cls_token": {"content": 5}}', '{"unk_token": 5}', '{"a"'),
    "tokenizer.json": (
        '{"added_tokens": 3}', '{"added_tokens": {"a": {"content": "b"}}}', '{"added_tokens": ["a"]}', "[1]",
    ),
    "chat_template.jinja": ("{% for", "{{ 1 / 0 }}", "\\0{{ messages.x.y }}", "{{ '%s' % () }}"),
}  # fmt: skip


def test_template_files_of_another_shape_are_errors(tmp_path):
    """Whatever a downloaded directory holds: one error with the file's or directory's name."""
    wrong = []
    for name, texts in SHAPES.items():
        for number, text in enumerate(texts):
            folder = templates.model_directory(tmp_path / f"{name}{number}", templates.LLAMA3)
            if name == "tokenizer_config.json":
                (folder / "chat_template.jinja").unlink()
            (folder / name).write_text(text)
            try:
                chat_format_of("template", path=folder)
                wrong.append((name, text[:40]))
            except DataprepError as error:
                if f"{name}{number}" not in str(error):
                    wrong.append((name, text[:40], str(error)[:100]))
    assert not wrong


def tokenizer_file(**changes):
    """A tokenizer.json with changes."""
    content = train_tokenizer(["one two three"] * 8, 300, "bpe", shrink=True)
    return orjson.dumps(orjson.loads(content) | changes)


def test_tokenizer_files_of_another_shape_are_errors(tmp_path):
    """Steps, models and tokens that are something else than the library expects, and numbers out of range."""
    token = {"id": 3, "content": "<x>", "special": True}
    cases = [
        {"model": []}, {"model": {}}, {"model": {"type": "BPE"}}, {"model": {"type": "Unigram", "unk_id": 7}},
        {"model": {"type": "Unigram", "vocab": [], "unk_id": 0}}, {"decoder": [1]}, {"pre_tokenizer": [1]},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [3]}}, {"added_tokens": 3},
        {"added_tokens": [3]}, {"added_tokens": [{}]}, {"added_tokens": [token | {"id": -1}]},
        {"added_tokens": [token | {"id": 1 << 40}]}, {"added_tokens": [token | {"content": 3}]},
        {"added_tokens": [token | {"id": "3"}]}, {"normalizer": {"type": "?"}}, {"decoder": {"type": 3}},
        {"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}},
        {"model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": 3}},
        {"version": "deep"},
    ]  # fmt: skip
    wrong = []
    for changes in cases:
        path = tmp_path / "tokenizer.json"
        path.write_bytes(
            b'{"model": {}, "deep": ' + DEEP.encode() + b"}"
            if "version" in changes
            else tokenizer_file(**changes)
        )
        try:
            load_tokenizer(path)
            wrong.append(changes)
        except TokenizerError as error:
            if "tokenizer.json" not in str(error):
                wrong.append((changes, str(error)))
    assert not wrong


def changed(manifest):
    """Manifests of another shape, by what is other about them."""
    for name, value in (
        ("documents", "3"), ("tokens", -1), ("tokenizer", []), ("tokenizer", {}), ("chat_format", None),
        ("shards", {}), ("shards", [3]), ("inputs", [{}]), ("options", {"pack": "4"}), ("dtype", "<f8"),
        ("dtype", "O"), ("rows", {"in": 1}), ("pad_id", None), ("sequences", True), ("key", 3),
    ):  # fmt: skip
        yield f"{name}: {value}", manifest | {name: value}
    yield "deep", manifest | {"deep": orjson.loads("[" * 240 + "]" * 240)}
    (shard,) = manifest["shards"]
    ids = shard["files"]["ids"]
    for name in ("../secret.bin", "/etc/hosts", "", "..", 3):
        files = shard["files"] | {"ids": ids | {"name": name}}
        yield f"a file {name!r}", manifest | {"shards": [shard | {"files": files}]}
    yield "no rows", manifest | {"shards": [shard | {"files": {"ids": ids}}]}
    yield "other counts", manifest | {"shards": [shard | {"documents": shard["documents"] + 1}]}
    yield "fewer input rows", manifest | {"inputs": [manifest["inputs"][0] | {"rows": 0}]}
    yield "a small vocabulary", manifest | {"tokenizer": manifest["tokenizer"] | {"vocab_size": 2}}
    copy = manifest["tokenizer"]["file"] | {"name": "../tokenizer.json"}
    yield "a tokenizer elsewhere", manifest | {"tokenizer": manifest["tokenizer"] | {"file": copy}}


def test_manifests_of_another_shape_are_errors(tmp_path):
    """A checksum that fits says who wrote a manifest as little as its name does."""
    write_jsonl(tmp_path / "in.jsonl", [chat("one", "two"), chat("three", "four")])
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_file())
    tokenize_files(
        tmp_path / "in.jsonl", tmp_path / "out", tokenizer=tmp_path / "tokenizer.json", chat_format="llama3"
    )
    path = tmp_path / "out" / "manifest.json"
    manifest, wrong = orjson.loads(path.read_bytes()), []
    for what, other in changed(manifest):
        other["checksum"] = checksum(other) if what != "deep" else ""
        path.write_bytes(orjson.dumps(other))
        try:
            Shards.open(tmp_path / "out")
            wrong.append(what)
        except InputError as error:
            if "make the shards again" not in str(error):
                wrong.append((what, str(error)))
    path.write_text(f'{{"format": "dataprep-shards", "version": 3, "deep": {DEEP}}}')
    with pytest.raises(InputError, match="damaged"):
        Shards.open(tmp_path / "out")
    assert not wrong
    path.write_bytes(orjson.dumps(manifest))
    assert len(pickle.loads(pickle.dumps(Shards.open(tmp_path / "out")))) == 2


def test_arrays_that_do_not_fit_are_errors(tmp_path):
    """Offsets that fall, sizes that differ: as a stranger could write them, with digests that fit."""
    import hashlib

    write_jsonl(tmp_path / "in.jsonl", [chat("one", "two"), chat("three", "four")])
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_file())
    made = tokenize_files(
        tmp_path / "in.jsonl", tmp_path / "out", tokenizer=tmp_path / "tokenizer.json", chat_format="llama3",
        options=ShardOptions(pack=64),
    )  # fmt: skip
    wrong = []
    whole = orjson.dumps(made.manifest)
    for kind in ("ids", "offsets", "rows", "mask", "sequences"):
        for change in (
            lambda data: b"\xff" * len(data),
            lambda data: data[:-1],
            lambda data: data + b"\0" * 8,
        ):
            manifest = orjson.loads(whole)
            described = manifest["shards"][0]["files"][kind]
            path = tmp_path / "out" / described["name"]
            before = path.read_bytes()
            path.write_bytes(data := change(before))
            described |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            manifest["checksum"] = checksum(manifest)
            (tmp_path / "out" / "manifest.json").write_bytes(orjson.dumps(manifest))
            try:
                Shards.open(tmp_path / "out")
                # Any bits are a mask.
                if kind != "mask" or len(data) != len(before):
                    wrong.append((kind, len(data) - len(before)))
            except InputError as error:
                if "do not fit one another" not in str(error):
                    wrong.append((kind, str(error)))
            path.write_bytes(before)
    assert not wrong


# --- the chat format by default


def directory(tmp_path, template=templates.CHATML):
    """A model directory with a tokenizer that has ChatML's special tokens, and perhaps a template."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(tokenizer_file())
    config = {"bos_token": "<s>", "eos_token": "<|im_end|>"}
    config |= {} if template is None else {"chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_the_tokenizers_own_template_is_the_default(tmp_path, run):
    """As for `train`: of a directory, or of a file in one; without a template, it is Llama 3's format."""
    folder = directory(tmp_path)
    tokenizer = load_tokenizer(folder)
    found = [
        chat_format_for(None, tokenizer, path).name
        for path in (folder, folder / "tokenizer.json", tmp_path, None)
    ]
    assert found == ["template", "template", "llama3", "llama3"]
    assert chat_format_for("template", tokenizer, tmp_path, template=folder).name == "template"
    write_jsonl(tmp_path / "in.jsonl", [chat("one", "two"), chat("three", "four")])
    for name, tail in (("a", ()), ("b", ("--chat-format", "llama3"))):
        assert run("tokenize", "in.jsonl", "-o", name, "--tokenizer", "model", *tail).code == 0
        done = run("lint-tokens", "in.jsonl", "--tokenizer", "model", *tail)
        assert done.code == 0, done.out
    assert [Shards.open(tmp_path / name).chat_format for name in "ab"] == ["template", "llama3"]
    made = tokenize_files(tmp_path / "in.jsonl", tmp_path / "c", tokenizer=folder)
    assert made.manifest["chat_format"]["name"] == "template"
    for name in ("llama3", None):
        with pytest.raises(UsageError, match="--template needs --chat-format template"):
            chat_format_for(name, tokenizer, folder, template=folder)


def test_a_tokenizer_of_another_format_says_what_to_choose(tmp_path, run):
    """The error of both commands names the flag and the model's own template."""
    content = train_tokenizer(["one two three"] * 8, 300, "bpe", shrink=True)
    document = orjson.loads(content)
    document["added_tokens"] = [t for t in document["added_tokens"] if t["content"] == "</s>"]
    (tmp_path / "other.json").write_bytes(content.replace(b"<|start_header_id|>", b"<|start_xxxxxx_id|>"))
    write_jsonl(tmp_path / "in.jsonl", [chat("one", "two")])
    for command in (("tokenize", "in.jsonl", "-o", "out"), ("lint-tokens", "in.jsonl")):
        done = run(*command, "--tokenizer", "other.json")
        assert done.code == 1
        for word in ("--chat-format", "llama3", "chatml", "template: the model directory's own"):
            assert word in done.err


def test_a_damaged_directory_is_not_taken_for_one_without_a_template(tmp_path):
    """Llama 3's format would be wrong for it, and nobody would be told."""
    folder = directory(tmp_path)
    (folder / "tokenizer_config.json").write_text('{"chat_template": ')
    with pytest.raises(DataprepError, match="not JSON"):
        chat_format_for(None, load_tokenizer(folder), folder)
    assert has_template(templates.model_directory(tmp_path / "b", templates.LLAMA3))
    assert read_template(tmp_path / "b").text == templates.LLAMA3


# --- the page of several files


def test_all_files_are_on_the_page(tmp_path):
    """Rows with faults first, then as many of each file as fit, in the order of the files."""
    tokenizer = load_tokenizer(directory(tmp_path))
    paths = []
    for number in range(3):
        found = [chat(f"q{number}x{row}", "answer") for row in range(9)]
        if number:
            found[4]["messages"].pop()
        paths.append(tmp_path / f"{number}.jsonl")
        write_jsonl(paths[-1], found)
    format_ = chat_format_of("llama3")

    def kept(keep):
        report = lint_files([str(path) for path in paths], tokenizer, format_, keep=keep)
        assert page(report, tokenizer).count("<section>") == len(report.kept)
        return [f"{Path(row.where.path).name[0]}:{row.where.number}" for row in report.kept]

    assert kept(8) == ["1:5", "2:5", "0:1", "0:2", "1:1", "1:2", "2:1", "2:2"]
    assert kept(4) == ["1:5", "2:5", "0:1", "1:1"]
    assert kept(1) == ["1:5"]
    assert kept(0) == []
    assert len(kept(100)) == 27
