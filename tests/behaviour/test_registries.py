"""Images that a node has to pull first, from a real registry, with and without a login.

On the engines whose nodes pull by Docker: Podman wants TLS from a registry, this machine has no images.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tests.engines import registry as registries
from tests.engines.registry import Registry
from tests.live import Live, live, until


@pytest.fixture(scope="module", params=["docker", "swarm", "kubernetes"])
def pulling(request: pytest.FixtureRequest, storebase: Path) -> Iterator[Live]:
    with live(engines.need(request.param), storebase) as running:
        yield running


@pytest.fixture
def registry() -> Iterator[Registry]:
    native = engines.need("docker").native
    assert native is not None
    with registries.serving(native.images.get(engines.IMAGE), login="somebody:a password") as running:
        yield running
    for image in native.images.list():
        for tag in image.tags:
            if tag.startswith(running.address):
                native.images.remove(tag, force=True)


def fresh(registry: Registry) -> str:
    return registry.reference(f"pman/{uuid.uuid4().hex[:8]}")


def login(engine: engines.Engine, registry: Registry, directory: Path) -> dict[str, str]:
    """What a site sets so that its nodes may pull."""
    credentials = json.dumps(registry.credentials())
    if not engine.namespace:
        (directory / "config.json").write_text(credentials)
        return {"DOCKER_CONFIG": str(directory)}  # of the docker client: pman has its logins from there
    name = f"pman-test-{uuid.uuid4().hex[:8]}"
    secret: dict[str, Any] = {
        "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(credentials.encode()).decode()},
    }
    engine.namespace.cluster.call("POST", f"/api/v1/namespaces/{engine.namespace.name}/secrets", secret)
    return {"IMAGE_PULL_SECRETS": name}


def test_a_job_waits_for_its_image_and_runs_once(pulling: Live, registry: Registry) -> None:
    registry.login = ""
    request = pulling.script("echo ran >> $out/runs", image=fresh(registry))
    pulling.submit(request)

    answer = until(lambda: found if "image" in (found := pulling.status(request["jid"]))["message"] else None)
    assert answer["status"] == "notstarted"
    registry.open.set()

    assert pulling.finished(request["jid"])["status"] == "finishedSuccessfully"
    assert pulling.output(request, "runs").read_text() == "ran\n"


def test_an_image_is_pulled_with_the_login_of_the_site(
    pulling: Live, registry: Registry, tmp_path: Path
) -> None:
    registry.open.set()
    with live(pulling.engine, pulling.storebase, **login(pulling.engine, registry, tmp_path)) as running:
        answer = running.run(running.request(image=fresh(registry)))

        assert answer["status"] == "finishedSuccessfully", answer


def test_an_image_is_not_pulled_without_a_login_and_the_answer_says_why(
    pulling: Live, registry: Registry
) -> None:
    registry.open.set()
    request = pulling.request(image=fresh(registry))

    response = pulling.post(request)

    if response.status_code == 201:
        answer = until(lambda: found if (found := pulling.status(request["jid"]))["hint"] else None)
        assert answer["status"] in {"notstarted", "finishedWithError"}
    else:
        assert response.status_code == 502
        answer = response.json()
    assert "image" in answer["message"]
    assert "no basic auth credentials" in answer["message"] or "No such image" in answer["message"]
