"""The journal as a state machine: runs, kills, and changed prompts, limits and numbers of answers."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from dataprep import review_files, write_rows
from dataprep.collect.collector import collect_files
from dataprep.core.errors import Location
from dataprep.evaluate.predictions import Predictions
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.client import Pacing
from dataprep.teacher.generate import run, status_of_requests
from dataprep.teacher.journal.index import entry_of, read_index
from dataprep.teacher.journal.line import OUTCOMES
from dataprep.teacher.protocol import Answer, RequestError
from tests.journal_lines import journal, line

IDS = ("x", "y", "z")
LIMITS = (100, 200, 300)
RANKS = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}


def config_of(limit=100, count=1):
    """The settings of a run; the temperature lets a teacher give several answers."""
    return GenerationConfig("m", max_tokens=limit, n=count, temperature=1.0)


def messages_of(identity, text="q"):
    """What a teacher is asked."""
    return [{"role": "user", "content": f"{identity}: {text}"}]


def write_requests(path, texts):
    """The file of requests, with a text for each id."""
    write_rows([{"id": name, "messages": messages_of(name, text)} for name, text in texts.items()], str(path))


def by_readers(folder, path, keys, sample=0):
    """What each of the four readers takes for the outcomes (evaluate: the texts) of one sample, by id."""
    examples = folder / "examples.jsonl"
    # With the answer, so that collect judges a whole answer as `ok`.
    fields = {"task": "mcq", "question": "?", "choices": ["a", "b", "c"], "answer": "b", "answer_label": "b"}
    rows = [{"id": name, **fields} for name in keys]
    write_rows(rows, str(examples))
    index = read_index(path)
    standings = {name: index.get(entry_of(name, key, sample)) for name, key in keys.items()}
    collect_files([path], examples, folder / "rows.jsonl", sample=sample)
    rows = [orjson.loads(text) for text in (folder / "rows.jsonl").read_bytes().splitlines()]
    items = [
        SimpleNamespace(id=name, number=number, where=Location("rows.jsonl", number))
        for number, name in enumerate(keys, 1)
    ]
    predictions = list(map(Predictions(str(path)).find, items))
    return {
        "generate": {name: found.outcome for name, found in standings.items() if found is not None},
        "collect": {row["id"]: row["status"]["t"] for row in rows if row["status"]["t"] != "missing"},
        "review": {name: count for name, count in review_files([path]).teachers[0].outcomes.items() if count},
        "evaluate": {
            item.id: found.text
            for item, found in zip(items, predictions, strict=True)
            if found.failure != "no prediction"
        },
    }


def test_the_four_readers_agree_where_requests_are_both_refused_and_empty(tmp_path):
    """In either order, a refusal is the answer that counts; a failure after them changes nothing."""
    path, keys = tmp_path / "journal.jsonl", dict.fromkeys(IDS, "k")
    orders = (("refused", "empty"), ("empty", "refused", "failed"), ("failed", "empty", "ok", "refused"))
    rows = [line(end, id=name) for name, order in zip(IDS, orders, strict=True) for end in order]
    path.write_bytes(journal(*rows))
    outcomes = {"x": "refused", "y": "refused", "z": "ok"}
    assert by_readers(tmp_path, path, keys) == {
        "generate": outcomes,
        "collect": outcomes,
        "review": {"refused": 2, "ok": 1},
        "evaluate": {"x": "", "y": "", "z": "(b)"},
    }


class Script:
    """A teacher that answers as it is told, and remembers what it was asked."""

    def __init__(self, outcomes, take):
        self.outcomes, self.take, self.asked = outcomes, take, []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def ask(self, body, choices=()):  # noqa: ARG002 - as the client calls it
        """Answers with the outcomes of the request's id, each with a text of its own."""
        name, _, text = body["messages"][0]["content"].partition(": ")
        answers = []
        self.asked.append((name, text, body.get("n", 1)))
        for outcome in (self.outcomes[name] * 3)[: body.get("n", 1)]:
            self.take += 1
            if outcome == "failed":
                raise RequestError("server_error", "oops", status=500)
            said = {"ok": f"(b) {self.take}", "length": f"(b) an {self.take}", "empty": " ", "refused": None}
            said["unknown"] = f"(b) per {self.take}"
            reason = {"ok": "stop", "length": "length", "empty": "stop", "refused": "refusal"}
            reason["unknown"] = "unknown"
            answers.append(Answer(said[outcome], reason[outcome]))
        return answers, {"prompt_tokens": 1, "completion_tokens": len(answers)}


def ask(folder, script, config, most=None, **options):
    """One run over the requests of a folder; it returns what was asked."""
    script = script if isinstance(script, Script) else Script(script, 0)
    pacing = Pacing(concurrency=1, retries=0, limit=most)
    paths = folder / "requests.jsonl", folder / "journal.jsonl"
    run(*paths, config, {"here": lambda: script}, teacher="t", pacing=pacing, **options)
    return script.asked


def test_a_prompt_that_was_changed_back_counts_even_after_a_partial_run(tmp_path):
    """Its answer is there and not asked again; it is put last, though other requests are still unasked."""
    for text in ("q", "other", "q"):
        write_requests(tmp_path / "requests.jsonl", {"x": text, "y": "q", "z": "q"})
        asked = ask(tmp_path, {"x": ["ok"], "y": ["failed"]}, config_of(), most=1)
    assert asked == [("y", "q", 1)]
    keys = {"x": config_of().key(messages_of("x"))}
    assert by_readers(tmp_path, tmp_path / "journal.jsonl", keys)["evaluate"] == {"x": "(b) 1"}
    last = orjson.loads((tmp_path / "journal.jsonl").read_bytes().splitlines()[-1])
    assert (last["id"], last["key"], last["repeated"]) == ("x", keys["x"], True)


def test_a_longer_attempt_that_is_refused_is_not_asked_a_third_time(tmp_path):
    """The cut-off answer counts for all readers, and nothing is paid for again."""
    write_requests(tmp_path / "requests.jsonl", {"x": "q"})
    assert ask(tmp_path, {"x": ["length"]}, config_of())
    longer = config_of(200)
    assert ask(tmp_path, {"x": ["refused"]}, longer)
    assert not ask(tmp_path, {"x": ["ok"]}, longer)
    report = status_of_requests(tmp_path / "requests.jsonl", tmp_path / "journal.jsonl", longer)
    assert str(report.ledger) == "1 in = 0 out + 1 dropped (length: 1)"


def test_a_longer_attempt_that_fails_is_a_failed_request(tmp_path):
    """It is asked again, and the run's ledger says failed, though the cut-off answer counts meanwhile."""
    write_requests(tmp_path / "requests.jsonl", {"x": "q"})
    longer = config_of(200)
    assert ask(tmp_path, {"x": ["length"]}, config_of())
    assert ask(tmp_path, {"x": ["failed"]}, longer)
    assert not ask(tmp_path, {"x": ["ok"]}, longer, retry_failed=False)
    assert not ask(tmp_path, {"x": ["ok"]}, config_of())  # the lower limit has its answer
    report = status_of_requests(tmp_path / "requests.jsonl", tmp_path / "journal.jsonl", longer)
    assert report.ledger.failed["failed"] == 1
    assert ask(tmp_path, {"x": ["ok"]}, longer)


class JournalMachine(RuleBasedStateMachine):
    """Runs of ``generate`` over one journal, beside a list of the lines that were paid for."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path, self.requests = self.folder / "journal.jsonl", self.folder / "requests.jsonl"
        self.texts = dict.fromkeys(IDS, "q")
        self.limit, self.count, self.take = LIMITS[0], 1, 0
        self.lines: list[dict] = []  # as the journal must have them, without those that are repeated
        write_requests(self.requests, self.texts)

    def teardown(self):
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    # What may happen between runs

    @rule(name=st.sampled_from(IDS), text=st.sampled_from(["q", "other"]))
    def change_a_prompt(self, name, text):
        """Also back to what it was."""
        self.texts[name] = text
        write_requests(self.requests, self.texts)

    @rule(limit=st.sampled_from(LIMITS))
    def change_the_limit(self, limit):
        """Cut-off answers are asked again when it rises, and only then."""
        self.limit = limit

    @rule(count=st.integers(1, 3))
    def change_the_number_of_answers(self, count):
        """Those that are there stay."""
        self.count = count

    @precondition(lambda self: self._is_whole())
    @rule(share=st.floats(0, 1))
    def kill_in_mid_write(self, share):
        """The beginning of a line is all that is there of an answer."""
        begun = self.path.read_bytes().splitlines()[-1]
        with self.path.open("ab") as file:
            file.write(begun[: 1 + int(share * (len(begun) - 2))])

    @precondition(lambda self: self._is_whole())
    @rule()
    def lose_the_last_newline(self):
        """A whole line without its end is an answer."""
        self.path.write_bytes(self.path.read_bytes()[:-1])

    def _is_whole(self):
        return self.path.exists() and self.path.read_bytes().endswith(b"\n")

    # A run

    @rule(
        outcomes=st.fixed_dictionaries(dict.fromkeys(IDS, st.lists(st.sampled_from(OUTCOMES), min_size=1))),
        most=st.sampled_from([None, None, 1, 2]),
        retry_failed=st.booleans(),
    )
    def run_generate(self, outcomes, most, retry_failed):
        """Ask for what is missing, with ``most`` requests at most, and compare with the model."""
        expected = {
            name: samples
            for name in IDS
            if (samples := [n for n in range(self.count) if self._is_open(name, n, retry_failed)])
        }
        expected = dict(list(expected.items())[:most])
        script = Script(outcomes, self.take)
        ask(self.folder, script, config_of(self.limit, self.count), most, retry_failed=retry_failed)
        self.take = script.take
        assert script.asked == [(name, self.texts[name], len(places)) for name, places in expected.items()]
        text = self.path.read_bytes() if self.path.exists() else b""
        rows = [orjson.loads(line) for line in text.splitlines()]
        paid = [row for row in rows if not row.get("repeated")]
        assert paid[: len(self.lines)] == self.lines, "a line was lost or changed"
        written = [(row["id"], row["sample"]) for row in paid[len(self.lines) :]]
        assert written == [(name, sample) for name, samples in expected.items() for sample in samples]
        self.lines = paid
        if paid:
            self._compare_readers()

    # The model: a few lines that know nothing of indexes and blocks

    def _among(self, name, sample, key=None):
        """The paid lines of one sample of a prompt."""
        key = key or config_of().key(messages_of(name, self.texts[name]))
        return [row for row in self.lines if (row["id"], row["key"], row["sample"]) == (name, key, sample)]

    def _is_open(self, name, sample, retry_failed):
        """Whether a sample is still to be asked."""
        lines = [(outcome(row), row["max_tokens"]) for row in self._among(name, sample)]
        best = min((result for result, _ in lines), key=RANKS.get, default=None)
        if best in (None, "failed", "empty"):
            return best is None or retry_failed
        tried = [limit for result, limit in lines if result != "failed" or not retry_failed]
        return best == "length" and max(tried) < self.limit

    def _current_keys(self):
        """The present prompt's key where it has any line, or else that of the last line."""
        keys = {}
        for name in IDS:
            key = config_of().key(messages_of(name, self.texts[name]))
            lines = [row["key"] for row in self.lines if row["id"] == name]
            keys[name] = key if key in lines else self._last_key.get(name, lines[-1] if lines else key)
        self._last_key = keys
        return keys

    _last_key: dict = {}  # noqa: RUF012 - replaced, never changed

    def _compare_readers(self):
        """All four take the same lines: the best outcome, and of equal ones the later."""
        keys = self._current_keys()
        best = {}
        for name in IDS:
            for sample in range(3):
                lines = self._among(name, sample, keys[name])
                if lines:
                    best[name, sample] = min(reversed(lines), key=lambda row: RANKS[outcome(row)])
        first = {name: row for (name, sample), row in best.items() if not sample}
        if not first:
            return
        found = by_readers(self.folder, self.path, keys)
        assert found["generate"] == found["collect"] == {name: outcome(row) for name, row in first.items()}
        assert found["review"] == Counter(map(outcome, best.values()))
        assert found["evaluate"] == {
            name: None if outcome(row) == "failed" else row["response"] or "" for name, row in first.items()
        }
        self._compare_the_ledger(best)

    def _compare_the_ledger(self, best):
        """``--status`` counts each request by its worst sample; only complete ones are out."""
        ledger = status_of_requests(self.requests, self.path, config_of(self.limit, self.count)).ledger
        present = {name: config_of().key(messages_of(name, self.texts[name])) for name in IDS}
        complete = sum(
            all(
                (row := best.get((name, n))) and row["key"] == present[name] and outcome(row) == "ok"
                for n in range(self.count)
            )
            for name in IDS
        )
        assert (ledger.rows_in, ledger.rows_out) == (len(IDS), complete)


def outcome(row):
    """The outcome of a line of the script's, by what the script wrote."""
    if row["error"] is not None:
        return "failed"
    if row["finish_reason"] == "stop":
        return "ok" if row["response"].strip() else "empty"
    return {"length": "length", "refusal": "refused", "unknown": "unknown"}[row["finish_reason"]]


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(stateful_step_count=12, deadline=None)
