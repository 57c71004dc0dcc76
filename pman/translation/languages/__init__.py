"""The languages of documents, a module each: how it writes a value, where that may stand, how it reads text.

translation imports them by the table LANGUAGES; workshop only the errors, in marks.py. Begin with yaml.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from pman.translation.languages import json, shell, wdl, yaml
from pman.translation.languages.marks import MARK, MisplacedError, sent, without_marks


class Language(Protocol):
    """Describes what each module has."""

    @property
    def WHY(self) -> str:  # noqa: N802  (a constant of the modules)
        """Says what to do where a literal may not stand."""

    def literal(self, value: object) -> str:
        """A value on one line. Raises TypeError, ValueError for what the language has no word for."""

    def takes(self, texts: Sequence[str], literals: Sequence[str]) -> Iterator[bool]:
        """Says whether each literal may stand where it does: the n-th follows the n-th text."""

    def documents(self, text: str) -> list[tuple[str, object, int]]:
        """The text, the content (None where it is no data) and the begin of each. Raises UnreadableError."""


LANGUAGES: Mapping[str, Language] = {"json": json, "yaml": yaml, "sh": shell, "wdl": wdl}
"""The modules, by the ending before `.j2`."""


def placed(language: str, text: str) -> str:
    """The text without its marks. Raises MisplacedError, naming what stands before.

    A literal is safe by itself, but not inside quotes, glued to other text, or (in a shell) in a comment
    or here-document. A template that puts one there works for tame values and breaks for hostile ones,
    so it is refused for every value.
    """
    text = sent(text)
    parts = text.split(MARK)
    places = LANGUAGES[language].takes(parts[::2], parts[1::2]) if len(parts) > 1 else ()
    for index, safe in enumerate(places):
        if not safe:
            ahead = without_marks(MARK.join([*parts[: 2 * index + 1], "", ""]))
            before = parts[2 * index].rpartition("\n")[2].strip()
            raise MisplacedError(f"after {before!r}: {LANGUAGES[language].WHY}", len(ahead))
    return without_marks(text)
