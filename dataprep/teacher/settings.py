"""Settings of a teacher: its endpoint, and how fast and at what cost it is asked."""

from __future__ import annotations

import ipaddress
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import orjson

from dataprep.core.errors import FileError, UsageError, first_line
from dataprep.core.optional import require
from dataprep.core.options import check, option
from dataprep.models.sampling import MODEL_VARIABLE

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
SHORTEST_SECRET = 8
# The names that distillation notebooks for Azure AI read from a `.env` file.
MODEL, ENDPOINT, API_KEY = MODEL_VARIABLE, "TEACHER_MODEL_ENDPOINT_URL", "TEACHER_MODEL_API_KEY"


@dataclass(frozen=True)
class Pacing:
    """Limits of speed, attempts and cost; each field has the help text of its flag."""

    concurrency: int = option(32, "Maximum number of requests in flight.", metavar="N", min=1)
    rpm: float | None = option(None, "Maximum number of requests per minute.", metavar="N")
    tpm: float | None = option(None, "Maximum number of tokens per minute.", metavar="N")
    retries: int = option(6, "Further attempts after a failed one.", metavar="N", min=0)
    limit: int | None = option(None, "Ask at most N requests in this run.", metavar="N", min=1)
    budget: float | None = option(
        None, "Maximum cost of all answers in the journal, in dollars.", metavar="USD"
    )
    price_in: float = option(0.0, "Price of a million prompt tokens.", metavar="USD", min=0)
    price_out: float = option(0.0, "Price of a million answer tokens.", metavar="USD", min=0)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Endpoint:
    """The address of a teacher, and the key that it asks for."""

    base_url: str = OPENAI_URL  # Such as http://localhost:8000/v1; on Azure the resource's address.
    # ``repr`` does not show the key, and ``redact`` removes it from messages.
    api_key: str = field(default="", repr=False)
    azure: bool = False  # True if it is an Azure OpenAI deployment.
    api_version: str = ""  # Azure's; empty elsewhere.
    from_file: bool = False  # True if a `.env` file names it: it is sent nothing of the environment.

    def __post_init__(self) -> None:
        # Other characters would be shown as they are, and could hide where a request goes.
        sound = self.base_url.isprintable() and not any(map(str.isspace, self.base_url))
        try:
            address = urlsplit(self.base_url)
            sound &= bool(address.scheme in {"http", "https"} and address.hostname and address.port != 0)
        except ValueError:
            sound = False
        if not sound:
            raise UsageError(f"--base-url {self.redact(self.base_url)!r}: expected http://… or https://…")
        if self.azure and not self.api_version:
            raise UsageError("--azure needs --api-version, such as 2024-10-21")
        if not self.api_key.isascii() or any(character.isspace() for character in self.api_key):
            raise UsageError("the API key holds white space or other characters that no key has")

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        # Servers quote a key as text, in JSON, in a URL or in base64. A short one, such as `EMPTY`, is no
        # secret, and removing it would damage other texts.
        if len(self.api_key) < SHORTEST_SECRET:
            return ()
        escaped = orjson.dumps(self.api_key).decode()[1:-1]
        encoded = b64encode(self.api_key.encode()).decode().rstrip("=")
        return tuple(dict.fromkeys((self.api_key, escaped, quote(self.api_key, safe=""), encoded)))

    def redact(self, text: str) -> str:
        """Return the text with the key replaced, wherever it appears."""
        for secret in self._secrets:
            text = text.replace(secret, "[API key]")
        return text

    @property
    def shown_url(self) -> str:
        """The endpoint without user name, password or query, for messages and the manifest."""
        # An address may hold a password or, in its query, a key.
        address = urlsplit(self.base_url)
        host = (address.hostname or "") + (f":{address.port}" if address.port else "")
        return self.redact(urlunsplit((address.scheme, host, address.path, "", "")))

    @property
    def is_loopback(self) -> bool:
        """True if the endpoint is on this machine."""
        host = (urlsplit(self.base_url).hostname or "").rstrip(".")
        if host == "localhost" or host.endswith(".localhost"):
            return True
        with suppress(ValueError):
            address = ipaddress.ip_address(host)
            mapped = getattr(address, "ipv4_mapped", None) or address
            return mapped.is_loopback or mapped.is_unspecified
        return False


class Variables(dict[str, str]):
    """Variables by name: the environment's, and those that only a ``.env`` file sets."""

    def __init__(self, of_environment: Mapping[str, str], of_file: Mapping[str, str], path: str = "") -> None:
        super().__init__({**of_file, **of_environment})
        self.of_file = dict(of_file)  # All variables of the file, also those that the environment sets.
        self.only_in_file = of_file.keys() - of_environment.keys()
        self.path = path


def environment(folder: str | Path = ".") -> Variables:
    """Return the environment's variables, and those that only a ``.env`` file in ``folder`` sets."""
    path = Path(folder) / ".env"
    if not path.is_file():
        return Variables(os.environ, {})
    require("python-dotenv", extra="teacher", feature=f"reading {path}", module="dotenv")
    from dotenv import dotenv_values

    try:
        # A file that somebody else wrote must not put a variable of the environment into an address.
        values = dotenv_values(path, interpolate=False)
    except (OSError, ValueError) as error:
        raise FileError(path, f"cannot be read: {first_line(error)}; expected lines NAME=VALUE") from None
    return Variables(
        os.environ, {name: value for name, value in values.items() if value is not None}, str(path)
    )


def endpoints_of(
    variables: Mapping[str, str],
    *,
    base_urls: Sequence[str] = (),
    key_variable: str | None = None,
    azure: bool = False,
    api_version: str = "",
) -> list[Endpoint]:
    """Return the endpoints of a teacher: flags first, then the environment's variables, then the file's.

    An endpoint that a ``.env`` file names is used only with a key of the same file: the file may have come
    with the data, and could send the user's key anywhere.

    Args:
        variables: as ``environment`` returns them.
        base_urls: default to those in ``TEACHER_MODEL_ENDPOINT_URL``, with spaces between them, then to
            OpenAI's address.
        key_variable: the variable that holds the key. Defaults to ``TEACHER_MODEL_API_KEY``, then to
            ``OPENAI_API_KEY``.
        azure: as in ``Endpoint``, like ``api_version``.
        api_version: Azure's API version.
    """
    urls = list(base_urls) or variables.get(ENDPOINT, "").split() or ([] if azure else [OPENAI_URL])
    if not urls:
        raise UsageError(f"--azure needs the resource's address: give --base-url, or set {ENDPOINT}")
    if key_variable is not None and key_variable not in variables:
        raise UsageError(f"--api-key-env {key_variable}: no such variable in the environment or in .env")
    names = (API_KEY, KEY_VARIABLE) if key_variable is None else (key_variable,)
    return [_endpoint(variables, url, names, azure, api_version, is_flag=bool(base_urls)) for url in urls]


def _endpoint(
    variables: Mapping[str, str],
    url: str,
    names: Sequence[str],
    azure: bool,
    api_version: str,
    *,
    is_flag: bool,
) -> Endpoint:
    known, from_file = variables, False
    if isinstance(variables, Variables):
        # OpenAI's own address is the default: a file that names it redirects nothing.
        from_file = not is_flag and ENDPOINT in variables.only_in_file and url != OPENAI_URL
        known = _of_file(variables, names, url) if from_file else variables
        _check_references(variables, known, [*names, *([] if is_flag else [ENDPOINT])])
    api_key = next((known[name].strip() for name in names if known.get(name, "").strip()), "")
    # Local servers such as vLLM, Ollama and llama.cpp ask for no key.
    if not api_key and (azure or url == OPENAI_URL):
        raise UsageError(f"no API key: set {' or '.join(names)} in the environment or in a .env file")
    return Endpoint(url, api_key, azure, api_version, from_file)


def _of_file(variables: Variables, names: Sequence[str], url: str) -> Mapping[str, str]:
    """Return the file's variables; raise ``UsageError`` if only the environment has a key."""
    kept = [name for name in names if variables.of_file.get(name, "").strip()]
    others = [name for name in names if variables.get(name, "").strip()]
    if others and not kept:
        raise UsageError(
            f"{variables.path} sets {ENDPOINT} and no key, and the key in {others[0]} is not sent to an "
            f"address that a file names: give --base-url {url!r} if you trust it, or put a key into the file"
        )
    return variables.of_file


def _check_references(variables: Variables, known: Mapping[str, str], names: Sequence[str]) -> None:
    for name in names:
        value = variables.of_file.get(name, "")
        if "${" in value and known.get(name) == value:
            problem = "names of variables in values are not replaced; write the value itself"
            raise UsageError(f"{variables.path}: {name} has ${{…}} in it: {problem}")
