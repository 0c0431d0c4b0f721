"""Mixtures of shards: what is read is what the rows in that order give, and nothing else is believed."""

import pickle
import random
import shutil

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import dataprep
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.curate.mixing import largest_total, mixed_order, quotas, shares_of
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.mixture import mix_shards
from dataprep.tokens.shards.reading import Mixture, Shards
from dataprep.tokens.tokenize import tokenize_files
from dataprep.train.hardware.distributed import World
from dataprep.train.objectives.sft import Documents
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from dataprep.train.trainer import BatchSampler
from tests.published import published_order
from tests.students import rows, write_model, write_rows, write_tokenizer

COUNTS = {"a": 12, "b": 7}


# The order of the documentation, in plain Python.
plain = published_order()


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 70)), min_size=1, max_size=5), st.integers(0, 2**40)
)
def test_the_order_is_that_of_plain_python(sources, seed):
    """However often rows repeat; and a second epoch goes on where the first one stopped."""
    counts, taken = zip(*sources, strict=True)
    firsts = np.cumsum([0, *counts])
    expected = [int(firsts[source]) + row for source, row in plain(counts, taken, seed)]
    assert mixed_order(counts, taken, seed).tolist() == expected
    if len(counts) == 1:
        both = mixed_order(counts, [2 * taken[0]], seed).tolist()
        assert both == expected + mixed_order(counts, taken, seed, before=taken).tolist()


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.integers(1, 1000), st.integers(1, 3)
)
def test_shares_are_exact_within_one_row(weights, total, repeats):
    """Quotas sum to the total, and the largest total fits where the next does not."""
    shares = shares_of([weight / 10 for weight in weights])
    wanted = quotas(shares, total)
    assert sum(wanted) == total
    assert all(abs(quota - share * total) < 1 for quota, share in zip(wanted, shares, strict=True))
    counts = [index + 1 for index in range(len(weights))]
    largest = largest_total(shares, counts, repeats)

    def fits(size):
        return all(q <= c * repeats for q, c in zip(quotas(shares, size), counts, strict=True))

    assert fits(largest)
    assert not any(map(fits, range(largest + 1, largest + 50)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Rows, a tokenizer, a model, and shards of both files: whole, and packed."""
    folder = tmp_path_factory.mktemp("mixture")
    write_tokenizer(folder / "tokenizer.json")
    write_model(folder / "model")
    for seed, (name, count) in enumerate(COUNTS.items()):
        write_rows(folder / f"{name}.jsonl", rows(count, seed=seed))
        shards_of(folder, name)
        shards_of(folder, f"{name}-packed", [f"{name}.jsonl"], pack=96)
    return folder


def shards_of(folder, name, inputs=None, chat_format="llama3", **options):
    """Make shards of rows in the folder."""
    paths = [folder / path for path in inputs or [f"{name}.jsonl"]]
    tokenize_files(
        paths,
        folder / name,
        tokenizer=folder / "tokenizer.json",
        chat_format=chat_format,
        options=ShardOptions(**options),
    )
    return folder / name


@pytest.mark.parametrize("kind", ["", "-packed"])
def test_a_mixture_is_what_tokenizing_its_rows_gives(place, tmp_path, kind):
    """Documents, ids, masks, sequences and sources, also in another process."""
    weights = {place / f"a{kind}": 0.6, place / f"b{kind}": 0.4}
    mixed = mix_shards(weights, tmp_path / "mix", total=20)
    assert mixed.counts == [[12, 8]]
    mixture = pickle.loads(pickle.dumps(Shards.open(tmp_path / "mix")))
    assert isinstance(mixture, Mixture)
    lines = {name: (place / f"{name}.jsonl").read_bytes().splitlines() for name in COUNTS}
    opened = [Shards.open(path) for path in weights]
    order = [
        lines[name][opened["ab".index(name)].row(number)]
        for name, number in (("ab"[source], row) for source, row in plain([12, 7], [12, 8], 42))
    ]
    numbers = [*range(20)]
    if kind:  # `tokenize --pack` shuffles the rows first: these are in the mixture's order after that
        random.Random(42).shuffle(numbers)
    rows = [order[numbers.index(number)] for number in range(20)]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    shutil.copyfile(place / "tokenizer.json", tmp_path / "tokenizer.json")
    expected = Shards.open(shards_of(tmp_path, "tokens", ["rows.jsonl"], pack=96 if kind else None))
    assert (len(mixture), mixture.tokens, mixture.sequences) == (20, expected.tokens, expected.sequences)
    assert (mixture.longest, mixture.loss_tokens) == (expected.longest, expected.loss_tokens)
    assert mixture.lengths().tolist() == expected.lengths().tolist()
    for found, document in zip(mixture, expected, strict=True):
        assert all(map(np.array_equal, found, document))
    for index in range(mixture.sequences):
        assert all(map(np.array_equal, mixture.sequence(index), expected.sequence(index)))
    for index in range(20):
        name, row = mixture.source(index)
        assert lines[name[0]][row - 1] == rows[expected.row(index)]
    assert mixture.load_tokenizer().fingerprint == mixture.fingerprint


def test_it_moves_with_its_shards(place, tmp_path):
    """Paths are relative; a mixture can be mixed again, and replaced."""
    for name in ("a", "b"):
        shutil.copytree(place / name, tmp_path / "old" / name)
    old = tmp_path / "old"
    mix_shards({old / "a": 1, old / "b": 1}, old / "mix")
    mix_shards({old / "mix": 1, old / "a": 0}, old / "again", total=5)
    mix_shards({old / "a": 1, old / "b": 2}, old / "mix2", seed=1)
    (tmp_path / "old").rename(tmp_path / "new")
    assert len(Shards.open(tmp_path / "new" / "again")) == 5
    assert len(Shards.open(tmp_path / "new" / "mix")) == 15
    mix_shards({tmp_path / "new" / "a": 1}, tmp_path / "new" / "mix")
    assert len(Shards.open(tmp_path / "new" / "mix")) == 12
    assert len([*(tmp_path / "new" / "mix").iterdir()]) == 2


def test_other_shards_are_noticed(place, tmp_path):
    """A source that is missing, made anew or damaged; an order that is damaged."""
    for name in ("a", "b"):
        shutil.copytree(place / name, tmp_path / name)
    mix_shards({tmp_path / "a": 1, tmp_path / "b": 1}, tmp_path / "mix")
    (order,) = (tmp_path / "mix").glob("*-order-00000.bin")
    content = order.read_bytes()
    order.write_bytes(content[4:8] + content[:4] + content[8:])
    with pytest.raises(InputError, match="damaged: its content"):
        Shards.open(tmp_path / "mix")
    order.write_bytes(content[4:])
    with pytest.raises(InputError, match="cut short"):
        Shards.open(tmp_path / "mix", verify=False)
    order.write_bytes(content)
    (tmp_path / "b").rename(tmp_path / "c")
    with pytest.raises(FileError, match="shards that are not there"):
        Shards.open(tmp_path / "mix")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="made again"):
        Shards.open(tmp_path / "mix", verify=False)
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "c").rename(tmp_path / "b")
    (ids,) = (tmp_path / "b").glob("*-ids-00000.bin")
    ids.write_bytes(bytes(ids.stat().st_size))
    with pytest.raises(InputError, match="damaged"):
        Shards.open(tmp_path / "mix")


@pytest.mark.parametrize(
    ("weights", "settings", "message"),
    [
        ({}, {}, "at least one"),
        ({"a": 1, "packed": 1}, {}, "made with the --pack 96, and .*a with None"),
        ({"a": 1, "chatml": 1}, {}, "made with the chat format chatml"),
        ({"a": 1, "last": 1}, {}, "made with the --loss last"),
        ({"a": 0}, {}, "all weights are 0"),
        ({"a": -1}, {}, "found the weight -1"),
        ({"a": float("nan")}, {}, "found the weight nan"),
        ({"a": []}, {}, "expected a weight"),
        ({"a": 1}, {"total": 0}, "--total 0"),
        ({"a": 1}, {"temperature": 0}, "--temperature 0"),
        (
            {"a": 1, "b": 1},
            {"total": 30, "repeat_at_most": 2},
            "the largest --total in these shares is 29: lower it",
        ),
        ({"a": 1}, {"total": 3, "tokens": 3}, "give one of them"),
        (
            {"a": 1, "b": 1},
            {"tokens": 10**6, "repeat_at_most": 2},
            "--tokens 1000000: .* are needed, which has",
        ),
        ({"a": 1}, {"tokens": 1}, "--tokens 1: no row is as short"),
    ],
)
def test_what_does_not_fit_is_refused(place, tmp_path, weights, settings, message):
    """Before anything is written."""
    paths = {"a": place / "a", "b": place / "b", "packed": place / "a-packed"}
    shutil.copyfile(place / "tokenizer.json", tmp_path / "tokenizer.json")
    shutil.copyfile(place / "a.jsonl", tmp_path / "a.jsonl")
    if "chatml" in weights:
        paths["chatml"] = shards_of(tmp_path, "chatml", ["a.jsonl"], chat_format="chatml")
    if "last" in weights:
        paths["last"] = shards_of(tmp_path, "last", ["a.jsonl"], loss="last")
    with pytest.raises(UsageError, match=message):
        mix_shards({paths[name]: weight for name, weight in weights.items()}, tmp_path / "mix", **settings)
    assert not (tmp_path / "mix").exists()
    with pytest.raises(UsageError, match="is one of the sources"):
        mix_shards({place / "a": 1}, place / "a")


def test_temperature_flattens_shares(place, tmp_path):
    """Weights 4 and 1 become 2 and 1 at a temperature of 2."""
    weights, settings = {place / "a": 4, place / "b": 1}, {"total": 9, "temperature": 2}
    assert mix_shards(weights, tmp_path / "mix", **settings, dry_run=True).counts == [[6, 3]]
    assert not (tmp_path / "mix").exists()
    assert mix_shards(weights, tmp_path / "mix", **settings).counts == [[6, 3]]


@pytest.mark.parametrize("kind", ["", "-packed"])
def test_shares_of_tokens_and_epochs_of_different_sizes(place, tmp_path, kind):
    """Each epoch takes the documents nearest to its tokens, and those after the epoch before."""
    paths = [place / f"a{kind}", place / f"b{kind}"]
    mixed = mix_shards(dict(zip(paths, ([3, 0], [1, 1]), strict=True)), tmp_path / "mix", tokens=150)
    shards, sources = Shards.open(tmp_path / "mix"), [Shards.open(path) for path in paths]
    assert [source.tokens for source in mixed.sources] == [
        pytest.approx([112, 0], abs=40),
        pytest.approx([38, 150], abs=40),
    ]
    assert sum(map(sum, (source.tokens for source in mixed.sources))) == shards.tokens
    # Each source's documents, in its own order, one epoch after the other.
    expected = []
    for number, source in enumerate(sources):
        drawn = mixed.sources[number].drawn
        order = [row for _, row in plain([len(source)], [sum(drawn)], 42)]
        lengths = source.lengths()[order]
        assert lengths[: drawn[0]].sum() == mixed.sources[number].tokens[0]
        expected.append([order[: drawn[0]], order[drawn[0] :]])
    first = sum(mixed.counts[0])
    found = [(shards.source(index).name[0], shards.source(index).row - 1) for index in range(len(shards))]
    for epoch, documents in enumerate((found[:first], found[first:])):
        wanted = [(name, sources[n].row(row)) for n, name in enumerate("ab") for row in expected[n][epoch]]
        assert sorted(documents) == sorted(wanted)
    if kind:
        items = [shards.sequence(number).bounds.size - 1 for number in range(shards.sequences)]
        assert sum(items[: shards.epochs[0]]) == first
        assert sum(shards.epochs) == shards.sequences
    else:
        assert shards.epochs == (first, len(shards) - first)
    # Two epochs and a third like the second, each item once in each.
    options = TrainOptions(epochs=3, batch_size=4)
    sampler = BatchSampler.of(Documents(shards), options, World(0, 1, torch.device("cpu")))
    seen = [item for _, step in sampler.of_steps(0) for item in step]
    begin, end = shards.epochs
    assert sorted(seen[:begin]) == [*range(begin)]
    assert sorted(seen[begin : begin + end]) == sorted(seen[begin + end :]) == [*range(begin, begin + end)]
    assert [*sampler.of_steps(2)] == [*sampler.of_steps(0)][2:]


def test_epochs_have_shares_of_their_own(place, tmp_path):
    """The last one stays; each epoch of the trainer sees its own documents once."""
    mixed = mix_shards({place / "a": [1, 0], place / "b": [0, 1.0]}, tmp_path / "mix", total=6)
    assert mixed.counts == [[6, 0], [0, 6]]
    shards = Shards.open(tmp_path / "mix")
    assert (shards.epochs, len(shards)) == ((6, 6), 12)
    sampler = BatchSampler(shards.epochs, 4, 18, 42)
    items = [item for _, step in sampler.of_steps(0) for item in step]
    names = [
        "".join(shards.source(item).name[0] for item in items[begin : begin + 6]) for begin in (0, 6, 12)
    ]
    assert names == ["aaaaaa", "bbbbbb", "bbbbbb"]
    assert sorted(items[:6]) == [*range(6)]
    assert sorted(items[12:]) == [*range(6, 12)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("kind", "weights"), [("", (1, 1)), ("", ([0.8, 0.2], [0.2, 0.8])), ("-packed", ([0.9, 0.1], [0.1, 0.9]))]
)
def test_training_on_a_mixture_resumes_exactly(place, tmp_path, kind, weights):
    """Weights after a stop and --resume are those of a run without a stop."""
    shares = dict(zip((place / f"a{kind}", place / f"b{kind}"), weights, strict=True))
    mix_shards(shares, tmp_path / "mix", total=8)
    given = {"model": str(place / "model"), "learning_rate": 0.01, "batch_size": 2, "save_every": 1}

    def run(name, **settings):
        options = TrainOptions(**given, epochs=2, **settings)
        train(tmp_path / "mix", (), tmp_path / name, options=options, **resume)
        return load_file(tmp_path / name / "model.safetensors")

    resume = {}
    whole = run("whole")

    class Stopped(Exception):
        pass

    def stop(metrics):
        if metrics.get("step") == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(
            tmp_path / "mix",
            (),
            tmp_path / "half",
            options=TrainOptions(**given, epochs=2),
            on_metrics=stop,
        )
    resume = {"resume": True}
    resumed = run("half")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    # A mixture with another order is other data.
    mix_shards(shares, tmp_path / "mix", total=8, seed=1)
    with pytest.raises(dataprep.DataprepError):
        run("half")
    manifest = orjson.loads((tmp_path / "mix" / "manifest.json").read_bytes())
    assert str(tmp_path) not in str(manifest)
