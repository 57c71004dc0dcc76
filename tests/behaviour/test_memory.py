"""What pman remembers of jobs is what the engine would say, and spares the engine the question."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import engines
from tests.engines.proxy import Hook, before
from tests.live import Live, live, until

SOON = 40.0
"""Seconds, for a slow machine: less than after which pman would ask without a sign from the engine."""


@dataclass
class Watched:
    """A pman whose calls to the engine are counted."""

    live: Live
    asked: Hook
    """Inspections and logs."""

    events: Hook

    def polled(self, jid: str, times: int) -> int:
        """How often the engine was asked about the job for so many polls."""
        before = len(self.asked.paths)
        for _ in range(times):
            self.live.status(jid)
        return sum(jid in path for path in self.asked.paths[before:])

    def settled(self, jid: str, times: int = 300) -> None:
        """Until so many polls ask nothing: Podman tells of a container's cleanup some time after its end."""
        until(lambda: self.polled(jid, times) == 0)


@contextmanager
def watched(engine: engines.Engine, storebase: Path, socket: Path) -> Iterator[Watched]:
    asked = Hook("GET", r"/containers/[^/]+/(json|logs)")
    stream = Hook("GET", r"/events")
    ((variable, address),) = engine.environment.items()
    with (
        before(address, socket, asked, stream) as proxy,
        live(engine, storebase, **{variable: proxy}) as running,
    ):
        yield Watched(running, asked, stream)


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    return engines.need(request.param)


@pytest.fixture(scope="module")
def pman(
    engine: engines.Engine, storebase: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    with watched(engine, storebase, tmp_path_factory.mktemp("engine") / "s") as running:
        yield running


def test_a_poll_of_a_finished_job_asks_the_engine_nothing(pman: Watched) -> None:
    request = pman.live.script("echo hello")
    first = pman.live.run(request)
    pman.settled(request["jid"])

    assert pman.polled(request["jid"], 100) == 0
    assert pman.live.status(request["jid"]) == first
    assert first["logs"] == "hello\n"


def test_the_log_of_a_running_job_is_fetched_once_a_second_whoever_polls(pman: Watched) -> None:
    request = pman.live.script("i=0; while sleep 0.1; do echo $((i=i+1)); done")
    pman.live.submit(request)
    until(lambda: pman.live.status(request["jid"])["logs"])

    began, asked = time.monotonic(), 0
    while time.monotonic() < began + 3:
        asked += pman.polled(request["jid"], 10)

    assert 2 <= asked <= time.monotonic() - began + 2  # the first one, and perhaps one inspection
    before = pman.live.status(request["jid"])["logs"]
    until(lambda: pman.live.status(request["jid"])["logs"] != before, SOON)


def test_a_container_that_is_removed_behind_pmans_back_is_unknown_at_once(
    pman: Watched, engine: engines.Engine
) -> None:
    request = pman.live.request()
    pman.live.run(request)
    pman.settled(request["jid"])

    assert engine.native is not None
    engine.native.containers.get(request["jid"]).remove()

    until(lambda: pman.live.get(request["jid"]).status_code == 404, SOON)


def test_a_container_that_is_started_again_or_killed_from_outside_is_seen(
    pman: Watched, engine: engines.Engine
) -> None:
    request = pman.live.script("echo x >> $out/runs; test $(wc -l < $out/runs) -lt 2 || sleep 600")
    pman.live.run(request)
    pman.settled(request["jid"])
    assert engine.native is not None
    container = engine.native.containers.get(request["jid"])

    container.start()
    until(lambda: pman.live.status(request["jid"])["status"] == "started", SOON)
    pman.settled(request["jid"], times=20)  # within a second, after which its log is asked for
    container.kill()

    assert pman.live.finished(request["jid"], SOON)["status"] == "finishedWithError"


def test_a_name_that_is_given_again_tells_of_the_new_job(pman: Watched) -> None:
    old = pman.live.script("echo old")
    assert pman.live.run(old)["logs"] == "old\n"
    pman.settled(old["jid"])

    assert pman.live.delete(old["jid"]).status_code == 204
    assert pman.live.get(old["jid"]).status_code == 404
    new = pman.live.script("echo new; exit 3", jid=old["jid"])
    pman.live.submit(new)

    assert pman.live.finished(new["jid"])["message"] == "failed with exit code 3"
    assert pman.live.status(new["jid"])["logs"].startswith("new\n")


def test_what_another_pman_deletes_is_gone_for_this_one(
    pman: Watched, engine: engines.Engine, storebase: Path
) -> None:
    request = pman.live.request()
    pman.live.run(request)
    pman.settled(request["jid"])

    with live(engine, storebase) as other:
        assert other.delete(request["jid"]).status_code == 204

    until(lambda: pman.live.get(request["jid"]).status_code == 404, SOON)


def test_without_events_each_poll_asks_and_with_them_none_does(
    engine: engines.Engine, storebase: Path, tmp_path: Path
) -> None:
    with watched(engine, storebase, tmp_path / "s") as pman:
        request = pman.live.request()
        pman.live.run(request)
        pman.settled(request["jid"])

        pman.events.status = 403
        before = pman.events.seen
        pman.events.cut()
        until(lambda: pman.events.seen > before)
        pman.live.status(request["jid"])
        assert pman.polled(request["jid"], 10) == 10  # inspections; the log of an ended job stays as it is
        assert engine.native is not None
        engine.native.containers.get(request["jid"]).remove()
        assert pman.live.get(request["jid"]).status_code == 404
        again = pman.live.request(jid=request["jid"])
        pman.live.run(again)

        pman.events.status = 0
        pman.settled(again["jid"])
        assert "its events do not come" in pman.live.server.output()
