"""Where each engine is, by the usual variables, or why its tests are skipped.

PMAN_REQUIRE_ENGINES names the engines whose absence is a failure, separated by spaces or commas.
Starting an engine is not the suite's work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import DockerException

from tests.engines import slurm
from tests.engines.cluster import Cluster, ClusterError, Namespace, namespace

IMAGE = os.environ.get("PMAN_TEST_IMAGE", "localhost/pman-test:1")
"""A busybox: sh and its applets."""

PLUGIN = os.environ.get("PMAN_TEST_PLUGIN", "localhost/fnndsc/pl-simpledsapp:1.0.3")
"""A real ChRIS plugin, which copies its input with a prefix."""

NAMES = ("docker", "podman", "swarm", "kubernetes", "cromwell", "local", "slurm")

VARIANTS = {"slurm-cli": "slurm"}
"""Another way to an engine that all jobs go, too: by SLURM's programs, with another container runtime."""

VARIABLES = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST", "swarm": "DOCKER_HOST",
             "kubernetes": "KUBECONFIG", "cromwell": "CROMWELL_URL", "slurm": "SLURMRESTD_URL",
             "slurm-cli": "SLURM_CONF"}  # fmt: skip
"""What leads to each engine, for pman as for the tests; the machine itself is always there."""

SECONDS = {"": 300, "docker": 190, "podman": 85, "swarm": 90, "kubernetes": 145, "cromwell": 80,
           "slurm": 95, "slurm-cli": 30, "local": 25}  # fmt: skip
"""By engine: about what its tests add to a run on two idle processors; "" stands for no engine."""

AT_ONCE = {"": 64, "docker": 2, "podman": 2, "swarm": 2, "kubernetes": 3, "cromwell": 2,
           "slurm": 2, "slurm-cli": 1, "local": 3}  # fmt: skip
"""By engine: how many workers have tests on it; more of them would only wait for each other's jobs."""

PARTITION = os.environ.get("PMAN_TEST_PARTITION", "debug")
"""One of the SLURM behind Cromwell, which must have the images in Docker or Podman."""

ABOUT_CROMWELL = ("CROMWELL_LAG_SECONDS", "PATH_MAP")
"""What pman must know of a Cromwell besides its address: its pace, and where its directories are here."""

REQUIRED = frozenset(filter(None, re.split(r"[\s,]+", os.environ.get("PMAN_REQUIRE_ENGINES", ""))))


@dataclass(frozen=True)
class Engine:
    name: str
    environment: Mapping[str, str]
    """What pman is to be told of it."""

    image: str
    native: docker.DockerClient | None = None
    """To look at the engine from outside; None where it has no Docker API."""

    namespace: Namespace | None = None
    """The same, of a cluster of Kubernetes."""

    @property
    def variable(self) -> str | None:
        return VARIABLES.get(self.name)

    @property
    def address(self) -> str:
        """Where it answers, e.g. unix:///run/docker.sock."""
        if self.namespace:
            return self.namespace.cluster.server
        return self.environment[VARIABLES[self.name]]

    def at(self, port: str, directory: Path) -> Mapping[str, str]:
        """What pman is to be told where the engine is at this `host:port`."""
        if self.namespace:
            return {"KUBECONFIG": self.namespace.kubeconfig_for(f"https://{port}", directory)}
        scheme = "http" if self.name in ("cromwell", "slurm") else "tcp"
        return {VARIABLES[self.name]: f"{scheme}://{port}"}


@cache
def absent(name: str) -> str:
    """Why the engine is not there; nothing where it is."""
    if name == "local":
        return ""
    address = os.environ.get(VARIABLES[name])
    if not address:
        return f"{VARIABLES[name]} is not set"
    try:
        reason = _WITHOUT.get(name, partial(_without_docker, name))(address)
    except (DockerException, ClusterError, requests.RequestException) as error:
        reason = str(error)
    return f"{VARIABLES[name]}={address}: {reason}" if reason else ""


def _without_docker(name: str, address: str) -> str:
    engine = docker.DockerClient(base_url=address, timeout=60)
    engine.images.get(IMAGE)
    manages = engine.info().get("Swarm", {}).get("ControlAvailable") if name == "swarm" else True
    return "" if manages else "this engine is no manager of a swarm"


def _without_cluster(kubeconfig: str) -> str:
    try:
        nodes = Cluster(kubeconfig).nodes()
    except ClusterError as error:
        if error.status == 403:
            return ""  # a user who may not look at nodes; the jobs will tell
        raise
    images = [image for node in nodes for image in node["status"].get("images", ())]
    known = any(IMAGE in image["names"] for image in images) or len(images) >= 50  # all that a kubelet tells
    return "" if known else f"no node says that it has the image {IMAGE}"


def _without_cromwell(address: str) -> str:
    requests.get(f"{address}/engine/v1/version", timeout=20).raise_for_status()
    return ""


_WITHOUT = {"kubernetes": _without_cluster, "cromwell": _without_cromwell, **slurm.WITHOUT}

_made: list[Namespace] = []


@cache
def find(name: str) -> Engine | str:
    """The engine, or why it is not there."""
    if reason := absent(name):
        return reason
    if name == "local":
        return Engine(name, {}, IMAGE)
    address = os.environ[VARIABLES[name]]
    if name in slurm.WITHOUT:
        return Engine("slurm", slurm.environment(name, IMAGE, PLUGIN), IMAGE)
    if name == "kubernetes":
        own = namespace(Cluster(address))
        _made.append(own)
        return Engine(name, own.environment, IMAGE, namespace=own)
    if name == "cromwell":
        given = {known: os.environ[known] for known in ABOUT_CROMWELL if known in os.environ}
        return Engine(name, {VARIABLES[name]: address, **given}, IMAGE)
    return Engine(name, {VARIABLES[name]: address}, IMAGE, docker.DockerClient(base_url=address, timeout=60))


def current(name: str) -> Engine:
    """Docker of these days, or its swarm, beside the one at DOCKER_HOST; skips or fails as `need`."""
    address = os.environ.get("PMAN_TEST_DOCKER_CURRENT", "")
    reason = "" if address else "PMAN_TEST_DOCKER_CURRENT is not set"
    try:
        reason = reason or _without_docker(name, address)
    except DockerException as error:
        reason = str(error)
    if not reason:
        return Engine(
            name, {"DOCKER_HOST": address}, IMAGE, docker.DockerClient(base_url=address, timeout=60)
        )
    if f"{name}-current" in REQUIRED:
        pytest.fail(f"a current {name} is required and not there: {reason}")
    pytest.skip(f"a current {name} is not there: {reason}")


def close() -> None:
    """Removes what was made on the engines for the tests."""
    while _made:
        _made.pop().close()


def need(name: str) -> Engine:
    """Skips, or fails where PMAN_REQUIRE_ENGINES names the engine."""
    found = find(name)
    if isinstance(found, Engine):
        return found
    if name in REQUIRED:
        pytest.fail(f"{name} is required and not there: {found}")
    pytest.skip(f"{name} is not there: {found}")
