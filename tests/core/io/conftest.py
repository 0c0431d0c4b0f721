"""Stores as fixtures."""

from uuid import uuid4

import pytest

from dataprep.core.io.stores import store_of
from dataprep.core.io.stores.others import FsspecStore
from tests.hub_server import serving_hub


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine, with the environment by which a store finds it."""
    pytest.importorskip("huggingface_hub")
    with serving_hub() as (served, address):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
        yield served


@pytest.fixture
def place(request, tmp_path):
    """A store, and the URL of an empty folder in it."""
    kind = getattr(request, "param", "memory")
    if kind == "s3":
        url = request.getfixturevalue("s3") + "/out"
    elif kind == "hub":
        request.getfixturevalue("hub")
        url = "hf://datasets/me/rows/out"
    elif kind == "file":
        url = f"file://{tmp_path}/out"
    elif kind == "memory":
        pytest.importorskip("obstore")
        url = f"memory://{uuid4().hex}/out"
    else:
        pytest.importorskip("fsspec")
        url = {"fsspec memory": f"memory://{uuid4().hex}/out", "fsspec local": f"local://{tmp_path}/out"}.get(
            kind
        )
        if url is None:
            pytest.importorskip("s3fs")
            url = request.getfixturevalue("s3") + "/out"
        return FsspecStore(url), url
    return store_of(url), url
