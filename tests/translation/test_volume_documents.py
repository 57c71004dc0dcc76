"""What mounts directories as sub-paths of a volume: on Docker and swarms that can (API 1.45)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.a_job import FACTS, a_job, a_translation

GOLDEN = Path(__file__).parents[1] / "golden" / "volumes"

REQUEST = Path(__file__).parents[1] / "requests" / "ds-unicode-and-control.json"

VOLUMES = {
    "made-of-a-directory": {"name": "pman-storebase-33f0a4c1e6b5", "device": "/srv/store {{base}}"},
    "there-already": {"name": "chris-storebase", "device": ""},
}
"""The statements of engines on the storebase, by the golden files."""


def mounts(engine: str, volume: dict[str, str] | None, **job: Any) -> Any:
    facts = {**FACTS, "storebase_volume": volume}
    (document,) = a_translation(engine).render(a_job(**job), facts)
    body = yaml.safe_load(document.text)
    holder = body["HostConfig"] if engine == "docker" else body["TaskTemplate"]["ContainerSpec"]
    return holder["Mounts"]


@pytest.mark.parametrize("engine", ["docker", "swarm"])
@pytest.mark.parametrize("name", VOLUMES)
def test_a_realistic_request_becomes_the_golden_document(
    engine: str, name: str, request: pytest.FixtureRequest
) -> None:
    golden = GOLDEN / f"{engine}-{name}.yaml"
    translation = a_translation(engine)
    facts = {**FACTS, "storebase_volume": VOLUMES[name]}

    (document,) = translation.render(translation.parse(REQUEST.read_bytes()), facts)

    if request.config.getoption("--update-golden", default=False):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(document.text, "utf-8")
    assert document.text == golden.read_text("utf-8")


@pytest.mark.parametrize("engine", ["docker", "swarm"])
def test_both_directories_are_sub_paths_and_the_input_is_read_only(engine: str) -> None:
    incoming, outgoing = mounts(engine, VOLUMES["there-already"], input_dir="a:b/c", output_dir="{{ 7*7 }}")

    assert incoming == {
        "Type": "volume",
        "Source": "chris-storebase",
        "Target": "/share/incoming",
        "ReadOnly": True,
        "VolumeOptions": {"Subpath": "a:b/c", "NoCopy": True},
    }
    assert outgoing["ReadOnly"] is False
    assert outgoing["VolumeOptions"]["Subpath"] == "{{ 7*7 }}"


@pytest.mark.parametrize("engine", ["docker", "swarm"])
def test_without_sub_paths_the_directories_are_mounted_by_path(engine: str) -> None:
    assert {mount["Type"] for mount in mounts(engine, None)} == {"bind"}
