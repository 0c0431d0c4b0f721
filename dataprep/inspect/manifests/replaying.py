"""Run the commands of a chain of manifests again, and compare what they write."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BufferedWriter
from pathlib import Path
from typing import Literal

from dataprep.core.errors import FileError, InputError, UsageError, one_line
from dataprep.core.io import exists, name_of, replacing, size_of
from dataprep.core.manifests.digests import PIECE
from dataprep.core.manifests.format import OUTSIDE, Entry, Manifest, beside, read_manifest
from dataprep.core.manifests.keys import HIDDEN
from dataprep.core.manifests.writing import versions
from dataprep.core.urls import is_url
from dataprep.inspect.manifests.verifying import Digests

State = Literal["made", "up to date", "given", "differs", "would run"]
# Their results depend on a server, or on the machine that computes them.
_ASKS, _COMPUTES = ("generate",), ("train", "predict", "evaluate")
_LINES = 5  # of what a failed command said


# Called with a command, its arguments, the folder where it will run, and the files outside of it that it may
# read: those that the user has named, and inputs with known digests behind links of the workspace. It
# raises `UsageError` if the command must not run.
Check = Callable[[str, Sequence[str], Path, Sequence[Path | str]], None]


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was looked at.

    Attributes:
        state: ``made`` if the command ran and wrote the same bytes; ``up to date`` if they were there before;
            ``given`` for a journal, which is not asked for again; ``differs`` if the command wrote others.
    """

    command: str
    outputs: tuple[str, ...]
    state: State
    note: str = ""


@dataclass
class Replayed:
    """The steps of a chain, in the order in which they ran."""

    steps: list[Done] = field(default_factory=list)

    @property
    def differing(self) -> list[Done]:
        """The steps whose outputs have other bytes than those recorded."""
        return [step for step in self.steps if step.state == "differs"]


@dataclass
class _Step:
    """A command, with all outputs and inputs of its manifests: it can have several."""

    manifest: Manifest
    root: Path  # where it runs now
    inputs: dict[str, Entry] = field(default_factory=dict)
    outputs: dict[str, Entry] = field(default_factory=dict)


def replay_steps(
    paths: Sequence[str | Path],
    folder: str | Path | None,
    *,
    check: Check,
    sources: Sequence[str | Path],
    dry_run: bool,
    on_step: Callable[[Done], None] | None,
) -> Replayed:
    """Do what ``dataprep.replay_files`` describes; ``check`` raises for a command that must not run."""
    steps = _steps_of(paths, folder)
    located = _located(steps, sources)
    result, digests = Replayed(), Digests()
    computed: set[Path] = set()  # what a model computed differently now
    for step in steps:
        done = _replayed(step, located, digests, check, computed, dry_run=dry_run)
        result.steps.append(done)
        if on_step is not None:
            on_step(done)
        if done.state == "differs":
            # The next steps would be made of other rows.
            if step.manifest.command not in _COMPUTES:
                break
            computed |= {step.root / name for name in step.outputs}
    return result


def _steps_of(paths: Sequence[str | Path], folder: str | Path | None) -> list[_Step]:
    steps: dict[tuple[str, ...], _Step] = {}
    top: list[Path] = []
    for path in paths:
        if read_manifest(path) is None:
            raise FileError(beside(path), "no such file; a file without a manifest is a source")
        _add(path, steps, set(), top, None if folder is None else Path(folder))
    for step in steps.values():
        if step.manifest.command in _ASKS:
            _as_read(step, steps.values())
    return [*steps.values()]


def _as_read(step: _Step, steps: Iterable[_Step]) -> None:
    """Expect a journal as the steps after it have read it; it can have grown since."""
    for path in step.outputs:
        read = [other.inputs[path] for other in steps if other.root == step.root and path in other.inputs]
        if read:
            step.outputs[path] = replace(max(read, key=lambda entry: entry.bytes), grows=True)


def _add(
    path: Path | str,
    steps: dict[tuple[str, ...], _Step],
    above: set[Path | str],
    top: list[Path],
    folder: Path | None,
) -> None:
    manifest = read_manifest(path)
    if manifest is None:
        return
    if any(is_url(entry.path) for entry in manifest.outputs):
        raise UsageError(
            f"{path}: replay writes no objects; run `dataprep {manifest.command}` again with another -o, and "
            "compare the two with `dataprep diff`"
        )
    if manifest.place in above:
        raise UsageError(f"{manifest.place}: {manifest.command} replaced one of its inputs by its output")
    top[:] = top or [manifest.root]
    for entry in manifest.inputs:
        # An object that another command wrote is taken as it is, like a source.
        if not entry.is_outside and not is_url(entry.path):
            _add(manifest.where(entry), steps, above | {manifest.place}, top, folder)
    key = (manifest.command, *manifest.arguments, str(manifest.root))
    if key not in steps:
        steps[key] = _Step(manifest, _moved(manifest.root, top[0], folder))
    # A command that wrote several files has a manifest beside each of them.
    steps[key].inputs |= {entry.path: entry for entry in manifest.inputs}
    steps[key].outputs |= {entry.path: entry for entry in manifest.outputs}


def _moved(root: Path, top: Path, folder: Path | None) -> Path:
    """Return where a step runs: in the other folder, if one is given."""
    if folder is None:
        return root
    if not root.is_relative_to(top):
        raise UsageError(f"{root}: a step ran in another folder than {top}; replay it there first")
    return folder.absolute() / root.relative_to(top)


def _located(steps: Sequence[_Step], sources: Sequence[str | Path]) -> dict[str, Path]:
    """Return where the files are that manifests know by their digest, by the path that they have there."""
    wanted = {
        entry.sha256: entry.path
        for step in steps
        for entry in step.inputs.values()
        if entry.path.startswith(OUTSIDE)
    }
    found: dict[str, Path] = {}
    digests = Digests()
    for source in sources if wanted else ():
        for path in _files_in(Path(source)):
            # By name first: a folder can hold gigabytes of other files.
            if any(path.name == name.rpartition("/")[2] for name in wanted.values()):
                digest = digests.of(path)
                if digest in wanted:
                    found[wanted[digest]] = path.absolute()
    return found


def _files_in(source: Path) -> Iterator[Path]:
    if not source.exists():
        raise FileError(source, "no such file or folder")
    yield source
    if source.is_dir():
        yield from sorted(source.rglob("*"))


def _replayed(
    step: _Step,
    located: dict[str, Path],
    digests: Digests,
    check: Check,
    computed: set[Path],
    *,
    dry_run: bool,
) -> Done:
    manifest, root = step.manifest, step.root
    names = tuple(step.outputs)
    if manifest.command in _ASKS:
        return _given(step, digests)
    if all(not digests.differs(root / entry.path, entry) for entry in step.outputs.values()):
        return Done(manifest.command, names, "up to date")
    for entry in () if dry_run else step.inputs.values():
        if root / entry.path not in computed:
            _check_input(step, entry, located, digests)
    arguments = [_mapped(word, located) for word in manifest.arguments]
    linked = [_where(step, entry) for entry in step.inputs.values() if not entry.is_outside]
    check(manifest.command, arguments, root, [*located.values(), *linked])
    if dry_run:
        return Done(manifest.command, names, "would run")
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    places = [Path(beside(root / name)) for name in names]
    before = {place: place.read_bytes() for place in places if place.is_file()}
    _run(manifest, arguments, root)
    digests.forget()
    problems = [
        f"{entry.path}: {problem}"
        for entry in step.outputs.values()
        if (problem := digests.differs(root / entry.path, entry))
    ]
    if not problems:
        return Done(manifest.command, names, "made")
    # Keep the record: the manifests that the command wrote now describe other bytes.
    note = problems[0] + _reasons(step, arguments)
    for place, recorded in before.items():
        with replacing(place) as file, BufferedWriter(file) as out:
            out.write(recorded)
    return Done(manifest.command, names, "differs", note)


def _reasons(step: _Step, arguments: Sequence[str]) -> str:
    """Return what to add to a note: what can have changed the bytes."""
    manifest, note = step.manifest, _other_inputs(step)
    if manifest.command in _COMPUTES:
        note += "; what a model computes can differ between machines"
    elif manifest.versions != (now := versions()):
        changed = [name for name, value in manifest.versions.items() if now.get(name) != value]
        note += f"; other versions than then: {', '.join(changed)}"
    for entry in step.inputs.values():
        if size_of(_where(step, entry)) > entry.bytes > 0:
            note += f"; {entry.path} has further lines since"
    return note + (f"; the manifest has {HIDDEN} in place of a key" if HIDDEN in "".join(arguments) else "")


def _other_inputs(step: _Step) -> str:
    """Return what to add to a note if the command has now read other files, such as new ones in a folder."""
    written = [read_manifest(step.root / name) for name in step.outputs]
    read = {entry.path for manifest in written if manifest is not None for entry in manifest.inputs}
    changed = sorted(read ^ step.inputs.keys()) if read else []
    return f"; only one of the two runs read {', '.join(changed[:_LINES])}" if changed else ""


def _given(step: _Step, digests: Digests) -> Done:
    """Take a teacher's answers as they are: asking again would cost money and give others."""
    for entry in step.outputs.values():
        target, source = step.root / entry.path, Path(step.manifest.where(entry))
        if not target.exists() and source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy_beginning(source, target, entry.bytes)
        if problem := digests.differs(target, entry):
            raise InputError(target, f"{problem}; answers are not asked for again: bring the journal back")
    return Done(step.manifest.command, tuple(step.outputs), "given", "a teacher is not asked again")


def _copy_beginning(source: Path, target: Path, size: int) -> None:
    with source.open("rb") as journal, replacing(target) as file, BufferedWriter(file) as out:
        while piece := journal.read(min(PIECE, size - out.tell())):
            out.write(piece)


def _check_input(step: _Step, entry: Entry, located: dict[str, Path], digests: Digests) -> None:
    where = f"{name_of(step.manifest.place)}: {step.manifest.command}"
    if entry.path == "-" or (not entry.sha256 and not entry.etag):
        raise UsageError(f"{where} read standard input or a pipe, which nobody can read again")
    if any(entry.path == output.path for output in step.outputs.values()):
        raise UsageError(f"{where} replaced its input {entry.path}, whose earlier bytes are gone")
    if entry.path.startswith(OUTSIDE):
        if entry.path not in located:
            name, digest = entry.path.rpartition("/")[2], entry.sha256[:16]
            raise UsageError(
                f"{where} read {name} from outside (SHA-256 {digest}…): name it with --source PATH"
            )
        return
    path = _where(step, entry)
    if not exists(path):
        raise FileError(path, "no such file; the workspace needs the same source files")
    if problem := digests.differs(path, entry):
        raise InputError(path, f"is not what {step.manifest.command} read: {problem}")


def _where(step: _Step, entry: Entry) -> Path | str:
    return entry.path if is_url(entry.path) else step.root / entry.path


def _mapped(word: str, located: dict[str, Path]) -> str:
    if OUTSIDE not in word:
        return word
    before, outside, path = word.partition(OUTSIDE)
    # `mix` has a weight behind a path, which can have a `=` in it too.
    name, equals, weight = path.rpartition("=")
    if outside + path not in located and outside + name in located:
        return f"{before}{located[outside + name]}{equals}{weight}"
    return f"{before}{located.get(outside + path, outside + path)}"


def _run(manifest: Manifest, arguments: Sequence[str], root: Path) -> None:
    # Nothing is fetched from the hub: the files are those that the digests name.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    # This package, also where a program runs it from a checkout.
    package = str(Path(__file__).parents[3])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "dataprep", *manifest.command.split(), *arguments]
    ended = subprocess.run(  # noqa: S603 - a list, so no shell; `check` has looked at each word
        words, cwd=root, env=environment, check=False, capture_output=True, stdin=subprocess.DEVNULL
    )
    if ended.returncode:
        said = [one_line(line) for line in ended.stderr.decode("utf-8", "replace").splitlines()[-_LINES:]]
        raise FileError(manifest.place, f"{manifest.command} failed: {' / '.join(said) or 'no message'}")
