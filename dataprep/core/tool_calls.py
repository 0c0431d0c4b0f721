"""Check the tools of a chat row, the calls of the assistant, and the results of the tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from dataprep.core.ignored_fields import Finding, is_empty
from dataprep.core.optional import require
from dataprep.core.records import describe

_SCHEMA_DEPTH = "nested too deeply"


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of a row that ``find_in_tools`` finds sound, parsed if they are JSON text."""
    tools = parsed(row.get("tools"))
    return tools if isinstance(tools, list) and not is_empty(tools) else []


def arguments_of(call: Mapping[str, Any]) -> Any:
    """Return the arguments of a tool call, parsed if they are JSON text."""
    return parsed(call["function"].get("arguments"))


def name_of_tool(tool: Any) -> str | None:
    """Return the name of a tool, as ``transformers`` takes it: a function, or its description alone."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and name else None


def find_in_tools(row: Mapping[str, Any], *, schemas: bool = False) -> Iterator[Finding]:
    """Yield what is wrong with the tools of a row; with ``schemas`` also of their parameters."""
    value = row.get("tools")
    tools = parsed(value)
    if is_empty(tools):
        return
    if not isinstance(tools, list):
        expected = "expected a list of tools, or JSON text of one"
        yield Finding("malformed tools", f"the field 'tools' is {describe(value)}; {expected}")
        return
    for number, tool in enumerate(tools):
        if name_of_tool(tool) is None:
            expected = 'expected {"type": "function", "function": {"name": …, "parameters": …}}'
            yield Finding("malformed tools", f"tools[{number}] is {describe(tool)}; {expected}")
        elif schemas and (problem := _checker_of(_parameters_of(tool))[1]):
            yield Finding("malformed tools", f"tools[{number}]: its parameters are no JSON Schema: {problem}")


def find_in_calls(
    messages: Sequence[Any], tools: Sequence[Any], *, strict_tools: bool = False
) -> Iterator[Finding]:
    """Yield what is wrong with tool calls and with the results of tools.

    Args:
        messages: the messages of a row; what is not an object is skipped.
        tools: the tools of the row. Without tools, the names of calls are not checked.
        strict_tools: check arguments with the JSON Schema of their tool.
    """
    known = {name_of_tool(tool): tool for tool in tools}
    calls = _Calls()
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        place = f"messages[{number}]"
        if message.get("role") == "tool":
            yield from calls.take(message, place)
        elif not is_empty(message.get("tool_calls")):
            for index, call in enumerate(_list_of(message["tool_calls"])):
                findings = list(_find_in_call(call, f"{place}.tool_calls[{index}]"))
                yield from findings
                calls.add(call)
                if not findings and known:
                    yield from _compare(call, known, f"{place}.tool_calls[{index}]", strict_tools)
            if not isinstance(message["tool_calls"], list):
                found = describe(message["tool_calls"])
                yield Finding("malformed tool call", f"{place}.tool_calls is {found}; expected a list")


class _Calls:
    """The calls so far, to find the call that a result belongs to."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.open: list[tuple[Any, Any]] = []  # id and name of each call without a result

    def add(self, call: Any) -> None:
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        number = call.get("id") if isinstance(call, dict) else None
        if isinstance(number, str) and number:
            self.ids.add(number)
        self.open.append((number, name))

    def take(self, message: Mapping[str, Any], place: str) -> Iterator[Finding]:
        """Take the result of a tool; yield the finding if there is no call for it."""
        number, name = message.get("tool_call_id"), message.get("name")
        # Many sets have results with ids that their calls lack; these belong to calls in their order.
        if number and self.ids:
            if isinstance(number, str) and number in self.ids:
                self.open = [call for call in self.open if call[0] != number]
                return
            ids = ", ".join(map(repr, sorted(self.ids)))
            found = f"tool_call_id is {describe(number)}; the calls before it have the ids {ids}"
        else:
            index = next((i for i, call in enumerate(self.open) if not name or call[1] == name), None)
            if index is not None:
                del self.open[index]
                return
            called = ", ".join(repr(call[1]) for call in self.open) or "none"
            found = f"its name is {describe(name)}; the calls without a result before it are {called}"
        hint = "expected a tool_calls entry of an assistant message before it"
        yield Finding("tool result without a call", f"{place}: {found}; {hint}")


def _find_in_call(call: Any, place: str) -> Iterator[Finding]:
    function = call.get("function") if isinstance(call, dict) else None
    usual = isinstance(function, dict) and call.get("type") in (None, "function")
    if not usual or name_of_tool(call) is None:
        expected = 'expected {"type": "function", "function": {"name": …, "arguments": …}}'
        yield Finding("malformed tool call", f"{place} is {describe(call)}; {expected}")
        return
    if not isinstance(number := call.get("id"), str | None):
        yield Finding("malformed tool call", f"{place}.id is {describe(number)}; expected a string")
    if not isinstance(arguments_of(call), dict):
        found = describe(function["arguments"]) if function and "arguments" in function else "missing"
        expected = "expected an object, or JSON text of one"
        yield Finding("malformed arguments", f"{place}.function.arguments is {found}; {expected}")


def _compare(call: Any, known: Mapping[str | None, Any], place: str, strict: bool) -> Iterator[Finding]:
    """Yield what does not fit between a sound call and the tools of its row."""
    name = call["function"]["name"]
    if name not in known:
        names = ", ".join(map(repr, known))
        yield Finding("unknown tool", f"{place} calls {name!r}; the tools of the row are {names}")
    elif strict:
        check = _checker_of(_parameters_of(known[name]))[0]
        for problem in check(arguments_of(call)):
            found = f"{place} calls {name!r}: {problem}"
            yield Finding("arguments do not fit the schema", found)


def parsed(value: Any) -> Any:
    """Return the value of a JSON text; another value, or a text that is not JSON, as it is."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parameters_of(tool: Mapping[str, Any]) -> bytes:
    function = tool.get("function", tool)
    try:
        # Nulls are what tables make of absent keys; a tool without parameters takes any arguments.
        return orjson.dumps(function.get("parameters") or {})
    except TypeError:
        return b""


_Check = Callable[[Any], Iterator[str]]


# A file has few tools, and each is compiled once.
@lru_cache(maxsize=1024)
def _checker_of(schema: bytes) -> tuple[_Check, str]:
    """Return the function that yields what is wrong with arguments, and what is wrong with the schema."""
    require("jsonschema", extra="tools", feature="--strict-tools")
    import referencing
    from jsonschema import Draft202012Validator, SchemaError, validators

    if not schema:
        return _nothing_wrong, _SCHEMA_DEPTH
    parsed = orjson.loads(schema)
    kind = validators.validator_for(parsed, default=Draft202012Validator)
    try:
        kind.check_schema(parsed)
    except (SchemaError, RecursionError, TypeError) as error:
        return _nothing_wrong, str(getattr(error, "message", error))
    # With an empty registry, a schema that refers to a URL is an error, and nothing is fetched.
    validator = kind(parsed, registry=referencing.Registry())

    def check(arguments: Any) -> Iterator[str]:
        try:
            for error in validator.iter_errors(arguments):
                where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path)
                yield f"arguments{where}: {error.message}"
        except referencing.exceptions.Unresolvable as error:
            yield f"the schema refers to {error.ref!r}, which is not in it"
        except RecursionError:
            yield f"the arguments or the schema are {_SCHEMA_DEPTH}"

    return check, ""


def _nothing_wrong(_: Any) -> Iterator[str]:
    return iter(())
