"""The engine that belongs to the process: which one applies, and what it costs if none is used."""

import importlib.util

import pytest

import dataprep
from dataprep import write_rows
from dataprep.core.errors import MissingDependencyError, UsageError
from dataprep.core.parallel import Inline, Processes, backend_for, current, engine
from tests.test_public_names import loaded_after


@pytest.fixture
def without_ray(monkeypatch):
    """Ray is not installed, whether it is or not."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "dataprep.core.optional.find_spec", lambda name: None if name == "ray" else found(name)
    )


def test_without_an_engine_tasks_run_here():
    """One worker is this process, several are processes."""
    assert current() is None
    assert isinstance(backend_for(1), Inline)
    several = backend_for(3)
    assert isinstance(several, Processes)
    assert several.slots == 3


def test_the_innermost_engine_applies():
    """And it ends with its block."""
    with engine(fresh=True) as outer:
        assert current() is outer
        with engine(workers=2) as inner:
            assert current() is inner
            assert (inner.workers, inner.fresh, outer.fresh) == (2, False, True)
        assert current() is outer
        assert isinstance(backend_for(1), Inline)  # it names no cluster
    assert current() is None


def test_an_error_ends_an_engine():
    """A program that goes on after an error goes on without it."""
    with pytest.raises(ZeroDivisionError), engine():
        raise ZeroDivisionError
    assert current() is None


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("open_engine", [lambda: engine("local"), dataprep.cluster])
def test_a_cluster_needs_ray(open_engine):
    """The message says how to install it, before anything is started."""
    message = r"--cluster needs .*'ray'.*dataprep\[cluster\]"
    with pytest.raises(MissingDependencyError, match=message), open_engine():
        pass
    assert current() is None


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_are_checked(workers):
    """Zero workers are a mistake on the command line."""
    with pytest.raises(UsageError, match="--workers"), engine(workers=workers):
        pass


def test_the_engine_loads_no_ray():
    """Without a cluster, ray is not imported."""
    code = """
from dataprep.core.parallel import backend_for, engine, exchange
with engine(workers=2):
    assert list(exchange(lambda _: [1], lambda *_: 2, [0], 1, backend=backend_for(1))) == [(0, 2)]
"""
    assert "ray" not in loaded_after(code)


def test_the_address_of_a_server_of_jobs_is_no_cluster(run, tmp_path):
    """`ray job submit` reads it from the same variable."""
    write_rows([{"question": "1 + 1?", "answer": "2\n#### 2"}], str(tmp_path / "rows.jsonl"))
    done = run(
        "convert", "gsm8k", "rows.jsonl", "-o", "chat.jsonl", env={"RAY_ADDRESS": "http://127.0.0.1:1"}
    )
    assert done.code == 0
    assert "RAY_ADDRESS names a server of jobs, no cluster; runs on this machine" in done.err
