"""Convert the golden inputs of each converter; ``python -m tests.golden`` records the results.

A folder ``tests/golden/<dataset>/`` has ``input…`` files with ordinary and difficult rows (and with their
file of labels, if the dataset has one), and the expected results:

- ``expected.jsonl``: the chat rows, with id and source;
- ``expected_example.jsonl``: the Examples;
- ``expected_rejects.jsonl``: input file, line or row, and reason of each bad row;
- ``expected_ledger.json``: the counts of the command's summary.

Read the difference before it is committed: a golden file is right because someone read it.
"""

import json
import tempfile
from pathlib import Path

from dataprep.datasets import registry as converters
from dataprep.datasets.convert import Plan, convert_files

FOLDER = Path(__file__).parent / "golden"


def inputs_of(name: str) -> list[Path]:
    """Return the golden inputs of a dataset, sorted, without files of labels."""
    return sorted(path for path in (FOLDER / name).glob("input*") if path.suffix != ".lst")


def results(name: str) -> dict[str, str]:
    """Return the current results of a converter, by the name of the expected file."""
    found: dict[str, str] = {}
    for target, stem in (("chat", "expected"), ("example", "expected_example")):
        plan = Plan(name, to=target, with_id=True)
        with tempfile.TemporaryDirectory() as folder:
            output, rejects = Path(folder, "output.jsonl"), Path(folder, "rejects.jsonl")
            ledger = convert_files(plan, inputs_of(name), output, rejects=rejects)
            found[f"{stem}.jsonl"] = output.read_bytes().decode("utf-8")
            lines = rejects.read_bytes().decode("utf-8").split("\n")[:-1]
        rejected = "".join(_short(json.loads(line)) + "\n" for line in lines)
        counts = json.dumps(ledger.to_json(), ensure_ascii=False, indent=2) + "\n"
        for file, text in (("expected_rejects.jsonl", rejected), ("expected_ledger.json", counts)):
            if found.setdefault(file, text) != text:
                raise ValueError(f"{name}: {file} differs between chat rows and Examples")
    return found


def _short(reject: dict[str, object]) -> str:
    """Return a rejected row as one line, with the file's name only and without the row's text."""
    kept = {key: value for key, value in reject.items() if key != "text"}
    return json.dumps(kept | {"path": Path(str(reject["path"])).name}, ensure_ascii=False)


def main() -> None:
    """Write the expected files of every converter that has golden inputs."""
    for name in converters.names():
        if inputs_of(name):
            for file, text in results(name).items():
                (FOLDER / name / file).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
