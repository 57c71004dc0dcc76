"""Show in one listing how two descendants of a text have each changed it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True)
class Line:
    ours: str
    """'+': a line that ours has and the base has not; '-': one of the base that ours has not; else ' '."""

    theirs: str
    text: str


def three_way(base: str, ours: str, theirs: str) -> tuple[Line, ...]:
    """Lists the lines of the three texts in order: unchanged, taken out or put in, by one or by both."""
    lines = base.splitlines()
    out_ours, in_ours = _edits(lines, ours.splitlines())
    out_theirs, in_theirs = _edits(lines, theirs.splitlines())
    listing: list[Line] = []
    for index in range(len(lines) + 1):
        put, other = in_ours.get(index, []), in_theirs.get(index, [])
        if put == other:
            listing += [Line("+", "+", text) for text in put]
        else:
            listing += [Line("+", " ", text) for text in put] + [Line(" ", "+", text) for text in other]
        if index < len(lines):
            listing.append(
                Line("-" if index in out_ours else " ", "-" if index in out_theirs else " ", lines[index])
            )
    return tuple(listing)


def near_changes(lines: tuple[Line, ...], context: int = 3) -> Iterator[Line | None]:
    """Leaves out the lines that are far from a change; None stands for them."""
    changed = [index for index, line in enumerate(lines) if (line.ours, line.theirs) != (" ", " ")]
    shown = {near for index in changed for near in range(index - context, index + context + 1)}
    left_out = False
    for index, line in enumerate(lines):
        if index in shown:
            if left_out:
                yield None
            yield line
        left_out = index not in shown


def _edits(base: list[str], text: list[str]) -> tuple[set[int], dict[int, list[str]]]:
    """Tells the lines of the base that are taken out, and the lines that are put in before each."""
    out: set[int] = set()
    put: dict[int, list[str]] = {}
    for kind, begin, end, first, last in SequenceMatcher(None, base, text, autojunk=False).get_opcodes():
        if kind != "equal":
            out |= set(range(begin, end))
            if last > first:
                put[end] = text[first:last]
    return out, put
