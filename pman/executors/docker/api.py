"""HTTP to one engine over one kept-alive pool.

Not the docker SDK, whose calls are synchronous and open two connections a poll; it serves for what
it is good at: where the engine is (DOCKER_HOST, contexts) and TLS.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import docker.utils
from docker.context import ContextAPI
from docker.errors import DockerException
from docker.tls import TLSConfig

from pman.errors import ConfigError, EngineUnreachable

log = logging.getLogger(__name__)

API_VERSION = (1, 41)
"""Docker 20.10, Podman 4. Asked for where the engine has it; newer engines have a higher minimum."""


class Api:
    """Made inside the event loop that uses it. Every call may raise EngineUnreachable."""

    def __init__(self, kind: str, address: str, tls: TLSConfig | None, timeout: int) -> None:
        self.kind = kind
        self._address = address.removeprefix("http+")  # as users write it
        self._timeout = timeout
        # Streams last, so they must not use up the connections of the calls; those wait for their turn.
        self._session = _session(kind, address, tls, timeout, connections=64)
        self._streams = _session(kind, address, tls, timeout, connections=0)
        self._base = "http://localhost" if address.startswith("http+unix:") else address.rstrip("/")
        self._prefix = ""

    async def json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The answer of a GET that cannot be refused."""
        status, answer = await self.call("GET", path, query)
        if status >= 400:
            raise EngineUnreachable(f"{self.kind} answers {status} to {path}: {words(answer)}")
        try:
            return json.loads(answer)
        except ValueError as error:
            raise EngineUnreachable(
                f"what answers at {self._address} is no {self.kind}: {words(answer):.200}"
            ) from error

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        async with self.request(method, path, query, body=body, headers=headers) as response:
            return response.status, await response.read()

    async def create(
        self, path: str, query: Mapping[str, str], body: object, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """A POST that takes a name, sent again where the engine closed a kept-alive connection meanwhile.

        Whether or not the first one went through, the second is safe: the name can be taken only once.
        """
        try:
            return await self.call("POST", path, query, body, headers)
        except EngineUnreachable as error:
            if not isinstance(error.__cause__, aiohttp.ServerDisconnectedError):
                raise
        return await self.call("POST", path, query, body, headers)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        endless: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose body is still to be read.

        A stream may take as long as it likes, though not without a byte; an endless one may be silent.
        """
        if not self._prefix and path != "/version":
            await self._negotiate()
        session = self._streams if stream else self._session
        options: dict[str, Any] = {}
        if stream:
            silence = None if endless else self._timeout
            options["timeout"] = aiohttp.ClientTimeout(total=None, sock_read=silence)
        if body is not None:
            options["json"] = body
        address = f"{self._base}{self._prefix}{path}"
        began = time.monotonic()
        try:
            async with session.request(method, address, params=query, headers=headers, **options) as response:
                yield response
            if log.isEnabledFor(logging.DEBUG):
                took = (time.monotonic() - began) * 1e3
                log.debug("%s %s %d %.1f ms", method, path, response.status, took)
        except TimeoutError as error:
            raise EngineUnreachable(
                f"{self.kind} at {self._address} did not answer {method} {path} within {self._timeout} s",
                "the engine hangs or is too busy; ENGINE_TIMEOUT sets how long pman waits",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            names = "CONTAINER_HOST and DOCKER_HOST" if self.kind == "Podman" else "DOCKER_HOST"
            denied = getattr(error, "errno", None) == errno.EACCES
            raise EngineUnreachable(
                f"{self.kind} does not answer at {self._address}: {error or type(error).__name__}",
                f"pman's user may not use this socket: it must be in the socket's group; see {names}"
                if denied
                else f"is it running? See {names}",
            ) from error

    async def _negotiate(self) -> None:
        """The API version, once."""
        version = await self.json("/version")
        try:
            known, least = (
                tuple(map(int, version[key].split("."))) for key in ("ApiVersion", "MinAPIVersion")
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise EngineUnreachable(
                f"what answers at {self._address} is no {self.kind}: {version!s:.200}"
            ) from error
        self._prefix = "/v{}.{}".format(*max(min(API_VERSION, known), least))

    async def close(self) -> None:
        await self._session.close()
        await self._streams.close()


def docker_address(settings: Mapping[str, Any]) -> tuple[str, TLSConfig | None]:
    """From DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, else the current docker context."""
    variables = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
    given = {name: settings[name] for name in variables if settings[name]}
    try:
        parameters = docker.utils.kwargs_from_env(environment=given)
        context = None if "base_url" in parameters else ContextAPI.get_current_context()
        host = parameters.get("base_url") or (context.Host if context else None)
        tls = parameters.get("tls") or (context.TLSConfig if context else None)
        address = str(docker.utils.parse_host(str(host or "unix:///var/run/docker.sock"), tls=bool(tls)))
    except (DockerException, OSError, ValueError) as error:
        raise ConfigError(f"DOCKER_HOST={settings['DOCKER_HOST']!r}: {error}") from error
    return address, tls or None


def podman_address(settings: Mapping[str, Any]) -> tuple[str, TLSConfig | None]:
    """From CONTAINER_HOST, else DOCKER_HOST, else the user's or the system's socket."""
    if settings["CONTAINER_HOST"] or not settings["DOCKER_HOST"]:
        user = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / "podman/podman.sock"
        found = user if user.exists() else Path("/run/podman/podman.sock")
        settings = {**settings, "DOCKER_HOST": settings["CONTAINER_HOST"] or f"unix://{found}"}
    return docker_address(settings)


def words(answer: bytes) -> str:
    """What the engine says in an error, one line."""
    try:
        text = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        text = answer.decode(errors="replace")
    return " ".join(str(text).split())


def _session(
    kind: str, address: str, tls: TLSConfig | None, timeout: int, connections: int
) -> aiohttp.ClientSession:
    """`connections` at the most; 0: as many as are asked for."""
    connector: aiohttp.BaseConnector
    if address.startswith("http+unix:"):
        path = "/" + address.removeprefix("http+unix:").lstrip("/")
        connector = aiohttp.UnixConnector(path, limit=connections)
    elif address.startswith(("http:", "https:")):
        connector = aiohttp.TCPConnector(limit=connections, ssl=_ssl(tls) if tls else True)
    else:
        raise ConfigError(f"{kind} at {address!r}: use unix:///path/of/the.sock or tcp://host:port")
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=timeout))


def _ssl(tls: TLSConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_cert or None)
        if tls.cert:
            context.load_cert_chain(*tls.cert)
    except OSError as error:
        raise ConfigError(f"DOCKER_CERT_PATH: the certificates cannot be read: {error}") from error
    if not tls.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
