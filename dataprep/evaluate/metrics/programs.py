"""Extract the program that a reply consists of or contains, and the tests that a prompt shows."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from dataprep.answers.final_answers import said_of, without_stop_tokens

# The block of tests in a prompt, as `convert` writes it.
_FENCED = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = ("python", "python3", "py", "")
# Marks of prompt formats around a program: MBPP's published prompt, Code Llama's, and tags.
_MARKS = [
    (re.compile(rf"^[ \t]*{begin}", re.M | re.I), re.compile(rf"^[ \t]*{end}|{end}[ \t]*$", re.M | re.I))
    for begin, end in (
        (r"\[BEGIN\]", r"\[DONE\]"),
        (r"\[PYTHON\]", r"\[/PYTHON\]"),
        ("<code>", "</code>"),
        ("<python>", "</python>"),
    )
]
# A fence may be indented, quoted, or the first thing in an item of a list.
_FENCE = re.compile(r"(?:[ \t>]|[-*+] |\d{1,3}[.)] ){0,12}(?P<mark>`{3,}|~{3,})(?P<info>.*)", re.DOTALL)
# At the end of a line of prose; only with a language, because without one it closes a block.
_LATE_FENCE = re.compile(
    r".*?\S[ \t]+(?P<mark>`{3,}|~{3,})(?P<info>[ \t]*(?:python3?|py)[ \t]*)", re.IGNORECASE
)
_WRAPPING = ("markdown", "md")  # a fence around the whole reply, with the fences of its blocks inside
_UNSEEN = "\ufeff\u200b\u2060"  # byte order mark, zero-width space, word joiner
_UNSEEN_FIRST = re.compile(rf"^[{_UNSEEN}]+", re.MULTILINE)
_FUTURE = re.compile(r"^from __future__ import .*\n?", re.MULTILINE)
_CODE_LINE = re.compile(
    r"[ \t]*(?:(?:async )?def \w|class \w|@\w|import \w|from [\w.]+ import\b"
    r"|[A-Za-z_]\w*(?:: ?[\w\[\], ]+)? ?=(?!=))"
)
_TEST_NAME = re.compile(r"[Tt]est(?:_|[A-Z]|$)")
_LONGEST_PROGRAM, _TRIES = 200_000, 50
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign)


@dataclass(frozen=True, slots=True)
class _Block:
    """A piece of Python in a reply."""

    code: str
    body: list[ast.stmt]

    def names(self, *kinds: type[ast.stmt]) -> set[str]:
        """Return the names that top-level statements of these kinds define."""
        return {name for statement in self.body if isinstance(statement, kinds) for name in _bound(statement)}


def program_of(reply: str, tests: Sequence[str] = ()) -> str:
    """Return the program of a reply, of which ``tests`` tell the names that it must define.

    A reply that is Python as a whole is its own program. Otherwise its blocks are the fenced ones, or
    without fences the lines that are Python. The last block that defines a name of the tests is the program
    (without such, the last one with a function or class), and earlier blocks add what it does not define
    itself: functions, classes, imports and constants. If no block is Python, it is the first, or the reply.
    """
    text = without_stop_tokens(said_of(reply)[0]).replace("\r\n", "\n")
    text = _UNSEEN_FIRST.sub("", text)
    if len(text) > _LONGEST_PROGRAM:
        return text
    for part in dict.fromkeys((_between_marks(text), text)):
        # A last line of one word is prose, although Python reads it as a name.
        if (whole := _block(part)) is not None and not _ends_in_a_word(whole.body):
            return whole.code
    text = _between_marks(text)
    fenced = _fenced(text)
    blocks = [block for code in fenced if (block := _block(code))]
    if not blocks:
        blocks = _unfenced("\n".join(line for line in text.split("\n") if not _FENCE.fullmatch(line)))
    last = _last_defining(blocks, _names_in(tests))
    if last < 0:
        return next((block.code for block in blocks if block.body), fenced[0] if fenced else text)
    return _with_helpers(blocks, last)


def _between_marks(text: str) -> str:
    for begin, end in _MARKS:
        # The prompt may have had the first mark, and a reply that was cut off has no second one.
        first, last = begin.search(text), end.search(text)
        if first and (last is None or first.start() < last.start()):
            text = text[first.end() :]
            last = end.search(text)
        if last and text[: last.start()].strip():
            text = text[: last.start()]
    return text


def _ends_in_a_word(body: Sequence[ast.stmt]) -> bool:
    return len(body) > 1 and isinstance(body[-1], ast.Expr) and isinstance(body[-1].value, ast.Name)


def _last_defining(blocks: Sequence[_Block], wanted: set[str]) -> int:
    """Return the last block that defines a wanted name, else a function or class; -1 without one."""
    # A block that only imports the name, as from a file of the reply's own, uses the program.
    for kinds in ((*_DEFINITIONS, *_ASSIGNMENTS), _IMPORTS):
        named = [number for number, block in enumerate(blocks) if wanted & block.names(*kinds)]
        if named:
            return named[-1]
    # A block of test cases comes after the program.
    made = [
        number
        for number, block in enumerate(blocks)
        if any(not _TEST_NAME.match(name) for name in block.names(*_DEFINITIONS))
    ]
    return made[-1] if made else -1


def _with_helpers(blocks: Sequence[_Block], main: int) -> str:
    """Return a block together with what it lacks and the other blocks define."""
    code, made = blocks[main].code, blocks[main].names(*_DEFINITIONS, *_ASSIGNMENTS)
    used = {name for statement in blocks[main].body for name in _used(statement)}
    for block in reversed(blocks[:main]):
        # Bare calls, tests and output of a draft are left out, as is what uses a name that is made later.
        kept = [
            statement
            for statement in block.body
            if isinstance(statement, _IMPORTS)
            or (isinstance(statement, _DEFINITIONS) and not made & _bound(statement))
            or (isinstance(statement, _ASSIGNMENTS) and not made & (_bound(statement) | _used(statement)))
        ]
        if kept:
            code = "\n".join(map(ast.unparse, kept)) + "\n\n" + code
        made |= block.names(*_DEFINITIONS, *_ASSIGNMENTS)
        used |= {name for statement in kept for name in _used(statement)}
    for block in blocks[main + 1 :]:
        # A later block only uses the program, unless the program needs a name from there.
        if block.names(*_DEFINITIONS) & (used - made - set(dir(builtins))):
            kept = [
                item
                for item in block.body
                if isinstance(item, _IMPORTS + _DEFINITIONS) and not made & _bound(item)
            ]
            code = code.rstrip("\n") + "\n\n" + "\n".join(map(ast.unparse, kept)) + "\n"
            made |= block.names(*_DEFINITIONS)
    # Python accepts these only before all else, so not behind a helper.
    return "".join(f"{line.rstrip()}\n" for line in dict.fromkeys(_FUTURE.findall(code))) + _FUTURE.sub(
        "", code
    )


def _bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, _DEFINITIONS):
        return {statement.name}
    if isinstance(statement, _IMPORTS):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return {
        node.id for target in targets if target for node in ast.walk(target) if isinstance(node, ast.Name)
    }


def _used(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _names_in(tests: Sequence[str]) -> set[str]:
    blocks = [block for test in tests if (block := _block(test))]
    used = {name for block in blocks for statement in block.body for name in _used(statement)}
    return used - set(dir(builtins)) or used


def _block(code: str) -> _Block | None:
    """Return a text as a block, without what a list or a transcript puts before its lines; or ``None``."""
    code = code.lstrip(_UNSEEN)
    tried = [code, textwrap.dedent(code).lstrip("\n"), code.replace("\xa0", " ")]
    if ">>> " in code:
        lines = [line.lstrip() for line in code.split("\n")]
        tried.append("".join(f"{line[4:]}\n" for line in lines if line.startswith((">>> ", "... ", "..."))))
    for text in tried:
        try:
            # A backslash that Python does not know is a warning, also in a text that is no program.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _Block(text, ast.parse(text).body)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return None


def _fenced(text: str) -> list[str]:
    """Return the contents of the fenced blocks that are Python by their name, or have none."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if _FENCE.fullmatch(line)), None)
    if first is not None:
        head = _block("\n".join(lines[:first]))
        # The prompt had the opening fence: the first one here closes.
        if head and head.names(*_DEFINITIONS, *_ASSIGNMENTS) and lines[first].strip(" \t`~") == "":
            lines.insert(0, lines[first])
    blocks: list[tuple[str, list[str]]] = []
    mark, quoted = "", ""
    for line in lines:
        match = _FENCE.fullmatch(line)
        if not mark:
            match = match or _LATE_FENCE.fullmatch(line)
            if match:
                mark, info = match["mark"], match["info"].strip()
                quoted = "> " if line.lstrip().startswith(">") else ""
                inline = info.endswith(mark)
                words = info.removesuffix(mark).strip(" {").lstrip(".")
                language = re.split(r"[\s:,}]", words, maxsplit=1)[0].lower()
                known = language in _PYTHON
                blocks.append((language if known or not inline else "", []))
                if language in _WRAPPING and not inline:
                    mark = ""
                if inline:  # a block in one line
                    blocks[-1][1].append(words[len(language) :].lstrip() if known else words)
                    mark = ""
        elif match and match["mark"].startswith(mark) and not match["info"].strip():
            mark = ""
        elif line.rstrip().endswith(mark) and line.count(mark) == 1:  # the fence closes behind the last line
            blocks[-1][1].append(line.rstrip().removesuffix(mark))
            mark = ""
        else:
            blocks[-1][1].append(line.lstrip().removeprefix(">").removeprefix(" ") if quoted else line)
    # Every line of a closed block had a newline behind it, and the last line of one that was cut off had not.
    return [
        "\n".join(lines) + ("" if (mark and number == len(blocks) - 1) or not lines else "\n")
        for number, (language, lines) in enumerate(blocks)
        if language in _PYTHON
    ]


def _unfenced(text: str) -> list[_Block]:
    """Return the pieces of Python among lines of prose."""
    lines, blocks, number = text.split("\n"), list[_Block](), 0
    while number < len(lines):
        end = _end_of_code(lines, number) if _CODE_LINE.match(lines[number]) else number
        if end > number and (block := _block("\n".join(lines[number:end]))):
            blocks.append(block)
        number = max(end, number + 1)
    return blocks


def _end_of_code(lines: Sequence[str], begin: int) -> int:
    """Return the line behind a piece of Python; ``begin`` if prose does not end it."""
    depth = len(lines[begin]) - len(lines[begin].lstrip())
    inside = (number for number in range(begin + 1, len(lines)) if lines[number].strip())
    end = next((at for at in inside if len(lines[at]) - len(lines[at].lstrip()) < depth), len(lines))
    for _ in range(_TRIES):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                body = ast.parse(textwrap.dedent("\n".join(lines[begin:end]))).body
        except SyntaxError as error:
            at = begin + (error.lineno or 1) - 1
            # Code that is wrong is not prose: half a program must not run as if it were whole.
            if (
                at <= begin
                or at >= end
                or lines[at][: depth + 1].strip() == ""
                or _CODE_LINE.match(lines[at])
            ):
                return begin
            end = at
        except (ValueError, MemoryError, RecursionError):
            return begin
        else:
            while _ends_in_a_word(body):
                end = begin + body.pop().lineno - 1
            return end
    return begin


def shown_tests(prompt: str) -> tuple[str, ...]:
    """Return the assertions in a prompt's last block between fences, as one text; none without them."""
    blocks = [code for language, code in _FENCED.findall(prompt) if language.lower() in _PYTHON]
    if not blocks or not re.search(r"^\s*assert\b", blocks[-1], re.MULTILINE):
        return ()
    # One text, not a list: a statement may span lines, and they run in their order anyway.
    return (blocks[-1].strip("\n"),)
