"""The jobs of the engine, live; one of them with all that is known of it; its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from quart import Blueprint, Response, redirect, request

from pman.api.events import streamed_events
from pman.api.params import known_as
from pman.engine import Engine
from pman.errors import PmanError, Unauthorised, UnknownJob
from pman.feed import Event, Feed
from pman.job import JobDetails, JobInfo
from pman.page.code import rows
from pman.page.session import Session, own_page
from pman.page.view import STATUSES, NotThere, View
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

    def of(self, jobs: Sequence[JobDetails]) -> list[JobDetails]:
        """Those that have the status, and every word of the search somewhere."""
        words = self.q.casefold().split()
        return [job for job in jobs if self.status in ("", job.info.status) and _has(job.info, words)]

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


def counted(jobs: Sequence[JobDetails], shown: int) -> str:
    """One sentence, which a screen reader tells again when it changes."""
    of = [(label, sum(job.info.status == word for job in jobs)) for word, label in STATUSES.items()]
    all_of_them = f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"
    if shown != len(jobs):
        return f"{shown} of {all_of_them}"
    told = ", ".join(f"{count} {label}" for label, count in of if count)
    return f"{all_of_them}: {told}" if told else "No jobs"


@dataclass(frozen=True, slots=True)
class Row:
    """One job of the table."""

    jid: str
    status: str
    image: str
    message: str
    created: datetime | None
    running_since: datetime | None
    """Of a job that runs: its duration goes on."""

    took: float | None
    """Seconds, of one that has ended."""

    limits: str


def row(details: JobDetails) -> Row:
    info, running = details.info, details.info.status == "started"
    ended = details.started and details.finished
    return Row(
        jid=info.jid,
        status=info.status,
        image=info.image,
        message="" if info.message == STATUSES[info.status] else info.message,
        created=details.created,
        running_since=details.started if running else None,
        took=(details.finished - details.started).total_seconds() if ended else None,  # type: ignore[operator]  # both
        limits=limits(details.request),
    )


def limits(request: Mapping[str, Any]) -> str:
    """`1 cpu, 300 MiB, 2 gpus, 4 workers`; what is not limited, or not known, is left out."""
    cpu, memory, gpu, workers = (
        request.get(name) or 0 for name in ("cpu_limit", "memory_limit", "gpu_limit", "number_of_workers")
    )
    told = [
        f"{cpu / 1000:g} cpu" if cpu else "",
        (f"{memory / 1024:g} GiB" if memory % 1024 == 0 else f"{memory} MiB") if memory else "",
        f"{gpu} gpu" if gpu else "",
        f"{workers} workers" if workers > 1 else "",
    ]
    return ", ".join(filter(None, told))


def routes(page: Blueprint, engine: Engine, feed: Feed, view: View, session: Session) -> None:
    @page.get("/")
    async def jobs() -> Response:
        asked, error, found = wanted(), None, list[JobDetails]()
        try:
            found = sorted(await engine.jobs(), key=_newest, reverse=True)
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
        return streamed_events(feed, None, written=news)

    @page.get("/jobs/<jid>")
    async def job(jid: str) -> Response:
        try:
            details = await engine.details(known_as(jid))
            _, body = await engine.status(jid)
        except UnknownJob:
            if "HX-Request" not in request.headers:
                raise
            return view.answer("gone.html", jid=jid)  # it is looked at, and what is seen of it may stay
        return view.answer(
            "job.html",
            section="Jobs",
            job=details.info,
            details=details,
            limits=limits(details.request),
            log=json.loads(body)["logs"],
            parts=PARTS,
            error=None,
            **_asked(),
        )

    @page.get("/jobs/<jid>/<part>")
    async def job_part(jid: str, part: str) -> Response:
        if part not in PARTS:
            raise NotThere(f"a job has {', '.join(PARTS)}, and no {part!r}")
        details = await engine.details(known_as(jid))
        found = await _part(engine, details, part)
        return view.answer(
            "job_part.html", section="Jobs", job=details.info, part=part, about=PARTS[part], **found
        )

    @page.get("/jobs/<jid>/events")
    async def job_events(jid: str) -> Response:
        return streamed_events(feed, None, written=partial(news, jid=known_as(jid)))

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
        await engine.remove(known_as(jid))
        answer = cast(Response, redirect(f"/?{urlencode({'removed': jid})}", 303))
        session.begin(answer)
        return answer

    @page.post("/forget")
    async def forget() -> Response:
        own_page()
        answer = cast(Response, redirect("/", 303))
        session.end(answer)
        return answer

    async def _confirm(jid: str, error: PmanError | None = None) -> Response:
        info = await engine.info(known_as(jid))
        status = error.status if error else 200
        return view.answer("cancel.html", status=status, section="Jobs", job=info, error=error, **_asked())

    def _asked() -> dict[str, Any]:
        return {"wants_token": session.wanting, "stays": not engine.settings["REMOVE_JOBS"]}


PARTS = {
    "rule": "which rule decided the status, and which were tried before it",
    "request": "as far as the engine holds it",
    "document": "as it was applied",
    "native": "what the engine says of the job now",
}
"""What is known of a job beside its status, each a page that is asked for when somebody opens it."""


async def _part(engine: Engine, details: JobDetails, part: str) -> dict[str, Any]:
    jid = details.info.jid
    if part == "rule":
        return {"explanation": await engine.explain(jid), "texts": []}
    if part == "document":
        documents = await engine.applied(jid)
        return {"texts": [(document.name, rows(document.text, document.name)) for document in documents]}
    if part == "native":
        return {"texts": [("native.json", rows(_json(await engine.native(jid)), "native.json"))]}
    held = {name: value for name, value in details.request.items() if value is not None}
    return {"texts": [("request.json", rows(_json({**held, "env": list(details.env)}), "request.json"))]}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


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
