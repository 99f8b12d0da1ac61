"""Explain what is wrong with a site file: one line a fault, with the key's path and the nearest known key."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

Node = dict[str, Any]
"""A node of a JSON schema."""


class SiteError(Exception):
    """A site file that can't be used; its text has one line a fault."""

    def __init__(self, path: Path, faults: Sequence[str]) -> None:
        self.path, self.faults = path, tuple(faults)
        super().__init__("\n".join(f"{path}: {fault}" for fault in faults))


def explained(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """Yield one line for each fault that a model has found in a file."""
    for fault in error.errors():
        location = [str(part) for part in fault["loc"]]
        place = ".".join(location) or "(top level)"
        if fault["type"] == "extra_forbidden":
            yield f"{place}: unknown key{_nearest(location, model)}"
        elif fault["type"] == "missing":
            yield f"{place}: missing"
        else:
            yield f"{place}: {fault['msg'].removeprefix('Value error, ')} (found {_short(fault['input'])})"


def _short(value: object) -> str:
    if isinstance(value, Mapping | BaseModel):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest(location: Sequence[str], model: type[BaseModel]) -> str:
    known = _known_keys(location[:-1], model.model_json_schema())
    close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0)
    return f"; did you mean {close[0]!r}?" if close else ""


def _known_keys(location: Sequence[str], schema: Node) -> list[str]:
    """Return the keys that the schema has at a location; none where the schema does not have the location."""
    definitions: dict[str, Node] = schema["$defs"]
    node = schema
    for part in location:
        node = _descend(node, part, definitions)
    return sorted(_resolve(node, definitions).get("properties", {}))


def _resolve(node: Node, definitions: Mapping[str, Node]) -> Node:
    return definitions[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node


def _descend(node: Node, part: str, definitions: Mapping[str, Node]) -> Node:
    """Return the child node for one part of a location: a key, an index of a list, or the tag of a union's member."""
    node = _resolve(node, definitions)
    mapping = node.get("discriminator", {}).get("mapping", {})
    if part in mapping:
        return {"$ref": mapping[part]}
    if part in node.get("properties", {}):
        return dict(node["properties"][part])
    for option in node.get("anyOf", ()):
        found = _descend(option, part, definitions)
        if found:
            return found
    inner = node.get("items") if part.isdigit() else node.get("additionalProperties")
    return inner if isinstance(inner, dict) else {}
