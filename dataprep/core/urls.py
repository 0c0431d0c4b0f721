"""Take URLs apart and put them together, and leave credentials out of them.

A path is a URL if it begins with a scheme and ``://``. Everything behind the bucket is the key, as it is: in
the key of an object ``?``, ``#`` and ``%`` are characters like others.
"""

from __future__ import annotations

import re
from pathlib import PurePath

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
# In `abfss://container@account.host/…` the part before the @ is no password.
_USER = re.compile(
    # A password may have a slash, as the keys of S3 do; `host:8000/a@b` has a port.
    r"(?<!abfs://)(?<!abfss://)(?<=://)(?:[^/@:\s\"'<>]*:(?!\d+/)[^@\s\"'<>]*|[^/@\s\"'<>]*)@",
    re.IGNORECASE,
)
# Parameters that are secret, or name a key: of presigned URLs, and of shared access signatures.
_SIGNED = re.compile(
    r"([?&](?:x-(?:amz|goog)-(?:credential|signature|security-token)|awsaccesskeyid|googleaccessid|signature|"
    r"sig|[\w-]*(?:token|secret|passw|api-?key)[\w-]*))=[^&\s\"'<>]*",
    re.IGNORECASE,
)


def is_url(path: object) -> bool:
    """Return whether a path is a URL, such as ``s3://bucket/rows.jsonl``.

    >>> is_url("s3://bucket/rows.jsonl"), is_url("C:/rows.jsonl"), is_url("-")
    (True, False, False)
    """
    return isinstance(path, str) and _URL.match(path) is not None


def split_url(url: str) -> tuple[str, str, str]:
    """Return scheme, bucket and key of a URL; the key of a bucket itself is empty.

    >>> split_url("s3://bucket/a/b.jsonl")
    ('s3', 'bucket', 'a/b.jsonl')
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme.lower(), bucket, key


def joined(url: str, name: str) -> str:
    """Return the URL of a file in a folder; also of two local paths.

    >>> joined("s3://bucket/out/", "part.jsonl"), joined("out", "part.jsonl")
    ('s3://bucket/out/part.jsonl', 'out/part.jsonl')
    """
    return url + name if url.endswith("/") else f"{url}/{name}"


def name_of(path: str | PurePath) -> str:
    """Return the last part of a path or URL.

    >>> name_of("s3://bucket/a/b.jsonl"), name_of("s3://bucket/a/")
    ('b.jsonl', 'a')
    """
    if isinstance(path, str) and is_url(path):
        # Only of a web server is a question mark no part of the name.
        plain = path.partition("?")[0] if path.startswith(("http://", "https://")) else path
        return plain.rstrip("/").rpartition("/")[2]
    return PurePath(path).name


def without_credentials(text: str) -> str:
    """Return a text without user names, passwords and signatures in its URLs; other texts as they are.

    >>> without_credentials("ftp://me:secret@host/a.csv")
    'ftp://host/a.csv'
    """
    return _SIGNED.sub(r"\1=***", _USER.sub("", text)) if "://" in text else text
