"""Hides what must not be shown of a job: the values of its environment, which carry a user's token.

What an engine holds has them as it needs them: as NAME=value, as a mapping, within a script. Whatever
the form, the name stays and the value becomes MASK.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from pman.settings import MASK

TELLING = 6
"""Characters from which on a value is also looked for where nothing says that it is one: shorter ones are
found in too much that is none."""

_ENVIRONMENT = {"env", "environment"}

_SECRET = re.compile(
    r"(?:pass(?:word|wd|phrase)|[_.-]pwd|secret|token|credential|auth|(?:api|access|private)[_.-]?key)s?$",
    re.I,
)
"""A name, whose value is taken for a secret. PWD alone is the directory that a process is in."""

_REST = r"""(?:'[^']*+'|"(?:\\.|[^"\\]++)*+"|\\.|[^\s'"\\;&|<>()]++)*+"""
"""Matches what follows within the same word of a shell."""

_BEFORE = r"(?<![\w'\"$.-])"
_QUOTED, _PLAIN = re.compile(f"[^']*(?P<end>'){_REST}"), re.compile(f"(?P<end>){_REST}")
"""Match the value that a shell is given, from its `=` on: within the quote before its name, or without."""

_SIGN, _BOUNDARY = re.compile("="), re.compile(_BEFORE)

_EXPORTS = [
    re.compile(rf"(?P<begin>\bexport {quote}[^\s='\"]+=){value}(?P<end>{quote}){_REST}")
    for quote, value in (("'", "[^']*"), ("", ""))
]
"""Match what is exported, whatever its name."""

HEAD = 32
"""Characters by which a value is looked for: in fewer steps than it may have lengths."""

PATIENCE = 64 * 2**20
"""Characters that are compared beyond the heads; then as much is hidden as might be of a value."""


class Masking:
    """For one job, whose environment is a list of NAME=value, of NAME, or of {name, value}."""

    def __init__(self, env: object) -> None:
        self._pairs = list(_pairs(env))
        self.names = tuple(dict.fromkeys(name for name, _ in self._pairs))

    @cached_property
    def _values(self) -> Values:
        values = {value for name, value in self._pairs if _is_telling(name, value)}
        return Values(values | {json.dumps(value)[1:-1] for value in values})

    @cached_property
    def _lengths(self) -> list[int]:
        """Sort the names, the shortest first."""
        return sorted({len(name) for name in self.names if name})

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.names)

    def masked(self, value: Any, key: str = "") -> Any:
        """Hides what must not be shown in a value, or in what stands at this key of it."""
        if key.lower() in _ENVIRONMENT:
            return _environment(value)
        if isinstance(value, Mapping):
            return {name: self.masked(item, str(name)) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(item) for item in value]
        if isinstance(value, str):
            return MASK if value and _SECRET.search(key) else self.text(value)
        return value

    def text(self, text: str) -> str:
        """Hides what a shell reads as NAME=value, and values that are too long to be there by chance."""
        if "=" in text:
            for pattern in _EXPORTS:
                text = pattern.sub(rf"\g<begin>{MASK}\g<end>", text)
            text = self._without_assigned(text)
        return self._values.hidden(text) if len(text) >= TELLING else text

    def _without_assigned(self, text: str) -> str:
        """Hides what a word of a shell assigns to one of the names, or to a word that ends with one."""
        pieces, at, before = [], 0, -1
        for sign in _SIGN.finditer(text) if self._lengths else ():
            if sign.start() >= at and (value := self._assigned(text, before + 1, sign.start())):
                pieces += [text[at : sign.end()], MASK, value["end"]]
                at = value.end()
            before = sign.start()
        return "".join([*pieces, text[at:]])

    def _assigned(self, text: str, first: int, sign: int) -> re.Match[str] | None:
        """Matches the value after a `=` that assigns it to a name; `first`: where that may begin."""
        passed = start = -1  # a word that was gone back through before, and where it starts
        for length in reversed(self._lengths[: bisect_right(self._lengths, sign - first)]):
            end = begin = sign - length
            if text[begin:sign] not in self._names:
                continue
            while begin > max(passed, 0) and (text[begin - 1].isalnum() or text[begin - 1] == "_"):
                begin -= 1
            passed, start = end, start if begin == passed else begin
            quoted = start > 0 and text[start - 1] == "'"
            if _BOUNDARY.match(text, start - quoted) and (
                value := (_QUOTED if quoted else _PLAIN).match(text, sign + 1)
            ):
                return value
        return None


class Values:
    """Finds many texts in another in one pass, whose time grows with that one and not with their number.

    No regular expression: `re` keeps those it has compiled, and tries one alternative after the other.
    """

    def __init__(self, values: Iterable[str]) -> None:
        """`values`: of at least TELLING characters each."""
        self._lengths: dict[str, list[int]] = {}
        """The lengths of the heads by what they begin with, the longest first."""

        self._by_head: dict[str, list[str]] = {}
        """Values by their first HEAD characters, or all of them; the longest first."""

        self._patience = PATIENCE
        for value in sorted(values, key=len, reverse=True):
            self._by_head.setdefault(value[:HEAD], []).append(value)
        for head in self._by_head:
            lengths = self._lengths.setdefault(head[:TELLING], [])
            if len(head) not in lengths:
                lengths.append(len(head))

    def hidden(self, text: str) -> str:
        """The text with MASK for all that any of the values covers, alone or where they overlap."""
        pieces, shown, end, lengths = [], 0, 0, self._lengths
        for at in range(len(text) - TELLING + 1 if lengths else 0):
            if not (candidates := lengths.get(text[at : at + TELLING])):
                continue
            if length := self._length(text, at, candidates):
                if at >= end:
                    pieces += [text[shown:at], MASK]
                end = shown = max(end, at + length)
        return "".join([*pieces, text[shown:]])

    def _length(self, text: str, at: int, lengths: list[int]) -> int:
        """The length of the longest value that stands at a place; 0 for none."""
        for length in lengths:
            for value in self._by_head.get(text[at : at + length], ()):
                self._patience -= len(value) - length
                if self._patience < 0 or text.startswith(value, at):
                    return len(value)
        return 0


def _is_telling(name: str, value: str) -> bool:
    """A path is no secret, and stands in mounts and arguments, too."""
    return len(value) >= TELLING and (not value.startswith("/") or bool(_SECRET.search(name)))


def _pairs(env: object) -> Iterable[tuple[str, str]]:
    for item in env if isinstance(env, list | tuple) else ():
        if isinstance(item, Mapping):
            yield str(item.get("name", "")), str(item.get("value") or "")
        else:
            name, _, value = str(item).partition("=")
            yield name, value


def _environment(value: Any) -> Any:
    """Hides the values where an engine has an environment."""
    if isinstance(value, Mapping):
        return dict.fromkeys(value, MASK)
    if isinstance(value, list | tuple):
        return [_variable(item) for item in value]
    return MASK if value else value


def _variable(item: Any) -> Any:
    if isinstance(item, Mapping):
        return {**item, "value": MASK} if "value" in item else item  # valueFrom names a secret, and is none
    name, equals, _ = str(item).partition("=")
    return f"{name}={MASK}" if equals else name
