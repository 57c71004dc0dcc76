"""Addresses that lead to no engine, or to another one. Those that lead: test_options.py."""

from __future__ import annotations

from pathlib import Path

from tests import engines
from tests.live import refused_start


def test_an_address_that_pman_cannot_speak_to_stops_the_start(storebase: Path) -> None:
    told = refused_start(
        {"STORAGE_TYPE": "host", "STOREBASE": str(storebase), "DOCKER_HOST": "ssh://user@example.org"}
    )

    assert "ssh://" in told
    assert "unix://" in told


def test_docker_that_is_podman_is_told_so(storebase: Path) -> None:
    address = engines.need("podman").environment["CONTAINER_HOST"]

    told = refused_start({"STORAGE_TYPE": "host", "STOREBASE": str(storebase), "DOCKER_HOST": address})

    assert "use podman" in told
