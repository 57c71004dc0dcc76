"""What shows pman a storebase that it does not see is never something that a caller has made."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from pman.errors import EngineRefused
from pman.executors.docker.lens import Lens
from pman.executors.docker.storebase import Storebase
from tests import engines
from tests.behaviour.test_networks import connected
from tests.live import live


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    return engines.need(request.param)


async def test_a_container_that_has_the_name_of_a_lens_shows_nothing(
    engine: engines.Engine, tmp_path: Path
) -> None:
    (tmp_path / "directory").mkdir()
    async with connected(engine) as api:
        lens = Lens(api, Storebase(str(tmp_path)))
        body = {
            "Image": engine.image,
            "Cmd": ["true"],
            "HostConfig": {"Binds": [f"{tmp_path.parent}:/storebase"]},
        }
        status, _ = await api.call("POST", "/containers/create", {"name": lens.name}, json=body)
        assert status == 201
        try:
            with pytest.raises(EngineRefused, match="no lens"):
                await lens.fault(["directory"])
        finally:
            await api.call("DELETE", f"/containers/{lens.name}", {"force": "1"})
        assert not await lens.fault(["directory"])
        await api.call("DELETE", f"/containers/{lens.name}", {"force": "1"})
        assert not await lens.fault(["directory"])
        await api.call("DELETE", f"/containers/{lens.name}", {"force": "1"})


def test_no_job_has_the_name_of_a_lens(engine: engines.Engine, storebase: Path) -> None:
    with live(engine, storebase) as running:
        answer = running.post(running.request(jid=f"pman-lens-{uuid.uuid4().hex[:12]}"))

    assert answer.status_code == 409, answer.text
