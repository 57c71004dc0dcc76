"""The wheel alone is pman, outside of a checkout and in a container."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from packaging.requirements import Requirement

from tests import engines
from tests.engines.cluster import PATHS, PERMISSIONS, Cluster, ClusterError, OwnNamespace, namespace, shipped
from tests.engines.relay import Relay, relay
from tests.live import ended, unmeasured, until

ROOT = Path(__file__).parents[2]
LOCKED = "deploy/requirements.txt"


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)],
        env={**unmeasured(), **environment},
        capture_output=True,
        text=True,
        timeout=1200,  # downloads, on a machine that others keep busy
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def with_dependencies(dist: Path) -> Path:
    """The sdist and wheel, with the wheels of all that pman needs, as the image has them."""
    download: list[str | Path] = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", dist]
    run(*download, "--require-hashes", "--requirement", ROOT / LOCKED)
    run(*download, "pip")
    return dist


def test_the_wheel_carries_every_template_and_schema(dist: Path) -> None:
    (wheel,) = dist.glob("pman-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())

    for folder in ("templates", "schema"):
        shipped = [file for file in (ROOT / folder).rglob("*") if file.is_file()]
        assert shipped
        assert {f"pman/shipped/{file.relative_to(ROOT)}" for file in shipped} <= packed
    kinds = {".html", ".css", ".js", ".svg"}
    page = [file for file in (ROOT / "pman/web/page").rglob("*") if file.suffix in kinds]
    assert page
    assert {str(file.relative_to(ROOT)) for file in page} <= packed


def test_the_image_has_a_release_of_each_dependency_that_pman_can_use() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / LOCKED).read_text(), re.MULTILINE))

    wanted = [Requirement(text) for text in project["dependencies"]]

    assert [each.name for each in wanted if not each.specifier.contains(locked.get(each.name, "0"))] == []


@pytest.mark.packages
def test_the_demo_runs_from_the_wheel_and_what_it_says_that_it_needs(
    with_dependencies: Path, tmp_path: Path
) -> None:
    (wheel,) = with_dependencies.glob("pman-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", tmp_path / "venv", "install", "--quiet"]
    run(*pip, "--no-index", "--find-links", with_dependencies, wheel)

    told = run("sh", "-c", f"cd {tmp_path} && venv/bin/pman demo --engine local")

    assert "finishedSuccessfully" in told


@pytest.fixture(scope="module")
def image(with_dependencies: Path) -> Iterator[str]:
    """Built from the Dockerfile, on a base with Python that is made here: no registry is asked."""
    engine = engines.need("docker")
    client = engine.native
    assert client is not None
    base, built = "localhost/pman-test-python:1", "localhost/pman-test-image:1"
    context = with_dependencies.parent
    (context / "base.Dockerfile").write_text(
        f"FROM {engines.PLUGIN}\nCOPY dist/pip-*.whl /tmp/\nCOPY libraries /usr/lib/\n"
        "RUN python3 $(ls /tmp/pip-*.whl)/pip install -q --no-index --break-system-packages /tmp/pip-*.whl\n"
    )
    (context / "libraries").mkdir()
    known = run("sh", "-c", "PATH=$PATH:/sbin ldconfig -p")  # of this machine, which made the base
    for library in ("libstdc++.so.6", "libgcc_s.so.1"):  # as python:slim has them
        path = re.findall(rf"^\t{re.escape(library)} .* => (.*)", known, re.MULTILINE)[0]
        (context / "libraries" / library).write_bytes(Path(path).read_bytes())
    (context / "deploy").mkdir()
    for name in ("Dockerfile", "deploy/docker-entrypoint.sh", LOCKED):
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


@pytest.mark.packages
def test_the_image_serves_as_a_user_of_its_own_with_the_sockets_group(container: Container) -> None:
    def ready() -> bool:
        container.reload()
        assert container.status == "running", container.logs().decode()
        call = "import urllib.request as u; u.urlopen('http://127.0.0.1:5010/readyz')"
        return container.exec_run(["python3", "-c", call]).exit_code == 0

    until(ready)

    status = container.exec_run(["cat", "/proc/1/status"]).output
    assert isinstance(status, bytes)
    assert b"Uid:\t10001\t10001\t10001\t10001" in status
    assert b"NoNewPrivs:\t1" in status


@pytest.mark.packages
def test_the_image_reports_its_health(container: Container) -> None:
    def healthy() -> bool:
        container.reload()
        time.sleep(0.5)
        return bool(container.attrs["State"]["Health"]["Status"] == "healthy")

    until(healthy)


TOKEN = "a-token-of-this-test"  # noqa: S105  (of no other pman)
CALL = """
import json, sys, requests
method, url, body = sys.argv[1:]
answer = requests.request(method, url, json=json.loads(body), timeout=100)
print(answer.text, end="")
sys.exit(answer.status_code >= 400)
"""


class Deployed:
    """deploy/kubernetes with the image that was built here, and a directory as the claim `storebase`."""

    def __init__(self, own: OwnNamespace, storebase: Path) -> None:
        self.own = own
        self.storebase = storebase

    def apply(self, image: str, bridge: Relay) -> None:
        shared: dict[str, Any] = {"storageClassName": "", "accessModes": ["ReadWriteMany"]}
        size = {"storage": "1Gi"}
        reference = {"namespace": self.own.name, "name": "storebase"}
        volume = {
            **shared,
            "capacity": size,
            "hostPath": {"path": str(self.storebase)},
            "claimRef": reference,
        }
        claim = {**shared, "volumeName": self.own.name, "resources": {"requests": size}}
        call = self.own.cluster.call
        call("POST", "/api/v1/persistentvolumes", {"metadata": {"name": self.own.name}, "spec": volume})
        call("POST", f"/api/v1/namespaces/{self.own.name}/persistentvolumeclaims",
             {"metadata": {"name": "storebase"}, "spec": claim})  # fmt: skip
        call("POST", f"/api/v1/namespaces/{self.own.name}/secrets",
             {"metadata": {"name": "pman"}, "stringData": {"token": TOKEN}})  # fmt: skip
        for document in shipped(self.own.name):
            if document["kind"] == "Deployment":
                pod = document["spec"]["template"]["spec"]
                pod["containers"][0]["image"] = image
                if "//127.0.0.1:" in self.own.cluster.server:
                    _lead_to(bridge, pod)
            if document["kind"] not in PERMISSIONS:  # those are there
                call("POST", PATHS[document["kind"]].format(self.own.name), document)

    def pod(self) -> Any:
        """Once it is ready. Skips where the node does not have the image."""
        selector = "app.kubernetes.io/name=pman"

        def ready() -> Any:
            pods = f"/api/v1/namespaces/{self.own.name}/pods"
            for pod in self.own.cluster.call("GET", pods, labelSelector=selector)["items"]:
                for status in pod["status"].get("containerStatuses", ()):
                    if "Image" in (status["state"].get("waiting") or {}).get("reason", ""):
                        pytest.skip("the cluster's node does not have the images of the Docker engine")
                    if status["ready"]:
                        return pod
            return None

        return until(ready, 120)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Of pman's API, from the pod itself: a proxy of the cluster's hands on no Authorization."""
        words = [method, f"http://pfcon:{TOKEN}@127.0.0.1:5010{path}", json.dumps(body)]
        done = self.container().exec_run(["python3", "-c", CALL, *words])
        assert done.exit_code == 0, done.output
        return json.loads(done.output or b"null")

    def container(self) -> Any:
        """That of pman, of the Docker which is the cluster's node."""
        uid = self.pod()["metadata"]["uid"]
        labels = [f"io.kubernetes.pod.uid={uid}", "io.kubernetes.container.name=pman"]
        client: Any = engines.need("docker").native
        (container,) = client.containers.list(filters={"label": labels})
        return container

    def request(self, jid: str) -> dict[str, Any]:
        """With directories of its own; tells what it reads, writes who it is."""
        for name in ("incoming", "outgoing"):
            directory = self.storebase / f"key-{jid}" / name
            directory.mkdir(parents=True)
            directory.chmod(0o777)
        (self.storebase / f"key-{jid}/incoming/in.txt").write_text("hello\n")
        return {
            "jid": jid,
            "image": engines.IMAGE,
            "entrypoint": ["sh", "-c", "cat $0/in.txt; id -u > $1/out.txt"],
            "args": [],
            "args_path_flags": [],
            "auid": "cube",
            "number_of_workers": "1",
            "cpu_limit": "100",
            "memory_limit": "100",
            "gpu_limit": 0,
            "type": "ds",
            "env": [],
            "input_dir": f"key-{jid}/incoming",
            "output_dir": f"key-{jid}/outgoing",
        }

    def remove_claim(self) -> None:
        path = f"/api/v1/namespaces/{self.own.name}/persistentvolumeclaims/storebase"
        self.own.cluster.call("DELETE", path)

        def gone() -> bool:
            try:
                self.own.cluster.call("GET", path)
            except ClusterError as error:
                return error.status == 404
            return False

        until(gone)

    def close(self) -> None:
        self.own.close()
        self.own.cluster.call("DELETE", f"/api/v1/persistentvolumes/{self.own.name}")


def _lead_to(bridge: Relay, pod: Any) -> None:
    """To an API server that listens on loopback only, of a cluster on which nothing leads services there."""
    host = "kubernetes.default.svc"  # stands in the certificate of each API server
    pod["hostAliases"] = [{"ip": bridge.address.split(":")[0], "hostnames": [host]}]
    address = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(bridge.port)}
    pod["containers"][0]["env"] += [{"name": name, "value": value} for name, value in address.items()]


@pytest.fixture(scope="module")
def deployed(image: str, storebase: Path) -> Iterator[Deployed]:
    engines.need("kubernetes")
    own = namespace(Cluster(os.environ["KUBECONFIG"]))
    if not isinstance(own, OwnNamespace):
        pytest.skip("KUBECONFIG's user may make no namespace")
    found = Deployed(own, storebase)
    client: Any = engines.need("docker").native
    network = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    gateway = ip_network(network["Subnet"])[1]
    with relay(own.cluster.server, host=str(gateway)) as bridge:
        try:
            found.apply(image, bridge)
            yield found
        finally:
            found.close()


@pytest.mark.packages
def test_the_deployment_runs_a_job_as_it_is_shipped(deployed: Deployed) -> None:
    pod = deployed.pod()
    container = deployed.container()
    status = container.exec_run(["cat", "/proc/1/status"]).output.decode()
    for line in ("Uid:\t10001", "Gid:\t10001", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status
    assert container.exec_run(["touch", "/file"]).exit_code != 0
    assert container.exec_run(["touch", "/tmp/file"]).exit_code == 0

    request = deployed.request("deployed")
    assert deployed.call("POST", "/api/v1/", request)["jid"] == "deployed"

    def finished() -> Any:
        answer = deployed.call("GET", "/api/v1/deployed/")
        return answer if ended(answer) else None

    answer = until(finished)
    assert (answer["status"], answer["logs"]) == ("finishedSuccessfully", "hello\n"), answer
    assert (deployed.storebase / request["output_dir"] / "out.txt").read_text() == "1001\n"
    assert deployed.call("GET", "/api/v1/")["container_env"] == "kubernetes"
    deployed.call("DELETE", "/api/v1/deployed/")
    assert deployed.call("GET", "/api/v2/jobs")["jobs"] == []
    again = deployed.pod()
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    assert [each["restartCount"] for each in again["status"]["containerStatuses"]] == [0]


@pytest.mark.packages
def test_a_claim_that_is_removed_while_pman_runs_is_named_by_the_jobs_that_wait_for_it(
    deployed: Deployed,
) -> None:
    deployed.pod()
    deployed.remove_claim()
    deployed.call("POST", "/api/v1/", deployed.request("claimless"))

    def told() -> Any:
        answer = deployed.call("GET", "/api/v1/claimless/")
        return answer if '"storebase" not found' in answer["message"] else None

    answer = until(told)

    assert answer["status"] == "notstarted"
    assert answer["hint"] == "check VOLUME_NAME"
