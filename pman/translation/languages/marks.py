"""Shared by the languages: the marks around literals while a template renders, and the errors of a document.

Between two marks stands a literal, or what begins with one of the characters below: no literal does.
"""

from __future__ import annotations

import re

MARK = "\0"
"""Stands before and after each literal while a template renders; no literal can hold it raw."""

WORDS = "\1"
"""Begins a literal of Words, which stands where others of its language do not."""

NOTE = "\2"
"""Begins a note of the source map."""

SHOWN = "\3"
"""Begins what a dry run shows instead of the literal before it."""

ALONE = (
    "{{ }} writes a whole literal, so it stands alone: no quotes around it, nothing glued to it; "
    "join text with ~ inside it"
)

_NOTES = re.compile(f"{MARK}{NOTE}[0-9]+{MARK}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class DocumentError(ValueError):
    """Something is wrong that only the rendered text tells, and not the template's own line."""

    def __init__(self, message: str, index: int) -> None:
        """`index`: of the literal, or of the character where it went wrong, in the text without marks."""
        super().__init__(message)
        self.index = index


class MisplacedError(DocumentError):
    """A literal stands where its language would not read it as one."""


class UnreadableError(DocumentError):
    """A document is not of its language."""


def checked(text: str) -> str:
    """Makes a plain str: subclasses (Markup) have ideas of their own of what joining means.

    Raises ValueError for half a surrogate pair.
    """
    if _SURROGATE.search(text):
        raise ValueError("half a surrogate pair is no Unicode text")
    return str.__str__(text)


def sent(text: str) -> str:
    """The text, its marks included, with the literals of a submission alone."""
    return _with(text, shown=False) if MARK + SHOWN in text else text


def shown(text: str) -> str:
    """The text, its marks included, with the literals that a dry run shows."""
    return _with(text, shown=True) if MARK + SHOWN in text else text


def _with(text: str, *, shown: bool) -> str:
    first, *rest = text.split(MARK)
    parts = [first]
    for literal, after in zip(rest[::2], rest[1::2], strict=True):
        if not literal.startswith(SHOWN):
            parts += (literal, after)
        elif shown:
            parts[-2:] = (literal.removeprefix(SHOWN), after)
        else:
            parts[-1] = after
    return MARK.join(parts)


def without_marks(text: str) -> str:
    """The text as a document has it."""
    if MARK + NOTE in text:
        text = _NOTES.sub("", text)
    return text.replace(MARK + WORDS, "").replace(MARK, "")
