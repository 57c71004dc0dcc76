"""Chooses the jobs of a list, and a page of them: parameters become a choice, checked once."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self, get_args

from werkzeug.datastructures import MultiDict

from pman.errors import BadRequest
from pman.job import JobDetails, JobStatus
from pman.suggest import one_of
from pman.web.api.params import only

LIMIT, MOST = 100, 1000
"""Jobs of a page: by default, and at most."""

STATUSES = get_args(JobStatus)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

Place = tuple[float, str]
"""Orders jobs in the list: the newest first, then by name; a job whose age is not known comes last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Takes the jobs for which all of it holds. The API and the page mean the same by it."""

    statuses: frozenset[str]
    """A job has one of them; without any, all jobs are taken."""

    labels: tuple[tuple[str, str | None], ...]
    """A job has all of them, each with this value, or with any."""

    newer: timedelta | None
    older: timedelta | None
    words: str
    """Stand in the name or the image, in any case of the letters."""

    @classmethod
    def of(cls, args: MultiDict[str, str]) -> Self:
        """Raises BadRequest."""
        return cls(
            statuses=frozenset(_status(word) for text in args.getlist("status") for word in text.split(",")),
            labels=tuple(_label(text) for text in args.getlist("label")),
            newer=_span("newer", args.get("newer")),
            older=_span("older", args.get("older")),
            words=args.get("q", "").casefold(),
        )

    def takes(self, job: JobDetails, now: datetime) -> bool:
        return (
            (not self.statuses or job.info.status in self.statuses)
            and all(name in job.labels and value in (None, job.labels[name]) for name, value in self.labels)
            and (not self.words or self.words in f"{job.info.jid}\n{job.info.image}".casefold())
            and (self.newer is None or (job.created is not None and now - job.created < self.newer))
            and (self.older is None or (job.created is not None and now - job.created >= self.older))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A filter, and which page of the jobs that it takes."""

    filter: Filter
    limit: int
    after: Place | None
    """The last job of the page before."""

    @classmethod
    def of(cls, args: MultiDict[str, str]) -> Self:
        """Raises BadRequest."""
        only("status", "label", "newer", "older", "q", "limit", "cursor")
        return cls(
            filter=Filter.of(args),
            limit=_limit(args.get("limit", str(LIMIT))),
            after=_place(args["cursor"]) if "cursor" in args else None,
        )

    def page(self, jobs: Sequence[JobDetails], now: datetime) -> tuple[Sequence[JobDetails], str | None]:
        """The jobs, and the cursor of the next page: a place, so it stays right when jobs come and go."""
        chosen = sorted((job for job in jobs if self.filter.takes(job, now)), key=_place_of)
        left = [job for job in chosen if self.after is None or _place_of(job) > self.after]
        page = left[: self.limit]
        return page, _cursor(_place_of(page[-1])) if len(left) > len(page) else None


def _place_of(job: JobDetails) -> Place:
    return (-job.created.timestamp() if job.created else float("inf")), job.info.jid


def _cursor(place: Place) -> str:
    moment, jid = place
    text = json.dumps([None if moment == float("inf") else moment, jid], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        text = base64.b64decode(f"{cursor}{'=' * (-len(cursor) % 4)}", b"-_", validate=True)
        place = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        place = None
    match place:
        case [None, str(jid)]:
            return float("inf"), jid
        case [int() | float() as moment, str(jid)] if not isinstance(moment, bool) and abs(moment) <= 10**12:
            return float(moment), jid
    raise BadRequest(f"cursor={cursor[:100]!r}: use `next` of the page before")


def _status(word: str) -> str:
    if word not in STATUSES:
        raise BadRequest(f"status={word[:100]!r}: {one_of(word, STATUSES)}")
    return word


def _label(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise BadRequest(f"label={text[:100]!r}: use NAME or NAME=VALUE")
    return name, value if equals else None


def _span(name: str, text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = re.fullmatch("([0-9]{1,9})([smhdw]?)", text)
    if not match:
        raise BadRequest(f"{name}={text[:100]!r}: use a number of seconds, or 90s, 15m, 2h, 7d, 4w")
    return timedelta(seconds=min(int(match[1]) * _UNITS[match[2]], 10**10))


def _limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MOST:
        raise BadRequest(f"limit={text[:100]!r}: use a whole number from 1 to {MOST}")
    return int(text)
