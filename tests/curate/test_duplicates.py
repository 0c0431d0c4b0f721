"""Repeated rows: what is similar, which rows are kept, which are in one group; against brute force."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dataprep
from dataprep.core.errors import RowError
from dataprep.core.ledger import listening
from dataprep.curate.dedup import dedup_files
from dataprep.curate.duplicates import join, rows, sets, similar
from dataprep.curate.duplicates.exact import representatives
from dataprep.curate.duplicates.shingles import Shingler
from dataprep.curate.near import find_groups
from dataprep.curate.texts import normalised, normalised_bytes, tokens_of, word_lines
from tests.helpers import read_jsonl, write_jsonl

WORDS = [f"w{number}" for number in range(300)]


def grams(text, size=3):
    """The set of n-grams of a text."""
    words = tokens_of(text)
    if len(words) < size:
        return {tuple(words)} if words else set()
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def similarity(left, right):
    """The Jaccard similarity of two texts; equal ones have 1."""
    if normalised(left) == normalised(right):
        return 1.0
    one, two = grams(left), grams(right)
    return len(one & two) / len(one | two) if one and two else 0.0


def varied(seed, count):
    """Texts of which many are variations of others, also short and empty ones."""
    rng = random.Random(seed)
    base = [[rng.choice(WORDS) for _ in range(rng.randint(0, 30))] for _ in range(count // 6)]
    texts = []
    for _ in range(count):
        words = list(rng.choice(base))
        for _ in range(rng.choice([0, 0, 1, 2, 3])):
            if words:
                words[rng.randrange(len(words))] = rng.choice(WORDS)
        texts.append(rng.choice([" ", "  ", ", "]).join(words))
    return texts


@given(st.lists(st.text(st.sampled_from("ab A.é中\u3000\n'ß0_"), max_size=20), max_size=6), st.integers(1, 4))
@example(["", "one", "one two", "one two three four", ""], 3)
def test_shingles_are_the_ngrams_of_words(texts, size):
    """The hashes of a text stand for its n-grams: equal ones are equal, and others are not."""
    hashes, sizes = Shingler(size)(texts)
    sets = [set(part.tolist()) for part in np.split(hashes, np.cumsum(sizes)[:-1])] if texts else []
    expected = [grams(text, size) for text in texts]
    assert [len(found) for found in sets] == sizes.tolist() == [len(found) for found in expected]
    for number, (found, other) in enumerate(zip(sets, expected, strict=True)):
        for second in range(number):
            assert len(found & sets[second]) == len(other & expected[second])


@given(
    st.lists(st.one_of(st.text(max_size=40), st.text(st.sampled_from("aB \0\n\x1c.é\u3000中"))), max_size=6)
)
@example(["a" * 70 + " b", "a" * 70 + " c"])
def test_many_texts_are_read_as_each_of_them(texts):
    """Texts are folded and divided together, for speed; the result is that of one after the other."""
    assert normalised_bytes(texts) == [normalised(text).encode("utf-8", "surrogatepass") for text in texts]
    lines = word_lines(texts).split(b"\n")
    assert lines.pop() == b""
    words = [[word.decode("utf-8", "surrogatepass") for word in line.split(b" ") if word] for line in lines]
    assert words == [tokens_of(text) for text in texts]


def test_words_of_all_lengths_are_told_apart():
    """Words are hashed in steps of eight bytes, and long ones in another way."""
    texts = ["x" * size for size in range(1, 100)] + ["x" * size + "y" for size in range(99)]
    hashes, sizes = Shingler(1)(texts)
    assert sizes.tolist() == [1] * len(texts)
    assert len(set(hashes.tolist())) == len(set(texts))
    again, _ = Shingler(1)([" ".join(texts)])
    assert sorted(set(hashes.tolist())) == again.tolist()


@pytest.fixture
def small_batches(monkeypatch):
    """Everything in many pieces, in several threads, and with many rounds."""
    one = sets.Sets
    monkeypatch.setattr(sets, "Sets", lambda rows, order, threads: one(rows, order, threads + 2))
    monkeypatch.setattr(similar, "_FEW_PAIRS", 10)
    monkeypatch.setattr(join, "PAIRS", 40)
    monkeypatch.setattr(join, "PART", 60)
    monkeypatch.setattr(sets, "HELD", 300)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("pieces", ["small", "large"])
@pytest.mark.parametrize(("threshold", "keep"), [(0.5, "first"), (0.8, "longest"), (0.7, "best:score")])
def test_kept_rows_are_those_of_brute_force(tmp_path, request, pieces, threshold, keep):
    """Row after row in the order of preference: one is dropped if it is similar to a kept one."""
    if pieces == "small":
        request.getfixturevalue("small_batches")
    texts = varied(len(keep), 300)
    made = [{"id": number, "text": text, "score": number * 7 % 5} for number, text in enumerate(texts)]
    across = write_jsonl(tmp_path / "across.jsonl", made[:80])
    write_jsonl(tmp_path / "a.jsonl", made[80:150])
    write_jsonl(tmp_path / "b.jsonl", made[150:])
    ranks = [{"first": 0, "longest": len(row["text"])}.get(keep, row["score"]) for row in made]
    order = made[:80] + sorted(made[80:], key=lambda row: (-ranks[row["id"]], row["id"]))
    kept = []
    for row in order:
        if row["id"] < 80 or all(similarity(row["text"], other["text"]) < threshold for other in kept):
            kept.append(row)
    out, dropped = tmp_path / "out.jsonl", tmp_path / "dropped.jsonl"
    done = dedup_files(
        [tmp_path / "b.jsonl", tmp_path / "a.jsonl"],
        out, on="text", near=threshold, keep=keep, across=across, dropped=dropped,
    )  # fmt: skip
    expected = sorted(row["id"] for row in kept if row["id"] >= 80)
    assert [row["id"] for row in read_jsonl(out)] == expected
    assert done.ledger.rows_out == len(expected)
    first = {str(across): 0, str(tmp_path / "a.jsonl"): 80, str(tmp_path / "b.jsonl"): 150}
    numbers = {row["id"] for row in kept}
    for drop in read_jsonl(dropped):
        other = made[first[drop["other"]["path"]] + drop["other"]["line"] - 1]
        assert drop["row"] == made[first[drop["path"]] + drop["line"] - 1]
        assert other["id"] in numbers
        assert drop["similarity"] == pytest.approx(similarity(drop["row"]["text"], other["text"]), abs=1e-6)
        assert drop["similarity"] >= threshold - 1e-6


@pytest.mark.parametrize(
    ("pieces", "threshold"), [("small", 0.5), ("small", 0.8), ("large", 0.8), ("large", 1.0)]
)
def test_groups_are_those_of_brute_force(tmp_path, request, pieces, threshold):
    """Two rows are in one group if a chain of similar rows links them."""
    if pieces == "small":
        request.getfixturevalue("small_batches")
    texts = varied(7, 300)
    roots, ngrams = list(range(len(texts))), list(map(grams, texts))
    for right in range(len(texts)):
        for left in range(right):
            both = len(ngrams[left] & ngrams[right])
            either = len(ngrams[left]) + len(ngrams[right]) - both
            same = normalised(texts[left]) == normalised(texts[right])
            if roots[left] != roots[right] and (same or (both and both / either >= threshold)):
                low, high = sorted((roots[left], roots[right]))
                roots = [low if root == high else root for root in roots]
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    groups = find_groups(path, on="text", threshold=threshold)
    assert groups.groups[0].tolist() == roots
    assert groups.duplicates + groups.near_duplicates == len(texts) - len(set(roots))
    keys = groups.keys[0].tolist()
    assert len(set(zip(keys, roots, strict=True))) == len(set(keys)) == len(set(roots))


def test_exactly_the_pairs_at_the_threshold_or_above_are_dropped(tmp_path):
    """Pairs of 20 words of which k at the end differ share 18 - k of 18 + k n-grams."""
    made = []
    for number in range(300):
        words = [f"{number}x{at}" for at in range(20)]
        k = number % 8
        made += [words, words[: 20 - k] + [f"{number}y{at}" for at in range(k)]]
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": " ".join(words)} for words in made])
    for threshold in (0.5, 0.636363, 14 / 22, 0.64, 0.8, 17 / 19, 0.9, 1.0):
        expected = sum((18 - number % 8) / (18 + number % 8) >= threshold for number in range(300))
        done = dedup_files(path, None, on="text", near=threshold)
        assert done.ledger.dropped.total() == expected


@pytest.mark.slow
def test_large_clusters_take_no_quadratic_time(tmp_path):
    """100,000 equal rows and 3,000 nearly equal ones are compared with few, and not with each other."""
    texts = ["the same words " * 5] * 100_000 + [
        f"{'a long text of words ' * 8} number {n}" for n in range(3000)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    compared = 0

    def listener(what, count, _total):
        nonlocal compared
        compared += count if what == "pairs compared" else 0

    with listening(listener):
        done = dedup_files(path, None, on="text", near=0.5)
    assert done.ledger.rows_out == 2
    assert compared < 10_000


@dataclass
class Digests:
    """Rows of which only the digests are known."""

    digests: object
    count: int
    scores: object = None
    fixed: int = 0


@settings(max_examples=20)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 20), st.booleans())
def test_equal_digests_are_found_in_parts(tmp_path_factory, kinds, part, scored):
    """Digests are compared a share at a time; halves that are equal by chance are told apart."""
    path = tmp_path_factory.mktemp("digests") / "digests"
    # Kinds 0 and 4, 1 and 5, … have the same first half.
    path.write_bytes(
        b"".join((kind % 4 << 62).to_bytes(8, "big") + kind.to_bytes(8, "big") for kind in kinds)
    )
    scores = np.array([float(number * 5 % 3) for number in range(len(kinds))]) if scored else None
    expected = []
    for kind in kinds:
        same = [number for number, other in enumerate(kinds) if other == kind]
        expected.append(max(same, key=lambda number: (0 if scores is None else scores[number], -number)))
    assert representatives(Digests(path, len(kinds), scores), part).tolist() == expected


def test_places_are_those_of_the_file(tmp_path):
    """Blank lines, several blocks and rows of tables count as a reader counts them."""
    path = tmp_path / "a.jsonl"
    path.write_text("\n" + "".join(f'\n{{"text": "{"long " * 3000} {n % 50}"}}\n\n' for n in range(100)))
    out = tmp_path / "d.jsonl"
    dedup_files(path, None, on="text", dropped=out)
    drops = read_jsonl(out)
    assert [(drop["line"], drop["other"]["line"]) for drop in drops] == [
        (3 * n + 3, 3 * n - 147) for n in range(50, 100)
    ]
    write_jsonl(tmp_path / "b.jsonl", [{"text": "x"}, {"text": "y"}, {"text": "X "}])
    dataprep.merge_files(tmp_path / "b.jsonl", tmp_path / "b.parquet", shuffle=False)
    dedup_files(tmp_path / "b.parquet", None, on="text", dropped=out)
    assert [(drop["row_number"], drop["other"]["row_number"]) for drop in read_jsonl(out)] == [(3, 1)]


def test_scores_are_numbers():
    """A score that is no finite number would not tell rows apart."""
    score = rows.ScoreOf("best:meta.score")
    assert score({"meta": {"score": True}}, "") == 1.0
    for value in ("7", None, [1]):
        with pytest.raises(RowError, match="score"):
            score({"meta": {"score": value}}, "")
