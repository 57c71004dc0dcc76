"""The wheel alone is pman, outside of a checkout and in a container."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests import engines
from tests.live import until

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, the wheel made of it, and the wheels of all that it needs."""
    directory = tmp_path_factory.mktemp("package") / "dist"
    run(sys.executable, "-m", "build", "--outdir", directory, ROOT)  # the wheel is built from the sdist
    (wheel,) = directory.glob("pman-*.whl")
    run(sys.executable, "-m", "pip", "download", "--quiet", "--dest", directory, wheel, "pip")
    return directory


def test_the_wheel_carries_every_template_and_schema(dist: Path) -> None:
    (wheel,) = dist.glob("pman-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())

    for folder in ("templates", "schema"):
        shipped = [file for file in (ROOT / folder).rglob("*") if file.is_file()]
        assert shipped
        assert {f"pman/shipped/{file.relative_to(ROOT)}" for file in shipped} <= packed


def test_the_demo_runs_from_the_wheel_outside_the_checkout(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("pman-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    pip = (
        tmp_path / "venv/bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--find-links",
        dist,
    )
    run(*pip, wheel)

    told = run("sh", "-c", f"cd {tmp_path} && venv/bin/pman demo --engine local")

    assert "finishedSuccessfully" in told


@pytest.fixture(scope="module")
def image(dist: Path) -> Iterator[str]:
    """Built from the Dockerfile, on a base with Python that is made here: no registry is asked."""
    engine = engines.need("docker")
    client = engine.native
    assert client is not None
    base, built = "localhost/pman-test-python:1", "localhost/pman-test-image:1"
    context = dist.parent
    (context / "base.Dockerfile").write_text(
        f"FROM {engines.PLUGIN}\nCOPY dist/pip-*.whl /tmp/\n"
        "RUN python3 $(ls /tmp/pip-*.whl)/pip install -q --no-index --break-system-packages /tmp/pip-*.whl\n"
    )
    (context / "deploy").mkdir()
    for name in ("Dockerfile", "deploy/docker-entrypoint.sh"):
        (context / name).write_bytes((ROOT / name).read_bytes())
    client.images.build(path=str(context), dockerfile="base.Dockerfile", tag=base, rm=True)
    client.images.build(path=str(context), tag=built, rm=True, buildargs={"BASE": base, "PIP_NO_INDEX": "1"})
    yield built
    client.images.remove(built, force=True)
    client.images.remove(base, force=True)


@pytest.fixture
def container(image: str, storebase: Path) -> Iterator[Container]:
    """As miniChRIS starts it: the socket mounted, no user set."""
    client = engines.need("docker").native
    assert isinstance(client, docker.DockerClient)
    socket = os.environ["DOCKER_HOST"].removeprefix("unix://")
    if not Path(socket).is_socket():
        pytest.skip(f"DOCKER_HOST={os.environ['DOCKER_HOST']} is no socket to mount")
    running = client.containers.run(
        image,
        detach=True,
        volumes={socket: {"bind": "/var/run/docker.sock"}},
        environment={
            "CONTAINER_ENV": "docker",
            "STORAGE_TYPE": "host",
            "STOREBASE": str(storebase),
            "CONTAINER_USER": "1001:",
            "ENABLE_HOME_WORKAROUND": "yes",
            "JOB_LABELS": "org.chrisproject.miniChRIS=plugininstance",
            "SECRET_KEY": "secret",
            "REMOVE_JOBS": "yes",
        },
    )
    yield running
    running.remove(force=True)


def test_the_image_serves_as_a_user_of_its_own_with_the_sockets_group(container: Container) -> None:
    def ready() -> bool:
        call = "import urllib.request as u; u.urlopen('http://127.0.0.1:5010/readyz')"
        return container.exec_run(["python3", "-c", call]).exit_code == 0

    until(ready)

    status = container.exec_run(["cat", "/proc/1/status"]).output
    assert isinstance(status, bytes)
    assert b"Uid:\t10001\t10001\t10001\t10001" in status
    assert b"NoNewPrivs:\t1" in status


def test_the_image_reports_its_health(container: Container) -> None:
    def healthy() -> bool:
        container.reload()
        time.sleep(0.5)
        return bool(container.attrs["State"]["Health"]["Status"] == "healthy")

    until(healthy)
