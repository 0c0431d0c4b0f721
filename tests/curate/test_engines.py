"""The commands that clean rows give the same on every engine, into a file and into a folder of parts."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, UsageError
from dataprep.core.io import parts
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.ledger import RESUMED, listening
from dataprep.curate.contamination.files import decontaminate_files
from dataprep.curate.dedup import dedup_files
from dataprep.curate.duplicates import exchanged
from dataprep.curate.filter import filter_files
from dataprep.curate.split import split_files
from dataprep.curate.split_checks import Keys
from tests.curate.engine_data import BAD, FILE, FOLDER, SOUND, content, described
from tests.engines import engine_on

pytestmark = pytest.mark.usefixtures("forked")
COMBINATIONS = [(None, FOLDER), ("inline", FILE)]
# The others are too small to start processes for.
WITH_PROCESSES = ("dedup, best", "filter", "split by keys", "decontaminate")
ON_CLUSTER = (
    "dedup, best",
    "dedup, near",
    "dedup, bad row",
    "split",
    "split by keys",
    "split near",
    "split, bad row",
)


CASES = {
    "dedup": lambda to: dedup_files(BAD, to("o"), on="question", dropped="d.jsonl", rejects="r.jsonl"),
    "dedup, best": lambda to: dedup_files(
        BAD,
        to("o"),
        on="question",
        keep="best:n",
        across=["x.jsonl", "t.jsonl"],
        dropped="d.jsonl",
        rejects="r.jsonl",
    ),
    "dedup, longest": lambda to: dedup_files(SOUND, to("o"), keep="longest", across="c.json"),
    "dedup, twice": lambda to: dedup_files(["a.jsonl", "a.jsonl", "x.jsonl"], to("o"), dropped="d.jsonl"),
    "dedup, nothing left": lambda to: dedup_files("a.jsonl", to("o"), across=["b.jsonl", "copy.jsonl"]),
    "dedup, not written": lambda _: dedup_files(SOUND, None, on="question", across="x.jsonl"),
    "dedup, drops written": lambda _: dedup_files(SOUND, None, on="question", dropped="d.jsonl"),
    "dedup, near": lambda to: dedup_files(
        BAD,
        to("o"),
        on="question",
        near=0.6,
        across="x.jsonl",
        keep="longest",
        dropped="d.jsonl",
        rejects="r.jsonl",
    ),
    "dedup, nearer": lambda to: dedup_files(SOUND, to("o"), on="question", near=0.8),
    "dedup, bad row": lambda to: dedup_files(BAD, to("o"), on="question"),
    "dedup, bad row across": lambda to: dedup_files("a.jsonl", to("o"), across=BAD, rejects="r.jsonl"),
    "dedup, no rows, not written": lambda to: dedup_files(["a.jsonl", "empty.jsonl"], to("o")),
    "filter": lambda to: filter_files(BAD, to("o"), where="n > 4", rejects="r.jsonl"),
    "filter nothing": lambda to: filter_files(SOUND, to("o"), where="n > 40"),
    "filter, not written": lambda _: filter_files(SOUND, None, where="n > 4"),
    "filter, bad row": lambda to: filter_files(BAD, to("o"), where="n > 4"),
    "filter, no such field": lambda to: filter_files(SOUND, to("o"), where="m > 4 AND k > 3"),
    "split": lambda to: split_files(BAD, to("{part}"), parts="a=0.7,b=0.3", rejects="r.jsonl"),
    "split, not written": lambda to: split_files(SOUND, to("{part}"), parts="a=0.7,b=0.3", dry_run=True),
    "split by field": lambda to: split_files(SOUND, to("{part}"), parts="a=0.7,b=0.3", by="n"),
    "split by keys": lambda to: split_files(
        BAD,
        to("{part}"),
        parts="a=0.7,b=0.3",
        keys={path: [f"{number // 3}" for number in range(400)] for path in BAD},
        rejects="r.jsonl",
    ),
    "split near": lambda to: split_files(SOUND, to("{part}"), parts="a=0.7,b=0.3", by="near-duplicates"),
    "split, bad row": lambda to: split_files(BAD, to("{part}"), parts="a=0.7,b=0.3", by="question"),
    "decontaminate": lambda to: decontaminate_files(
        BAD,
        to("o"),
        against=["t.jsonl", "c.json"],
        dropped="d.jsonl",
        found="f.jsonl",
        rejects="r.jsonl",
    ),
    "decontaminate, not written": lambda _: decontaminate_files(
        SOUND, None, against=["t.jsonl"], dropped="d.jsonl"
    ),
    "decontaminate, bad row": lambda to: decontaminate_files(BAD, to("o"), against=["t.jsonl"]),
}
OUTPUTS = ("o", "a", "b", "r.jsonl", "d.jsonl", "f.jsonl")


def results(folder, case, suffix):
    """Run a case; return its result or error, and the bytes of all outputs."""
    data = folder.parent / "data"
    out = folder.parent / f"out{len(list(folder.parent.iterdir()))}"
    out.mkdir()

    def to(name):
        return str(out / name) + suffix

    for name in data.iterdir():
        (out / name.name).symlink_to(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        try:
            result = described(CASES[case](to), out, suffix)
        except DataprepError as error:
            result = f"{type(error).__name__}: {error}"
        else:
            assert not [name for name in out.iterdir() if name.name.startswith(".")]
    return result, {name: content(out / name if "." in name else to(name).rstrip("/")) for name in OUTPUTS}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_one_machine(data, case):
    """Result, first error, rejects and every output, on each engine and in both forms."""
    expected = results(data, case, FILE)
    if "written" in case or "bad row" in case or "no such" in case:
        assert expected[1]["o"] is None
    for engine, suffix in [*COMBINATIONS, *[(2, FOLDER)] * (case in WITH_PROCESSES)]:
        with engine_on(engine):
            assert results(data, case, suffix) == expected, (engine, suffix)


@pytest.mark.cluster
@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", ON_CLUSTER)
def test_results_on_a_cluster_are_those_of_one_machine(cluster, data, case):
    """The same on three nodes, into one file; parts depend on no engine."""
    with engine_on(cluster.address):
        found = results(data, case, FILE)
    assert found == results(data, case, FILE)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", ["dedup, best", "dedup, near", "filter", "split", "decontaminate"])
@pytest.mark.parametrize("suffix", [FILE, FOLDER])
def test_an_interrupted_run_is_continued(data, monkeypatch, case, suffix):
    """Its finished chunks are not worked on again."""
    expected = results(data, case, suffix)
    out = data.parent / "again"
    out.mkdir()
    for name in data.iterdir():
        (out / name.name).symlink_to(name)
    monkeypatch.chdir(out)
    with monkeypatch.context() as patch, engine_on("inline"):
        kept = parts.PartTarget.keep
        turns = iter(range(6))

        def keep(*arguments):
            kept(*arguments)
            if next(turns) == 5:
                raise KeyboardInterrupt

        patch.setattr(parts.PartTarget, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            CASES[case](lambda name: str(out / name) + suffix)
    told = []
    with listening(lambda what, count, _: told.append((what, count))), engine_on("inline"):
        result = described(CASES[case](lambda name: str(out / name) + suffix), out, suffix)
    assert dict(told)[RESUMED] == 6
    assert result == expected[0]
    for name in OUTPUTS:
        path = out / name if "." in name else (str(out / name) + suffix).rstrip("/")
        assert content(path) == expected[1][name], name
    if suffix == FOLDER:
        for manifest in out.glob("*/manifest.json"):
            assert json.loads(manifest.read_bytes())["ledger"]["in"] > 0


LINES = st.lists(
    st.sampled_from(
        [
            b"",
            b" ",
            b"{",
            b'{"t": "a", "n": 1}',
            b'{"t": "A", "n": 2}\r',
            b'{"t": "b c d", "n": 1}',
            b'{"t": "b c d e", "n": 1.5}',
            b'{"t": "b c d e", "n": 3, "x": "0123456789"}',
            b'{"t": "x", "n": "none"}',
        ]
    ),
    min_size=1,
    max_size=40,
)


@given(
    files=st.lists(LINES, min_size=1, max_size=3),
    across=st.integers(0, 1),
    keep=st.sampled_from(["first", "longest", "best:n"]),
    near=st.sampled_from([None, None, 0.5]),
    size=st.integers(4, 300),
    buckets=st.integers(1, 5),
    newline=st.booleans(),
)
def test_rows_of_any_files_are_deduplicated_as_on_one_machine(
    tmp_path_factory, files, across, keep, near, size, buckets, newline
):
    """Blank and bad lines, and chunks of any size, many of which hold no line."""
    folder = tmp_path_factory.mktemp("rows")
    for number, lines in enumerate(files):
        data = b'{"t": "one", "n": 0}\n' + b"\n".join(lines) + b"\n" * newline
        (folder / f"{number}.jsonl").write_bytes(data)
    names = [f"{number}.jsonl" for number in range(len(files))]
    options = {"on": "t", "keep": keep, "near": near, "across": names[len(names) - across :]}
    inputs = names[: len(names) - across] or names[:1]
    options["across"] = [] if inputs == names[:1] and len(names) == 1 else options["across"]

    def run(out, *suffix):
        (folder / out).mkdir()
        o, d, r = f"{out}/o", f"{out}/d", f"{out}/r.jsonl"
        try:
            done = dedup_files(inputs, o + suffix[0], dropped=d + suffix[0], rejects=r, **options)
        except DataprepError as error:
            return f"{type(error).__name__}: {error}"
        return (
            described(done, "", suffix[0]),
            *(content(folder / (p + suffix[0]).rstrip("/")) for p in (o, d)),
            content(folder / r),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(CHUNK_VARIABLE, str(size))
        patch.setattr(exchanged, "BUCKET_BYTES", max(sum(map(len, files[0])) // buckets, 1))
        expected = run("here", ".jsonl")
        assert run("parts", "/") == expected
        with engine_on("inline"):
            assert run("cluster", "/") == expected


@pytest.mark.usefixtures("data")
def test_a_condition_about_two_unknown_fields_names_the_first():
    """And not one or the other, as the hash of texts decides."""
    with pytest.raises(UsageError, match="no row has the field 'm'"):
        filter_files(["a.jsonl"], None, where="m > 4 AND k > 3")


@pytest.mark.parametrize("held", [0, 100, 1 << 20])
def test_keys_are_counted_in_memory_and_on_disk(held):
    """The same, however few are held."""
    rng = random.Random(1)
    keys = [[rng.randrange(60 + 50 * part).to_bytes(8, "little") for _ in range(300)] for part in range(3)]
    keys[2] = [key[:7] + b"x" for key in keys[2]] + keys[0][:1]
    with Keys(3, held) as found:
        for begin in range(0, 301, 7):
            for part in range(3):
                found.add(part, b"".join(keys[part][begin : begin + 7]))
        counts = found.count()
    assert counts.of_parts == [len(set(part)) for part in keys]
    together = [key for part in keys for key in part]
    assert counts.largest == max(part.count(key) for part in keys for key in part)
    assert counts.twice == sum(len(set(part)) for part in keys) - len(set(together))
