"""The POSIX shell: a literal is words side by side, outside of quotes, comments and here-documents."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from pman.translation.languages.marks import ALONE, checked

WHY = ALONE


def literal(value: object) -> str:
    """A string is one word, a list its words side by side. Raises TypeError for what has none."""
    if isinstance(value, str):
        if "\0" in value:
            raise TypeError("a word of a shell cannot hold NUL")
        return shlex.quote(checked(value))
    if isinstance(value, list | tuple):
        return " ".join(literal(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no literal in a shell")


_HERE = re.compile(r"(?<!<)<<(?!<)(-)?[ \t]*[\\\"']?([^\s\\\"'<>|&;()\d][^\s\\\"'<>|&;()]*)")
_WHOLE_HERE = re.compile(_HERE.pattern + r"[^\n]*\n(?:.*?\n)??(?(1)\t*)\2$", re.DOTALL | re.MULTILINE)


def takes(texts: Sequence[str], literals: Sequence[str]) -> Iterator[bool]:
    """Says whether words may stand between each two texts."""
    return after(texts[:-1])


def after(texts: Iterable[str]) -> Iterator[bool]:
    """Says whether words may follow each of the texts, which stand with words between them."""
    state = ""
    here = False
    unclear = False  # a backslash in $'...' is read by some shells, and by others not
    backticks = False  # a backtick ends them within quotes, too
    for text in texts:
        code = _WHOLE_HERE.sub("", text)
        here = here or bool(_HERE.search(code))
        previous = " "
        for character in code:
            if state == "escape":
                state = ""
            elif state == '"escape':
                state = '"'
            elif character == "\\" and state == "$'":
                unclear = True
            elif character == "`" and state in ("", '"'):
                backticks = not backticks
            elif character == "'" and state in ("", "$'") and (state or previous == "$"):
                state = "" if state else "$'"
            elif character == "\\" and state in ("", '"'):
                state += "escape"
            elif character in "\"'" and state in ("", character):
                state = "" if state else character
            elif character == "#" and not state and previous in " \t\n;&|(":
                state = "#"
            elif character == "\n" and state == "#":
                state = ""
            previous = character
        yield not state and not here and not unclear and not backticks and not text.endswith("$")


def documents(text: str) -> list[tuple[str, object, int]]:
    """The text alone: a script is no data."""
    return [(text, None, 0)]
