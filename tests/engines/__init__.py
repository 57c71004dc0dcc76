"""Where each engine is, by the usual variables, or why its tests are skipped.

PMAN_REQUIRE_ENGINES names the engines whose absence is a failure, separated by spaces or commas.
Starting an engine is not the suite's work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import docker
import pytest
from docker.errors import DockerException

IMAGE = os.environ.get("PMAN_TEST_IMAGE", "localhost/pman-test:1")
"""A busybox: sh and its applets."""

PLUGIN = os.environ.get("PMAN_TEST_PLUGIN", "localhost/fnndsc/pl-simpledsapp:1.0.3")
"""A real ChRIS plugin, which copies its input with a prefix."""

NAMES = ("docker", "podman", "local")

REQUIRED = frozenset(filter(None, re.split(r"[\s,]+", os.environ.get("PMAN_REQUIRE_ENGINES", ""))))


@dataclass(frozen=True)
class Engine:
    name: str
    environment: Mapping[str, str]
    """What pman is to be told of it."""

    image: str
    native: docker.DockerClient | None
    """To look at the engine from outside; None where it has no Docker API."""


@cache
def find(name: str) -> Engine | str:
    """The engine, or why it is not there."""
    if name == "local":
        return Engine(name, {}, IMAGE, None)
    variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[name]
    address = os.environ.get(variable)
    if not address:
        return f"{variable} is not set"
    try:
        client = docker.DockerClient(base_url=address, timeout=60)
        client.images.get(IMAGE)
    except DockerException as error:
        return f"{variable}={address}: {error}"
    return Engine(name, {variable: address}, IMAGE, client)


def need(name: str) -> Engine:
    """Skips, or fails where PMAN_REQUIRE_ENGINES names the engine."""
    found = find(name)
    if isinstance(found, Engine):
        return found
    if name in REQUIRED:
        pytest.fail(f"{name} is required and not there: {found}")
    pytest.skip(f"{name} is not there: {found}")
