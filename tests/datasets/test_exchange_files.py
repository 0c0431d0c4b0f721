"""`import` and `export` over files: pairs, splits, other tools' loaders, bad rows, pipes and workers."""

import gzip
import json
import math

import polars as pl
import pytest

from dataprep import dataset_names, export_files, import_files
from dataprep.cli.commands import exchange
from dataprep.core.errors import DataprepError, RowDropped, RowError
from dataprep.datasets.exchange import registry
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.hub_directory import splits_of
from tests.helpers import chat, listing, read_jsonl, write_jsonl

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"city": {"type": "string"}}}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"zone": {"type": "string"}}}}
PLAIN = [chat("1 + 1?", "2", system="Add."), chat("2 + 2?", "4"), chat("And 3 + 3?", "6", id="x")]


def calling(tool, arguments):
    """A chat row with a tool call."""
    function = {"name": tool["function"]["name"], "arguments": arguments}
    call = {"id": "c1", "type": "function", "function": function}
    return {
        "messages": [
            {"role": "user", "content": "Ask."},
            {"role": "assistant", "reasoning_content": "I ask.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "20"},
            {"role": "assistant", "content": "It is 20."},
        ],
        "tools": [tool],
    }


CALLS = [calling(WEATHER, {"city": "Rome"}), calling(CLOCK, {"zone": "UTC", "hours": 24}), *PLAIN]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The library ``datasets`` with a cache of its own, and no network."""
    import datasets
    from datasets import load_dataset

    with pytest.MonkeyPatch.context() as patch:
        cache = str(tmp_path_factory.mktemp("cache"))
        patch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        datasets.disable_progress_bars()
        yield lambda *arguments, **settings: load_dataset(*arguments, cache_dir=cache, **settings)
        datasets.enable_progress_bars()


def test_the_help_names_every_format():
    """The flags list the formats that there are: a new file in the folder must be named there too."""
    for command, verb in ((exchange.import_command, "read"), (exchange.export_command, "write")):
        (found,) = (
            default.help
            for default in command.__defaults__
            if getattr(default, "param_decls", None) in (("--from",), ("--to",))
        )
        names = found.partition(". ")[0].removesuffix(".").replace(" or ", ", ").split(", ")
        assert sorted(names) == list(registry.names(verb))


@pytest.mark.parametrize("name", ["sharegpt", "alpaca", "openai", "prompt-completion"])
def test_files_come_back_as_they_were(name, tmp_path, run):
    """Export and import, the format guessed, give the same rows; the guess is said on standard error."""
    write_jsonl(tmp_path / "rows.jsonl", [row | {"id": str(n)} for n, row in enumerate(PLAIN)])
    lossy = ["--lossy"] if name == "openai" else []
    out = run("export", "rows.jsonl", "--to", name, "-o", "out.jsonl", *lossy)
    assert out.code == 0, out.err
    assert ("lost: other fields of rows: 3" in out.err) == bool(lossy)
    back = run("import", "out.jsonl")
    assert (back.code, f"import: read as {name} (guessed" in back.err) == (0, True)
    rows = [json.loads(line) for line in back.out.splitlines()]
    expected = read_jsonl(tmp_path / "rows.jsonl")
    assert rows == [{"messages": row["messages"]} for row in expected] if lossy else expected


@pytest.mark.medium
def test_the_rows_of_all_sample_sets_come_back(workspace, run):
    """Each dataset's chat rows go out and come in without a loss or a change, byte by byte."""
    for dataset in sorted(set(dataset_names()) - {"qa"}):
        converted = run("convert", dataset, "-q", cwd=workspace)
        assert converted.code == 0, converted.err
    rows = sorted((workspace / "pre_datasets").rglob("*.jsonl"))
    assert len(rows) > 8
    expected = b"".join(path.read_bytes() for path in rows)
    for name in ("sharegpt", "alpaca", "openai", "prompt-completion"):
        result = export_files(rows, workspace / "out.jsonl", format=name)
        back = import_files(workspace / "out.jsonl", workspace / "back.jsonl")
        assert result.lost == result.changed == back.lost == back.changed == {}
        assert (workspace / "back.jsonl").read_bytes() == expected


def test_bad_rows_stop_or_go_to_the_rejects(tmp_path, run):
    """A row with a loss stops the command with its place; with --rejects the others are written."""
    rows = [PLAIN[0], CALLS[0], PLAIN[1]]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    stopped = run("export", "rows.jsonl", "--to", "sharegpt", "-o", "out.jsonl")
    assert stopped.code == 1
    assert "rows.jsonl:2: sharegpt cannot carry reasoning: messages[1].reasoning_content" in stopped.err
    assert "--lossy" in stopped.err
    assert listing(tmp_path) == ["rows.jsonl"]
    done = run(
        "export", "rows.jsonl", "--to", "sharegpt", "-o", "out.jsonl", "--rejects", "bad.jsonl", "--json"
    )
    assert done.code == 0
    (output,) = json.loads(done.err)["outputs"]
    assert (output["in"], output["out"]) == (3, 2)
    assert output["failed"] == {"sharegpt cannot carry reasoning": 1}
    assert output["lost"] == output["changed"] == {}  # counts are of the rows that were written
    (bad,) = read_jsonl(tmp_path / "bad.jsonl")
    assert json.loads(bad["text"]) == CALLS[0]
    lossy = run("export", "rows.jsonl", "--to", "sharegpt", "--lossy", "--json")
    (output,) = json.loads(lossy.err)["outputs"]
    assert (output["out"], output["lost"]) == (3, {"reasoning": 1})


def test_rows_without_a_place_are_dropped_with_their_reason(tmp_path, run):
    """With --lossy, rows that the tool would skip are in the ledger."""
    write_jsonl(tmp_path / "rows.jsonl", [PLAIN[0], chat("?"), PLAIN[1]])
    done = run("export", "rows.jsonl", "--to", "llama-factory", "-o", "out.jsonl", "--lossy")
    assert "3 in = 2 out + 1 dropped (llama-factory cannot carry this order of turns: 1)" in done.err


def test_pipes_and_workers_give_the_same_bytes(tmp_path, run, run_process):
    """Standard input and output, compressed files and two workers: the rows and counts are the same."""
    rows = (CALLS + PLAIN) * 400
    write_jsonl(tmp_path / "rows.jsonl", rows)
    data = (tmp_path / "rows.jsonl").read_bytes()
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(data))
    command = ("export", "--to", "sharegpt", "--lossy", "--json")
    one = run(*command, "rows.jsonl")
    two = run_process(*command, "rows.jsonl", "--workers", "2")
    piped = run(*command, "-", input=data)
    packed = run(*command, "rows.jsonl.gz")
    assert one.code == two.code == piped.code == packed.code == 0
    assert one.out == two.out == piped.out == packed.out
    assert one.err == two.err == piped.err == packed.err
    assert json.loads(one.err)["outputs"][0]["lost"] == {"reasoning": 800}
    assert run("import", "-", input=one.out).code == 0


def test_a_json_document_and_parquet_are_read(tmp_path):
    """Published files are arrays of rows, or Parquet in which turns lack fields as nulls."""
    turns = [{"from": "human", "value": "1?", "weight": None}, {"from": "gpt", "value": "2", "weight": 1}]
    (tmp_path / "rows.json").write_text(json.dumps([{"conversations": turns}] * 2))
    pl.DataFrame({"conversations": [turns] * 2}).write_parquet(tmp_path / "rows.parquet")
    for name in ("rows.json", "rows.parquet"):
        result = import_files(tmp_path / name, tmp_path / "out.jsonl")
        assert (result.format, result.ledger.rows_out) == ("sharegpt", 2)
        assert result.changed == {"empty fields left out": 2}
        (first, _) = read_jsonl(tmp_path / "out.jsonl")
        assert first["messages"][1] == {"role": "assistant", "content": "2", "weight": 1}


def test_a_conversation_of_harmony_is_a_file(tmp_path, run):
    """`Conversation.to_json` writes one conversation per file."""
    messages = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "channel": "analysis", "content": "Easy."},
        {"role": "assistant", "channel": "final", "content": "2"},
    ]
    (tmp_path / "one.json").write_text(json.dumps({"messages": messages}, indent=1))
    done = run("import", "one.json")
    assert "read as harmony-json" in done.err
    assert json.loads(done.out)["messages"][1] == {
        "role": "assistant",
        "reasoning_content": "Easy.",
        "content": "2",
    }


@pytest.mark.parametrize("name", ["sharegpt", "llama-factory", "openai", "alpaca"])
def test_reasoning_goes_through_formats_without_a_place_for_it(name, tmp_path):
    """With tags every format carries reasoning, and it comes back; both are counted."""
    rows = [chat("1 + 1?", "2"), chat("2 + 2?", "4")] if name == "alpaca" else [CALLS[0], PLAIN[0]]
    rows[0]["messages"][-1] = {"role": "assistant", "content": "4", "reasoning_content": "Hm.\nEasy."}
    thinking = sum("reasoning_content" in message for row in rows for message in row["messages"])
    write_jsonl(tmp_path / "rows.jsonl", rows)
    target = tmp_path / "out.jsonl"
    result = export_files(tmp_path / "rows.jsonl", target, format=name, think_tags=True)
    assert result.lost == {}
    assert result.changed["reasoning written between <think> and </think>"] == thinking
    back = import_files(target, tmp_path / "back.jsonl", split_thinking=True)
    assert back.changed == {"thinking split off contents": thinking}
    for row, again in zip(rows, read_jsonl(tmp_path / "back.jsonl"), strict=True):
        for before, after in zip(row["messages"], again["messages"], strict=True):
            assert after.get("reasoning_content") == before.get("reasoning_content")
            assert after["content"] == before.get("content", "")
    # In the form that LLaMA-Factory documents for models that think.
    if name == "sharegpt":
        value = read_jsonl(target)[0]["conversations"][1]["value"]
        assert value.startswith('<think>\nI ask.\n</think>\n\n{"name":"weather"')


def test_the_other_shape_of_harmony_messages_is_read(tmp_path):
    """With pydantic a message has an author; rows with nothing special may stand beside such rows."""
    special = [
        {
            "author": {"role": "user", "name": None},
            "content": [{"type": "text", "text": "?"}],
            "channel": None,
        },
        {
            "author": {"role": "assistant", "name": None},
            "content": "!",
            "channel": "final",
            "recipient": None,
        },
    ]
    write_jsonl(tmp_path / "rows.jsonl", [chat("?", "!"), {"messages": special}])
    result = import_files(tmp_path / "rows.jsonl", tmp_path / "out.jsonl")
    assert (result.format, read_jsonl(tmp_path / "out.jsonl")) == ("harmony-json", [chat("?", "!")] * 2)


def test_llama_factory_finds_the_file_by_its_entry(tmp_path, run):
    """The entry names the file and its columns; other entries stay, and the output must have a folder."""
    write_jsonl(tmp_path / "rows.jsonl", PLAIN)
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "other.json"}}')
    done = run("export", "rows.jsonl", "--to", "llama-factory", "-o", "mine.jsonl")
    assert (done.code, "also written: dataset_info.json" in done.err) == (0, True)
    entries = json.loads((tmp_path / "dataset_info.json").read_text())
    assert entries["other"] == {"file_name": "other.json"}
    columns, tags = entries["mine"]["columns"], entries["mine"]["tags"]
    for row in read_jsonl(tmp_path / entries["mine"]["file_name"]):
        assert set(columns.values()) <= row.keys()
        for turn in row[columns["messages"]]:
            assert turn[tags["role_tag"]] in (tags["user_tag"], tags["assistant_tag"])
            assert turn[tags["content_tag"]]
    for output, message in (("-", "give -o FILE"), ("mine.jsonl.gz", "no compressed files")):
        refused = run("export", "rows.jsonl", "--to", "llama-factory", "-o", output)
        assert (refused.code, message in refused.err) == (2, True)
    (tmp_path / "dataset_info.json").write_text("{")
    assert run("export", "rows.jsonl", "--to", "llama-factory", "-o", "new.jsonl").code == 1
    assert "new.jsonl" not in listing(tmp_path)


PAIR = {
    "prompt": [{"role": "user", "content": "1 + 1?"}],
    "chosen": [{"role": "assistant", "content": "2"}],
    "rejected": [{"role": "assistant", "content": "3"}],
}
SHAPES = {
    "as collect writes them": PAIR,
    "texts": {"prompt": "1 + 1?", "chosen": "2", "rejected": "3"},
    "whole conversations": {
        "chosen": PAIR["prompt"] + PAIR["chosen"],
        "rejected": PAIR["prompt"] + PAIR["rejected"],
    },
    "whole conversations with a prompt": {
        "prompt": "1 + 1?",
        "chosen": PAIR["prompt"] + PAIR["chosen"],
        "rejected": PAIR["prompt"] + PAIR["rejected"],
    },
    "OpenAI": {
        "input": {"messages": PAIR["prompt"]},
        "preferred_output": PAIR["chosen"],
        "non_preferred_output": PAIR["rejected"],
    },
    "ShareGPT of LLaMA-Factory": {
        "conversations": [{"from": "human", "value": "1 + 1?"}],
        "chosen": {"from": "gpt", "value": "2"},
        "rejected": {"from": "gpt", "value": "3"},
    },
    "alpaca of LLaMA-Factory": {"instruction": "1 + 1?", "input": "", "chosen": "2", "rejected": "3"},
}


def pair_of(row, *, lossy=False):
    """The pair that is made of a row."""
    return registry.load("preference", "write").write(row, Account("preference", lossy=lossy))


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_are_read_in_the_shapes_that_tools_have(shape):
    """Each shape is the same pair, with other fields beside it and tools as JSON text."""
    assert pair_of(SHAPES[shape]) == PAIR
    assert pair_of(SHAPES[shape] | {"id": "p1"}) == PAIR | {"id": "p1"}
    where = (
        {"input": SHAPES[shape]["input"] | {"tools": [CLOCK]}} if shape == "OpenAI" else {"tools": [CLOCK]}
    )
    assert json.loads(pair_of(SHAPES[shape] | where)["tools"]) == [CLOCK]


def test_rows_that_are_no_pairs_are_errors():
    """Chat rows, equal answers, and texts without a prompt."""
    with pytest.raises(RowError, match="collect --to preference"):
        pair_of(PLAIN[0])
    with pytest.raises(RowDropped, match="chosen and rejected are the same"):
        pair_of(PAIR | {"chosen": PAIR["rejected"]})
    for row in ({"chosen": "Hi. 2", "rejected": "Hi. 3"}, {key: PAIR[key] for key in ("chosen", "rejected")}):
        with pytest.raises(RowError, match="no prompt"):
            pair_of(row)
    mixed = SHAPES["whole conversations"] | {"prompt": "2 + 2?"}
    with pytest.raises(RowError, match="a prompt beside whole conversations"):
        pair_of(mixed)
    assert pair_of(mixed, lossy=True) == PAIR


@pytest.mark.medium
@pytest.mark.parametrize("name", sorted({*registry.names("write")} - {"hub-dir"}))
def test_datasets_loads_what_is_exported(name, tmp_path, hub):
    """`load_dataset` reads every row of each format, with calls and other fields among them."""
    rows = [SHAPES["OpenAI"], PAIR | {"id": "p"}] if name == "preference" else CALLS
    source, target = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl"
    result = export_files(source, target, format=name, lossy=True)
    loaded = hub("json", data_files=str(target), split="train")
    assert len(loaded) == result.ledger.rows_out > 0
    for written, row in zip(read_jsonl(target), loaded, strict=True):
        assert without_nulls(row) == without_nulls(written)


def without_nulls(value):
    """The value without the nulls that a table has in place of absent fields."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [*map(without_nulls, value)] if isinstance(value, list) else value


@pytest.mark.medium
def test_a_hub_directory_is_loaded_as_it_was_written(tmp_path, hub, run):
    """The card names splits, columns and sizes as `datasets` finds them, and the rows come back."""
    from datasets import DatasetInfo, Features, load_dataset_builder
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    write_jsonl(tmp_path / "train.jsonl", CALLS)
    write_jsonl(tmp_path / "my-dev-rows.jsonl", PLAIN)
    done = run("export", "train.jsonl", "my-dev-rows.jsonl", "--to", "hub-dir", "-o", "set")
    assert done.code == 0, done.err
    assert listing(tmp_path / "set") == ["README.md", "data"]
    loaded = hub(str(tmp_path / "set"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 5, "validation": 3}
    first = without_nulls(loaded["train"][0])
    assert json.loads(first["tools"]) == [WEATHER]
    (call,) = first["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    assert [without_nulls(row) for row in loaded["validation"]] == PLAIN
    card = DatasetCard.load(tmp_path / "set" / "README.md", repo_type="dataset")
    info = DatasetInfo._from_yaml_dict(card.data.dataset_info)
    assert info.features == loaded["train"].features
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 5, "validation": 3}
    configs = MetadataConfigs.from_dataset_card_data(card.data)
    assert [item["split"] for item in configs["default"]["data_files"]] == ["train", "validation"]
    assert card.data.dataset_info["features"] == Features(loaded["train"].features)._to_yaml_list()
    assert load_dataset_builder(str(tmp_path / "set")).info.features == info.features
    stored = sum(path.stat().st_size for path in (tmp_path / "set" / "data").iterdir())
    assert card.data.dataset_info["download_size"] == stored
    # dataprep reads its own tables too.
    assert run("validate", "set/data/train-00000-of-00001.parquet").code == 0


def test_an_error_of_a_guessed_format_says_that_it_is_a_guess(tmp_path, run):
    """The row may be of another format than the first rows are."""
    write_jsonl(tmp_path / "rows.jsonl", [{"text": "!"}] * 60 + [{"document": "!"}])
    done = run("import", "rows.jsonl")
    assert "rows.jsonl:61: no text" in done.err
    assert "the rows are read as text, by a guess: --from FORMAT names another" in done.err
    assert "guess" not in run("import", "rows.jsonl", "--from", "text").err
    (tmp_path / "cut.jsonl").write_text('{"text": "')
    done = run("import", "cut.jsonl")
    assert (
        "none of the first rows can be read; the first is not JSON: the line ends in the middle" in done.err
    )
    (tmp_path / "empty.jsonl").write_text("")
    assert "empty.jsonl: the file is empty; expected rows" in run("import", "empty.jsonl").err


@pytest.mark.medium
def test_a_hub_directory_has_columns_of_every_type(tmp_path, hub):
    """Booleans, numbers and columns of nulls load from rows and from messages, as loss marks are."""
    marked = chat("?", "!", ok=True, count=1, part=0.5, large=2**64 - 1, none=None)
    marked["messages"][1] |= {"loss": False, "weight": 0, "score": 0.5, "none": None}
    write_jsonl(tmp_path / "rows.jsonl", [marked])
    export_files(tmp_path / "rows.jsonl", tmp_path / "set", format="hub-dir")
    (row,) = hub(str(tmp_path / "set"), split="train")
    assert row | {"messages": [without_nulls(row["messages"][0]), row["messages"][1]]} == marked


def test_a_hub_directory_appears_whole_or_not_at_all(tmp_path, run):
    """A bad row, an empty split or a directory with files in it leave nothing behind."""
    write_jsonl(tmp_path / "train.jsonl", PLAIN)
    write_jsonl(tmp_path / "bad.jsonl", [PLAIN[0], {"text": "no messages"}])
    before = listing(tmp_path)
    done = run("export", "train.jsonl", "test=bad.jsonl", "--to", "hub-dir", "-o", "set")
    assert (done.code, "bad.jsonl:2: no messages" in done.err) == (1, True)
    assert listing(tmp_path) == before
    done = run("export", "train.jsonl", "--to", "hub-dir", "-o", "-")
    assert (done.code, "give -o DIR" in done.err) == (2, True)
    assert run("export", "train.jsonl", "--to", "hub-dir", "-o", "set").code == 0
    done = run("export", "train.jsonl", "--to", "hub-dir", "-o", "set")
    assert (done.code, "not empty" in done.err) == (1, True)
    mixed = [chat("?", "!", score=1), chat("?", "!", score="high")]
    write_jsonl(tmp_path / "mixed.jsonl", mixed)
    done = run("export", "mixed.jsonl", "--to", "hub-dir", "-o", "other")
    assert (done.code, "field 'score' holds an integer in row 1 and a text in row 2" in done.err) == (1, True)
    assert "other" not in listing(tmp_path)


def test_splits_are_named_by_files_or_given():
    """A word in the file's name tells the split; a name that is no split's is an error."""
    assert splits_of(["a_train.jsonl", "b-TEST.parquet", "x/dev.jsonl"]) == {
        "train": ["a_train.jsonl"],
        "test": ["b-TEST.parquet"],
        "validation": ["x/dev.jsonl"],
    }
    assert splits_of(["rows.jsonl"]) == {"train": ["rows.jsonl"]}
    assert splits_of(["my rows.jsonl", "train=rows.jsonl", "train=more.jsonl"]) == {
        "my_rows": ["my rows.jsonl"],
        "train": ["rows.jsonl", "more.jsonl"],
    }
    with pytest.raises(DataprepError, match="not a split's name"):
        splits_of(["a b=rows.jsonl"])
    with pytest.raises(DataprepError, match="a split cannot be named 'all'"):
        splits_of(["all.jsonl", "train.jsonl"])


def student(folder):
    """A directory with a tiny model, and its tokenizer with a template that takes every message."""
    from tests import tiny_model

    words = tiny_model.tokenizer()
    words.save_pretrained(folder)
    tiny_model.llama(max_position_embeddings=512).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["trl", "prompt-completion", "hub-dir"])
def test_sft_trainer_of_trl_takes_one_step(name, tmp_path, hub):
    """The exported file goes into TRL's SFTTrainer as `load_dataset` gives it."""
    from trl import SFTConfig, SFTTrainer

    source = write_jsonl(tmp_path / "train.jsonl", (PLAIN + CALLS[:2]) * 2)
    target = tmp_path / ("set" if name == "hub-dir" else "out.jsonl")
    export_files(source, target, format=name, lossy=True)
    rows = (
        hub(str(target), split="train")
        if name == "hub-dir"
        else hub("json", data_files=str(target), split="train")
    )
    config = SFTConfig(
        str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True
    )
    trainer = SFTTrainer(student(tmp_path / "student"), args=config, train_dataset=rows)
    assert math.isfinite(trainer.train().training_loss)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "shape"),
    [("preference", "as collect writes them"), ("preference", "OpenAI"), ("hub-dir", "texts")],
)
def test_dpo_trainer_of_trl_takes_one_step(name, shape, tmp_path, hub):
    """The exported pairs go into TRL's DPOTrainer as `load_dataset` gives them."""
    from transformers import LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    rows = [SHAPES[shape] | ({} if shape == "OpenAI" else {"id": str(number)}) for number in range(4)]
    source = write_jsonl(tmp_path / "pairs.jsonl", rows)
    target = tmp_path / "pairs-out.jsonl"
    export_files(source, target, format="preference")
    if name == "hub-dir":
        export_files(target, tmp_path / "set", format=name)
        loaded = hub(str(tmp_path / "set"), split="train")
    else:
        loaded = hub("json", data_files=str(target), split="train")
    path = student(tmp_path / "student")
    config = DPOConfig(
        str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True
    )
    trainer = DPOTrainer(path, LlamaForCausalLM.from_pretrained(path), config, train_dataset=loaded)
    assert math.isfinite(trainer.train().training_loss)
