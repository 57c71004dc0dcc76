"""What an engine does with an executor's answers that a real engine gives too seldom to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pman.engine import submission
from pman.engine.engine import Engine
from pman.errors import ConfigError, Conflict, EngineRefused, EngineUnreachable, Refused, UnknownJob
from pman.job import Document, Job
from pman.translation.translation import Translation
from tests.a_job import a_job, settings_of, site_templates
from tests.live import DEADLINE

STATE = """
fields:
  digest: native.digest
rules:
  - when: native.late
    status: started
    message: too late
    overdue: true
  - when: native.lost
    status: unavailable
    message: nobody knows
  - when: native.odd is defined and native.odd + 1 > 2
    status: started
    message: odd
  - status: started
    message: running
refusals:
  - answer: 400
    message: refused
"""


class Held:
    """An executor that says what a test tells it to; `remembered` is what it says unless asked afresh."""

    def __init__(self) -> None:
        self.jobs: dict[str, Mapping[str, Any]] = {}
        self.remembered: dict[str, Mapping[str, Any]] = {}
        self.broken: dict[str, Exception] = {}
        self.listing: list[Callable[[], None]] = []
        self.refuses: EngineRefused | None = None
        self.ended: list[str] = []
        self.discarded: list[tuple[str, str]] = []
        self.removed: list[str] = []
        self.looked = asyncio.Event()
        self.told = 0
        self.away = False
        self.taken_up = 0

    async def facts(self) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        self.told += 1
        if self.away:
            raise EngineUnreachable("away")
        return {"storebase": "/nowhere", "native": {}}

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        if self.refuses:
            raise self.refuses
        return self.jobs[jid]

    async def discard(self, jid: str, leftover: str) -> None:
        self.discarded.append((jid, leftover))

    async def resume(self, jid: str) -> None: ...

    async def unfinished(self) -> Sequence[str]:
        self.taken_up += 1
        if self.away:
            raise EngineUnreachable("away")
        return []

    async def held(self, jid: str) -> Mapping[str, str]:
        return {}

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        if jid in self.broken:
            raise self.broken[jid]
        if not fresh and jid in self.remembered:
            return self.remembered[jid]
        if jid not in self.jobs:
            raise UnknownJob(jid)
        return self.jobs[jid]

    def revision(self, jid: str) -> Hashable | None:
        return None

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        yield b""

    async def active(self) -> Sequence[str]:
        self.looked.set()
        if self.listing:
            self.listing.pop(0)()
        return sorted(self.jobs)

    async def end(self, jid: str, reason: str) -> None:
        self.ended.append(jid)
        self.jobs[jid] = {}

    async def remove(self, jid: str) -> None:
        self.removed.append(jid)

    async def list(self) -> Sequence[str]:
        return sorted(self.jobs)

    async def ping(self) -> str:
        return "held"

    async def close(self) -> None: ...


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
async def engine(held: Held, tmp_path: Path) -> AsyncIterator[Engine]:
    site = site_templates(tmp_path, {"docker/state.yaml": STATE})
    started = Engine(Translation(settings_of(PMAN_TEMPLATES=str(site))), held, overdue_interval=0.01)
    await started.facts()
    yield started
    await started.close()


async def looks(held: Held, more: int) -> None:
    """Until so many more looks for what is overdue have begun."""
    for _ in range(more):
        held.looked.clear()
        async with asyncio.timeout(DEADLINE):
            await held.looked.wait()


async def test_an_overdue_job_is_ended_once(engine: Engine, held: Held) -> None:
    held.jobs = {"fine": {}, "late": {"late": True}}

    await looks(held, 4)

    assert held.ended == ["late"]


async def test_a_job_is_asked_for_afresh_before_it_is_ended(engine: Engine, held: Held) -> None:
    held.jobs, held.remembered = {"well": {}}, {"well": {"late": True}}

    await looks(held, 4)

    assert held.ended == []


@pytest.mark.parametrize("error", [EngineUnreachable("broken"), UnknownJob("a"), ConfigError("a rule fails")])
async def test_a_job_that_cannot_be_told_of_does_not_keep_others_from_their_end(
    engine: Engine, held: Held, error: Exception
) -> None:
    held.broken = {"a": error}
    held.jobs = {"a": {}, "b": {"late": True}}

    await looks(held, 3)

    assert held.ended == ["b"]


@pytest.mark.parametrize(
    "error", [ConfigError("no kubeconfig"), ValueError("a bug"), EngineUnreachable("away")]
)
async def test_nothing_ends_the_looks_for_what_is_overdue(
    engine: Engine, held: Held, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    held.listing = [fail, fail]

    await looks(held, 3)
    held.jobs = {"late": {"late": True}}
    await looks(held, 2)

    assert held.ended == ["late"]


async def test_an_engine_that_comes_back_is_asked_once_however_many_wait_for_it(
    held: Held, tmp_path: Path
) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": STATE})
    engine = Engine(Translation(settings_of(PMAN_TEMPLATES=str(site))), held)

    await asyncio.gather(*(engine.facts() for _ in range(20)))
    await asyncio.sleep(0.01)

    assert (held.told, held.taken_up) == (1, 1)
    await engine.close()


async def test_an_engine_that_is_away_is_asked_once_for_all_who_wait_and_anew_thereafter(
    held: Held, tmp_path: Path
) -> None:
    site = site_templates(tmp_path, {"docker/state.yaml": STATE})
    engine = Engine(Translation(settings_of(PMAN_TEMPLATES=str(site))), held)
    held.away = True

    answers = await asyncio.gather(*(engine.facts() for _ in range(20)), return_exceptions=True)

    assert {type(answer) for answer in answers} == {EngineUnreachable}
    assert (held.told, held.taken_up) == (1, 0)
    held.away = False
    assert (await engine.facts())["storebase"] == "/nowhere"
    await engine.close()


async def test_what_waits_for_an_engine_that_is_away_is_logged_with_the_reason(
    engine: Engine, held: Held, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(submission, "RETRY_INTERVAL_SECONDS", 0)
    held.away = True
    resuming = asyncio.create_task(engine._submission.resume_unfinished())
    for _ in range(10):
        await asyncio.sleep(0)

    held.away = False
    await resuming

    assert set(caplog.messages) == {"what was left unstarted waits: away"}


async def test_a_list_of_many_jobs_lets_others_have_their_turn(engine: Engine, held: Held) -> None:
    held.jobs = {f"job-{number}": {} for number in range(500)}
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(others())

    assert len(await engine.jobs()) == 500

    beside.cancel()
    assert turns >= 500 / 16


async def test_a_job_that_the_rules_cannot_tell_of_takes_no_other_from_the_list(
    engine: Engine, held: Held
) -> None:
    held.jobs = {"a": {}, "b": {"lost": True}, "c": {"odd": "x"}, "d": {}}

    found = {details.info.jid: details.info for details in await engine.jobs()}

    assert {jid: info.message for jid, info in found.items() if jid != "c"} == {
        "a": "running", "b": "nobody knows", "d": "running",
    }  # fmt: skip
    assert "a rule fails for the state of c" in found["c"].message
    assert {info.status for info in found.values()} == {"started"}
    with pytest.raises(EngineUnreachable):
        await engine.details("b")


async def test_a_job_that_the_engine_does_not_tell_of_says_so_in_the_list(engine: Engine, held: Held) -> None:
    held.jobs = {"a": {}, "b": {}}
    held.broken = {"b": EngineUnreachable("away")}

    assert {details.info.jid: details.info.message for details in await engine.jobs()} == {
        "a": "running", "b": "away",
    }  # fmt: skip


@pytest.mark.parametrize(("jobs", "broken"), [(2, 2), (40, 17)])
async def test_an_engine_that_tells_nothing_of_any_job_or_of_many_has_no_list(
    engine: Engine, held: Held, jobs: int, broken: int
) -> None:
    held.jobs = {f"job-{number}": {} for number in range(jobs)}
    held.broken = {f"job-{number}": EngineUnreachable("away") for number in range(broken)}

    with pytest.raises(EngineUnreachable):
        await engine.jobs()


# --- a refused submission --------------------------------------------------------------------------


def there(job: Job) -> Mapping[str, Any]:
    return {"digest": job.digest}


async def test_a_refused_repeat_answers_with_the_job_that_is_there(engine: Engine, held: Held) -> None:
    job = a_job()
    held.jobs[job.jid] = there(job)
    held.refuses = EngineRefused("create", 403, "exceeded quota")

    info = await engine.submit(job)

    assert info.status == "started"
    assert (held.removed, held.discarded) == ([], [])


async def test_a_refused_submission_leaves_another_job_of_its_name_alone(engine: Engine, held: Held) -> None:
    job = a_job()
    held.jobs[job.jid] = there(a_job(args=("other",)))
    held.refuses = EngineRefused("create", 400, "too many cpus")

    with pytest.raises(Conflict):
        await engine.submit(job)

    assert (held.removed, held.discarded) == ([], [])


async def test_what_a_refused_submission_itself_has_left_is_discarded(engine: Engine, held: Held) -> None:
    held.refuses = EngineRefused("start", 500, "no gpu", leftover="0123")

    with pytest.raises(Refused, match="no gpu"):
        await engine.submit(a_job())

    assert held.removed == []
    assert held.discarded == [(a_job().jid, "0123")]
