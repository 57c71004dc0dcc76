"""What is particular to a swarm, on a real one of a single node."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.models.services import Service
from docker.types import ServiceMode

from pman import executors
from pman.errors import UnknownJob
from pman.executors import Executor
from pman.executors.swarm.services import ENDED, OPEN_LABEL
from tests import engines
from tests.a_job import settings_of
from tests.engines.proxy import Hook, before
from tests.engines.swarm import relabel
from tests.live import Live, live, until

MUCH = "yes $(printf %1000d 1) | head -n 20000; sleep 300"
"""20 MB of log, more than is read ahead of a client."""


@pytest.fixture(scope="module")
def swarm(storebase: Path) -> Iterator[Live]:
    with live(engines.need("swarm"), storebase) as running:
        yield running


@pytest.fixture(scope="module")
def native(swarm: Live) -> Any:
    """The engine from outside; of services the types of its client know nothing."""
    return swarm.engine.native


@pytest.fixture
async def executor(swarm: Live) -> AsyncIterator[Executor]:
    connected = executors.connect("swarm", settings_of("swarm", **swarm.engine.environment).values)
    yield connected
    await executors.close(connected)


@pytest.fixture
def stranger(swarm: Live, native: Any) -> Iterator[Service]:
    """A service that pman did not make."""
    name = f"stranger-{uuid.uuid4().hex[:8]}"
    service = native.services.create(
        swarm.engine.image, ["sleep", "300"], name=name, mode=ServiceMode("replicated")
    )
    yield service
    service.remove()


def tasks(native: Any, jid: str) -> list[Mapping[str, Any]]:
    """Of a job, its service deleted or not."""
    found: list[Mapping[str, Any]] = native.api.tasks({"label": f"org.chrisproject.pman.jid={jid}"})
    return found


def living(native: Any, jid: str) -> list[Mapping[str, Any]]:
    return [task for task in tasks(native, jid) if task["Status"]["State"] not in ENDED]


def waiting_for_a_node(swarm: Live, jid: str) -> dict[str, Any]:
    """The answer once the scheduler has told why it waits."""
    return until(lambda: told if "no suitable node" in (told := swarm.status(jid))["message"] else None)


# --- jobs that cannot start ------------------------------------------------------------------------


def test_an_image_that_is_not_there_fails_the_job_and_is_named(swarm: Live) -> None:
    answer = swarm.run(swarm.request(image="localhost/pman-no-such-image:1"))

    assert answer["status"] == "finishedWithError"
    assert "localhost/pman-no-such-image:1 could not be pulled" in answer["logs"].splitlines()[-1]


def test_a_directory_that_the_node_does_not_have_fails_the_job(swarm: Live) -> None:
    with live(swarm.engine, swarm.storebase, STOREBASE="/no/such/storebase") as elsewhere:
        answer = elsewhere.run(elsewhere.request())

    assert answer["status"] == "finishedWithError"
    assert "/no/such/storebase" in answer["message"]
    assert "at the same path on every node" in answer["hint"]


def test_a_job_waits_for_a_node_with_its_labels_and_starts_once_there_is_one(
    swarm: Live, native: Any
) -> None:
    label = f"pman-test-{uuid.uuid4().hex[:8]}"
    with live(swarm.engine, swarm.storebase, NODE_SELECTOR=f"{label}=yes") as selecting:
        request = selecting.request()
        selecting.submit(request)
        answer = waiting_for_a_node(selecting, request["jid"])
        assert answer["status"] == "notstarted"
        assert "constraints not satisfied" in answer["message"]
        assert "NODE_SELECTOR" in answer["hint"]

        relabel(native, {label: "yes"})
        try:
            answer = selecting.finished(request["jid"])
            assert answer["status"] == "finishedSuccessfully"
        finally:
            relabel(native, {label: None})

        # A swarm calls the task of a job rejected that is complete, once its node is another.
        until(lambda: [task["Status"]["State"] for task in tasks(native, request["jid"])] == ["rejected"])
        assert selecting.status(request["jid"]) == answer


def test_a_job_for_gpus_waits_for_a_node_that_offers_them_and_never_runs_once_it_is_deleted(
    swarm: Live, native: Any
) -> None:
    request = swarm.request(gpu_limit=1)
    swarm.submit(request)
    assert "insufficient resources" in waiting_for_a_node(swarm, request["jid"])["message"]

    assert swarm.delete(request["jid"]).status_code == 204

    assert not living(native, request["jid"])  # Docker 20.10 would still place it


# --- what reaches the job --------------------------------------------------------------------------

TEMPLATES = ["{{.Node.Hostname}}", "{{{{}}}} {{- x -}} {{/* c */}}", '{{"{{"}}', "{{", "}}", "{{{a}"]


def test_what_looks_like_a_template_of_go_reaches_the_job_as_it_is(swarm: Live) -> None:
    text = "".join(f'printf "%s\\0" "$V{index}"; ' for index in range(len(TEMPLATES)))
    request = swarm.script(
        f'{{ {text} }} > $out/env; printf "%s\\0" "$1" > $out/args',
        env=[f"V{index}={value}" for index, value in enumerate(TEMPLATES)],
        args=["{{.Task.ID}}"],
    )
    for name in ("input_dir", "output_dir"):
        request[name] += "/{{.Service.Name}} {{{"
        (swarm.storebase / request[name]).mkdir()
        (swarm.storebase / request[name]).chmod(0o777)

    answer = swarm.run(request)

    assert answer["status"] == "finishedSuccessfully", answer
    assert swarm.output(request, "env").read_text().split("\0")[:-1] == TEMPLATES
    assert swarm.output(request, "args").read_text() == "{{.Task.ID}}\0"


def test_a_job_has_few_capabilities_and_its_labels_are_on_service_and_container(
    swarm: Live, native: Any
) -> None:
    with live(swarm.engine, swarm.storebase, JOB_LABELS="org.example.a=b") as labelled:
        request = labelled.script("grep CapBnd /proc/self/status")
        answer = labelled.run(request)

        assert answer["logs"] == "CapBnd:\t00000000000000fb\n"  # as Docker's
        labels = native.api.inspect_service(request["jid"])["Spec"]["Labels"]
        (task,) = tasks(native, request["jid"])
        container = task["Status"]["ContainerStatus"]["ContainerID"]
        for found in (labels, native.api.inspect_container(container)["Config"]["Labels"]):
            assert found["org.example.a"] == "b"
            assert found["org.chrisproject.pman.jid"] == request["jid"]


# --- several workers -------------------------------------------------------------------------------


def test_a_job_of_several_workers_is_over_with_the_last_of_them_though_one_fails(swarm: Live) -> None:
    request = swarm.script(
        "if mkdir $out/first; then echo bad; exit 3; fi; "
        "while [ ! -e $out/go ]; do sleep 0.05; done; echo good",
        number_of_workers=2,
        cpu_limit="100",
    )
    swarm.submit(request)

    failing = until(lambda: told if "1 failed" in (told := swarm.status(request["jid"]))["message"] else None)
    assert (failing["status"], failing["message"]) == ("started", "0 of 2 workers finished, 1 failed")
    swarm.output(request, "go").touch()
    answer = swarm.finished(request["jid"])

    assert answer["status"] == "finishedWithError"
    workers = [f"{request['jid']}.{number}" for number in (0, 1)]
    assert answer["message"] in {f"worker {worker}: failed with exit code 3" for worker in workers}
    said = sorted(answer["logs"].splitlines())
    assert {line.partition("] ")[0] for line in said[:-1]} == {f"[{worker}" for worker in workers}
    assert {line.partition("] ")[2] for line in said[:-1]} >= {"bad", "good"}


def test_the_logs_of_several_workers_are_followed_to_the_end_of_the_last(swarm: Live) -> None:
    request = swarm.script("echo one; sleep 1; echo two", number_of_workers=2, cpu_limit="100")
    swarm.submit(request)

    url = f"{swarm.server.url}{request['jid']}/logs/"
    lines = requests.get(url, params={"follow": "true"}, timeout=60).text.splitlines()

    jid = request["jid"]
    assert sorted(lines) == sorted(f"[{jid}.{n}] {word}" for n in (0, 1) for word in ("one", "two"))


async def test_a_client_that_goes_while_a_log_comes_faster_than_it_reads_leaves_nothing_behind(
    swarm: Live, executor: Executor
) -> None:
    request = swarm.script(MUCH)
    swarm.submit(request)
    swarm.started(request["jid"])
    before = asyncio.all_tasks()
    following = executor.logs(request["jid"], 100_000, follow=True)
    assert isinstance(following, AsyncGenerator)
    await anext(following)
    await asyncio.sleep(0.5)  # as much as is read ahead is there by then

    await asyncio.wait_for(following.aclose(), 5)

    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before
    assert swarm.delete(request["jid"]).status_code == 204


# --- what a swarm would do by itself ---------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_that_has_ended_is_closed_so_that_no_manager_runs_it_again_and_stays_to_be_seen(
    swarm: Live, native: Any, code: int
) -> None:
    request = swarm.script(f"echo seen; exit {code}")
    first = swarm.run(request)

    mode = native.api.inspect_service(request["jid"])["Spec"]["Mode"]
    assert mode == {"ReplicatedJob": {"MaxConcurrent": 0, "TotalCompletions": 0}}
    with live(swarm.engine, swarm.storebase) as another:
        assert another.status(request["jid"]) == first
    assert first["logs"].startswith("seen\n")
    assert first["exit_code"] == code
    assert len(tasks(native, request["jid"])) == 1


def test_a_job_that_nobody_asks_for_is_closed_all_the_same(swarm: Live, native: Any) -> None:
    request = swarm.request()
    swarm.submit(request)

    def closed() -> bool:
        return not native.api.inspect_service(request["jid"])["Spec"]["Mode"]["ReplicatedJob"][
            "TotalCompletions"
        ]

    until(closed)

    assert not native.services.list(filters={"label": OPEN_LABEL, "name": request["jid"]})
    assert swarm.status(request["jid"])["status"] == "finishedSuccessfully"
    assert len(tasks(native, request["jid"])) == 1


def test_nothing_of_a_deleted_job_runs_on_and_its_container_is_gone(swarm: Live, native: Any) -> None:
    request = swarm.script("trap '' TERM; touch $out/alive; while true; do sleep 0.1; done")
    swarm.submit(request)
    until(lambda: swarm.output(request, "alive").exists())
    ended = swarm.request()
    swarm.run(ended)

    for jid in (request["jid"], ended["jid"]):
        found = [task["Status"]["ContainerStatus"]["ContainerID"] for task in tasks(native, jid)]
        assert swarm.delete(jid).status_code == 204
        assert not living(native, jid)
        for container in found:
            with contextlib.suppress(docker.errors.NotFound):
                assert not native.api.inspect_container(container)["State"]["Running"]
    with pytest.raises(docker.errors.NotFound):
        native.api.inspect_container(found[0])


async def test_a_job_that_pman_ends_stays_with_its_reason_and_the_end_of_its_log(
    swarm: Live, executor: Executor, native: Any
) -> None:
    request = swarm.script("echo a log; touch $out/alive; sleep 300")
    jid = request["jid"]
    swarm.submit(request)
    until(lambda: "a log" in swarm.status(jid)["logs"])
    assert jid in await executor.active()

    await executor.end(jid, "nobody wants it")
    await executor.end(jid, "another reason")

    answer = swarm.finished(jid)
    assert (answer["status"], answer["message"]) == ("finishedWithError", "nobody wants it")
    assert answer["logs"] == "a log\npman: nobody wants it\n"
    assert jid not in await executor.active()
    assert jid in await executor.list()
    until(lambda: not tasks(native, jid))
    assert swarm.status(jid) == answer


async def test_a_job_that_waits_is_ended_before_it_starts_and_an_ended_one_is_left(
    swarm: Live, executor: Executor
) -> None:
    waits, ended = swarm.request(gpu_limit=1), swarm.request()
    swarm.submit(waits)
    before_it = swarm.run(ended)

    for request in (waits, ended):
        await executor.end(request["jid"], "a reason")
    with pytest.raises(UnknownJob):
        await executor.end("no-such-job", "a reason")

    assert swarm.finished(waits["jid"])["message"] == "a reason"
    assert swarm.status(ended["jid"]) == before_it


# --- names and managers ----------------------------------------------------------------------------


def test_a_service_of_somebody_else_is_unknown_and_left_alone(swarm: Live, stranger: Service) -> None:
    for known in (str(stranger.name), str(stranger.id), str(stranger.id)[:8]):
        assert swarm.get(known).status_code == 404
        assert swarm.delete(known).status_code == 404

    response = swarm.post(swarm.request(jid=str(stranger.name)))

    assert response.status_code == 409
    assert "not pman's" in response.json()["message"]
    stranger.reload()


def test_a_name_that_no_service_may_have_is_refused(swarm: Live) -> None:
    response = swarm.post(swarm.request(jid="pman.test"))

    assert response.status_code == 400
    assert "jid" in response.json()["message"]


def test_without_a_leader_pman_says_so_and_goes_on_when_there_is_one(swarm: Live, tmp_path: Path) -> None:
    hooks = [Hook("GET", "/services/", status=503, times=0), Hook("POST", "/services/", status=503, times=1)]
    with (
        before(swarm.engine.address, tmp_path / "proxy.sock", *hooks) as address,
        live(swarm.engine, swarm.storebase, DOCKER_HOST=address) as led,
    ):
        request = led.request()
        assert led.post(request).status_code == 503

        assert led.run(request)["status"] == "finishedSuccessfully"

        hooks[0].times = 1
        assert led.get(request["jid"]).status_code == 503
        assert led.get(request["jid"]).status_code == 200


def test_a_manager_that_is_gone_is_503_and_pman_goes_on_when_it_is_back(swarm: Live, tmp_path: Path) -> None:
    request = swarm.request()
    swarm.run(request)
    with before(swarm.engine.address, tmp_path / "proxy.sock") as address:
        running = Live(swarm.engine, swarm.storebase, {"DOCKER_HOST": address})
    try:
        assert running.get(request["jid"]).status_code == 503
        with before(swarm.engine.address, tmp_path / "proxy.sock"):
            assert running.get(request["jid"]).json()["status"] == "finishedSuccessfully"
    finally:
        running.close()


def test_a_service_that_is_made_while_the_connection_is_cut_runs_once(swarm: Live, tmp_path: Path) -> None:
    hook = Hook("POST", "/services/create", drop=True, times=1)
    with (
        before(swarm.engine.address, tmp_path / "proxy.sock", hook) as address,
        live(swarm.engine, swarm.storebase, DOCKER_HOST=address) as cut,
    ):
        request = cut.script("echo run >> $out/runs")
        cut.run(request)

        assert hook.seen == 1
        assert cut.output(request, "runs").read_text() == "run\n"
