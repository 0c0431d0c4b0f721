"""Cards of datasets: what they say, and that the hub's library, `datasets` and `mlcroissant` read them."""

import gzip
import hashlib
import json
import logging
import shutil

import pytest
import yaml
from markdown_it import MarkdownIt

from dataprep.core.errors import UsageError
from dataprep.datasets import registry
from dataprep.inspect.card.licences import LICENCES, conflicts, licence_of, strictest, teacher_note
from dataprep.inspect.card.writing import card_of_files, write_card
from tests.helpers import chat, read_jsonl, write_jsonl

EVIL = "a|b `c` <script>alert(1)</script>\n---\nlicense: 'mit' \"x\" [y](z)\u2028\x1b[31m"
LABELLED = {
    "id": "q-1",
    "question": "Which?",
    "choices": ["tin", "iron"],
    "answer": {"label": "b", "text": "iron"},
    "rationales": {"gpt-4o": "Iron rusts.", "llama-2": "It is iron."},
    "status": {"gpt-4o": "ok", "llama-2": "runaway"},
    "source": "arc",
}


@pytest.fixture
def mixture(tmp_path):
    """A folder with chat rows of two datasets, and of a source that nobody knows."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [chat("1 + 1?", "2", source="gsm8k", id=str(n)) for n in range(3)]
    write_jsonl(folder / "train.jsonl", [*rows, chat("Where?", "Here", source="squad", id="s")])
    write_jsonl(folder / "test.jsonl", [chat("Q", "A", source=EVIL, id="e")])
    return folder


def header_and_body(readme):
    """The YAML header of a card, read, and the Markdown below it."""
    _, header, body = readme.split("---\n", 2)
    return yaml.safe_load(header), body


def test_a_card_says_what_is_in_the_files(mixture):
    """Sizes, figures, sources with rows and licences: the strictest is named."""
    made = card_of_files([mixture / "train.jsonl"], folder=mixture, title="My set")
    header, body = header_and_body(made.readme)
    assert header == made.metadata
    assert header["license"] == ["mit", "cc-by-sa-4.0"]
    assert header["language"] == ["en"]
    assert header["size_categories"] == ["n<1K"]
    assert header["source_datasets"] == ["openai/gsm8k", "rajpurkar/squad_v2"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": ["train.jsonl"]}]
    digest = hashlib.sha256((mixture / "train.jsonl").read_bytes()).hexdigest()
    assert digest in body
    assert "\n# My set\n" in body
    assert "4 rows; 2 of them repeat the content of an earlier row" in body
    assert "| `user` | 4 | 6 | 6 | 6 | 6 |" in body
    assert "The strictest of these licences is **CC BY-SA 4.0**" in body
    assert "they may be incompatible" in body
    assert "No manifest says how these files were made: `train.jsonl`." in body


def test_a_card_is_the_same_each_time_and_in_each_folder(mixture, tmp_path):
    """It has no time, and no path outside its folder."""
    first = card_of_files([mixture / "train.jsonl", mixture / "test.jsonl"], title="x")
    shutil.copytree(mixture, tmp_path / "copy")
    second = card_of_files([tmp_path / "copy" / name for name in ("train.jsonl", "test.jsonl")], title="x")
    assert first.readme == second.readme
    assert first.croissant == second.croissant
    assert str(tmp_path) not in first.readme


def test_a_card_says_how_to_make_the_files_again(tmp_path):
    """By the manifests of the files and of what they were made of, each command once, in order."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "raw.jsonl").write_text("{}")

    def note(path, inputs, command, *words, **options):
        entries = [[{"path": each} for each in paths] for paths in (inputs, [path])]
        manifest = {
            "manifest": 1,
            "command": command,
            "arguments": words,
            "root": ".." if "/" in path else ".",
        }
        manifest |= {"options": options}
        manifest |= dict(zip(("inputs", "outputs"), entries, strict=True)) | {
            "time": {"started": f"{path} time"}
        }
        (tmp_path / f"{path}.manifest.json").write_text(json.dumps(manifest))

    for name in ("data/a.jsonl", "data/b.jsonl", "data/train.jsonl"):
        write_jsonl(tmp_path / name, [chat("?", "!")])
    note("data/a.jsonl", ["raw.jsonl"], "convert", "arc", "it's`\n```\n# x", dataset="arc")
    note(
        "data/b.jsonl",
        ["data/a.jsonl"],
        "convert",
        "rationales",
        "a.jsonl",
        dataset="rationales",
        teacher="sha256:ab/llama-2",
    )
    note("data/train.jsonl", ["data/a.jsonl", "data/b.jsonl"], "merge", "a.jsonl", "b.jsonl", seed=1)
    made = card_of_files(folder / "train.jsonl")
    header, body = header_and_body(made.readme)
    (block,) = [each for each in MarkdownIt().parse(body) if each.type == "fence" and each.info == "sh"]
    assert block.content.splitlines() == [
        "dataprep convert arc $'it\\'s`\\x0a```\\x0a# x'",
        "dataprep convert rationales a.jsonl",
        "dataprep merge a.jsonl b.jsonl",
    ]
    assert header["license"] == "cc-by-sa-4.0"
    assert header["source_datasets"] == ["allenai/ai2_arc"]
    assert "| `llama-2` | – |" in body
    assert "Rows of a source without a number do not name it" in body
    assert "data/train.jsonl time" not in made.readme + json.dumps(made.croissant), (
        "a replay gives the same card"
    )
    assert "No manifest" not in body


def test_texts_of_data_stay_texts(mixture):
    """A source, a title and a file's name with marks of Markdown, HTML and YAML are shown as they are."""
    odd = mixture / "we|ird `x` <b>_test.jsonl"
    shutil.copy(mixture / "test.jsonl", odd)
    made = card_of_files([mixture / "train.jsonl", odd], folder=mixture, title=EVIL)
    header, body = header_and_body(made.readme)
    assert header["license"] == ["mit", "cc-by-sa-4.0", "unknown"]
    assert header["configs"][0]["data_files"][1]["path"] == [odd.name]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    inner = [child for token in tokens for child in token.children or ()]
    assert not {token.type for token in [*tokens, *inner]} & {"html_block", "html_inline", "hr", "image"}
    links = {token.attrs["href"] for token in inner if token.type == "link_open"}
    assert all(link.startswith("https://") for link in links)
    assert "z" not in links
    codes = [token.content for token in inner if token.type == "code_inline"]
    assert odd.name in codes
    assert any(code.startswith("a|b `c` <script>alert(1)</script>\\n---") for code in codes)
    assert made.croissant["name"].startswith("a|b")
    assert header["pretty_name"].startswith("a|b `c` <script>")


def test_teachers_are_named_with_their_terms(tmp_path):
    """A model's licence may restrict the use of its answers, and Llama 2's does."""
    write_jsonl(tmp_path / "rows.jsonl", [LABELLED])
    _, body = header_and_body(card_of_files(tmp_path / "rows.jsonl").readme)
    assert "| `gpt-4o` | ok: 1 |" in body
    assert "| `llama-2` | runaway: 1 |" in body
    assert "forbids using its output to improve another large language model" in body
    assert body.count("may restrict the use of its answers") == 2


def test_licences_are_given_for_rows_of_other_sources(tmp_path, run):
    """--licence is for one source or for all unknown ones; a source that no row has is an error."""
    write_jsonl(tmp_path / "mine_train.jsonl", [chat("Q", "A", source="mine"), chat("Q", "A")])
    done = run("card", "mine_train.jsonl", "--licence", "mine=CC-BY-NC-4.0", "--licence", "MIT")
    header, body = header_and_body(done.out.decode())
    assert header["license"] == ["cc-by-nc-4.0", "mit"]
    assert "forbids commercial use" in body
    done = run("card", "mine_train.jsonl", "--licence", "yours=MIT")
    assert done.code == 2
    assert "no row has this source; the sources are mine" in done.err
    assert run("card", "mine_train.jsonl", "--licence", "=MIT").code == 2


def test_the_command_writes_both_files(mixture, run, tmp_path):
    """-o takes a folder or a path; --dry-run writes nothing; files elsewhere are an error."""
    files = ["train=data/train.jsonl", "data/test.jsonl"]
    done = run("card", *files, "-o", "data", "--dry-run", "--json")
    assert json.loads(done.err)["outputs"][0]["licences"] == ["MIT", "CC BY-SA 4.0", "unknown"]
    assert not (mixture / "README.md").exists()
    assert run("card", *files, "-o", "data").code == 0
    assert json.loads((mixture / "croissant.json").read_bytes())["@type"] == "sc:Dataset"
    assert run("card", *files, "-o", "README.md", "-q").code == 0
    text = (tmp_path / "README.md").read_text()
    assert header_and_body(text)[0]["configs"][0]["data_files"][0]["path"] == ["data/train.jsonl"]
    assert run("card", *files, "-o", "data").code == 0, "its own card is replaced"
    (mixture / "README.md").write_text("By hand")
    done = run("card", *files, "-o", "data")
    assert (done.code, "`dataprep card` did not write it" in done.err) == (2, True)
    assert run("card", *files, "-o", "data/README.md").code == 0
    (tmp_path / "other").mkdir()
    done = run("card", *files, "-o", "other")
    assert (done.code, "is not in other, the folder of the card" in done.err) == (2, True)
    assert "is not a folder" in run("card", *files, "-o", "nowhere").err
    assert "not standard input" in run("card", "-", input=b"{}").err


@pytest.mark.slow
def test_the_hub_and_datasets_read_a_card(mixture, tmp_path):
    """The header is metadata that the hub's library takes, and its configs load every row of each split."""
    import datasets
    from huggingface_hub import DatasetCard, DatasetCardData

    odd = mixture / "a[1]*_valid.jsonl"
    shutil.copy(mixture / "train.jsonl", odd)
    names = ["train.jsonl", "test.jsonl", odd.name]
    made = write_card([mixture / name for name in names], mixture)
    card = DatasetCard.load(mixture / "README.md", repo_type="dataset")
    assert card.data.to_dict() == made.metadata
    assert DatasetCardData(**made.metadata).to_dict() == made.metadata
    datasets.disable_progress_bars()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        loaded = datasets.load_dataset(str(mixture), cache_dir=str(tmp_path / "cache"))
    datasets.enable_progress_bars()
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 4, "test": 1, "validation": 4}
    assert loaded["train"].to_list() == read_jsonl(mixture / "train.jsonl")


@pytest.mark.medium
def test_columns_that_begin_late_are_loaded(tmp_path):
    """The card has the type of each column, which `datasets` would infer from the first rows alone."""
    import datasets

    last = {"text": "y", "id": "08", "by": {"a": None, "b": "z"}, "late": [1, 2.5]}
    rows = [{"text": "x" * 2000, "id": "007", "by": {"a": "x"}} for _ in range(6000)]
    write_jsonl(tmp_path / "train.jsonl", [*rows, last])
    write_card(tmp_path / "train.jsonl", tmp_path)
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"), split="train")
    datasets.enable_progress_bars()
    assert loaded[len(rows)] == last


def test_a_card_says_which_columns_have_no_single_type(tmp_path):
    """A number where other rows have a text is named, because `datasets` has columns of one type."""
    write_jsonl(tmp_path / "rows.jsonl", [chat("?", "!", answer=1), chat("?", "!", answer={"text": "x"})])
    made = card_of_files(tmp_path / "rows.jsonl")
    assert "dataset_info" not in made.metadata
    assert "The values of `answer` have several types" in made.readme


def as_read(value, prefix):
    """A row as `mlcroissant` gives it: ids as names, and texts as bytes."""
    if isinstance(value, dict):
        return {f"{prefix}/{name}": as_read(inner, f"{prefix}/{name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [as_read(item, prefix) for item in value]
    return value.encode() if isinstance(value, str) else value


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore")
@pytest.mark.sampled(3)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".parquet"])
def test_croissant_metadata_load_the_rows(tmp_path, suffix, run):
    """`mlcroissant` finds no error, checks the SHA-256, and reads chat rows and labelled rows as they are."""
    import mlcroissant

    logging.getLogger("absl").setLevel(logging.ERROR)
    chats = [
        chat("1 + 1?", "2", n=1, score=0.5, good=True),
        chat("“2”?", "3", "4?", "5", n=2, score=1.5, good=False),
    ]
    write_jsonl(tmp_path / "chats.jsonl", chats)
    write_jsonl(tmp_path / "labelled.jsonl", [LABELLED, LABELLED | {"id": "q-2"}])
    for name in ("chats", "labelled"):
        if suffix == ".jsonl.gz":
            (tmp_path / f"{name}.jsonl.gz").write_bytes(
                gzip.compress((tmp_path / f"{name}.jsonl").read_bytes())
            )
        elif suffix != ".jsonl":
            assert run("merge", f"{name}.jsonl", "--no-shuffle", "-o", f"{name}{suffix}").code == 0
    write_card([f"{name}={tmp_path / name}{suffix}" for name in ("chats", "labelled")], tmp_path)
    loaded = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")
    assert not loaded.metadata.ctx.issues.errors
    for name, rows in (("chats", chats), ("labelled", [LABELLED, LABELLED | {"id": "q-2"}])):
        assert [*loaded.records(name)] == [as_read(row, name) for row in rows]
    (objects,) = [json.loads((tmp_path / "croissant.json").read_bytes())["distribution"]]
    for each in objects:
        assert each["sha256"] == hashlib.sha256((tmp_path / each["contentUrl"]).read_bytes()).hexdigest()


def test_croissant_names_what_it_cannot_describe(tmp_path):
    """Tool calls, values of several shapes and objects with many keys have no type there."""
    row = chat("?", "!", odd={"deep": {"er": 1}}, mixed=1, keys={str(n): n for n in range(200)})
    row["messages"][1]["tool_calls"] = [{"function": {"name": "f"}}]
    write_jsonl(tmp_path / "rows.jsonl", [row, chat("?", "!", mixed=[1])])
    (records,) = card_of_files(tmp_path / "rows.jsonl").croissant["recordSet"]
    assert [field["name"] for field in records["field"]] == ["train/messages"]
    assert records["field"][0]["description"] == "Parts without a type of Croissant: tool_calls."
    assert records["description"].endswith("Fields without a type of Croissant: odd, mixed, keys.")


@pytest.mark.parametrize("name", registry.names())
def test_the_licence_of_every_dataset_is_known(name):
    """The table has the terms of each, and its language."""
    source = registry.load(name).SOURCE
    if not source.licence:  # the user's own data
        assert name == "qa"
        return
    licence = licence_of(source.licence)
    assert licence.id in LICENCES
    assert licence.hub_id == licence.id
    assert licence.id != "unknown"
    assert licence.requires
    assert source.language == "en"


@pytest.mark.parametrize(
    ("text", "id", "says"),
    [
        ("MIT License", "mit", "notices"),
        ("The Apache License, Version 2.0", "apache-2.0", "what was changed"),
        ("Academic Free License v3.0", "afl-3.0", "notices"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0", "under the same licence"),
        ("Creative Commons Attribution-ShareAlike 4.0 International", "cc-by-sa-4.0", "same licence"),
        ("cc-by-nc-sa-3.0", "cc-by-nc-sa-3.0", "commercial use"),
        ("CC BY-NC", "other", "commercial use"),
        ("CC-BY-ND-4.0", "cc-by-nd-4.0", "sharing changed data"),
        ("GPLv3", "gpl-3.0", "whole work under the same licence"),
        ("research-only", "other", "every use other than research"),
        ("Llama 3.1 Community License", "llama3.1", "name that begins with “Llama”"),
        ("llama2", "llama2", "improve another large language model"),
        ("as published", "unknown", "did not allow"),
        ("", "unknown", "did not allow"),
        ("Our own licence", "other", "not in dataprep's table"),
    ],
)
def test_licences_are_known_by_their_usual_names(text, id, says):
    """What a licence forbids or requires is named; what is not known is not taken for free."""
    licence = licence_of(text)
    assert licence.hub_id == id
    assert says in f"{licence.forbids}; {licence.requires}"


@pytest.mark.parametrize("id", LICENCES)
def test_a_licence_is_known_by_its_id_and_its_name(id):
    """The table can be looked up by both."""
    assert licence_of(id) is LICENCES[id]
    assert licence_of(LICENCES[id].name) is LICENCES[id]


def test_the_strictest_of_a_mixture():
    """Nothing known is stricter than a ban, a ban than share-alike, share-alike than credit."""
    names = [
        "MIT",
        "CC BY 4.0",
        "CC BY-SA 4.0",
        "CC BY-NC 4.0",
        "CC BY-NC-ND 4.0",
        "research only",
        "unknown",
    ]
    given = [licence_of(name) for name in names]
    for count in range(1, len(names) + 1):
        assert strictest(given[:count]).name == names[count - 1]
    assert conflicts(given[:2]) == []
    assert conflicts([given[0], given[2]]) == []
    assert len(conflicts([licence_of("CC BY-SA 4.0"), licence_of("GPL-3.0")])) == 1
    assert "does not allow changed data" in conflicts([licence_of("CC BY-ND 4.0"), given[0]])[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1 Community License"),
        ("Meta-Llama-3-70B", "Llama 3 Community License"),
        ("google/gemma-2-9b-it", "Gemma Terms of Use"),
        ("gpt-4o-mini", "OpenAI"),
        ("openai/o3-mini", "OpenAI"),
        ("claude-sonnet-4", "Anthropic"),
        ("some-model", "read it before"),
    ],
)
def test_notes_about_teachers(name, says):
    """A model's name tells whose terms are to be read."""
    assert says in teacher_note(name)


def test_a_file_outside_is_refused_by_the_library(tmp_path):
    """A card names its files from its folder."""
    write_jsonl(tmp_path / "rows.jsonl", [chat("Q", "A")])
    (tmp_path / "inner").mkdir()
    with pytest.raises(UsageError, match="is not in"):
        card_of_files(tmp_path / "rows.jsonl", folder=tmp_path / "inner")
