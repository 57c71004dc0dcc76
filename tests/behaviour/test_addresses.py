"""An engine by TCP and by TLS: the real one, behind a relay that speaks both."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import engines
from tests.live import live, refused_start


@pytest.fixture(scope="module")
def engine() -> engines.Engine:
    return engines.need("docker")


@contextmanager
def relay(engine: engines.Engine, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port of this machine that is the engine's socket."""
    address = engine.environment["DOCKER_HOST"]
    if not address.startswith("unix://"):
        pytest.skip(f"DOCKER_HOST={address} is no socket to relay to")
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def connect(client: socket.socket) -> None:
        with suppress(OSError), client, socket.socket(socket.AF_UNIX) as far:
            far.connect(address.removeprefix("unix://"))
            with tls.wrap_socket(client, server_side=True) if tls else client as near:
                back = threading.Thread(target=pump, args=(far, near))
                back.start()
                pump(near, far)
                back.join()

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=connect, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a site has in DOCKER_CERT_PATH: one certificate serves as authority, server and client."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there to make certificates with")
    directory = tmp_path_factory.mktemp("certificates")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    (directory / "ca.pem").write_bytes((directory / "cert.pem").read_bytes())
    return directory


def test_an_engine_is_reached_by_tcp(engine: engines.Engine, storebase: Path) -> None:
    with relay(engine) as port, live(engine, storebase, DOCKER_HOST=f"tcp://127.0.0.1:{port}") as running:
        assert running.run(running.request())["status"] == "finishedSuccessfully"


def test_an_engine_is_reached_by_tls_with_the_sites_certificates(
    engine: engines.Engine, storebase: Path, certificates: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED  # as dockerd --tlsverify
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with relay(engine, context) as port:
        settings = {
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(certificates),
        }
        with live(engine, storebase, **settings) as running:
            assert running.run(running.request())["status"] == "finishedSuccessfully"


def test_an_address_that_pman_cannot_speak_to_stops_the_start(
    engine: engines.Engine, storebase: Path
) -> None:
    told = refused_start(
        {"STORAGE_TYPE": "host", "STOREBASE": str(storebase), "DOCKER_HOST": "ssh://user@example.org"}
    )

    assert "ssh://" in told
    assert "unix://" in told


def test_docker_that_is_podman_is_told_so(storebase: Path) -> None:
    address = engines.need("podman").environment["CONTAINER_HOST"]

    told = refused_start({"STORAGE_TYPE": "host", "STOREBASE": str(storebase), "DOCKER_HOST": address})

    assert "use podman" in told
