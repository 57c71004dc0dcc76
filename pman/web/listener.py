"""Where the server listens: a TCP port, or a socket file; and its TLS. What cannot work stops the start."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from pman.errors import ConfigError
from pman.settings import Settings

RECEIVED_AT_ONCE_BYTES = 65536
"""Limits what one connection brings at a time: of many at once the sum counts."""


@contextlib.contextmanager
def listening(host: str, port: int, uds: Path | None, mode: int) -> Iterator[socket.socket]:
    """A listening socket, closed at the end. Raises ConfigError, before anything is served.

    `uds`: a socket file with these permissions in place of host and port, removed at the end.
    """
    if uds is None:
        with _tcp(host, port) as listener:
            yield listener
        return
    with _unix(uds, mode) as listener:
        own = uds.stat().st_ino
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if uds.stat().st_ino == own:  # not that of a pman which has taken the place
                    uds.unlink()


def _tcp(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        message = f"PORT={port}, --host={host!r}: cannot listen there: {error.strerror or error}"
        raise ConfigError(
            message, "another pman, or another service, may run there; --port or PORT"
        ) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_AT_ONCE_BYTES)
    return listener


def _unix(path: Path, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        umask = os.umask(0o177)  # nobody else's, until it has its mode
        try:
            listener.bind(str(path))
        finally:
            os.umask(umask)
        path.chmod(mode)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        problem = error.strerror or error
        raise ConfigError(f"--uds={str(path)!r}: cannot listen there: {problem}") from error
    return listener


def _clear(path: Path) -> None:
    """Remove what a pman left that was killed. Raises ConfigError for anything else, OSError."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"--uds={str(path)!r}: a file that is no socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(f"--uds={str(path)!r}: somebody listens there already")


def address(listener: socket.socket, scheme: str) -> str:
    """The address as a client writes it, without a path."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix://{name}"
    host, port = name[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Load what TLS_* name; return None without TLS. Raises ConfigError with the name of an unfit file."""
    certificate, key, clients = (settings[name] for name in ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"))
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _named("TLS_CERT", certificate):  # says more clearly than load_cert_chain what is wrong with it
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    with _named("TLS_KEY", key):
        context.load_cert_chain(certificate, key, password=_no_password)
    if clients is not None:
        with _named("TLS_CLIENT_CA", clients):
            context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.contextmanager
def _named(name: str, path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        problem = error.strerror or error if isinstance(error, OSError) else error
        raise ConfigError(
            f"{name}={path!r}: {problem}", f"it must be a file of PEM; {name} of pman"
        ) from error


def _no_password() -> str:
    """In place of a question on the terminal."""
    raise ValueError("has a password; use one without, which only pman's user may read")
