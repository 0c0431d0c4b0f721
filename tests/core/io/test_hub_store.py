"""Files on the hub: one commit for a write, conditions, revisions, errors."""

import pytest

from dataprep.core.errors import ConflictError, FileError, UsageError
from dataprep.core.io.stores import store_of


def test_a_write_to_the_hub_is_one_commit(hub):
    """And its bytes are in the commit."""
    url = "hf://datasets/me/rows/data/rows.jsonl"
    before = len(hub.commits)
    with store_of(url).writer(url) as stream:
        stream.write(b'{"a": 1}\n')
        stream.write(b'{"a": 2}\n')
    assert len(hub.commits) == before + 1
    assert hub.files["data/rows.jsonl"] == b'{"a": 1}\n{"a": 2}\n'
    assert set(hub.tokens) == {f"Bearer hf_{'x' * 34}"}


def test_a_condition_holds_although_others_commit(hub):
    """The hub takes a commit only after the one that was looked at."""
    url = "hf://datasets/me/rows/data/manifest.json"
    store = store_of(url)
    hub.before_commit = [lambda: hub.commit(hub.files | {"other": b"1"})]
    store.put(url, b"mine", new=True)
    assert hub.files == {"README.md": b"# rows\n", "other": b"1", "data/manifest.json": b"mine"}
    hub.before_commit = [lambda: hub.commit(hub.files | {"data/manifest.json": b"theirs"})]
    with pytest.raises(ConflictError):
        store.put(url, b"mine too", match=store.stat(url).etag)
    assert hub.files["data/manifest.json"] == b"theirs"


def test_a_revision_of_the_hub_stays(hub):
    """A commit's name in the URL reads its files."""
    url = "hf://datasets/me/rows@{}/README.md"
    first = hub.head
    hub.commit(hub.files | {"README.md": b"# other\n"})
    store = store_of(url)
    assert store.read(url.format(first), 0, 99) == b"# rows\n"
    assert store.read(url.format("main"), 0, 99) == b"# other\n"
    with pytest.raises(FileError, match="no such branch, tag or commit"):
        store.stat(url.format("none"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hf://datasets/me/none/a", "no such repository"),
        ("hf://datasets/me/rows", "is a folder"),
        ("hf://buckets/me/rows/a", "expected hf://datasets/OWNER/NAME/PATH"),
        ("hf://rows", "expected hf://datasets/OWNER/NAME/PATH"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_a_wrong_url_of_the_hub_says_what_is_expected(url, message):
    """A repository that is not there, a folder, and other kinds of URLs."""
    with pytest.raises((FileError, UsageError), match=message):
        store_of(url).stat(url)


def test_the_hub_denies(hub):
    """With the variable for the token, and without the token."""
    hub.failures = [403]
    with pytest.raises(FileError, match="access denied; set HF_TOKEN") as caught:
        store_of("hf://datasets/me/rows/a").stat("hf://datasets/me/rows/a")
    assert "xxx" not in str(caught.value)
