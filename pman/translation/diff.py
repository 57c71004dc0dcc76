"""Compares two renderings of a request: by path in the data, and as text."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pman.job import Document

LONG = 300
"""Items that differ; in lists with more of them, items belong together by their places."""

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    document: str
    """Its name; with several of a name, its kind and name as well, e.g. `job.yaml NetworkPolicy/chris-1`."""

    path: str
    """From the root of the document, `$.HostConfig.Mounts[1]`; `$` for a document as a whole.

    An index counts in the new list, but for the item that was removed itself: that one in the old list.
    """

    kind: Kind
    old: object
    """It is None where the value was added."""

    new: object
    """It is None where the value was removed."""


def changes(old: Sequence[Document], new: Sequence[Document]) -> tuple[Change, ...]:
    """Every difference of what is sent; comments and layout of a data document are none.

    The documents of both sides belong together by their names. A document that is no data, such as a
    script, is one value. The items of two lists belong together by the field that tells the items of
    each list apart (a container's name, the target of a mount), else by the order that leaves most of
    them as they are; by their places, where very many differ.
    """
    return tuple(
        Change(name, *difference)
        for name, before, after in _pairs(old, new)
        for difference in _document(before, after)
    )


def unified(
    old: Sequence[Document], new: Sequence[Document], names: tuple[str, str] = ("builtin", "site")
) -> str:
    """The texts of the documents as a unified diff; nothing where they are the same."""
    text = ""
    for name, before, after in _pairs(old, new):
        old_name = f"{names[0]}/{name}" if before else "/dev/null"
        new_name = f"{names[1]}/{name}" if after else "/dev/null"
        for line in difflib.unified_diff(_lines(before), _lines(after), old_name, new_name):
            text += line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
    return text


def _pairs(
    old: Sequence[Document], new: Sequence[Document]
) -> Iterator[tuple[str, Document | None, Document | None]]:
    """The documents that belong together, in the order of the new ones; then those that are gone."""
    several = {
        name for side in (old, new) for name, count in Counter(d.name for d in side).items() if count > 1
    }
    before, after = _named(old, several), _named(new, several)
    for name in after | before:
        yield name, before.get(name), after.get(name)


def _named(documents: Sequence[Document], several: set[str]) -> dict[str, Document]:
    named: dict[str, Document] = {}
    for document in documents:
        name = f"{document.name} {_title(document.content)}" if document.name in several else document.name
        alike = sum(other == name or other.startswith(f"{name} #") for other in named)
        named[f"{name} #{alike + 1}" if alike else name] = document
    return named


def _title(content: object) -> str:
    """Names an object as kubectl does; '' for what is no object of Kubernetes."""
    if not isinstance(content, Mapping):
        return ""
    metadata = content.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
    return f"{content.get('kind', '')}/{name}"


def _document(old: Document | None, new: Document | None) -> Iterator[Difference]:
    if old is None or new is None:
        yield "$", "removed" if new is None else "added", _sent(old), _sent(new)
    else:
        yield from _values("$", _sent(old), _sent(new))


def _sent(document: Document | None) -> object:
    if document is None:
        return None
    return document.text if document.content is None else document.content


Difference = tuple[str, Kind, object, object]


def _values(path: str, old: object, new: object) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _mappings(path, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(path, old, new)
    elif _canonical(old) != _canonical(new):
        yield path, "changed", old, new


def _mappings(path: str, old: Mapping[Any, object], new: Mapping[Any, object]) -> Iterator[Difference]:
    for key in [*old, *(key for key in new if key not in old)]:
        at = f"{path}{_step(key)}"
        if key not in new:
            yield at, "removed", old[key], None
        elif key not in old:
            yield at, "added", None, new[key]
        else:
            yield from _values(at, old[key], new[key])


def _step(key: object) -> str:
    """Writes a step as RFC 9535 does: a plain name after a dot, any other in brackets."""
    text = str(key)
    return f".{text}" if text.isidentifier() else f"[{json.dumps(text, ensure_ascii=False)}]"


def _lists(path: str, old: list[Any], new: list[Any]) -> Iterator[Difference]:
    field = _telling(old, new)
    before, after = ([_canonical(item[field] if field else item) for item in side] for side in (old, new))
    for tag, from_old, to_old, from_new, to_new in _steps(before, after):
        if tag == "equal" and not field:
            continue
        if tag == "equal" or (not field and to_old - from_old == to_new - from_new):
            for i, j in zip(range(from_old, to_old), range(from_new, to_new), strict=True):
                yield from _values(f"{path}[{j}]", old[i], new[j])
            continue
        for i in range(from_old, to_old):
            yield f"{path}[{i}]", "removed", old[i], None
        for j in range(from_new, to_new):
            yield f"{path}[{j}]", "added", None, new[j]


Step = tuple[str, int, int, int, int]
"""One opcode of difflib.SequenceMatcher.get_opcodes."""


def _steps(old: Sequence[str], new: Sequence[str]) -> Iterator[Step]:
    """How one list becomes the other; what lies between an equal begin and end by place, where it is long.

    The time that difflib takes grows with the square of the lengths, and more where items repeat.
    """
    begin = alike(old, new)
    end = alike(old[begin:][::-1], new[begin:][::-1])
    to_old, to_new = len(old) - end, len(new) - end
    if begin:
        yield "equal", 0, begin, 0, begin
    if max(to_old, to_new) - begin > LONG:
        both = min(to_old, to_new)
        yield "replace", begin, both, begin, both
        yield "replace", both, to_old, both, to_new
    else:
        matcher = difflib.SequenceMatcher(None, old[begin:to_old], new[begin:to_new], autojunk=False)
        for tag, *places in matcher.get_opcodes():
            i, j, k, m = (begin + place for place in places)
            yield tag, i, j, k, m
    if end:
        yield "equal", to_old, len(old), to_new, len(new)


def alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many items both begin with."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((index for index, (before, after) in pairs if before != after), min(len(old), len(new)))


def _telling(old: list[Any], new: list[Any]) -> str | None:
    """The field whose value is another one in each item of a list, and most often the same in both lists."""
    items = [*old, *new]
    if not old or not new or not all(isinstance(item, Mapping) for item in items):
        return None
    best, most = None, 0
    for field in items[0]:
        if all(isinstance(item.get(field), str) for item in items):
            before, after = ({item[field] for item in side} for side in (old, new))
            if len(before) == len(old) and len(after) == len(new) and len(before & after) > most:
                best, most = field, len(before & after)
    return best


def _canonical(value: object) -> str:
    """Tells 1, true and "1" apart, which Python or a reader would take for the same."""
    return json.dumps(value, sort_keys=True, default=repr)


def _lines(document: Document | None) -> list[str]:
    return document.text.splitlines(keepends=True) if document else []
