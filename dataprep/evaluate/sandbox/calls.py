"""Let two processes use each other's functions and objects, with plain values as arguments and results.

The tests of a program run in one process, and the program in another. Only copies of plain values pass
between them, and stand-ins (``Remote``) for everything else. A result is compared by the tests' process,
which never sends what it expects. So a program can patch what it likes: it only changes its own answers.

This module runs inside the confined processes and imports nothing that is not part of Python.
"""

from __future__ import annotations

import builtins
import json
import operator
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from importlib import import_module

# Not `typing`, whose import would double the start of a process; type checkers take this name for true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_Module = type(sys)
_LARGEST, _LONGEST = 1 << 53, 1 << 30
# Types of the standard library that are copied, with the arguments that make an equal object.
_MADE: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "builtins.bytearray": lambda value: (bytes(value),),
    "builtins.complex": lambda value: (value.real, value.imag),
    "builtins.range": lambda value: (value.start, value.stop, value.step),
    "builtins.slice": lambda value: (value.start, value.stop, value.step),
    "collections.Counter": lambda value: (dict(value),),
    "collections.OrderedDict": lambda value: (list(value.items()),),
    "collections.defaultdict": lambda value: (None, dict(value)),
    "collections.deque": lambda value: (list(value), value.maxlen),
    "datetime.date": lambda value: (value.year, value.month, value.day),
    "datetime.datetime": lambda value: (*value.timetuple()[:6], value.microsecond),
    "datetime.time": lambda value: (value.hour, value.minute, value.second, value.microsecond),
    "datetime.timedelta": lambda value: (value.days, value.seconds, value.microseconds),
    "decimal.Decimal": lambda value: (str(value),),
    "fractions.Fraction": lambda value: (value.numerator, value.denominator),
}
# Modules whose contents the program can name. None of them has an object that equals everything.
SAFE = (
    *("bisect", "builtins", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools"),
    *("heapq", "itertools", "math", "operator", "random", "re", "statistics", "string"),
)
_LISTS = {kind.__name__: kind for kind in (list, tuple, set, frozenset)}
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.items()))
_BINARY = {name: getattr(operator, name) for name in ("eq", "lt", "le", "gt", "ge", "getitem")}
_UNARY: dict[str, Callable[[Any], Any]] = {
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    "iter": iter,
    "next": next,
}
_MORE: dict[str, Callable[..., Any]] = {"getattr": getattr, "setattr": setattr, "isinstance": isinstance}
_MORE |= {"setitem": operator.setitem}


class Ended(Exception):
    """Raised if the other process is gone."""


class Peer:
    """The other process, over two pipes.

    Args:
        source: the descriptor to read from.
        target: the descriptor to write to.
        trusted: whether the other process may do everything with the objects of this one.
    """

    def __init__(self, source: int, target: int, *, trusted: bool) -> None:
        self._source, self._target, self._trusted = source, target, trusted
        self._served: dict[str, Callable[..., Any]] = {}
        self._objects: list[Any] = []  # those that the other process has a stand-in for
        # Looked up now: the program may replace Python's own functions.
        self._read, self._write, self._dumps, self._loads = os.read, os.write, json.dumps, json.loads

    def ask(self, what: str, *values: Any) -> Any:
        """Have the other process do something, and return its result or raise its error."""
        sent = [self.encode(value) for value in values]
        self._send([what, *sent])
        while True:
            kind, *rest = self._receive()
            if kind == "error":
                raise _error(*rest)
            if kind == "result":
                self._update(values, rest[1])
                return self.decode(rest[0])
            self._answer(kind, rest)  # the other process uses an object of this one meanwhile

    def serve(self, **more: Callable[..., Any]) -> None:
        """Do what the other process asks until it is gone; ``more`` are further things that it can ask."""
        self._served = more
        while True:
            kind, *rest = self._receive()
            self._answer(kind, rest)

    def _answer(self, kind: str, sent: list[Any]) -> None:
        try:
            # A program can use objects that the tests handed out, and nothing that it names itself. By way
            # of `operator.attrgetter` it would reach everything in this process.
            if not self._trusted and (type(sent[0]) is not list or sent[0][0] != "yours"):
                raise TypeError(f"{kind} is not possible with a value")
            values = [self.decode(value) for value in sent]
            result = self._served[kind](*values) if kind in self._served else self._do(kind, values)
            reply = ["result", self.encode(result), self._changes(sent, values)]
        except Ended:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a program raises
            reply = ["error", type(error).__name__, _text_of(error)]
        self._send(reply)

    def _do(self, kind: str, values: list[Any]) -> Any:
        value, *rest = values
        if kind == "call":
            return value(*rest[0], **rest[1])
        if kind in _UNARY:
            return _UNARY[kind](value)
        # Through an attribute of a function or frame, a program could reach everything in this process.
        if not self._trusted and (type(value).__module__ != "tests" or str(rest[0]).startswith("_")):
            raise TypeError(f"{kind} is not possible with an object of the tests")
        if kind in _BINARY:
            return _BINARY[kind](value, rest[0])
        return _MORE[kind](value, *rest)

    def _changes(self, sent: list[Any], values: list[Any]) -> list[Any]:
        """Return what a call made of the containers that it was given."""
        if len(values) != 3 or type(values[1]) is not list:
            return []
        now = [self.encode(value) if type(value) in _FILLERS else None for value in values[1]]
        before = sent[1][1]
        return [[n, new] for n, new in enumerate(now) if new is not None and new != before[n]]

    def _update(self, values: tuple[Any, ...], changes: list[Any]) -> None:
        for number, new in changes:
            value = values[1][number]
            _FILLERS[type(value)](value, self.decode(new))

    def encode(self, value: Any) -> Any:  # noqa: PLR0911
        """Return a value as JSON: itself, a kind with its parts, or the number of its stand-in."""
        kind = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind is int:
            return value if -_LARGEST < value < _LARGEST else ["int", hex(value)]
        if kind.__name__ in _LISTS and kind is _LISTS[kind.__name__]:
            return [kind.__name__, [self.encode(item) for item in value]]
        if kind is dict:
            return ["dict", [[self.encode(key), self.encode(item)] for key, item in value.items()]]
        if kind is bytes:
            return ["bytes", value.hex()]
        if kind is Remote and _peer_of(value) is self:
            return ["yours", _number_of(value)]
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in _MADE:
            return ["made", name, [self.encode(part) for part in _MADE[name](value)]]
        if (module := _named(value)) is not None:
            return ["named", module, getattr(value, "__qualname__", "")]
        return self._encode_object(value)

    def _encode_object(self, value: Any) -> Any:
        # Of subclasses, numbers and texts pass as what they are; containers keep their methods too.
        plain: Any
        for base, plain in ((int, int.__index__), (float, float.__float__), (str, str.__str__)):
            if isinstance(value, base):
                return self.encode(plain(value))
        like = next((base for base in (list, tuple, dict, set, frozenset) if isinstance(value, base)), None)
        like = set if isinstance(value, _VIEWS) else like
        self._objects.append(value)
        return ["mine", len(self._objects) - 1, None if like is None else self.encode(like(value))]

    def decode(self, sent: Any) -> Any:  # noqa: PLR0911
        """Return the value that ``encode`` of the other process was given, or its stand-in."""
        if type(sent) is not list:
            return sent
        kind, *parts = sent
        if kind in _LISTS:
            return _LISTS[kind]([self.decode(item) for item in parts[0]])
        if kind == "dict":
            return {self.decode(key): self.decode(item) for key, item in parts[0]}
        if kind == "int":
            return int(parts[0], 16)
        if kind == "bytes":
            return bytes.fromhex(parts[0])
        if kind == "yours":
            return self._objects[parts[0]]
        if kind == "mine":
            return Remote(self, parts[0], self.decode(parts[1]))
        module, _, name = parts[0].rpartition(".")
        if kind == "made" and parts[0] in _MADE:
            return getattr(import_module(module), name)(*[self.decode(part) for part in parts[1]])
        if kind != "named":
            raise TypeError("not a value")
        return self._named(*parts)

    def _named(self, module: str, name: str) -> Any:
        if self._trusted:
            value: Any = import_module(module)
            return getattr(value, name) if name else value
        # Nothing by which the program could reach into this process: no `eval`, and nothing of `os`. A module
        # itself does nothing: only the tests can use what is in it.
        if module not in (SAFE if name else sys.stdlib_module_names) or name.startswith("_"):
            raise TypeError("not a value")
        value = import_module(module)
        if name:
            value = getattr(value, name)
            if isinstance(value, _Module) or not (isinstance(value, type) or module != "builtins"):
                raise TypeError("not a value")
        return value

    def _send(self, message: list[Any]) -> None:
        text = self._dumps(message).encode()
        text = b"%012d" % len(text) + text
        try:
            while text:
                text = text[self._write(self._target, text) :]
        except OSError:
            raise Ended from None

    def _receive(self) -> list[Any]:
        length = int(self._exactly(12))
        if not 0 <= length < _LONGEST:
            raise ValueError("not a message")
        message: list[Any] = self._loads(self._exactly(length))
        return message

    def _exactly(self, length: int) -> bytes:
        pieces = []
        while length:
            try:
                piece = self._read(self._source, min(length, 1 << 20))
            except OSError:
                piece = b""
            if not piece:
                raise Ended
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)


def _fill(value: Any, new: Any) -> None:
    value.clear()
    (value.update if isinstance(value, dict | set) else value.extend)(new)


_FILLERS: dict[type, Callable[[Any, Any], None]] = dict.fromkeys((list, dict, set, bytearray, deque), _fill)


def _named(value: Any) -> str | None:
    """Return the module of Python's own in which a module, function or type has its name."""
    if type(value) is _Module:
        module: str = value.__name__
        return module if module in sys.stdlib_module_names and sys.modules.get(module) is value else None
    name, home = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if type(name) is not str or type(home) is not str or home not in sys.stdlib_module_names:
        return None
    return home if getattr(sys.modules.get(home), name, None) is value else None


def _error(name: Any, text: Any) -> Exception:
    """Return the error that the other process told; one of Python's own if it has no further parts."""
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(str(text))
        except TypeError:  # it takes further arguments
            pass
    # Not `SystemExit` and the like: what ends the program must not end the tests.
    made: Exception = type(str(name)[:80], (Exception,), {})(str(text))
    return made


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:200]
    except BaseException:  # noqa: BLE001 - an error of the program's own, that cannot even be shown
        return ""


class Remote:
    """A stand-in for an object of the other process.

    It can be called, iterated, and asked for attributes, items, its text and its length. It is compared and
    computed with here if it is a kind of list, tuple, dict or set; other objects are equal only to objects of
    their own process. So an object that is equal to everything is equal to no expected value.
    """

    __slots__ = ("_number", "_peer", "_plain")

    def __init__(self, peer: Peer, number: int, plain: Any) -> None:
        for name, value in (("_peer", peer), ("_number", number), ("_plain", plain)):
            object.__setattr__(self, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The type that ``isinstance`` sees: a kind of list is a list here too."""
        plain = _plain_of(self)
        return Remote if plain is None else type(plain)

    def __call__(self, *values: Any, **named: Any) -> Any:  # noqa: D102
        return _peer_of(self).ask("call", self, list(values), named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)
        return _peer_of(self).ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _peer_of(self).ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return _peer_of(self).ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _peer_of(self).ask("setitem", self, key, value)

    def __iter__(self) -> Iterator[Any]:
        iterator = _peer_of(self).ask("iter", self)
        return iterator if type(iterator) is Remote else iter(iterator)

    def __next__(self) -> Any:
        return _peer_of(self).ask("next", self)

    def __len__(self) -> int:
        return int(_peer_of(self).ask("len", self))

    def __bool__(self) -> bool:
        return bool(_peer_of(self).ask("bool", self))

    def __str__(self) -> str:
        return str(_peer_of(self).ask("str", self))

    def __repr__(self) -> str:
        return str(_peer_of(self).ask("repr", self))

    def __eq__(self, other: object) -> bool:
        if (plain := _plain_of(self)) is not None:
            return bool(plain == (_plain_of(other) if type(other) is Remote else other))
        return type(other) is Remote and bool(_peer_of(self).ask("eq", self, other))

    def __hash__(self) -> int:
        return hash(_number_of(self) if _plain_of(self) is None else _plain_of(self))

    def __lt__(self, other: object) -> Any:
        return self._compared("lt", other)

    def __le__(self, other: object) -> Any:
        return self._compared("le", other)

    def __gt__(self, other: object) -> Any:
        return self._compared("gt", other)

    def __ge__(self, other: object) -> Any:
        return self._compared("ge", other)

    def _compared(self, how: str, other: object) -> Any:
        return _peer_of(self).ask(how, self, other) if type(other) is Remote else NotImplemented

    def __instancecheck__(self, value: object) -> bool:
        return type(value) is Remote and bool(_peer_of(self).ask("isinstance", value, self))


def _peer_of(remote: Any) -> Peer:
    peer: Peer = object.__getattribute__(remote, "_peer")
    return peer


def _number_of(remote: Any) -> int:
    number: int = object.__getattribute__(remote, "_number")
    return number


def _plain_of(remote: Any) -> Any:
    return object.__getattribute__(remote, "_plain")
