"""A port of this machine that is the engine's, for a while: by TCP, by TLS, or away."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit


class Relay:
    """Bytes there and back. Down, the port refuses, and what was connected is cut."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        """`address` of the engine: unix:///path, tcp:// or https://host:port; `tls`: what the port speaks."""
        self._host = host
        self._target = urlsplit(address)
        self._tls = tls
        self._connected: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._flows = threading.Event()
        self._flows.set()
        self.port = 0
        self.up()

    @property
    def address(self) -> str:
        return f"{self._host}:{self.port}"

    def up(self) -> None:
        listener = socket.create_server((self._host, self.port), backlog=128)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def down(self) -> None:
        self.go_on()
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for end in list(self._connected):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def pause(self) -> None:
        """It accepts and says nothing, until `go_on`."""
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _far(self) -> socket.socket:
        if self._target.scheme == "unix":
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target.path)
            return far
        return socket.create_connection((self._target.hostname or "", self._target.port or 443))

    def _connect(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            client,
            self._far() as far,
            self._tls.wrap_socket(client, server_side=True) if self._tls else client as near,
        ):
            self._connected |= {near, far}
            back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
            back.start()
            self._pump(near, far)
            back.join()
            self._connected -= {near, far}

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


class Certificates:
    """What a site has in DOCKER_CERT_PATH: one certificate serves as authority, server and client."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", "key.pem", "-out", "cert.pem"],
            cwd=directory, check=True, capture_output=True,
        )  # fmt: skip
        (directory / "ca.pem").write_bytes((directory / "cert.pem").read_bytes())

    def as_dockerd(self) -> ssl.SSLContext:
        """Of a server that lets in who has the certificate, as dockerd --tlsverify does."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.directory / "ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.directory / "cert.pem", self.directory / "key.pem")
        return context


@contextmanager
def relay(address: str, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Relay]:
    between = Relay(address, tls, host)
    try:
        yield between
    finally:
        between.down()
