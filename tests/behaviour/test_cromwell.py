"""Cromwell at its worst: calls that are slow, lost or refused, and pmans that come and go."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests import engines
from tests.engines.proxy import Hook, before
from tests.engines.relay import relay
from tests.live import Live, Server, live, until

EPILOG = Path(__file__).parents[2] / "deploy" / "cromwell" / "slurm-epilog.sh"

SUBMISSION = "^/api/workflows/v1$"


@pytest.fixture(scope="module")
def cromwell() -> engines.Engine:
    return engines.need("cromwell")


@pytest.fixture(scope="module")
def plain(cromwell: engines.Engine, storebase: Path) -> Iterator[Live]:
    with live(cromwell, storebase) as running:
        yield running


@pytest.fixture(scope="module")
def hooked(
    cromwell: engines.Engine, storebase: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Live, Hook]]:
    """A pman behind a proxy, and what happens there."""
    nothing = Hook("GET", "", times=0)
    with (
        before(cromwell.address, tmp_path_factory.mktemp("proxy") / "p", nothing) as proxy,
        live(cromwell, storebase, CROMWELL_URL=proxy) as running,
    ):
        yield running, nothing


@pytest.fixture
def behind(hooked: tuple[Live, Hook]) -> Iterator[Live]:
    yield hooked[0]
    hooked[1].times = 0


@pytest.fixture
def hook(hooked: tuple[Live, Hook]) -> Hook:
    return hooked[1]


def test_a_submission_is_answered_before_cromwell_tells_of_it(plain: Live) -> None:
    request = plain.script("echo said")

    answer = plain.submit(request)

    assert answer["status"] == "notstarted"
    assert answer["cmd"].endswith("/share/incoming /share/outgoing")
    assert plain.finished(request["jid"])["logs"] == "said\n"


def test_what_one_pman_has_just_submitted_is_known_to_another_one(plain: Live) -> None:
    other = Server(plain.environment())
    try:
        for _ in range(3):
            request = plain.request()
            plain.submit(request)

            response = requests.get(f"{other.url}{request['jid']}/", timeout=60)

            assert response.status_code == 200, response.text
            assert response.json()["image"] == request["image"]
    finally:
        other.stop()


def test_a_job_that_another_pman_has_deleted_is_unknown_and_its_name_is_free(plain: Live) -> None:
    with live(plain.engine, plain.storebase) as other:
        request = plain.script("echo first")
        plain.run(request)
        assert other.status(request["jid"])["logs"] == "first\n"

        assert other.delete(request["jid"]).status_code == 204

        again = plain.script("echo second", jid=request["jid"])
        plain.submit(again)
        assert other.finished(request["jid"])["logs"] == "second\n"
        assert plain.status(request["jid"])["logs"] == "second\n"


@pytest.mark.parametrize(
    "fault", [{"drop": True}, {"drop": True, "late": True}, {"status": 500}, {"status": 503}, {"after": 1}]
)
def test_a_submission_that_cromwell_fumbles_runs_once(
    behind: Live, hook: Hook, fault: dict[str, int]
) -> None:
    hook.become(Hook("POST", SUBMISSION, times=1, **fault))  # type: ignore[arg-type]  # of several kinds
    request = behind.script("echo run >> $out/runs")

    first = behind.post(request)

    assert first.status_code == 201, first.text
    assert behind.finished(request["jid"])["status"] == "finishedSuccessfully"
    assert behind.submit(request)["status"] == "finishedSuccessfully"
    assert behind.output(request, "runs").read_text() == "run\n"
    assert hook.seen == 1


def test_while_cromwell_fails_polls_are_503_and_no_job_is_lost(behind: Live, hook: Hook) -> None:
    request = behind.script("while [ ! -e $out/go ]; do sleep 0.1; done; echo done")
    behind.submit(request)
    behind.started(request["jid"])

    hook.become(Hook("(GET|POST)", "(metadata|query)", status=500))
    response = behind.get(request["jid"])
    deleted = behind.delete(request["jid"])
    hook.times = 0

    assert (response.status_code, deleted.status_code) == (503, 503)
    assert "answered 500 to GET /api/workflows/v1/" in response.json()["message"]
    assert response.headers["Retry-After"]
    behind.output(request, "go").touch()
    assert behind.finished(request["jid"])["logs"] == "done\n"


def test_without_cromwell_pman_starts_answers_503_and_goes_on_when_it_is_back(
    cromwell: engines.Engine, storebase: Path
) -> None:
    with relay(cromwell.address) as between:
        between.down()
        with live(cromwell, storebase, **cromwell.at(between.address, storebase)) as running:
            request = running.script("echo run >> $out/runs")
            for response in (running.post(request), running.get(request["jid"])):
                assert response.status_code == 503
                assert "Cromwell does not answer at http://127.0.0.1" in response.json()["message"]
            assert requests.get(f"{running.server.root}/readyz", timeout=60).status_code == 503

            between.up()

            running.run(request)
            assert running.output(request, "runs").read_text() == "run\n"


def test_a_job_is_deleted_though_pman_is_killed_meanwhile(plain: Live) -> None:
    with live(plain.engine, plain.storebase) as running:
        request = running.script("while true; do date >> $out/alive; sleep 0.1; done")
        running.submit(request)
        until(lambda: running.output(request, "alive").exists())
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            deletion = pool.submit(running.delete, request["jid"])
            time.sleep(0.2)
            running.restart()
            assert isinstance(deletion.exception(), requests.RequestException | None)

        assert running.delete(request["jid"]).status_code in {204, 404}

        assert running.get(request["jid"]).status_code == 404
        size = running.output(request, "alive").stat().st_size
        time.sleep(1)
        assert running.output(request, "alive").stat().st_size == size


def test_many_who_poll_are_answered_by_few_calls(behind: Live, hook: Hook) -> None:
    requested = [behind.script("while [ ! -e $out/go ]; do sleep 0.2; done", cpu_limit=50) for _ in range(8)]
    for request in requested:
        behind.submit(request)
    for request in requested:
        behind.started(request["jid"])
    jids = [request["jid"] for request in requested] * 20

    hook.become(Hook("(GET|POST)", "(metadata|query)"))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(behind.status, jids))

    assert {answer["status"] for answer in answers} == {"started"}
    assert hook.seen < len(jids) / 2
    for request in requested:
        behind.output(request, "go").touch()
    for request in requested:
        behind.finished(request["jid"])


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_the_epilog_of_a_job_leaves_none_of_its_containers_and_all_others(name: str) -> None:
    """By the programs of the nodes; what is left behind where SIGKILL met those who started it."""
    engine = engines.need(name)
    if not shutil.which(name):
        pytest.skip(f"there is no program {name}")
    job = str(uuid.uuid4().int % 10**9)
    its = [f"cromwell_a_plugin_instance-{job}-{worker}" for worker in (0, 12)]
    others = [f"cromwell_a_plugin_instance-{other}-0" for other in (f"1{job}", job[:-1])] + [f"other-{job}-0"]
    environment = {**os.environ, **engine.environment, "SLURM_JOB_ID": job, "CONTAINER_ENGINE": name}

    def call(*words: str | Path) -> str:
        return subprocess.check_output([*map(str, words)], env=environment, text=True)

    try:
        for container in (*its, *others):
            call(name, "create", "--name", container, engine.image, "sleep", "100")

        call("sh", EPILOG)

        found = call(name, "ps", "--all", "--format", "{{.Names}}").split()
        assert not set(its) & set(found)
        assert set(others) <= set(found)
    finally:
        subprocess.run(
            [name, "rm", "--force", *its, *others], env=environment, capture_output=True, check=False
        )
