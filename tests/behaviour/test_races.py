"""Calls that are slow, lost or crossed, at the worst moment: a job runs once, and none is lost."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import engines
from tests.behaviour.test_pulls import engine, fresh, registry
from tests.engines.proxy import Hook, before
from tests.engines.registry import Registry
from tests.live import Live, live, until

__all__ = ["engine", "registry"]


@pytest.fixture
def plain(engine: engines.Engine, storebase: Path) -> Iterator[Live]:
    with live(engine, storebase) as running:
        yield running


def both(*calls: Any) -> list[requests.Response]:
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(*call) for call in calls]]


def test_a_job_that_waits_for_its_image_runs_once_whoever_posts_it_and_how_often(
    plain: Live, engine: engines.Engine, storebase: Path, registry: Registry, tmp_path: Path
) -> None:
    slow = Hook("POST", "containers/create", after=0.6)
    address = engine.environment["DOCKER_HOST"]
    with before(address, tmp_path / "p", slow) as proxy, live(engine, storebase, DOCKER_HOST=proxy) as other:
        for _ in range(3):
            request = plain.script("echo ran >> $out/runs", image=fresh(registry))
            registry.open.clear()
            answers = both(*[(pman.post, request) for pman in (plain, other, plain, other)])
            assert [answer.status_code for answer in answers] == [201] * 4, [a.text for a in answers]
            registry.open.set()

            assert plain.finished(request["jid"])["status"] == "finishedSuccessfully"
            time.sleep(1)  # for what would come late
            assert other.status(request["jid"])["status"] == "finishedSuccessfully"
            assert plain.output(request, "runs").read_text() == "ran\n"


def test_a_deleted_job_does_not_run_under_a_new_one_of_its_name(
    plain: Live, engine: engines.Engine, storebase: Path, registry: Registry
) -> None:
    with live(engine, storebase) as other:
        old = plain.script("echo old >> $out/runs", image=fresh(registry))
        plain.submit(old)
        assert other.delete(old["jid"]).status_code == 204
        new = {**other.script("echo new >> $out/runs", jid=old["jid"]), "image": fresh(registry)}
        other.submit(new)
        registry.open.set()

        assert other.finished(new["jid"])["status"] == "finishedSuccessfully"
        assert other.output(new, "runs").read_text() == "new\n"


def test_a_job_deleted_while_its_container_is_created_is_gone_for_good(
    engine: engines.Engine, storebase: Path, registry: Registry, tmp_path: Path
) -> None:
    deleted = threading.Event()
    slow = Hook("POST", "containers/create", until=deleted, times=0)
    with (
        before(engine.environment["DOCKER_HOST"], tmp_path / "p", slow) as proxy,
        live(engine, storebase, DOCKER_HOST=proxy) as running,
    ):
        request = running.script("echo ran >> $out/runs", image=fresh(registry))
        running.submit(request)
        slow.times = 1
        registry.open.set()
        until(lambda: slow.seen)

        assert running.delete(request["jid"]).status_code == 204
        deleted.set()

        until(lambda: running.get(request["jid"]).status_code == 404)
        with live(engine, storebase) as later:
            time.sleep(2)
            assert later.get(request["jid"]).status_code == 404
        assert not running.output(request, "runs").exists()


def test_a_pulled_job_is_taken_though_the_engine_drops_calls_meanwhile(
    engine: engines.Engine, storebase: Path, registry: Registry, tmp_path: Path
) -> None:
    drops = Hook("POST", "containers/create", drop=True, times=0)
    with (
        before(engine.environment["DOCKER_HOST"], tmp_path / "p", drops) as proxy,
        live(engine, storebase, DOCKER_HOST=proxy) as running,
    ):
        request = running.script("echo ran >> $out/runs", image=fresh(registry))
        running.submit(request)
        drops.times = 3
        registry.open.set()

        assert running.finished(request["jid"])["status"] == "finishedSuccessfully"
        assert running.output(request, "runs").read_text() == "ran\n"
        assert drops.seen == 3


def test_a_slow_creator_does_not_start_what_another_pman_has_run(
    plain: Live, engine: engines.Engine, storebase: Path, tmp_path: Path
) -> None:
    slow = Hook("POST", "containers/create", after=7)
    with (
        before(engine.environment["DOCKER_HOST"], tmp_path / "p", slow) as proxy,
        live(engine, storebase, DOCKER_HOST=proxy) as other,
    ):
        request = plain.script("echo ran >> $out/runs")

        answers = both((other.post, request), (plain.post, request))

        assert [answer.status_code for answer in answers] == [201, 201]
        plain.finished(request["jid"])
        assert plain.output(request, "runs").read_text() == "ran\n"


def test_a_log_that_could_not_be_read_is_asked_for_again(
    engine: engines.Engine, storebase: Path, tmp_path: Path
) -> None:
    fails = Hook("GET", "/logs", status=500, times=2)
    with (
        before(engine.environment["DOCKER_HOST"], tmp_path / "p", fails) as proxy,
        live(engine, storebase, DOCKER_HOST=proxy) as running,
    ):
        request = running.script("echo said")
        running.submit(request)
        until(lambda: running.get(request["jid"]).status_code == 200)

        assert running.finished(request["jid"])["logs"] == "said\n"


def test_a_strangers_label_disturbs_neither_the_list_nor_the_start(
    plain: Live, engine: engines.Engine
) -> None:
    assert engine.native is not None
    label = {"org.chrisproject.pman.jid": "../../images"}
    stranger = engine.native.containers.create(engine.image, ["true"], labels=label)
    try:
        assert requests.get(f"{plain.server.root}/api/v2/jobs", timeout=60).status_code == 200
        with live(engine, plain.storebase) as later:
            assert later.run(later.request())["status"] == "finishedSuccessfully"
            assert "Traceback" not in later.server.output()
    finally:
        stranger.remove()
