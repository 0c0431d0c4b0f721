"""Dates, rows that are set aside, and rows that say something else."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import dataprep
from dataprep.core.errors import InputError, UsageError
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests import chat_templates
from tests.students import rows, write_model, write_rows

ROOT = Path(dataprep.__file__).parent
README = (ROOT.parent / "README.md").read_text("utf-8")
DATE = "26 Jul 2024"
# Llama 3.2's own template asks for a clock, and has a date of its own if there is none.
INSTRUCT = chat_templates.LLAMA32.replace(
    "{%- set date_string = strftime_now('%d %b %Y') %}",
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}"
    f"{{%- set date_string = '{DATE}' %}}{{%- endif %}}",
)


def options(place, **settings):
    """Options for a run of two steps."""
    given = {"model": str(place / "model"), "tokenizer": str(place / "tokenizer.json")}
    given |= {"chat_format": "llama3", "steps": 2, "learning_rate": 0.01, "batch_size": 4}
    return TrainOptions(**{**given, **settings})


def instruct(place, folder, template=INSTRUCT, **settings):
    """A model's directory with a tokenizer and a chat template like Llama 3.2 Instruct's."""
    write_model(folder, **settings) if settings else shutil.copytree(place / "model", folder)
    shutil.copyfile(place / "tokenizer.json", folder / "tokenizer.json")
    config = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.sampled(2)
@pytest.mark.parametrize("template", [INSTRUCT, chat_templates.LLAMA32])
def test_the_example_of_the_readme_runs_as_it_is_written(place, run, tmp_path, template):
    """With a small model in place of Llama 3.2 1B, whose template is one with a date."""
    pytest.importorskip("peft")
    (line,) = re.findall(r"^dataprep (train .*Llama-3\.2.*)$", README, flags=re.MULTILINE)
    instruct(place, tmp_path / "Llama-3.2-1B-Instruct", template)
    write_rows(tmp_path / "train.jsonl", rows(8))
    done = run(*shlex.split(line))
    assert done.code == 0, done.err
    shards = Shards.open(tmp_path / "student" / "tokens" / "train")
    text = load_tokenizer(place / "tokenizer.json").decode(shards.document(0)[0].tolist())
    assert f"Today Date: {DATE}\n\n" in text


@pytest.mark.slow
def test_a_template_with_a_date_of_its_own_needs_none(place, tmp_path):
    """Without --date there is no clock: what the template writes then is the same on any day."""
    model = instruct(place, tmp_path / "m")
    given = {"model": str(model), "tokenizer": None, "chat_format": None}
    done = train(place / "train.jsonl", (), tmp_path / "a", options=options(place, **given))
    shards = Shards.open(done.path / "tokens" / "train")
    text = load_tokenizer(model).decode(shards.document(0)[0].tolist())
    assert f"Today Date: {DATE}\n\n" in text
    instruct(place, tmp_path / "strict", chat_templates.LLAMA32)
    given["model"] = str(tmp_path / "strict")
    with pytest.raises(ValueError, match="give a date with --date"):
        train(place / "train.jsonl", (), tmp_path / "b", options=options(place, **given))
    done = train(
        place / "train.jsonl", (), tmp_path / "b", options=options(place, **given, date="1 May 2025")
    )
    assert 'date = "1 May 2025"' in (done.path / "options.toml").read_text()


def test_strip_and_date_are_the_chat_formats(place, tmp_path):
    """White space around contents goes, and the date's lines come; elsewhere they are refused."""
    found = rows(8)
    found[0]["messages"][1]["content"] = "  two \n"
    data = write_rows(tmp_path / "spaces.jsonl", found)
    train(data, (), tmp_path / "a", options=options(place, strip=True, date=DATE))
    shards = Shards.open(tmp_path / "a" / "tokens" / "train")
    text = load_tokenizer(place / "tokenizer.json").decode(shards.document(0)[0].tolist())
    assert "\n\ntwo<|eot_id|>" in text
    assert DATE in text
    for settings, says in (
        ({"date": "26/07/2024"}, "is not a date as templates write it"),
        ({"date": DATE, "chat_format": "chatml"}, "writes no date"),
    ):
        with pytest.raises(UsageError, match=says):
            train(data, (), tmp_path / "b", options=options(place, **settings))
    with pytest.raises(UsageError, match=r"--strip: .* was made without it"):
        train(
            shards.path, (), tmp_path / "b", options=options(place, strip=True)
        )  # its contents are as they are
    soft = write_rows(tmp_path / "soft.jsonl", [{"text": str(n), "label": n % 2} for n in range(4)])
    with pytest.raises(UsageError, match="--strip, --date: not for soft labels"):
        train(soft, (), tmp_path / "b", options=TrainOptions(strip=True, date=DATE))


# --- rows that are set aside


def rejected(path):
    """The rejects in a file: number of the row, and reason."""
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [(row.get("line") or row.get("row"), row["reason"]) for row in found]


def test_bad_chat_rows_are_set_aside(place, tmp_path):
    """Also the first ones, which the objective is chosen by; the rest is trained on."""
    lines = [json.dumps(row) for row in rows(8)]
    lines[:0] = ["{not JSON", '{"other": 1}']
    lines[5] = '{"messages": []}'
    (tmp_path / "bad.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"bad\.jsonl:1: not JSON"):
        train(tmp_path / "bad.jsonl", (), tmp_path / "a", options=options(place))
    aside = tmp_path / "aside.jsonl"
    train(tmp_path / "bad.jsonl", (), tmp_path / "a", options=options(place), rejects=aside)
    assert [number for number, _ in rejected(aside)] == [1, 2, 6]
    facts = json.loads((tmp_path / "a" / "facts.json").read_text())
    assert facts["rows"] == {"train": 7}
    # The recorded options repeat the run.
    assert f'rejects = "{aside}"' in (tmp_path / "a" / "options.toml").read_text()
    with pytest.raises(UsageError, match="rejects would replace an input"):
        train(
            tmp_path / "bad.jsonl", (), tmp_path / "b", options=options(place), rejects=tmp_path / "bad.jsonl"
        )
    (tmp_path / "none.jsonl").write_text("1\n2\n")
    with pytest.raises(InputError, match=r"none\.jsonl:1: not a JSON object"):
        train(tmp_path / "none.jsonl", (), tmp_path / "b", options=options(place), rejects=aside)


@pytest.mark.slow
def test_bad_rows_of_every_objective_are_set_aside(place, tmp_path, run):
    """Rationales, soft labels and log-probabilities; and the command has the flag."""
    rationales = [
        {"question": f"Which is {n}?", "answer": "two", "rationales": {"one": "It is two."}} for n in range(6)
    ]
    rationales[2] |= {"rationales": 3}
    rationales[4] |= {"question": "one two " * 200}
    soft = [{"text": f"a text {n}", "label": "ab"[n % 2]} for n in range(8)]
    soft[0] |= {"text": None}
    soft[3] |= {"label": "nan"}
    soft[5] |= {"probs": {"a": 0.4, "b": 0.1}}
    stored = [row | {"logprobs": None} for row in rows(8)]
    tokenizer = load_tokenizer(place / "tokenizer.json")
    for row in stored[4:]:
        ids = tokenizer.encode(row["messages"][1]["content"])
        row["logprobs"] = [[[number, -0.1]] for number in ids]
    stored[2] = {"messages": "none", "logprobs": None}
    stored[5]["logprobs"] = [3]
    cases = {
        "rationales": (rationales, options(place), [3, 5], 4),
        "soft": (soft, TrainOptions(steps=2), [1, 4, 6], 5),
        "stored": (stored, options(place), [3, 6], 6),
    }
    wrong = []
    for name, (found, chosen, numbers, left) in cases.items():
        data = write_rows(tmp_path / f"{name}.jsonl", found)
        with pytest.raises(InputError, match=rf"{name}\.jsonl:{numbers[0]}: .*--rejects FILE"):
            train(data, (), tmp_path / name, options=chosen)
        aside = tmp_path / f"{name}.aside.jsonl"
        done = train(data, data, tmp_path / name, options=chosen, rejects=aside)
        facts = json.loads((done.path / "facts.json").read_text())
        if sorted({number for number, _ in rejected(aside)}) != numbers:
            wrong.append((name, rejected(aside)))
        if facts["rows"] != {"train": left, "eval": left} or len(rejected(aside)) != 2 * len(numbers):
            wrong.append((name, facts["rows"], rejected(aside)))
    assert not wrong
    done = run("train", "soft.jsonl", "--steps", 1, "-o", "out", "--rejects", "out.jsonl")
    assert done.code == 0, done.err
    assert [number for number, _ in rejected(tmp_path / "out.jsonl")] == [1, 4, 6]
    assert "8 in = 5 out + 3 failed" in done.err


# --- classes


def judged(*labels):
    """Rows with these labels, four of each."""
    return [{"text": f"text {n} of {label}", "label": label} for n in range(4) for label in labels]


def test_classes_that_nobody_meant_are_named_before_training(tmp_path):
    """What pandas writes for a missing value, blanks, and names that differ only by case or blanks."""
    cases = [
        (judged("good", "bad", "nan"), r"1\.jsonl:3: a label that is missing: found 'nan' in 'label'"),
        (judged("good", "bad", "NaN"), "found 'NaN'"),
        (judged("good", "bad", "<NA>"), "found '<NA>'"),
        (judged("good", "bad", "  "), "found '  ' in 'label'; leave the field empty; correct"),
        (judged("good", "Good", "bad"), "differ only by case or blanks: found 'Good', 'good'; correct"),
        (judged("good", "good ", "bad"), "found 'good', 'good '; correct the rows: --classes names no class"),
        (judged("very good", "very  good", "bad"), "found 'very  good', 'very good'"),
        ([{"text": "t", "probs": {"a": 0.5, "A": 0.5}}] * 4, "found 'A', 'a'"),
        (judged("caf\u00e9", "cafe\u0301", "bar"), r"found 'cafe\\u0301', 'caf\u00e9'"),
    ]
    wrong = []
    for number, (found, says) in enumerate(cases, 1):
        data = write_rows(tmp_path / f"{number}.jsonl", found)
        told = []
        try:
            train(data, (), tmp_path / "a", options=TrainOptions(steps=1), on_metrics=told.append)
            wrong.append((says, "no error"))
        except InputError as error:
            if not re.search(says, str(error)) or told:
                wrong.append((says, str(error)))
    assert not wrong


def test_classes_that_are_named_may_be_any(tmp_path):
    """`--classes` says that they were meant; a class called None is one."""
    data = write_rows(tmp_path / "a.jsonl", judged("nan", "Nan", "ok"))
    chosen = TrainOptions(steps=1, classes=("nan", "Nan", "ok"))
    told = []
    done = train(data, (), tmp_path / "a", options=chosen, log=told.append)
    assert json.loads((done.path / "facts.json").read_text())["classes"] == ["nan", "Nan", "ok"]
    assert any(line.endswith("12 in = 12 out") for line in told)
    assert "  rows by class: 'nan' 4, 'Nan' 4, 'ok' 4; with probabilities: 0" in told
    data = write_rows(tmp_path / "b.jsonl", judged("None", "against"))
    assert train(data, (), tmp_path / "b", options=TrainOptions(steps=1)).objective == "soft-label"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"label": "a"}, "must be one of loss, accuracy, macro_f1, kappa, which this run measures"),
        ({}, "must be one of loss, which this run measures; other figures need evaluation rows with a label"),
    ],
)
def test_a_figure_that_no_class_has(tmp_path, more, says):
    """Classes are always measured, so the advice is not to answer rows with `--measure`."""
    data = write_rows(tmp_path / "a.jsonl", judged("a", "b"))
    held = write_rows(tmp_path / "b.jsonl", [{"text": "t", "probs": {"a": 0.5, "b": 0.5}, **more}] * 4)
    with pytest.raises(UsageError, match=f"--keep-best exact: {says}$"):
        train(data, held, tmp_path / "run", options=TrainOptions(steps=1, keep_best="exact"))


# --- stored log-probabilities


@pytest.mark.slow
def test_log_probabilities_of_other_tokens_are_refused(place, tmp_path):
    """Whether the student has a token of that text or none; marked spaces are its own."""
    tokenizer = load_tokenizer(place / "tokenizer.json")

    def stored(change):
        found = rows(4)
        found[1]["messages"][1]["content"] = "é two"
        for row in found:
            ids = tokenizer.encode(row["messages"][1]["content"])
            texts = [tokenizer.decode([number]) for number in ids]
            row["logprobs"] = [{"token": text, "logprob": -0.1, "top": {text: -0.1}} for text in texts]
        change(found[1]["logprobs"])
        return write_rows(tmp_path / "stored.jsonl", found)

    wrong = []
    for token in ("nothing that is a token", "\ufffd\ufffd\ufffd", "sum", "<|eot_id|>", 3):
        data = stored(lambda entries, token=token: entries[-1].update(token=token))
        try:
            train(data, (), tmp_path / "a", options=options(place))
            wrong.append(token)
        except InputError as error:
            if "stored.jsonl:2: 'logprobs'" not in str(error) or "splits texts differently" not in str(error):
                wrong.append((token, str(error)))
    assert not wrong
    own = tokenizer.encode("é two")
    for entries_of in (
        list,
        lambda entries: [entry.update(token=entry["token"].replace(" ", "Ġ")) for entry in entries],
        lambda entries: [entry.update(token=number) for entry, number in zip(entries, own, strict=True)],
    ):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        train(stored(entries_of), (), tmp_path / "a", options=options(place))


def test_log_probabilities_that_are_null_everywhere_are_refused(place, tmp_path):
    """They would halve the loss; where some rows have them, the run says for how many tokens."""
    data = write_rows(tmp_path / "null.jsonl", [row | {"logprobs": None} for row in rows(6)])
    with pytest.raises(InputError, match=r"no row has log-probabilities that could be used"):
        train(data, (), tmp_path / "a", options=options(place))
    nulls = [row | {"logprobs": [None] * 3} for row in rows(1)]
    nulls[0]["messages"][1]["content"] = "two"
    nulls[0]["logprobs"] = [None] * len(load_tokenizer(place / "tokenizer.json").encode("two"))
    data = write_rows(tmp_path / "nulls.jsonl", nulls)
    with pytest.raises(InputError, match="no row has log-probabilities"):
        train(data, (), tmp_path / "a", options=options(place))
    some = rows(2)
    for row, known in zip(some, (True, False), strict=True):
        ids = load_tokenizer(place / "tokenizer.json").encode(row["messages"][1]["content"])
        row["logprobs"] = [[[number, -0.1]] for number in ids] if known else None
    told = []
    data = write_rows(tmp_path / "some.jsonl", some)
    train(data, (), tmp_path / "a", options=options(place), log=told.append)
    (line,) = [line for line in told if "log-probabilities for" in line]
    known, total = map(int, re.findall(r"for (\d+) of (\d+) tokens", line)[0])
    assert 0 < known < total
