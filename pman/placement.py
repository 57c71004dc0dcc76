"""Where a literal stands in a document: only where its language reads it as a whole.

A literal is safe by itself, but not inside quotes, glued to other text, or (in a shell) in a comment
or here-document. A template that puts one there works for tame values and breaks for hostile ones,
so it is refused for every value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

MARK = "\0"
"""Stands before and after each literal while a template renders; no literal can hold it raw."""


class MisplacedError(ValueError):
    """A literal stands where its language would not read it as one."""


def placed(language: str, text: str) -> str:
    """The text without its marks. Raises MisplacedError, naming the line and what stands before."""
    parts = text.split(MARK)
    if len(parts) > 1:
        places = _SAFE[language](parts[::2])
        for index, safe in enumerate(places):
            if not safe:
                line = "".join(parts[: 2 * index + 1]).count("\n") + 1
                before = parts[2 * index].rpartition("\n")[2].strip()
                raise MisplacedError(
                    f"line {line} of the document, after {before!r}: {{{{ }}}} writes a whole literal, so it "
                    "stands alone: no quotes around it, nothing glued to it; join text with ~ inside it"
                )
    return "".join(parts)


_WHOLE = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*')""")
_YAML_COMMENT = re.compile(r"(?:^|\s)#")
_YAML_BEFORE = re.compile(r"(?:^|[\[{,]|(?:^|\s)[?-]\s|:\s)\s*$")
_YAML_AFTER = re.compile(r"[ \t]*(?:$|\n|[,\]}]|:(?:\s|$)|[ \t]#)")


def _in_yaml(texts: list[str]) -> Iterator[bool]:
    """By line; a quoted text that spans lines is not looked through."""
    line = ""
    for before, after in zip(texts, [*texts[1:-1], texts[-1]], strict=False):
        line = (line + before).rpartition("\n")[2]
        rest = _WHOLE.sub("x", line)
        comment = _YAML_COMMENT.search(rest)
        alone = not set("\"'") & set(rest) and _YAML_BEFORE.search(rest) and _YAML_AFTER.match(after)
        yield bool(alone) if not comment else not set("\"'") & set(rest[: comment.start()])
        line += "x"


_HERE = re.compile(r"<<-?\s*[\\\"']?([A-Za-z_]\w*)")
_WHOLE_HERE = re.compile(_HERE.pattern + r"[^\n]*\n(?:.*?\n)??\s*\1$", re.DOTALL | re.MULTILINE)


def _in_shell(texts: list[str]) -> Iterator[bool]:
    state = ""
    here = False
    for text in texts[:-1]:
        code = _WHOLE_HERE.sub("", text)
        here = here or bool(_HERE.search(code))
        previous = " "
        for character in code:
            if state == "escape":
                state = ""
            elif state == '"escape':
                state = '"'
            elif character == "\\" and state in ("", '"'):
                state += "escape"
            elif character in "\"'" and state in ("", character):
                state = "" if state else character
            elif character == "#" and not state and previous in " \t\n;&|(":
                state = "#"
            elif character == "\n" and state == "#":
                state = ""
            previous = character
        yield not state and not here and not text.endswith(("$", "`"))


_SAFE: Mapping[str, Callable[[list[str]], Iterator[bool]]] = {
    "json": _in_yaml,
    "yaml": _in_yaml,
    "sh": _in_shell,
}
