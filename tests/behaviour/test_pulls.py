"""Images that the engine has to pull first, from a real registry. Docker only: Podman wants TLS from it."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests import engines
from tests.engines import registry as registries
from tests.engines.proxy import Hook, before
from tests.engines.registry import Registry
from tests.live import Live, Server, live, until


@pytest.fixture(scope="module")
def engine() -> engines.Engine:
    return engines.need("docker")


@pytest.fixture
def registry(engine: engines.Engine) -> Iterator[Registry]:
    assert engine.native is not None
    with registries.serving(engine.native.images.get(engines.IMAGE)) as running:
        yield running
    for image in engine.native.images.list():
        for tag in image.tags:
            if tag.startswith(running.address):
                engine.native.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def running(engine: engines.Engine, storebase: Path) -> Iterator[Live]:
    with live(engine, storebase) as found:
        yield found


def fresh(registry: Registry) -> str:
    return registry.reference(f"pman/{uuid.uuid4().hex[:8]}")


def test_a_missing_image_is_pulled_and_the_answer_does_not_wait_for_it(
    running: Live, registry: Registry
) -> None:
    request = running.script("echo ran >> $out/runs", image=fresh(registry))

    answer = running.submit(request)

    assert answer["status"] == "notstarted"
    assert request["image"] in answer["message"]
    assert "pulling" in answer["message"]
    assert running.status(request["jid"])["status"] == "notstarted"
    assert answer["cmd"] == running.status(request["jid"])["cmd"] != ""
    registry.open.set()
    assert running.finished(request["jid"])["status"] == "finishedSuccessfully"
    assert running.output(request, "runs").read_text() == "ran\n"


def test_a_job_that_waits_for_its_image_is_listed_repeated_and_kept_apart(
    running: Live, registry: Registry
) -> None:
    request = running.script("echo ran >> $out/runs", image=fresh(registry))
    running.submit(request)

    assert running.submit(request)["status"] == "notstarted"
    assert running.post({**request, "args": ["other"]}).status_code == 409
    jobs = requests.get(f"{running.server.root}/api/v2/jobs", timeout=60).json()["jobs"]
    assert request["jid"] in {job["jid"] for job in jobs}
    registry.open.set()
    running.finished(request["jid"])
    assert running.output(request, "runs").read_text() == "ran\n"


def test_a_pull_survives_a_pman_that_is_killed(running: Live, registry: Registry) -> None:
    request = running.script("echo ran >> $out/runs", image=fresh(registry))
    running.submit(request)
    running.server.stop(signal.SIGKILL)
    running.server = Server(running.environment())

    assert running.status(request["jid"])["status"] == "notstarted"
    registry.open.set()

    assert running.finished(request["jid"])["status"] == "finishedSuccessfully"
    assert running.output(request, "runs").read_text() == "ran\n"


def test_a_job_deleted_while_its_image_is_pulled_never_runs(
    running: Live, registry: Registry, engine: engines.Engine
) -> None:
    request = running.script("echo ran >> $out/runs", image=fresh(registry))
    running.submit(request)

    assert running.delete(request["jid"]).status_code == 204
    assert running.get(request["jid"]).status_code == 404
    registry.open.set()

    assert engine.native is not None
    images = engine.native.images
    until(lambda: [image for image in images.list() if request["image"] in image.tags])  # the pull goes on
    with pytest.raises(AssertionError, match="nothing came"):
        until(lambda: running.output(request, "runs").exists(), 1)
    assert not [volume for volume in engine.native.volumes.list() if request["jid"] in volume.name]


def test_a_pull_that_fails_at_once_is_502_and_leaves_nothing(running: Live, registry: Registry) -> None:
    registry.open.set()
    for name, word in (("missing", "not found"), ("private", "does not exist, or")):
        request = running.request(image=registry.reference(f"pman/{name}-{uuid.uuid4().hex[:8]}"))

        response = running.post(request)

        assert response.status_code == 502, response.text
        assert word in response.json()["message"]
        assert running.get(request["jid"]).status_code == 404


def test_a_pull_that_fails_late_ends_the_job_with_the_reason_in_its_log(
    running: Live, registry: Registry, engine: engines.Engine
) -> None:
    request = running.request(image=fresh(registry))
    running.submit(request)
    registry.manifest = b"{}"
    registry.open.set()

    answer = running.finished(request["jid"])

    assert answer["status"] == "finishedWithError"
    assert "could not be pulled" in answer["logs"]
    assert answer["timestamp"].startswith("20")
    assert running.submit(request)["status"] == "finishedWithError"
    assert running.delete(request["jid"]).status_code == 204
    assert running.get(request["jid"]).status_code == 404


def test_a_program_that_a_pulled_image_lacks_fails_the_job(running: Live, registry: Registry) -> None:
    request = running.request(image=fresh(registry), entrypoint=["no-such-program"])
    running.submit(request)
    registry.open.set()

    answer = running.finished(request["jid"])

    assert answer["status"] == "finishedWithError"
    assert "no-such-program was not found" in answer["message"]


def test_many_jobs_wait_for_one_pull(running: Live, registry: Registry) -> None:
    image = fresh(registry)
    requested = [running.script("echo ran >> $out/runs", image=image) for _ in range(4)]
    for request in requested:
        running.submit(request)
    registry.open.set()

    for request in requested:
        assert running.finished(request["jid"])["status"] == "finishedSuccessfully"


def test_a_job_that_the_engine_does_not_let_go_is_not_unknown(
    engine: engines.Engine, storebase: Path, registry: Registry, tmp_path: Path
) -> None:
    hook = Hook("DELETE", "/volumes/", status=500)
    with (
        before(engine.address, tmp_path / "proxy.sock", hook) as address,
        live(engine, storebase, DOCKER_HOST=address) as waiting,
    ):
        request = waiting.request(image=fresh(registry))
        waiting.submit(request)

        assert waiting.delete(request["jid"]).status_code == 502
        assert waiting.status(request["jid"])["status"] == "notstarted"
        hook.times = 0
        assert waiting.delete(request["jid"]).status_code == 204
        assert waiting.get(request["jid"]).status_code == 404
