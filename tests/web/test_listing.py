from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import Quart

from pman.errors import BadRequest
from pman.job import JobDetails
from pman.web.api.listing import paging
from tests.a_job import a_job_details

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


async def chosen(query: str, jobs: list[JobDetails]) -> tuple[list[str], str | None]:
    async with Quart("test").test_request_context(f"/?{query}") as context:
        found, following = paging(context.request.args)(jobs, NOW)
    return [job.info.jid for job in found], following


def old(minutes: float | None, jid: str, **changes: Any) -> JobDetails:
    created = None if minutes is None else NOW - timedelta(minutes=minutes)
    return a_job_details(jid=jid, created=created, **changes)


JOBS = [
    old(5, "chris-jid-5", status="started", labels={"site": "a", "auid": "x=y"}),
    old(60, "chris-jid-60", status="finishedSuccessfully", labels={"site": "b"}, image="localhost/pl-DCM:1"),
    old(120, "other-120", status="finishedWithError"),
    old(None, "no-age", status="notstarted"),
]


@pytest.mark.parametrize(
    ("query", "jids"),
    [
        ("", ["chris-jid-5", "chris-jid-60", "other-120", "no-age"]),
        ("status=started", ["chris-jid-5"]),
        ("status=started,notstarted", ["chris-jid-5", "no-age"]),
        ("status=finishedWithError&status=finishedSuccessfully", ["chris-jid-60", "other-120"]),
        ("label=site", ["chris-jid-5", "chris-jid-60"]),
        ("label=site=b", ["chris-jid-60"]),
        ("label=auid=x%3Dy&label=site", ["chris-jid-5"]),
        ("label=site=", []),
        ("newer=30m", ["chris-jid-5"]),
        ("newer=300", []),
        ("newer=301", ["chris-jid-5"]),
        ("older=1h", ["chris-jid-60", "other-120"]),
        ("older=300s&newer=90m", ["chris-jid-5", "chris-jid-60"]),
        ("older=999999999w", []),
        ("q=CHRIS", ["chris-jid-5", "chris-jid-60"]),
        ("q=dcm", ["chris-jid-60"]),
        ("q=nothing", []),
    ],
)
async def test_jobs_are_chosen_by_what_is_known_of_them(query: str, jids: list[str]) -> None:
    assert await chosen(query, JOBS) == (jids, None)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("status=finished", "use notstarted, started"),
        ("status=", "use notstarted"),
        ("label==x", "NAME or NAME=VALUE"),
        ("newer=1y", "90s, 15m, 2h, 7d"),
        ("older=-1", "90s"),
        ("older=1%D9%A3", "90s"),
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("cursor=x", "`next` of the page before"),
        ("cursor=%C3%BC", "`next` of the page before"),
        ("cursor=" + base64.b64encode(b'[true,"a"]').decode(), "`next`"),
        ("cursor=" + base64.b64encode(b"[" * 200_000).decode(), "`next`"),
        ("cursor=" + base64.b64encode(b'[NaN,"a"]').decode(), "`next`"),
        ("cursor=" + base64.b64encode(b"[1" + b"0" * 400 + b',"a"]').decode(), "`next`"),
        ("statsu=started", "did you mean status?"),
    ],
)
async def test_a_parameter_that_is_wrong_is_refused_by_name(query: str, told: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(told)):
        await chosen(query, JOBS)


ages = st.one_of(st.none(), st.integers(0, 5))


@settings(max_examples=30)
@given(st.lists(ages, max_size=30), st.integers(1, 7), st.data())
async def test_the_pages_have_each_job_once_while_others_come_and_go(
    minutes: list[int | None], limit: int, data: st.DataObject
) -> None:
    jobs = [old(age, f"job-{number}") for number, age in enumerate(minutes)]
    seen: list[str] = []
    cursor: str | None = ""
    present = list(jobs)
    while cursor is not None:
        page, cursor = await chosen(f"limit={limit}{f'&cursor={cursor}' if cursor else ''}", present)
        seen += page
        present.append(old(-1 - len(seen), f"new-{len(seen)}"))
        if data.draw(st.booleans()) and page:
            present = [job for job in present if job.info.jid != page[-1]]

    assert sorted(seen) == sorted(job.info.jid for job in jobs)
