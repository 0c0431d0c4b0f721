"""Datasets from the Hugging Face hub, at the revision that their converter was checked against.

``fetching`` writes one JSON Lines file a split, in a layout that ``convert`` reads; ``client`` is what it
asks of the hub's own libraries, and ``manifest`` what it leaves beside the files.
"""

from dataprep.hub.fetching import Part, fetch, fetch_source, parts_of
from dataprep.hub.manifest import MANIFEST, Download, Fetched, Manifest, read_manifest

__all__ = [
    "MANIFEST",
    "Download",
    "Fetched",
    "Manifest",
    "Part",
    "fetch",
    "fetch_source",
    "parts_of",
    "read_manifest",
]
