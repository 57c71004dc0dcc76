"""What is particular to Podman's document, a SpecGenerator of its own API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pman.errors import ConfigError
from pman.executors.docker.bodies import PODMAN
from pman.executors.docker.storebase import SPEC_GENERATOR
from tests.a_job import FACTS, a_job, a_translation, site_templates

NATIVE = {"MemoryLimit": True, "CpuCfsQuota": True, "ApiVersion": "1.41"}


def document(facts: dict[str, Any] | None = None, **job: Any) -> Any:
    (found,) = a_translation("podman").render(a_job(**job), {**FACTS, **(facts or {})})
    return found.content


def test_both_directories_are_sub_paths_of_the_storebase_and_the_input_is_read_only() -> None:
    incoming, outgoing = document(input_dir='a:b/c,d"e', output_dir="{{ 7*7 }}")["mounts"]

    assert incoming == {
        "destination": "/share/incoming",
        "type": "bind",
        "source": "/srv/storebase",
        "options": ["rbind", "nosuid", "nodev", "ro", 'subpath=a:b/c,d"e'],
    }
    assert outgoing["source"] == "/srv/storebase"
    assert outgoing["options"] == ["rbind", "nosuid", "nodev", "subpath={{ 7*7 }}"]


def test_before_podman_knew_sub_paths_the_directories_are_mounted_by_path() -> None:
    incoming, outgoing = document({"subpath": False}, input_dir="a", output_dir="b")["mounts"]

    assert (incoming["source"], incoming["options"]) == (
        "/srv/storebase/a",
        ["rbind", "nosuid", "nodev", "ro"],
    )
    assert (outgoing["source"], outgoing["options"]) == ("/srv/storebase/b", ["rbind", "nosuid", "nodev"])


def test_the_root_may_be_the_storebase() -> None:
    mounts = document({"storebase": ""}, input_dir="a")["mounts"]

    assert [mount["source"] for mount in mounts] == ["/", "/"]


def test_of_two_variables_of_one_name_the_last_one_counts() -> None:
    assert document(env=("A=1", "B=x=y", "A=2", "C="))["env"] == {"A": "2", "B": "x=y", "C": ""}


def test_without_limits_of_the_request_only_that_of_processes_is_asked_for() -> None:
    assert document(cpu_limit=0, memory_limit=0)["resource_limits"] == {"pids": {"limit": 4096}}


def test_a_job_without_a_container_is_told_as_its_container_would_be() -> None:
    spec = document(env=("A=1",), cpu_limit=1500, memory_limit=200)

    config = PODMAN.config(spec)

    assert config["Image"] == spec["image"]
    assert [*config["Entrypoint"], *config["Cmd"]] == [*spec["entrypoint"], *spec["command"]]
    assert config["Env"] == ["A=1"]
    assert config["Labels"] == spec["labels"]
    assert config["HostConfig"] == {"NanoCpus": 1_500_000_000, "Memory": 200 * 2**20}


@pytest.mark.parametrize(
    "limits",
    [
        {"cpu": {"quota": None, "period": 100_000}, "memory": {"limit": None}},
        {"cpu": {"quota": 0, "period": 0}},
        {"cpu": None, "memory": None},
        None,
    ],
)
def test_limits_that_a_site_leaves_empty_are_none(limits: object) -> None:
    assert PODMAN.config({"resource_limits": limits})["HostConfig"] == {"NanoCpus": 0, "Memory": 0}


def test_a_field_of_dockers_api_stops_the_start(tmp_path: Path) -> None:
    text = (
        '{% extends "builtin/podman/container.yaml.j2" %}\n'
        "{% block extra %}\nHostConfig: {PidsLimit: 9}\n{% endblock %}"
    )
    translation = a_translation(
        "podman", PMAN_TEMPLATES=str(site_templates(tmp_path, {"podman/container.yaml.j2": text}))
    )

    with pytest.raises(ConfigError, match=r"container\.yaml, .*HostConfig.*no field of Podman's own API"):
        translation.check({**FACTS, "native": NATIVE, "documents": {"container.yaml": SPEC_GENERATOR}})
