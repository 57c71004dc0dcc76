"""The jobs of the engine, live; one of them with all that is known of it; its end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlencode

from quart import Blueprint, Response, redirect, request

from pman.engine import Engine
from pman.errors import PmanError, Unauthorised, UnknownJob
from pman.feed import Feed
from pman.job import JobInfo
from pman.page.session import Session
from pman.page.view import STATUSES, View, parsed
from pman.request import JID

ON_A_PAGE = 100
"""Rows; more of them take a browser longer to compare than a second has."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the table shows; all of it is in the address, so that it can be sent and comes back."""

    status: str
    q: str
    page: int

    @property
    def narrowed(self) -> bool:
        return bool(self.status or self.q)

    def of(self, jobs: Sequence[JobInfo]) -> list[JobInfo]:
        """Those that have the status, and every word of the search somewhere."""
        words = self.q.casefold().split()
        return [job for job in jobs if self.status in ("", job.status) and _has(job, words)]

    def address(self, page: int) -> str:
        given = {"status": self.status, "q": self.q, "page": str(page) if page > 1 else ""}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"/?{query}" if query else "/"


def _has(job: JobInfo, words: Sequence[str]) -> bool:
    text = "\n".join((job.jid, job.image, job.message, job.cmd)).casefold()
    return all(word in text for word in words)


def wanted() -> Wanted:
    """What this request asks for; a status or page that there is none of counts as none."""
    status, page = request.args.get("status", ""), request.args.get("page", "1")
    return Wanted(
        status if status in STATUSES else "",
        request.args.get("q", "")[:200].strip(),
        max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
    )


def counted(jobs: Sequence[JobInfo], shown: int) -> str:
    """One sentence, which a screen reader tells again when it changes."""
    of = [(label, sum(job.status == word for job in jobs)) for word, label in STATUSES.items()]
    all_of_them = f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"
    if shown != len(jobs):
        return f"{shown} of {all_of_them}"
    told = ", ".join(f"{count} {label}" for label, count in of if count)
    return f"{all_of_them}: {told}" if told else "No jobs"


def row(job: JobInfo) -> dict[str, object]:
    return {
        "jid": job.jid, "status": job.status, "image": job.image, "message": job.message,
        "since": job.timestamp, "running_since": job.timestamp if job.status == "started" else "",
        "took": None, "limits": "",
    }


def routes(page: Blueprint, engine: Engine, feed: Feed, view: View, session: Session) -> None:
    @page.get("/")
    async def jobs() -> Response:
        asked, error, found = wanted(), None, list[JobInfo]()
        try:
            found = sorted(await engine.list(), key=_newest, reverse=True)
        except PmanError as failure:
            error = failure
        narrowed = asked.of(found)
        pages = max(1, -(-len(narrowed) // ON_A_PAGE))
        asked = replace(asked, page=min(asked.page, pages))
        removed = request.args.get("removed", "")
        return view.answer(
            "jobs.html",
            status=error.status if error else 200,
            section="Jobs",
            wanted=asked,
            rows=[row(job) for job in narrowed[(asked.page - 1) * ON_A_PAGE : asked.page * ON_A_PAGE]],
            pages=pages,
            told="" if error else counted(found, len(narrowed)),
            error=error,
            removed=removed if JID.fullmatch(removed) else "",
        )

    @page.get("/events")
    async def events() -> Response:
        return stream(_news(feed))

    @page.get("/jobs/<jid>")
    async def job(jid: str) -> Response:
        info, body = await engine.status(known(jid))
        return view.answer("job.html", section="Jobs", job=info, log=json.loads(body)["logs"], facts=[("Image", info.image), ("Since", info.timestamp)], parts=[], error=None, **_asked(jid))

    @page.get("/jobs/<jid>/events")
    async def job_events(jid: str) -> Response:
        return stream(_news(feed, known(jid)))

    @page.get("/jobs/<jid>/cancel")
    async def confirm(jid: str) -> Response:
        return await _confirm(jid)

    @page.post("/jobs/<jid>/cancel")
    async def cancel(jid: str) -> Response:
        form = await request.form
        try:
            session.admit(form.get("token", ""))
        except Unauthorised as error:
            return await _confirm(jid, error)
        await engine.remove(known(jid))
        answer = cast(Response, redirect(f"/?{urlencode({'removed': jid})}", 303))
        session.begin(answer)
        return answer

    async def _confirm(jid: str, error: PmanError | None = None) -> Response:
        info = await engine.info(known(jid))
        status = error.status if error else 200
        return view.answer("cancel.html", status=status, section="Jobs", job=info, error=error, **_asked(jid))

    def _asked(jid: str) -> dict[str, object]:
        return {"wants_token": session.wanting, "stays": not engine.settings["REMOVE_JOBS"]}


def known(jid: str) -> str:
    """Nothing but a job's name reaches an address of the engine. Raises UnknownJob."""
    if not JID.fullmatch(jid):
        raise UnknownJob(jid)
    return jid


def stream(events: AsyncIterator[str]) -> Response:
    """Server-sent events, for as long as the browser listens."""
    response = Response(events, content_type="text/event-stream")
    response.timeout = None
    return response


async def _news(feed: Feed, jid: str | None = None) -> AsyncIterator[str]:
    """That something is different, which the browser then asks for as it shows it: all jobs, or one.

    The first of them comes at once: something may have happened since the page was made.
    """
    async with contextlib.aclosing(feed.subscribe()) as events:
        async for event in events:
            told_anew = event["type"] == "added" and not event["id"]  # to be followed by `synced`
            if not told_anew and (jid is None or event.get("job", {}).get("jid", jid) == jid):
                yield "event: jobs\ndata: changed\n\n"


def _newest(job: JobInfo) -> tuple[bool, float, str]:
    """The order of their making; what has no time yet is newest of all."""
    found = parsed(job.timestamp)
    return found is None, found.timestamp() if found else 0, job.jid
