"""Suggest which of some names was probably meant, in one wording for every message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str], likeness: float = 0.6) -> str | None:
    """Finds the name most like this one; None where all are less alike than `likeness`, from 0 to 1."""
    return next(iter(get_close_matches(name, list(names), 1, likeness)), None)


def did_you_mean(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """Asks whether the nearest name was meant; `otherwise` where none is near."""
    near = nearest(name, names)
    return f"did you mean {near}?" if near else otherwise


def meant(name: str, names: Sequence[str]) -> str:
    """Names the nearest alone, or all where none is near: for long lists."""
    return did_you_mean(name, names, f"use {', '.join(names)}" if names else "there is none")


def one_of(name: str, names: Sequence[str]) -> str:
    """Lists every name, with the one that was probably meant: for short lists."""
    near = did_you_mean(name, names)
    return f"use {', '.join(names)}" + (f" ({near})" if near else "")
