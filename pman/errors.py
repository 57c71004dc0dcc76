"""Errors, told apart by what the caller can do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pman.resources import shipped_name


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a request or a configuration."""

    path: str
    """JSON path from the root of the request (`$.args[3]`), a variable's name, or a template's."""

    message: str
    file: str = ""
    """The path of the template or rules that are at fault, where these are."""

    line: int = 0
    """A line of that file, or without one of the request's text, from 1; 0: not known, or all of it."""

    def __str__(self) -> str:
        """Puts the place before the message, where it is a file; a shipped one by its name in templates/."""
        if not self.file:
            return self.message
        name = shipped_name(self.file)
        place = f"templates/{name}" if name else self.file
        line = f", line {self.line}" if self.line else ""
        return f"{place}{line}: {self.message}"

    def answer(self) -> Mapping[str, str | int]:
        """Write it as the API answers it: with file and line, where a template or a rule is at fault."""
        place: Mapping[str, str | int] = {"file": self.file, "line": self.line} if self.file else {}
        return {"path": self.path, "message": self.message, **place}


class PmanError(Exception):
    """A message for the scientist who reads it, a hint for the admin, an HTTP status."""

    status = 500

    def __init__(self, message: str, hint: str = "", faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.faults = tuple(faults)

    @classmethod
    def of(cls, faults: Sequence[Fault], hint: str = "") -> Self:
        """Puts all faults into one message."""
        return cls(
            "; ".join(f"{fault.path.removeprefix('$.')}: {fault.message}" for fault in faults), hint, faults
        )


class ConfigError(PmanError):
    """The configuration or a template cannot work; pman does not start."""

    @classmethod
    def of(cls, faults: Sequence[Fault], hint: str = "") -> Self:
        """Joins the messages alone: each names its variable, or its file and line."""
        return cls("; ".join(map(str, faults)), hint, faults)


class BadRequest(PmanError):
    """The request itself is wrong; every error is in `faults`."""

    status = 400


class Unauthorised(PmanError):
    """The site's token is missing, or what was given is none."""

    status = 401


class Forbidden(PmanError):
    """The token that was given may read only."""

    status = 403


class TooManyWrong(PmanError):
    """Too many wrong tokens came, from one address or from all: try again later."""

    status = 429


class CrossSite(PmanError):
    """A page of another site may have sent it, or it came by a name that is not the site's."""

    status = 403


class UnknownJob(PmanError):
    """The engine has no such job."""

    status = 404

    def __init__(self, jid: str) -> None:
        super().__init__(f"no job {jid!r}")


class Conflict(PmanError):
    """A job with another content has the name, or something that is not pman's."""

    status = 409


class TooLarge(PmanError):
    """The request is longer than pman takes."""

    status = 413


class NotJson(PmanError):
    """The request does not say that it is JSON."""

    status = 415


class Refused(PmanError):
    """The engine refused: its words, pman's explanation, and the HTTP status that fits."""

    def __init__(self, message: str, hint: str, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


class EngineUnreachable(PmanError):
    """The engine does not answer, or not in time: try again later."""

    status = 503


class ConnectionCut(EngineUnreachable):
    """No answer came at all: the call may have gone through, or not."""


class TimedOut(ConnectionCut):
    """No answer came in time: the same call again would wait as long."""


class Busy(PmanError):
    """pman has too much of this to do at once: try again later."""

    status = 503


class NameTaken(Exception):
    """Raised by an executor: something with the job's name is there already."""


class EngineRefused(Exception):
    """Raised by an executor: the engine said no, in its own words."""

    def __init__(self, call: str, status: int, message: str, leftover: str | None = None) -> None:
        """`leftover` names what the refused call has left on the engine, for the executor to discard."""
        super().__init__(f"{call}: {status} {message}")
        self.leftover = leftover
        self.native: Mapping[str, object] = {"call": call, "status": status, "message": message}
