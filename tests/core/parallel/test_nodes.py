"""The check before work begins finds a node that would fail, or write other bytes, and names it."""

import contextlib
import shutil

import pytest

from dataprep.core.errors import FileError, UsageError, WorkerError
from dataprep.core.parallel import Inline, nodes
from dataprep.core.parallel.nodes import check_nodes


class Machines(Inline):
    """This process as two machines: one as it is, and one on which something is ``different``."""

    def __init__(self, different=None):
        self.different = different or contextlib.nullcontext()

    def on_nodes(self, work, task, /):
        """Run the work on both."""
        answers = [("alpha (10.0.0.1)", work(task))]
        with self.different:
            answers.append(("beta (10.0.0.2)", work(task)))
        return answers


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A folder with an input and a place for outputs, which is the working directory."""
    folder = tmp_path / "shared"
    (folder / "out").mkdir(parents=True)
    (folder / "rows.jsonl").write_bytes(b'{"n": 1}\n' * 20_000)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path, shared):
    """The same paths lead to a copy of the folder, as on a machine with disks of its own."""
    copy = tmp_path / "copy"
    shutil.copytree(shared, copy)
    return copy


@contextlib.contextmanager
def patched(name, value):
    """Replace something of the check, on one machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, name, value)
        yield


def test_nodes_that_agree_pass_and_nothing_is_left(shared):
    """Inputs, outputs and versions are the same."""
    check_nodes(Machines(), "rows.jsonl", "out")
    check_nodes(Machines(), None, None)
    check_nodes(Inline(), "rows.jsonl", "out")
    assert not [*(shared / "out").iterdir()]


def test_an_output_folder_that_is_not_shared(elsewhere):
    """Each machine would write its parts to its own disk."""
    with pytest.raises(UsageError, match=r"node beta \(10.0.0.2\): out is another folder there.*share"):
        check_nodes(Machines(contextlib.chdir(elsewhere)), "rows.jsonl", "out")
    assert not [*(elsewhere / "out").iterdir()]


def test_an_output_folder_that_cannot_be_written(shared):
    """It can be read there, as one that is mounted so."""

    def refuse(*_):
        raise FileError("out", "access denied")

    with pytest.raises(UsageError, match=r"node beta \(10.0.0.2\): out: access denied"):
        check_nodes(Machines(patched("_written", refuse)), "rows.jsonl", "out")
    assert not [*(shared / "out").iterdir()]


def test_an_input_that_is_missing_on_a_node(elsewhere):
    """The path of the message is the user's."""
    (elsewhere / "rows.jsonl").unlink()
    with pytest.raises(UsageError, match=r"node beta \(10.0.0.2\): rows.jsonl: no such"):
        check_nodes(Machines(contextlib.chdir(elsewhere)), "rows.jsonl", None)


def test_an_input_that_differs_on_a_node(elsewhere):
    """Another file of the same name."""
    (elsewhere / "rows.jsonl").write_bytes(b'{"n": 2}\n' * 20_000)
    with pytest.raises(UsageError, match=r"node beta .*another file as the first input"):
        check_nodes(Machines(contextlib.chdir(elsewhere)), "rows.jsonl", None)


@pytest.mark.parametrize("name", ["dataprep", "Python", "orjson", "numpy", "polars"])
def test_a_version_that_differs(name):
    """Both versions are named, and what to do."""
    other = nodes.versions() | {name: "0.0.7"}
    message = rf"node beta .* has {name} 0.0.7, and this machine has .*install the same on all nodes"
    with pytest.raises(UsageError, match=message):
        check_nodes(Machines(patched("versions", lambda: other)))


def test_the_version_has_a_digest_of_the_code():
    """Two checkouts of one version differ in it."""
    assert "(code " in nodes.versions()["dataprep"]


def test_a_node_on_which_nothing_runs():
    """For example without dataprep: what the cluster says is the message."""

    class Broken(Inline):
        def on_nodes(self, _work, _task, /):
            return [("gamma", WorkerError("No module named 'dataprep'"))]

    with pytest.raises(UsageError, match="node gamma: No module named 'dataprep'"):
        check_nodes(Broken())


def test_a_missing_input_is_no_fault_of_a_node(shared):
    """This process says it, before a node is asked."""
    with pytest.raises(FileError, match="no such"):
        check_nodes(Machines(), "missing.jsonl", "out")
    assert not [*(shared / "out").iterdir()]
