"""Objects by their URLs: read ranges, list, and write whole objects.

``base`` says what a store can do, and ``loading`` chooses one: ``objects`` for S3 and other buckets, ``hub``
for the Hugging Face hub, ``local`` for files, ``others`` for what fsspec has. No library is imported before a
URL needs it.
"""

from dataprep.core.io.stores.base import Stat, Store, changed
from dataprep.core.io.stores.loading import is_shared, stat, store_of
from dataprep.core.io.stores.streams import ObjectReader
from dataprep.core.urls import is_url, joined, name_of

__all__ = [
    "ObjectReader", "Stat", "Store", "changed", "is_shared", "is_url", "joined", "name_of", "stat",
    "store_of",
]  # fmt: skip
