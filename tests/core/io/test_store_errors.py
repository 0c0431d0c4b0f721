"""Stores that fail or are missing: which requests are repeated, and errors without secrets."""

import os
import pickle
import sys
from importlib.util import find_spec

import pytest

from dataprep.core.errors import FileError, InputError, MissingDependencyError, UsageError
from dataprep.core.io.stores import is_shared, loading, objects, store_of
from tests.stores import KEY, SECRET


@pytest.mark.usefixtures("s3")
def test_a_missing_bucket_is_not_a_missing_object():
    """The library has one error for both."""
    url = "s3://no-such-bucket-at-all/rows.jsonl"
    store = store_of(url)
    calls = [
        lambda: store.stat(url),
        lambda: store.read(url, 0, 1),
        lambda: store.put(url, b""),
        lambda: list(store.list(url)),
    ]
    for call in calls:
        with pytest.raises(FileError, match="no such bucket; create it first"):
            call()
    with pytest.raises(FileError, match="no such bucket"), store.writer(url) as stream:
        stream.write(b"1")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_errors_of_the_server_are_asked_again(s3, failing, status):
    """Five times, with pauses that grow."""
    store, url = store_of(s3), f"{s3}/rows.jsonl"
    failing.answers = {"PUT": [status, status], "GET": [status, status], "HEAD": [status, status]}
    etag = store.put(url, b"0123456789")
    assert store.read(url, 2, 5, etag) == b"234"
    assert store.stat(url) == (10, etag)
    assert [method for method, *_ in failing.asked].count("GET") == 3


def test_a_server_that_always_fails_is_an_error_that_says_so(s3, failing, monkeypatch):
    """After six answers, with the variable that leads to it."""
    monkeypatch.setattr(objects, "_PAUSE", 0.001)
    monkeypatch.setenv("AWS_S3_EXPRESS", "false")  # another setting: the store is made with the short pauses
    failing.answers = {"HEAD": [503] * 50}
    problem = r"cannot be reached: the store answers 503 Service Unavailable; check the network, and AWS_"
    with pytest.raises(FileError, match=rf"rows\.jsonl: {problem}"):
        store_of(s3).stat(f"{s3}/rows.jsonl")
    assert len(failing.asked) == 6


def test_a_body_that_is_cut_off_is_asked_for_again(s3, failing):
    """No range comes back short."""
    store, url = store_of(s3), f"{s3}/rows.jsonl"
    data = os.urandom(100_000)
    etag = store.put(url, data)
    failing.answers = {"GET": [("cut", 1000), ("cut", 30_000)]}
    assert store.read(url, 0, 100_000, etag) == data


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_read_is_said(s3, failing, status):
    """With the variables that hold one."""
    failing.answers = {"HEAD": [status] * 9, "GET": [status] * 9, "PUT": [status] * 9}
    for call in (lambda store, url: store.stat(url), lambda store, url: store.put(url, b"")):
        with pytest.raises(
            FileError, match=r"rows\.jsonl: access denied; set AWS_ACCESS_KEY_ID and"
        ) as caught:
            call(store_of(s3), f"{s3}/rows.jsonl")
        assert SECRET not in str(caught.value)
        assert KEY not in str(caught.value)


def test_an_upload_that_is_refused_at_its_end_says_so(s3, failing):
    """The library has an error of another kind for the end of a stream."""
    failing.answers = {"PUT": [403]}
    with pytest.raises(FileError, match=r"rows\.jsonl: access denied; set AWS_"):  # noqa: SIM117
        with store_of(s3).writer(f"{s3}/rows.jsonl") as stream:
            stream.write(b"1")


def test_no_server_is_an_error_that_says_so(s3, monkeypatch):
    """Not a traceback of the library."""
    monkeypatch.setattr(objects, "_PAUSE", 0.001)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(FileError, match=r"cannot be reached: .*AWS_ENDPOINT_URL") as caught:
        store_of(s3).stat(f"{s3}/rows.jsonl")
    assert "\n" not in str(caught.value)


def test_without_keys_the_message_says_which_are_missing(s3, monkeypatch):
    """And not that the machine has no role."""
    monkeypatch.setattr(objects, "_PAUSE", 0.001)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(
        FileError, match=r"access denied; set AWS_ACCESS_KEY_ID .*; no credentials were found"
    ):
        store_of(s3).stat(f"{s3}/rows.jsonl")


def test_an_account_that_is_not_named_is_a_usage_error(monkeypatch):
    """A container's URL does not name it."""
    pytest.importorskip("obstore")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(
        UsageError, match=r"az://box: .*Account must be specified; set AZURE_STORAGE_ACCOUNT_NAME"
    ):
        store_of("az://box/rows.jsonl")


@pytest.mark.parametrize("url", ["s3://{}/", "s3://{}", "s3://{}/a/", "s3://{}/a//b", "s3://{}/a/../b"])
def test_a_folder_is_not_an_object(s3, url):
    """Nor are names that S3 takes and other programs do not."""
    with pytest.raises(FileError, match=r"is a folder|rename the object"):
        store_of(s3).stat(url.format(s3.removeprefix("s3://")))


@pytest.mark.parametrize("place", ["s3", "memory", "hub", "fsspec memory"], indirect=True)
def test_a_store_is_not_pickled(place):
    """Its client can hold a secret key, which a task would carry to another machine."""
    store, _ = place
    with pytest.raises(TypeError, match="can hold credentials and is not pickled; send the URL"):
        pickle.dumps(store)


def test_one_client_serves_a_bucket_until_its_settings_change(s3, monkeypatch):
    """Another key is another client."""
    assert store_of(f"{s3}/a") is store_of(f"{s3}/b/c")
    first = store_of(s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert store_of(s3) is not first


def test_memory_is_of_one_process_and_other_stores_are_shared(s3, tmp_path):
    """A worker would find an empty store."""
    assert [is_shared(path) for path in ("memory://a/b", f"{s3}/b", str(tmp_path), "rows.jsonl", "-")] == [
        False, True, True, True, True,
    ]  # fmt: skip


def test_a_url_without_its_package_says_what_to_install(monkeypatch):
    """For each kind of store."""
    monkeypatch.setattr(loading, "_stores", {})
    cases = {
        "obstore": (
            "s3://bucket/a",
            r"s3:// needs the package 'obstore': run `pip install 'dataprep\[cluster\]'`",
        ),
        "huggingface_hub": ("hf://datasets/a/b/c", r"hf:// needs the package 'huggingface_hub'"),
        "fsspec.core": ("sftp://host/a", r"needs the package 'fsspec'"),
    }
    for package, (url, message) in cases.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingDependencyError, match=message):
            store_of(url)


def test_a_scheme_that_nobody_has_is_a_usage_error():
    """Not a file of that name."""
    pytest.importorskip("fsspec")
    with pytest.raises(UsageError, match=r"nonsense://host/rows\.jsonl: Protocol not known: nonsense"):
        store_of("nonsense://host/rows.jsonl")


def test_a_profile_has_the_keys(s3, monkeypatch, tmp_path):
    """`AWS_PROFILE` names keys in the file of the AWS tools, and a file without the package is no error."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    keys = tmp_path / "credentials"
    keys.write_text(f"[work]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_PROFILE", "work")
    if find_spec("boto3") is None:
        with pytest.raises(MissingDependencyError, match="AWS_PROFILE needs the package 'boto3'"):
            store_of(s3)
    else:
        assert store_of(s3).put(f"{s3}/a", b"1")


def test_a_secret_in_a_url_is_in_no_message():
    """Neither a password nor a signature."""
    for url in ("sftp://me:pass%40word@host/a", "https://host/a?X-Amz-Signature=0123&X-Amz-Credential=AKIA"):
        for error in (FileError(url, "is gone"), InputError(url, "is gone"), UsageError(f"{url}: is gone")):
            text = f"{error} {error.args} {error!r}" if not isinstance(error, UsageError) else str(error)
            assert "is gone" in text
            assert not any(secret in text for secret in ("pass", "0123", "AKIA"))
    assert str(FileError("abfss://box@account.host/a", "is gone")) == "abfss://box@account.host/a: is gone"


def test_no_library_of_stores_is_imported_without_a_url(run_process, tmp_path):
    """A command over local files starts as fast as before."""
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    check = (
        "import sys, dataprep.__main__ as m\n"
        "try: m.main()\n"
        "except SystemExit: pass\n"
        "libraries = {'obstore', 'fsspec', 'huggingface_hub', 'boto3', 'ray'}\n"
        "print(sorted(libraries & {*sys.modules}), file=sys.stderr)"
    )
    done = run_process("dedup", "a.jsonl", "-o", "b.jsonl", program=("-c", check))
    assert done.err.endswith("[]\n"), done.err
