"""Where each value of a JSON text stands: errors have paths, and who wrote the text looks for a line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


def lines(text: str) -> Mapping[str, int]:
    """The line, from 1, on which the value of each path (`$.args[3]`) begins. The text is valid JSON."""
    found: dict[str, int] = {}
    steps: list[str | int | None] = []  # of the value that comes next; None: its key comes first
    line, position = 1, 0
    for token in _TOKEN.finditer(text):
        line += text.count("\n", position, token.start())
        position = token.start()
        word = token[0]
        if word in "}]":
            steps.pop()
        elif word == ",":
            last = steps[-1]
            steps[-1] = last + 1 if isinstance(last, int) else None
        elif steps and steps[-1] is None:
            steps[-1] = json.loads(word)
        elif word != ":":
            found["$" + "".join(map(_step, steps))] = line
            if word in "{[":
                steps.append(0 if word == "[" else None)
    return found


def line_of(path: str, found: Mapping[str, int]) -> int:
    """The line of a path, or of the object in which it is missing; 0 where neither is there."""
    parent = path.rpartition(".")[0]
    return found.get(path) or found.get(parent, 0)


def _step(step: str | int | None) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"
