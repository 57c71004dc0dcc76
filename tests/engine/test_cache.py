from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.engine.cache import EndedJobs, RecentLogs
from pman.job import JobInfo


def an_end(jid: str = "job-1", message: str = "finished") -> JobInfo:
    return JobInfo(
        jid=jid,
        image="image",
        cmd="true",
        status="finishedSuccessfully",
        message=message,
        hint="",
        timestamp="2026-11-22T12:00:00Z",
        exit_code=0,
        digest="d",
    )


# --- answers of ended jobs -------------------------------------------------------------------------


def test_an_answer_is_given_while_the_engine_is_known_to_say_the_same() -> None:
    ended = EndedJobs()
    ended.remember(an_end(), b"log", 7)

    assert ended.unchanged("job-1", 7) == (an_end(), b"log")
    assert ended.unchanged("job-1", 8) is None
    assert ended.unchanged("job-1", None) is None
    assert ended.unchanged("job-2", 7) is None


def test_what_was_remembered_without_a_revision_is_never_given_unasked() -> None:
    ended = EndedJobs()
    ended.remember(an_end(), b"log", None)

    assert ended.unchanged("job-1", None) is None
    assert ended.same(an_end(), None) == (an_end(), b"log")


def test_the_same_word_of_the_engine_under_a_new_revision_spares_the_log() -> None:
    ended = EndedJobs()
    ended.remember(an_end(), b"log", 7)

    assert ended.same(an_end(message="other"), 8) is None
    assert ended.same(an_end(), 8) == (an_end(), b"log")
    assert ended.unchanged("job-1", 8) == (an_end(), b"log")


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9000)), max_size=60))
def test_no_more_is_remembered_than_fits_and_the_last_is_kept(jobs: list[tuple[int, int]]) -> None:
    ended = EndedJobs(limit=20_000)
    for number, length in jobs:
        info, body = an_end(f"job-{number}"), random.Random(number).randbytes(length)  # noqa: S311  (no secret)
        ended.remember(info, body, 1)

        assert ended.unchanged(info.jid, 1) == (info, body)
    for number in {number for number, _ in jobs}:
        ended.forget(f"job-{number}")

    assert not ended._answers


def test_a_log_that_alone_is_too_large_is_not_remembered() -> None:
    ended = EndedJobs(limit=10_000)

    ended.remember(an_end(), random.Random(1).randbytes(10_000), 1)  # noqa: S311  (no secret)

    assert ended.unchanged("job-1", 1) is None


def test_a_thousand_logs_of_a_thousand_lines_fit() -> None:
    ended = EndedJobs()
    log = "".join(
        f"2026-11-22T12:00:00Z epoch {line} loss 0.{line * 7919 % 10**6}\n" for line in range(1000)
    ).encode()

    for number in range(1000):
        ended.remember(an_end(f"job-{number}"), log, 1)

    assert all(ended.unchanged(f"job-{number}", 1) for number in range(1000))


# --- logs of running jobs --------------------------------------------------------------------------


class Log:
    """Counts how often it is read; each time it says more. Held back until `open`."""

    def __init__(self) -> None:
        self.read = 0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, jid: str) -> str:
        self.read += 1
        said = f"{jid} {self.read}"
        await self.open.wait()
        return said


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda moment: now.__setitem__(0, moment)


async def test_a_running_jobs_log_is_read_once_a_second_whatever_the_number_of_pollers(
    clock: Callable[[float], None],
) -> None:
    log = Log()
    recent = RecentLogs(log)

    texts = await asyncio.gather(*(recent.get("job-1", ended=False) for _ in range(50)))
    clock(100.9)
    texts.append(await recent.get("job-1", ended=False))

    assert set(texts) == {"job-1 1"}
    clock(101.1)
    assert await recent.get("job-1", ended=False) == "job-1 2"


async def test_the_log_of_an_ended_job_is_read_after_its_end(clock: Callable[[float], None]) -> None:
    log = Log()
    recent = RecentLogs(log)
    log.open.clear()
    before = asyncio.create_task(recent.get("job-1", ended=False))
    await asyncio.sleep(0)

    after = [asyncio.create_task(recent.get("job-1", ended=True)) for _ in range(5)]
    await asyncio.sleep(0)
    log.open.set()

    assert await before == "job-1 1"
    assert set(await asyncio.gather(*after)) == {"job-1 2"}
    assert await recent.get("job-1", ended=True) == "job-1 3"


async def test_a_poller_that_hangs_up_does_not_take_the_log_from_others(
    clock: Callable[[float], None],
) -> None:
    log = Log()
    recent = RecentLogs(log)
    log.open.clear()
    first, second = (asyncio.create_task(recent.get("job-1", ended=False)) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.sleep(0)
    log.open.set()

    assert await second == "job-1 1"
    assert log.read == 1


async def test_a_log_that_cannot_be_read_is_told_to_all_and_asked_for_again() -> None:
    broken = [True]

    async def read(jid: str) -> str:
        if broken[0]:
            raise OSError(jid)
        return "said"

    recent = RecentLogs(read)

    answers = await asyncio.gather(
        *(recent.get("job-1", ended=False) for _ in range(3)), return_exceptions=True
    )
    broken[0] = False

    assert [type(answer) for answer in answers] == [OSError] * 3
    assert await recent.get("job-1", ended=False) == "said"


async def test_the_log_of_a_deleted_job_is_not_that_of_the_next_of_its_name(
    clock: Callable[[float], None],
) -> None:
    log = Log()
    recent = RecentLogs(log)
    log.open.clear()
    late = asyncio.create_task(recent.get("job-1", ended=False))
    await asyncio.sleep(0)

    recent.forget("job-1")
    log.open.set()
    await late

    assert await recent.get("job-1", ended=False) == "job-1 2"


async def test_logs_are_kept_no_longer_than_they_are_good_for(clock: Callable[[float], None]) -> None:
    recent = RecentLogs(Log())
    for number in range(20):
        await recent.get(f"job-{number}", ended=False)

    clock(102)
    await recent.get("job-x", ended=False)

    assert list(recent._texts) == ["job-x"]
    clock(104)
    await recent.get("job-y", ended=True)  # which is not stored
    assert recent._texts.expire() == []
