"""Describe a dataset in Croissant, the format of metadata of MLCommons (version 1.0).

Source: http://mlcommons.org/croissant/1.0, and what the reference reader ``mlcroissant`` accepts.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from urllib.parse import quote

from dataprep.core.errors import visible
from dataprep.inspect.card.facts import DataFile, Facts
from dataprep.inspect.card.shapes import Shape

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {"text": "sc:Text", "boolean": "sc:Boolean", "integer": "sc:Integer", "number": "sc:Float"}
_FORMATS = {
    "jsonl": "application/jsonlines",
    "json": "application/json",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "parquet": "application/x-parquet",
}
_PACKED = {"gzip": "application/gzip", "zstd": "application/zstd"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = frozenset({"where", "parent", "wherenot"})  # of the language of JSON paths


def croissant_of(facts: Facts, description: str) -> dict[str, Any]:
    """Return the metadata of a dataset as a JSON object."""
    distribution, sets = [], []
    count = Counter(file.split for file in facts.files)
    numbers: Counter[str] = Counter()
    for file in facts.files:
        numbers[file.split] += 1
        name = file.split if count[file.split] == 1 else f"{file.split}-{numbers[file.split]}"
        distribution.append(_file_object(file))
        if (record_set := _record_set(file, name)) is not None:
            sets.append(record_set)
    licences = [licence.url or licence.name for licence in facts.licences]
    made: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": visible(facts.title),
        "description": description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": licences[0] if len(licences) == 1 else licences,
        "keywords": ["chat"] if facts.is_chat else [],
        "inLanguage": facts.languages,
        "isBasedOn": [
            f"https://huggingface.co/datasets/{origin.published.hub}"
            for origin in facts.origins
            if origin.published and origin.published.hub
        ],
        "distribution": distribution,
        "recordSet": sets,
    }
    return {name: value for name, value in made.items() if value not in ([], "")}


def _id(*names: str) -> str:
    # An id is a part of an address: other characters would end it or change its meaning.
    return "/".join(quote(name.encode("utf-8", "backslashreplace"), safe="") for name in names)


def _file_object(file: DataFile) -> dict[str, Any]:
    formats = [_PACKED[file.compression]] if file.compression else []
    formats.append(_FORMATS[file.kind])
    return {
        "@type": "cr:FileObject",
        "@id": _file_id(file),
        "name": visible(file.path),
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": formats if len(formats) > 1 else formats[0],
        "sha256": file.sha256,
    }


def _file_id(file: DataFile) -> str:
    return "file/" + _id(*file.path.split("/"))


def _record_set(file: DataFile, name: str) -> dict[str, Any] | None:
    # The reference reader does not unpack zstd; such a file is described without its fields.
    if file.compression == "zstd":
        return None
    fields, left_out = [], []
    for column, shape in (file.fields.fields or {}).items():
        made = _field(file, name, column, shape)
        # A path in a JSON array gives the values alone, so that rows without one would shift the others.
        if made is None or (file.kind == "json" and shape.count < file.rows):
            left_out.append(visible(column))
        else:
            fields.append(made)
    if not fields:
        return None
    made = {"@type": "cr:RecordSet", "@id": _id(name), "name": name, "field": fields}
    text = f"{file.rows} rows of {visible(file.path)}."
    if left_out:
        text += f" Fields without a type of Croissant: {', '.join(left_out)}."
    return made | {"description": text}


def _field(file: DataFile, record_set: str, column: str, shape: Shape) -> dict[str, Any] | None:
    """Return a field; ``None`` if Croissant has no type for its values."""
    path = _json_path(column)
    if file.kind == "json":
        if path is None:
            return None
        extract = {"jsonPath": f"$[*].{path}"}
    else:
        extract = {"column": column}
    made: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": _id(record_set, column),
        "name": f"{record_set}/{visible(column)}",
    }
    source: dict[str, Any] = {"fileObject": {"@id": _file_id(file)}, "extract": extract}
    inner = shape
    if shape.is_list:
        made["repeated"] = True
        assert shape.items is not None
        inner = shape.items
    if inner.scalar is not None:
        return made | {"dataType": _TYPES[inner.scalar], "source": source}
    if not inner.is_object or inner.open:
        return None
    parts, left_out = [], []
    for name, part in (inner.fields or {}).items():
        sub = _sub_field(record_set, column, name, part, source)
        if sub is None:
            left_out.append(visible(name))
        else:
            parts.append(sub)
    if not parts:
        return None
    if left_out:
        made["description"] = f"Parts without a type of Croissant: {', '.join(left_out)}."
    # In a JSON array, the reference reader finds the values of parts only if the field has a source too.
    return made | ({"source": source} if file.kind == "json" else {}) | {"subField": parts}


def _sub_field(
    record_set: str, column: str, name: str, shape: Shape, source: dict[str, Any]
) -> dict[str, Any] | None:
    path = _json_path(name)
    # The reference reader has one level of lists.
    if shape.scalar is None or path is None:
        return None
    return {
        "@type": "cr:Field",
        "@id": _id(record_set, column, name),
        "name": f"{record_set}/{visible(column)}/{visible(name)}",
        "dataType": _TYPES[shape.scalar],
        "source": source | {"transform": {"jsonPath": path}},
    }


def _json_path(name: str) -> str | None:
    """Return a field's name as a step of a JSON path; ``None`` for one that it cannot hold."""
    if _NAME.fullmatch(name) and name.lower() not in _WORDS:
        return name
    return f"'{name}'" if name and name.isprintable() and not set("'\"\\") & {*name} else None
