"""The jobs of the engine, in a table that changes as they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from pman.engine.feed import Event, Feed
from pman.errors import PmanError
from pman.job import JobDetails
from pman.translation.request import JID
from pman.web.api.listing import Takes, taking
from pman.web.api.sse import streamed_events
from pman.web.page.view import STATUSES, View

ON_A_PAGE = 100
"""Rows; more of them take a browser longer to compare than a second has."""


@dataclass(frozen=True, slots=True)
class Query:
    """Says what the table shows; it stands in the address, so that a view can be kept and sent."""

    status: str
    """One status, or several with commas, as API v2 takes them; '' for any."""

    q: str
    page: int

    @property
    def narrowed(self) -> bool:
        return bool(self.status or self.q)

    def taking(self) -> Takes:
        """The API's filter, by the same words. Raises BadRequest."""
        words = {"status": self.status, "q": self.q}
        return taking(MultiDict({name: word for name, word in words.items() if word}))

    def address(self, page: int) -> str:
        given = {"status": self.status, "q": self.q, "page": str(page) if page > 1 else ""}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"/?{query}" if query else "/"


def _query() -> Query:
    """Reads this request's address; a page that is no number counts as the first."""
    page = request.args.get("page", "1")
    return Query(
        ",".join(filter(None, request.args.getlist("status"))),
        request.args.get("q", "")[:200].strip(),
        max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
    )


def counted(jobs: Sequence[JobDetails], shown: int) -> str:
    """One sentence, which a screen reader tells again when it changes."""
    counts = Counter[str](job.info.status for job in jobs)
    all_of_them = f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"
    if shown != len(jobs):
        return f"{shown} of {all_of_them}"
    parts = ", ".join(f"{counts[word]} {label}" for word, label in STATUSES.items() if counts[word])
    return f"{all_of_them}: {parts}" if parts else "No jobs"


def limits(request: Mapping[str, Any]) -> str:
    """`1 cpu, 300 MiB, 2 gpus, 4 workers`; what is not limited, or not known, is left out."""
    cpu, memory, gpu, workers = (
        request.get(name) or 0 for name in ("cpu_limit", "memory_limit", "gpu_limit", "number_of_workers")
    )
    parts = [
        f"{cpu / 1000:g} cpu" if cpu else "",
        (f"{memory / 1024:g} GiB" if memory % 1024 == 0 else f"{memory} MiB") if memory else "",
        f"{gpu} gpu" if gpu else "",
        f"{workers} workers" if workers > 1 else "",
    ]
    return ", ".join(filter(None, parts))


def routes(page: Blueprint, feed: Feed, view: View) -> None:
    @page.get("/")
    async def jobs() -> Response:
        query, error, all_jobs = _query(), None, list[JobDetails]()
        takes = query.taking()
        try:
            all_jobs = sorted(await feed.jobs(), key=_newest, reverse=True)
        except PmanError as failure:
            if "HX-Request" in request.headers:
                raise  # the jobs that are shown stay
            error = failure
        now = datetime.now(UTC)
        narrowed = [job for job in all_jobs if takes(job, now)]
        pages = max(1, -(-len(narrowed) // ON_A_PAGE))
        query = replace(query, page=min(query.page, pages))
        removed = request.args.get("removed", "")
        return view.answer(
            "jobs.html",
            status=error.status if error else 200,
            section="Jobs",
            query=query,
            jobs=narrowed[(query.page - 1) * ON_A_PAGE : query.page * ON_A_PAGE],
            limits=limits,
            pages=pages,
            told="" if error else counted(all_jobs, len(narrowed)),
            error=error,
            removed=removed if JID.fullmatch(removed) else "",
        )

    @page.get("/events")
    async def events() -> Response:
        return streamed_events(feed, None, written=news)


def news(event: Event, jid: str | None = None) -> str:
    """That something is different, of one job or of any; the browser then asks for what it shows.

    The first of them comes at once, since something may have happened since the page was made.
    """
    told_anew = event["type"] == "added" and not event["id"]  # `synced` follows
    about = jid is None or event.get("job", {}).get("jid", jid) == jid
    return "event: jobs\ndata: changed\n\n" if about and not told_anew else ""


def _newest(job: JobDetails) -> tuple[bool, float, str]:
    """The order of their making; what has no time yet is newest of all."""
    created = job.created
    return created is None, created.timestamp() if created else 0, job.info.jid
