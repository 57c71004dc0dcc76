"""A request's JSON as text: the line of each value, for errors, and the text without the values of env."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from pman.schema import json_path
from pman.settings import MASK

Step = str | int | None
"""One of the steps of a path: a key, an index, or None where a key comes next."""

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*(?:"|$))(?P<colon>\s*:)?|[\[\]{},]|[^\s\[\]{},:"]+', re.DOTALL
)
_ENV = re.compile(r"\s*env(ironment)?\s*$", re.I)


def _tokens(text: str) -> Iterator[tuple[re.Match[str], Sequence[Step]]]:
    """Each token of valid JSON, a key with its colon, and the steps to it: one list, good until the next."""
    steps: list[Step] = []
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in "}]":
            steps.pop()
        elif word == ",":
            last = steps[-1]
            steps[-1] = last + 1 if isinstance(last, int) else None
        yield token, steps
        if token["colon"]:
            steps[-1] = json.loads(token["string"])
        elif word in "{[":
            steps.append(0 if word == "[" else None)


def lines(text: str) -> Mapping[str, int]:
    """The line, from 1, on which the value of each path (`$.args[3]`) begins. The text is valid JSON."""
    by_path: dict[str, int] = {}
    line, position = 1, 0
    for token, steps in _tokens(text):
        line += text.count("\n", position, token.start())
        position = token.start()
        if not (token["colon"] or token[0] in "}],"):
            by_path[json_path(*steps)] = line
    return by_path


def line_of(path: str, by_path: Mapping[str, int]) -> int:
    """The line of a path, or of the object in which it is missing; 0 where neither is there."""
    parent = path.rpartition(".")[0]
    return by_path.get(path) or by_path.get(parent, 0)


def without_env_values(text: str) -> str:
    """The text with the values of env masked, line for line; of what is no JSON, every string.

    page.js does the same for a link, and makes none of what is no JSON.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return _TOKEN.sub(lambda token: token[0] if token["colon"] else _masked(token[0]), text)
    return "".join(_without_env_values(text))


def _without_env_values(text: str) -> Iterator[str]:
    position, env = 0, 0  # env: how many steps lead to the value of env, while it lasts
    for token, steps in _tokens(text):
        yield text[position : token.start()]
        position, word, string, colon = token.end(), token[0], token["string"], token["colon"] or ""
        if env and (len(steps) < env or steps[env - 1] is None):
            env = 0
        if env and not (colon and "=" not in word):
            yield _masked(string or word) + colon
        else:
            yield word
        if not env and colon and _ENV.match(json.loads(string)):
            env = len(steps)
    yield text[position:]


def _masked(word: str) -> str:
    """A string keeps the name of NAME=value; a number has none; punctuation, true, false and null stay."""
    if word.startswith('"'):
        name, equals, _ = word[1:].partition("=")
        return f'"{name}={MASK}"' if equals else f'"{MASK}"'
    return f'"{MASK}"' if word[0] in "-0123456789" else word
