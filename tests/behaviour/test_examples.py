"""The examples of site templates on real engines: a job runs with them, and meets what they promise."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import engines
from tests.behaviour.test_registries import registry  # noqa: F401  (a fixture)
from tests.engines import Engine, slurm
from tests.engines.registry import Registry
from tests.examples import Example, example
from tests.live import Live, live, until

OF_THE_SITE = {
    "CONTAINER_ENV",
    "STORAGE_TYPE",
    "STOREBASE",
    "VOLUME_NAME",
    "JOB_NAMESPACE",
    "IMAGE_PULL_SECRETS",
    "SLURM_MODE",
    "SLURM_ACCOUNT",
}
"""Settings of an example that say where things are: here they are elsewhere."""


@contextmanager
def running(
    given: Example,
    storebase: Path,
    directory: Path,
    names: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[Live]:
    """A pman on an engine of this machine, with the example's templates under the `names` that hold here."""
    engine: Engine = engines.need(given.engine)
    for file in (given.directory / "templates").rglob("*.*"):
        text = file.read_text()
        for name, here in (names or {}).items():
            text = text.replace(name, here)
        target = directory / file.relative_to(given.directory / "templates")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    own = {name: text for name, text in given.environ.items() if name not in OF_THE_SITE}
    with live(engine, storebase, **{**own, "PMAN_TEMPLATES": str(directory), **settings}) as pman:
        yield pman


def log_of(pman: Live, script: str, **changes: str) -> str:
    """What a job that must succeed has written."""
    answer = pman.run(pman.script(script, **changes))
    assert answer["status"] == "finishedSuccessfully", answer
    return str(answer["logs"])


@pytest.mark.parametrize("engine", ["docker", "kubernetes"])
def test_a_job_of_the_hardened_site_writes_where_it_may_and_nowhere_else(
    engine: str, storebase: Path, tmp_path: Path
) -> None:
    with running(example("hardened", engine), storebase, tmp_path) as pman:
        told = log_of(
            pman,
            "id -u; touch /forbidden || echo read-only; touch /tmp/a $out/a && echo written; echo $HOME;"
            "grep -E 'CapEff|NoNewPrivs' /proc/self/status",
        )

    assert sorted(told.splitlines()) == sorted(
        [
            "1001",
            "touch: /forbidden: Read-only file system",
            "read-only",
            "written",
            "/tmp",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
        ]
    )


@pytest.mark.parametrize("engine", ["docker"])
def test_a_docker_job_of_the_hardened_site_has_no_network_and_few_processes(
    engine: str, storebase: Path, tmp_path: Path
) -> None:
    with running(example("hardened", engine), storebase, tmp_path) as pman:
        told = log_of(
            pman,
            "ls /sys/class/net; i=0; while [ $i -lt 600 ]; do sleep 9 & i=$((i+1)); done 2>&1 | tail -1",
        )

    assert told.splitlines()[0] == "lo"
    assert "can't fork" in told


@pytest.mark.parametrize("engine", ["podman"])
def test_a_job_of_the_podman_site_has_its_limits(engine: str, storebase: Path, tmp_path: Path) -> None:
    """As far as this machine's Podman goes: keep-id is for one that is not root's."""
    with running(example("rootless-podman", engine), storebase, tmp_path, ROOTFUL) as pman:
        told = log_of(pman, "ulimit -c; ulimit -Sn; ulimit -Hn; id -u")

    assert told.split() == ["0", "1024", "4096", "1000"]


ROOTFUL = {"{nsmode: keep-id}": "{nsmode: host}"}


@pytest.mark.parametrize("engine", ["docker", "swarm", "kubernetes"])
def test_an_image_comes_from_the_registry_of_the_site(
    engine: str,
    storebase: Path,
    tmp_path: Path,
    registry: Registry,  # noqa: F811  (the fixture)
) -> None:
    registry.login = ""
    registry.open.set()
    names = {"registry.example.org": registry.address}
    with running(example("private-registry", engine), storebase, tmp_path, names) as pman:
        told = log_of(pman, "echo pulled", image=f"pman/{uuid.uuid4().hex[:8]}:1")

    assert told == "pulled\n"


@pytest.mark.parametrize("engine", ["kubernetes"])
def test_a_job_that_asks_for_no_gpu_runs_outside_of_the_pool(
    engine: str, storebase: Path, tmp_path: Path
) -> None:
    with running(example("gpu-pool", engine), storebase, tmp_path) as pman:
        assert log_of(pman, "echo here") == "here\n"


@pytest.mark.parametrize("engine", ["kubernetes"])
def test_a_job_that_asks_for_a_gpu_waits_for_the_pool_and_says_so(
    engine: str, storebase: Path, tmp_path: Path
) -> None:
    with running(example("gpu-pool", engine), storebase, tmp_path, {"runtimeClassName: nvidia": ""}) as pman:
        request = pman.request(gpu_limit=1)
        pman.submit(request)

        def waits() -> bool:
            answer = pman.status(request["jid"])
            assert answer["status"] == "notstarted", answer
            return "node" in answer["message"]

        assert until(waits)


@pytest.mark.parametrize("engine", ["slurm"])
def test_a_job_goes_to_a_partition_of_the_site(engine: str, storebase: Path, tmp_path: Path) -> None:
    """Without Pyxis, which is not here: the programs of the node in its place."""
    names = {'"cpu"': f'"{engines.PARTITION}"', "job.gpu_limit": "0"}
    with running(example("slurm-pyxis", engine), storebase, tmp_path, names, SLURM_RUNTIME="none") as pman:
        request = pman.script("echo ran > $out/ran")
        answer = pman.run(request)
        native = slurm.job(request["jid"])

        assert answer["status"] == "finishedSuccessfully", answer
        assert pman.output(request, "ran").read_text() == "ran\n"
    assert (native["partition"], native["time_limit"]) == (engines.PARTITION, 720)
