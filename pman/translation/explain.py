"""Explains a job's status: the rules that were tried for its state, in order, to the one that decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Undefined

from pman.errors import EngineUnreachable
from pman.job import JID_LABEL, JobInfo
from pman.schema import texts_at
from pman.translation.rules import NativeState, Rules


@dataclass(frozen=True, slots=True)
class Tried:
    """One rule, as it was for a state."""

    index: int
    """Its place in the order of trial, from 0: a site's own rules come first."""

    file: str
    line: int
    when: str
    """Its condition; '' for one that always holds."""

    status: str
    holds: bool
    decided: bool
    """It is the first that holds."""


@dataclass(frozen=True, slots=True)
class Explanation:
    info: JobInfo | None
    """The answer of pman; None where that is 503, since the deciding rule says `unavailable`."""

    message: str
    hint: str
    tried: tuple[Tried, ...]
    """To the one that decides. Where none holds, all: pman answers `started`, and says so."""

    values: Mapping[str, Any]
    """The named `values` of the state.yaml, as they are for this state; None for what the engine left out."""

    @property
    def status(self) -> int:
        """The HTTP status of the answer to GET."""
        return 200 if self.info else EngineUnreachable.status

    @property
    def answer(self) -> Mapping[str, Any]:
        """The body of that answer; the engine's log, which is no part of the state, is left empty."""
        return self.info.answer("") if self.info else {"message": self.message, "hint": self.hint}

    @property
    def decided(self) -> Tried | None:
        return next((rule for rule in self.tried if rule.decided), None)


def explain(rules: Rules, jid: str, native: NativeState) -> Explanation:
    """Raises ConfigError for a rule that fails for this state, naming where it is written."""
    tried: list[Tried] = []
    for index, (rule, holds) in enumerate(rules.tried(native)):
        when, status = rule.source.get("when", ""), rule.source["status"]
        tried.append(Tried(index, rule.file, rule.line, when, status, holds, holds))
        if holds:
            break
    values = {name: plain(value) for name, value in rules.values(native).items()}
    try:
        info = rules.read(jid, native)
    except EngineUnreachable as error:
        return Explanation(None, str(error), error.hint, tuple(tried), values)
    return Explanation(info, info.message, info.hint, tuple(tried), values)


def plain(value: object) -> Any:
    """Makes of a value what JSON can hold; what is undefined is None."""
    if isinstance(value, Undefined):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def jid_of(native: object) -> str:
    """Finds the name of a state's job, by the label that pman gave it; '' where there is none."""
    return next(texts_at(JID_LABEL, native), "")
