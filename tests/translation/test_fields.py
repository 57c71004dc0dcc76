from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pman import schema
from pman.errors import ConfigError, EngineUnreachable
from pman.executors.docker.bodies import PODMAN
from pman.executors.docker.markers import inspection
from pman.job import JobDetails
from pman.settings import MASK
from pman.translation.translation import Translation
from tests import states
from tests.a_job import ENGINES, a_job, settings_of

SITE = {"STOREBASE": "/tmp/pman-states"}


def translation(engine: str, **settings: Any) -> Translation:
    own = {"cromwell": {"CROMWELL_URL": "http://cromwell"}, "slurm": {"SLURM_MODE": "cli"}}.get(engine, {})
    return Translation(settings_of(engine, **SITE, **own, **settings))


@cache
def shipped(engine: str) -> Translation:
    """Compiled when a test needs it: each worker of a run reads this module, and one runs it."""
    return translation(engine)


FACTS = {"storebase": SITE["STOREBASE"], "native": {}}


def details(engine: str, native: dict[str, Any]) -> JobDetails:
    return shipped(engine).details("job", native, FACTS)


JOB = schema.validator({"$ref": "urn:pman:api#/$defs/Job"})

RECORDED = [(engine, state) for engine in ENGINES for state in states.recorded(engine)]


@pytest.mark.parametrize(("engine", "state"), RECORDED)
def test_every_recorded_state_has_its_details_and_its_documents(engine: str, state: str) -> None:
    native = states.native(engine, state)
    try:
        found = details(engine, native)
    except EngineUnreachable:
        return  # by a rule: there is no answer to add anything to

    assert found.finished is None or found.info.ended
    assert not schema.faults(JOB, found.answer(datetime.now(UTC)))
    assert isinstance(shipped(engine).applied(native, {}, FACTS), tuple)


@pytest.mark.parametrize(
    ("engine", "state"),
    [
        ("docker", "exited-3"),
        ("podman", "exited-3"),
        ("swarm", "complete"),
        ("kubernetes", "failed-3"),
        ("slurm", "completed"),
        ("cromwell", "succeeded"),
    ],
)
def test_an_ended_job_tells_when_it_was_made_and_when_it_ended(engine: str, state: str) -> None:
    found = details(engine, states.native(engine, state))

    assert found.created
    assert found.finished
    assert found.created <= found.finished
    assert found.request["auid"] == "rudolph"
    assert found.request["memory_limit"] is not None


def test_a_container_tells_its_limits_its_directories_and_its_command() -> None:
    for engine in ("docker", "podman"):
        answer = details(engine, states.native(engine, "exited-3")).request

        assert (answer["cpu_limit"], answer["memory_limit"], answer["gpu_limit"]) == (1000, 200, 0)
        assert (answer["input_dir"], answer["output_dir"]) == ("incoming", "outgoing")
        assert answer["entrypoint"] == ["sh"]
        assert answer["args"] == ["-c", "exit 3"]


@pytest.mark.parametrize(
    ("quantity", "millicores"),
    [("200m", 200), ("1", 1000), ("1500m", 1500), ("1k", 10**6), (2, 2000), ("0.5", 500), (None, 0)],
)
def test_a_cpu_quantity_of_kubernetes_is_told_in_millicores(quantity: object, millicores: int) -> None:
    native = states.native("kubernetes", "succeeded")
    native["job"]["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": quantity}}

    assert details("kubernetes", native).request["cpu_limit"] == millicores


@pytest.mark.parametrize(
    ("quantity", "mebibytes"), [("200Mi", 200), ("1Gi", 1024), ("2Ti", 2 * 2**20), (None, 0)]
)
def test_a_memory_quantity_of_kubernetes_is_told_in_mebibytes(quantity: object, mebibytes: int) -> None:
    native = states.native("kubernetes", "succeeded")
    native["job"]["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": quantity}}

    assert details("kubernetes", native).request["memory_limit"] == mebibytes


def native_of(engine: str, content: dict[str, Any]) -> dict[str, Any]:
    """What the engine would say of these documents, as far as the request is in it."""
    main = next(iter(content.values()))
    made: dict[str, dict[str, Any]] = {
        "docker": {"Config": main, "HostConfig": main.get("HostConfig"), "State": {}},
        "swarm": {"service": {"Spec": main}, "tasks": [], "lost": []},
        "kubernetes": {"job": main, "pods": [], "events": []},
        "local": {"job": content.get("job.yaml"), "state": {"status": "created"}},
        "slurm": {
            "notes": (n := content.get("job.json", {})).get("notes"),
            "sent": n.get("job"),
            "source": "unsubmitted",
        },
        "cromwell": {
            "metadata": {
                "status": "Submitted",
                "labels": content.get("labels.json"),
                "submittedFiles": {"options": json.dumps(content.get("options.json"))},
            }
        },
    }
    if engine == "podman":
        return dict(inspection("a-job", PODMAN.config(main), {}))
    return made[engine]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_asked_for_is_told_as_it_was(engine: str) -> None:
    job = a_job(env=("TOKEN=secret value", "A="), args=("a $x", "{{b}}"), gpu_limit=0)
    documents = shipped(engine).render(job, FACTS)
    native = native_of(engine, {d.name: d.content for d in documents if d.content is not None})

    found = details(engine, native).request

    assert found["env"] == [f"TOKEN={MASK}", f"A={MASK}"]
    for name in ("entrypoint", "args"):
        assert tuple(found[name]) == getattr(job, name)
    for name in (
        "auid",
        "cpu_limit",
        "memory_limit",
        "gpu_limit",
        "number_of_workers",
        "input_dir",
        "output_dir",
    ):
        assert found[name] == getattr(job, name), name


@pytest.mark.parametrize("engine", ["docker", "swarm", "kubernetes", "slurm", "cromwell"])
def test_gpus_are_told_as_they_were_asked_for(engine: str) -> None:
    documents = shipped(engine).render(a_job(gpu_limit=2), FACTS)

    native = native_of(engine, {d.name: d.content for d in documents if d.content is not None})

    assert details(engine, native).request["gpu_limit"] == 2


def test_a_site_may_change_a_field_and_a_document(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "state.yaml").write_text(
        "extends: builtin/docker/state.yaml\n"
        "fields:\n  number_of_workers: '7'\n"
        "applied:\n  extra.json: \"{'network': native.HostConfig.NetworkMode}\"\n"
    )
    site = translation("docker", PMAN_TEMPLATES=str(tmp_path))
    native = states.native("docker", "running")

    found = site.details("job", native, FACTS)

    assert found.request["number_of_workers"] == 7
    assert [document.name for document in site.applied(native, {}, FACTS)] == ["container.yaml", "extra.json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fields:\n  created: natvie.x\n", "fields: natvie is not known"),
        ("applied:\n  a.yaml: site.x\n", "applied: site is not known; use native, "),
        ("applied:\n  a.txt: native\n", "a.txt"),
        ("fields:\n  creatde: native\n", "did you mean created?"),
    ],
)
def test_a_mistake_in_them_stops_the_start(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "state.yaml").write_text(f"extends: builtin/docker/state.yaml\n{text}")

    with pytest.raises(ConfigError) as caught:
        translation("docker", PMAN_TEMPLATES=str(tmp_path))

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("labels", "'3'"),
        ("labels", "3"),
        ("created", "'yesterday'"),
        ("started", "1e300"),
        ("finished", "[1]"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named_and_a_list_tells_of_the_job_all_the_same(
    tmp_path: Path, field: str, text: str
) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "state.yaml").write_text(
        f'extends: builtin/docker/state.yaml\nfields:\n  {field}: "{text}"\n'
    )
    site = translation("docker", PMAN_TEMPLATES=str(tmp_path))
    native = states.native("docker", "exited-3")

    with pytest.raises(ConfigError, match=rf"templates/docker/state\.yaml: fields: {field} fails"):
        site.details("job", native, FACTS)

    found = site.listed("job", native, FACTS)
    assert found.info.status == "finishedWithError"
    assert f"fields: {field} fails" in found.info.message
    assert not schema.faults(JOB, found.answer(datetime.now(UTC)))


def test_a_job_that_the_rules_cannot_tell_of_is_listed_with_the_reason_and_its_fields() -> None:
    native = states.native("podman", "exited-3")
    native["State"]["Status"] = "unknown"

    with pytest.raises(EngineUnreachable) as caught:
        details("podman", native)

    found = shipped("podman").listed("job", native, FACTS)
    assert (found.info.jid, found.info.status) == ("job", "started")
    assert found.info.message == str(caught.value)
    assert found.request["memory_limit"] == 200
    assert not schema.faults(JOB, found.answer(datetime.now(UTC)))


def test_labels_are_told_without_what_is_secret() -> None:
    native = states.native("docker", "exited-3")
    native["Config"]["Env"] = ["USER_TOKEN=sesame-open"]
    native["Config"]["Labels"] |= {"a": "is sesame-open", "registry.auth": "x7", "b": "c"}

    labels = details("docker", native).labels

    assert (labels["a"], labels["registry.auth"], labels["b"]) == (f"is {MASK}", MASK, "c")
