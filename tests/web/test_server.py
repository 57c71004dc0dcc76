"""What `pman serve` refuses before it listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests

from tests.live import Server, refused_process, refused_start


def local(directory: Path) -> dict[str, str]:
    state = str(directory / "state")
    return {"CONTAINER_ENV": "local", "STOREBASE": str(directory), "LOCAL_STATE": state}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_the_local_engine_never_listens_beyond_loopback(host: str, tmp_path: Path) -> None:
    assert f"--host='{host}'" in refused_start(local(tmp_path), "--host", host)


def test_the_local_engine_answers_to_names_of_this_machine_only(tmp_path: Path) -> None:
    server = Server(local(tmp_path))
    try:
        for host, status in (("evil.example:5010", 400), ("localhost:5010", 200), ("127.0.0.1", 200)):
            assert requests.get(server.url, headers={"Host": host}, timeout=60).status_code == status
    finally:
        server.stop()


def test_a_port_that_is_taken_stops_the_start_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert f"PORT={port}" in refused_process(local(tmp_path), "--port", str(port))
