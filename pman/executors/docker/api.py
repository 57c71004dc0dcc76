"""Docker's API: where it is, its version, its words, and the credentials of registries.

Not the docker SDK's client, whose calls are synchronous and open two connections a poll; the SDK serves
for what it is good at: where the engine is (DOCKER_HOST, contexts), TLS, credentials.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import docker.auth
import docker.utils
from docker.context import ContextAPI
from docker.errors import DockerException
from docker.tls import TLSConfig

from pman.errors import ConfigError, ConnectionCut, EngineUnreachable, TimedOut
from pman.executors.docker.bodies import DOCKER, Bodies
from pman.executors.shared.http import Http

log = logging.getLogger(__name__)

API_VERSION = (1, 41)
"""Docker 20.10, Podman 4. Asked for where the engine has it; newer engines have a higher minimum."""

SUBPATH_VERSION = (1, 45)
"""Docker 26, the first to mount a sub-path of a volume; asked for instead where the engine has it, since in
an older version the API drops the sub-path without a word, and mounts the whole volume."""

LIBPOD = "/v4.0.0"
"""The version of Podman's own API, whose paths begin with /libpod/: Podman 4's, which 5 and 6 have, too."""


class Api:
    """Made inside the event loop that uses it. Every call may raise EngineUnreachable."""

    def __init__(
        self, kind: str, address: str, tls: TLSConfig | None, timeout: int, bodies: Bodies = DOCKER
    ) -> None:
        self.kind = kind
        self.bodies = bodies
        names = "CONTAINER_HOST and DOCKER_HOST" if kind == "Podman" else "DOCKER_HOST"
        self._http = Http(kind, address, timeout, hint=f"See {names}", tls=_ssl(tls) if tls else None)
        self._prefix = ""

    async def json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The answer of a GET that cannot be refused."""
        status, answer = await self.call("GET", path, query)
        if status >= 400:
            raise EngineUnreachable(f"{self.kind} answers {status} to {path}: {words(answer)}")
        try:
            return json.loads(answer)
        except ValueError as error:
            raise self._stranger(words(answer)) from error

    async def find(self, path: str, failure: str, query: Mapping[str, str] | None = None) -> Any:
        """The answer of a GET; None for what is not there. `failure`: what any other error means."""
        status, answer = await self.call("GET", path, query)
        if status not in (200, 404):
            raise EngineUnreachable(f"{failure}: {words(answer)}")
        return json.loads(answer) if status == 200 else None

    async def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, **options: Any
    ) -> tuple[int, bytes]:
        async with self.request(method, path, query, **options) as response:
            return response.status, await response.read()

    async def create(self, path: str, **options: Any) -> tuple[int, bytes]:
        """A POST that takes a name, sent again where it was cut: an engine may close idle connections.

        Whether or not the first one went through, the second is safe: the name can be taken only once.
        """
        try:
            return await self.call("POST", path, **options)
        except TimedOut:
            raise
        except ConnectionCut:
            return await self.call("POST", path, **options)

    async def description(self) -> dict[str, Any]:
        """The engine's own words: /info, and of /version its versions and the components' names."""
        version, info = await asyncio.gather(self.json("/version"), self.json("/info"))
        components = [component["Name"] for component in version.get("Components") or ()]
        versions = {name: version[name] for name in ("Version", "ApiVersion")}
        return {**info, **versions, "Components": components}

    async def version(self) -> str:
        """Such as "20.10.24 (API 1.41)"."""
        version = await self.json("/version")
        return f"{version['Version']} (API {version['ApiVersion']})"

    @asynccontextmanager
    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """See Http.request, which takes the options; in the version of the API that was agreed on."""
        if not self._prefix and path != "/version":
            await self._negotiate()
        prefix = LIBPOD if path.startswith("/libpod/") else self._prefix
        async with self._http.request(method, f"{prefix}{path}", params=query, **options) as response:
            yield response

    async def _negotiate(self) -> None:
        """Agree on the version of the API."""
        version = await self.json("/version")
        try:
            newest, oldest = (numbers(version[key]) for key in ("ApiVersion", "MinAPIVersion"))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise self._stranger(str(version)) from error
        wanted = SUBPATH_VERSION if newest >= SUBPATH_VERSION else API_VERSION
        self._prefix = "/v{}.{}".format(*max(min(wanted, newest), oldest))

    def _stranger(self, answer: str) -> EngineUnreachable:
        return EngineUnreachable(f"what answers at {self._http.address} is no {self.kind}: {answer:.200}")

    async def close(self) -> None:
        await self._http.close()


def docker_api(settings: Mapping[str, Any]) -> Api:
    return Api("Docker", *docker_address(settings), settings["ENGINE_TIMEOUT"])


def docker_address(settings: Mapping[str, Any]) -> tuple[str, TLSConfig | None]:
    """The address, by DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, else the current docker context."""
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
    """The address, by CONTAINER_HOST, else DOCKER_HOST, else the user's or the system's socket."""
    if settings["CONTAINER_HOST"] or not settings["DOCKER_HOST"]:
        user = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / "podman/podman.sock"
        socket = user if user.exists() else Path("/run/podman/podman.sock")
        settings = {**settings, "DOCKER_HOST": settings["CONTAINER_HOST"] or f"unix://{socket}"}
    return docker_address(settings)


def registry_auth(repository: str) -> Mapping[str, str]:
    """Reads the docker client's configuration; may run a credential helper, so not on the event loop."""
    registry, _ = docker.auth.resolve_repository_name(repository)
    try:
        credentials = docker.auth.load_config().resolve_authconfig(registry)
    except DockerException as error:  # a credential helper that is configured and not installed
        log.warning("no credentials for %s: %s; pulling without", registry, error)
        return {}
    return {"X-Registry-Auth": docker.auth.encode_header(credentials).decode()} if credentials else {}


def filtered(**values: Sequence[str]) -> dict[str, str]:
    """The query of a list that is to have only what these filters let through."""
    return {"filters": json.dumps(values)}


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version such as 1.45, to be compared. Raises ValueError."""
    return tuple(map(int, version.split(".")))


def words(answer: bytes) -> str:
    """The engine's message of an error, one line."""
    try:
        text = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        text = answer.decode(errors="replace")
    return " ".join(str(text).split())


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
