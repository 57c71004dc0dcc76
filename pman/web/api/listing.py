"""Chooses the jobs of a list, and a page of them: parameters are read, and checked, once."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import get_args

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


Takes = Callable[[JobDetails, datetime], bool]
"""Says whether a job belongs to a list, as of now."""

Page = tuple[Sequence[JobDetails], str | None]
"""Jobs, and the cursor of the next page: a place, so it stays right when jobs come and go."""


def taking(args: MultiDict[str, str]) -> Takes:
    """Reads a filter, which takes the jobs for which all of it holds. Raises BadRequest.

    The API and the page mean the same by it.
    """
    # A job has one of the statuses, or any if none is asked for, and all of the labels, each with its
    # value, or with any; the words stand in its name or image, in any case of the letters.
    statuses = {_status(word) for text in args.getlist("status") for word in text.split(",")}
    labels = [_label(text) for text in args.getlist("label")]
    newer, older = (_span(name, args.get(name)) for name in ("newer", "older"))
    words = args.get("q", "").casefold()

    def takes(job: JobDetails, now: datetime) -> bool:
        return (
            (not statuses or job.info.status in statuses)
            and all(name in job.labels and value in (None, job.labels[name]) for name, value in labels)
            and (not words or words in f"{job.info.jid}\n{job.info.image}".casefold())
            and (newer is None or (job.created is not None and now - job.created < newer))
            and (older is None or (job.created is not None and now - job.created >= older))
        )

    return takes


def paging(args: MultiDict[str, str]) -> Callable[[Sequence[JobDetails], datetime], Page]:
    """Reads a filter, and which page of the jobs that it takes. Raises BadRequest."""
    only("status", "label", "newer", "older", "q", "limit", "cursor")
    takes, limit = taking(args), _limit(args.get("limit", str(LIMIT)))
    after = _place(args["cursor"]) if "cursor" in args else None  # the last job of the page before

    def page(jobs: Sequence[JobDetails], now: datetime) -> Page:
        chosen = sorted((job for job in jobs if takes(job, now)), key=_place_of)
        left = [job for job in chosen if after is None or _place_of(job) > after]
        return left[:limit], _cursor(_place_of(left[limit - 1])) if len(left) > limit else None

    return page


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
