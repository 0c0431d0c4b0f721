"""Hold more than fits into memory in a private database, which is gone with its connection."""

from __future__ import annotations

import sqlite3

CACHE_BYTES = 16 << 20


def packed(text: str) -> bytes:
    """Return a text as the database can hold it: SQLite refuses halves of surrogate pairs in a text."""
    return text.encode("utf-8", "surrogatepass")


def unpacked(held: bytes) -> str:
    """Return the text that ``packed`` made."""
    return held.decode("utf-8", "surrogatepass")


def scratch_database(*tables: str) -> sqlite3.Connection:
    """Return an empty private database with these tables; what exceeds ``CACHE_BYTES`` goes to the disk.

    Its file is in the system's folder for temporary files, has no name, and is gone with the connection.
    """
    # A dict of a few million ids takes gigabytes. SQLite comes with Python, is exact where digests of ids
    # would not be, and adds 5 to 10 µs a row, of the 60 to 100 that parsing and judging the row take.
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_BYTES >> 10}"):
        database.execute(f"PRAGMA {setting}")
    # One transaction for everything: nothing is ever rolled back or read by another process.
    database.execute("BEGIN")
    for table in tables:
        database.execute(f"CREATE TABLE {table}")
    return database
