"""Hides what must not be shown of a job: the values of its environment, which carry a user's token.

What an engine holds has them as it needs them: as NAME=value, as a mapping, within a script. Whatever
the form, the name stays and the value becomes MASK.
"""

from __future__ import annotations

import json
import re
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

_REST = r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\;&|<>()])*"""
"""Matches what follows within the same word of a shell."""


class Masking:
    """For one job, whose environment is a list of NAME=value, of NAME, or of {name, value}."""

    def __init__(self, env: object) -> None:
        self._pairs = list(_pairs(env))
        self.names = tuple(dict.fromkeys(name for name, _ in self._pairs))

    @cached_property
    def _values(self) -> list[str]:
        """The longest first. No regular expression: `re` keeps those it has compiled."""
        values = {value for name, value in self._pairs if _is_telling(name, value)}
        return sorted(values | {json.dumps(value)[1:-1] for value in values}, key=len, reverse=True)

    @cached_property
    def _words(self) -> list[re.Pattern[str]]:
        """Words of a shell that assign one of the names, or one that is exported, whatever its name."""
        names = "|".join(map(re.escape, self.names))
        places = [(r"\bexport ", r"[^\s='\"]+")]
        if names:
            places.append((r"(?<![\w'\"$.-])", rf"\w*(?:{names})"))
        return [
            re.compile(rf"(?P<begin>{before}{quote}(?:{name})=){value}(?P<end>{quote}){_REST}")
            for before, name in places
            for quote, value in (("'", "[^']*"), ("", ""))
        ]

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
        for pattern in self._words if "=" in text else ():
            text = pattern.sub(rf"\g<begin>{MASK}\g<end>", text)
        for value in self._values if len(text) >= TELLING else ():
            text = text.replace(value, MASK)
        return text


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
