"""Docker Engine API, for Docker and for Podman, which speaks it too.

A job is one container, by the job's name. What the engine cannot take yet, since the image is
still being pulled, it holds as a labelled volume, so that nothing is lost when pman ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import docker.auth
import docker.utils
from docker.context import ContextAPI
from docker.errors import DockerException
from docker.tls import TLSConfig

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.job import JID_LABEL, Document

log = logging.getLogger(__name__)

API_VERSION = (1, 41)
"""Docker 20.10, Podman 4. Asked for where the engine has it; newer engines have a higher minimum."""

PULL_GRACE = 2.0
"""Seconds for which apply waits for a pull, so that a wrong name is told at once."""

START_LEASE = 3.0
"""Seconds in which whoever created a container is trusted to start it."""

STOREBASE_MOUNT = "/var/local/storeBase"
"""Where pfcon's container mounts the storebase."""

_UNLIMITED = aiohttp.ClientTimeout(total=None)
_NOT_STARTED = ("created", "configured", "initialized")
_PENDING, _FAILED = "pman-pending.", "pman-failed."
_DOCUMENT_LABEL = "org.chrisproject.pman.document"
_CALL_LABEL = "org.chrisproject.pman.call"
_REASON_LABEL = "org.chrisproject.pman.reason"


def connect_docker(settings: Mapping[str, Any]) -> DockerExecutor:
    """From DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, else the current docker context."""
    return DockerExecutor("Docker", *_docker_address(settings), settings)


def connect_podman(settings: Mapping[str, Any]) -> DockerExecutor:
    """From CONTAINER_HOST, else DOCKER_HOST, else the user's or the system's socket."""
    if settings["CONTAINER_HOST"] or not settings["DOCKER_HOST"]:
        user = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / "podman/podman.sock"
        found = user if user.exists() else Path("/run/podman/podman.sock")
        settings = {**settings, "DOCKER_HOST": settings["CONTAINER_HOST"] or f"unix://{found}"}
    return DockerExecutor("Podman", *_docker_address(settings), settings)


def _docker_address(settings: Mapping[str, Any]) -> tuple[str, TLSConfig | None]:
    variables = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
    given = {name: settings[name] for name in variables if settings[name]}
    try:
        parameters = docker.utils.kwargs_from_env(environment=given)
        context = None if "base_url" in parameters else ContextAPI.get_current_context()
        address = str(
            parameters.get("base_url") or (context.Host if context else "unix:///var/run/docker.sock")
        )
        tls = parameters.get("tls") or (context.TLSConfig if context else None)
        return docker.utils.parse_host(address, tls=bool(tls)), tls or None
    except (DockerException, OSError, ValueError) as error:
        raise ConfigError(f"DOCKER_HOST={settings['DOCKER_HOST']!r}: {error}") from error


class DockerExecutor:
    """One kept-alive pool of connections to one engine. Made inside the event loop that uses it."""

    def __init__(self, kind: str, address: str, tls: TLSConfig | None, settings: Mapping[str, Any]) -> None:
        self._kind = kind
        self._address = address
        self._settings = settings
        self._session = _session(kind, address, tls, float(settings["ENGINE_TIMEOUT"]))
        self._base = "http://localhost" if address.startswith("http+unix:") else address.rstrip("/")
        self._prefix = ""
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._credentials: docker.auth.AuthConfig | None = None

    # --- the protocol --------------------------------------------------------------------------

    async def facts(self) -> Mapping[str, Any]:
        version, info = await asyncio.gather(self._json("GET", "/version"), self._json("GET", "/info"))
        native = {**info, "ApiVersion": version["ApiVersion"]}
        return {"storebase": await self._storebase(), "native": native}

    async def apply(self, jid: str, documents: Sequence[Document]) -> None:
        (document,) = documents
        body = document.content
        if not isinstance(body, Mapping):
            raise ConfigError(f"templates: {document.name} must render a mapping, the body of a container")
        try:
            identity = await self._create(jid, body)
        except _NoSuchImageError:
            await self._hold(jid, body)
            task = self._take_later(jid, body)
            await asyncio.wait({task}, timeout=PULL_GRACE)
            if task.done():
                task.result()
            return
        await self._start(identity)

    async def resume(self, jid: str) -> None:
        container, age = await self._container(jid)
        if container is None:
            if jid not in self._taking and (marker := await self._marker(_PENDING, jid)):
                self._take_later(jid, json.loads(marker["Labels"][_DOCUMENT_LABEL]))
            return
        identity = container["Id"]
        while (
            container["State"]["Status"] in _NOT_STARTED
            and age < START_LEASE
            and identity not in self._starting
        ):
            await asyncio.sleep(0.1)
            container, age = await self._container(jid)
            if container is None or container["Id"] != identity:
                return
        if container["State"]["Status"] in _NOT_STARTED:
            await self._start(identity)

    async def unfinished(self) -> Sequence[str]:
        created, pending = await asyncio.gather(
            self._containers({"status": ["created"]}), self._markers(_PENDING)
        )
        return sorted({*created, *pending})

    async def inspect(self, jid: str) -> Mapping[str, Any]:
        container, _ = await self._container(jid)
        if container is None:
            failed, pending = await asyncio.gather(self._marker(_FAILED, jid), self._marker(_PENDING, jid))
            if marker := failed or pending:
                return _native(jid, marker)
            container, _ = await self._container(jid)  # taken by the engine between the two questions
            if container is None:
                raise UnknownJob(jid)
        state = container["State"]
        if (
            state["Status"] in _NOT_STARTED
            and not state.get("Error")
            and (failed := await self._marker(_FAILED, jid))
        ):
            return {**container, "State": {**state, "Error": failed["Labels"][_REASON_LABEL]}}
        return container

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        query = {"stdout": "1", "stderr": "1", "tail": str(tail), "follow": str(int(follow))}
        timeout = _UNLIMITED if follow else None
        async with self._request("GET", f"/containers/{quote(jid)}/logs", query, timeout=timeout) as response:
            if response.status == 200:
                async for chunk in _demultiplexed(response.content.iter_any()):
                    yield chunk

    async def remove(self, jid: str) -> None:
        container, _ = await self._container(jid)
        if task := self._taking.pop(jid, None):
            task.cancel()
        # The marker goes first: whoever pulls for it then knows that nobody wants the job any more.
        markers = await asyncio.gather(*(self._unmark(kind, jid) for kind in (_PENDING, _FAILED)))
        if container is None:
            if not any(markers):
                raise UnknownJob(jid)
            return
        await self._delete(container["Id"])

    async def list(self) -> Sequence[str]:
        found = await asyncio.gather(self._containers({}), self._markers(_PENDING), self._markers(_FAILED))
        return sorted({jid for jids in found for jid in jids})

    async def ping(self) -> str:
        version = await self._json("GET", "/version")
        components = [item["Name"] for item in version.get("Components") or ()]
        name = "Podman" if "Podman Engine" in components else "Docker"
        return f"{name} {version['Version']} (API {version['ApiVersion']})"

    async def close(self) -> None:
        tasks = [*self._taking.values(), *self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    # --- containers ----------------------------------------------------------------------------

    async def _create(self, jid: str, body: Mapping[str, Any]) -> str:
        """The new container's id."""
        try:
            status, answer = await self._call("POST", "/containers/create", {"name": jid}, body)
        except EngineUnreachable as error:
            # A kept-alive connection that the engine closed meanwhile. Whether or not the call went
            # through, a second one is safe: the name can be taken only once.
            if not isinstance(error.__cause__, aiohttp.ServerDisconnectedError):
                raise
            status, answer = await self._call("POST", "/containers/create", {"name": jid}, body)
        if status == 201:
            return str(json.loads(answer)["Id"])
        words = _words(answer)
        if status == 404 and "no such image" in words.lower():
            raise _NoSuchImageError
        if status == 409 or "is already in use" in words:  # Podman: 500
            raise NameTaken(words)
        raise EngineRefused("create", status, words)

    async def _start(self, identity: str) -> None:
        """At most once at a time; starting what runs already changes nothing."""
        if identity not in self._starting:
            self._starting[identity] = task = asyncio.create_task(self._start_now(identity))
            task.add_done_callback(lambda _: self._starting.pop(identity, None))
        await asyncio.shield(self._starting[identity])

    async def _start_now(self, identity: str) -> None:
        status, answer = await self._call("POST", f"/containers/{identity}/start")
        if status in (204, 304):
            return
        words = _words(answer)
        left = await self._json("GET", f"/containers/{identity}/json")
        if not left["State"].get(
            "Error"
        ):  # Podman forgets why; so that everybody can tell, a marker keeps it
            await self._mark(
                _FAILED, left["Name"].lstrip("/"), left["Config"]["Labels"], left["Config"], "start", words
            )
        raise EngineRefused("start", status, words)

    async def _container(self, jid: str) -> tuple[Mapping[str, Any] | None, float]:
        """The container and its age in seconds by the engine's clock; None for what is not pman's."""
        async with self._request("GET", f"/containers/{quote(jid)}/json") as response:
            body = await response.read()
            date = response.headers.get("Date")
        if response.status == 404:
            return None, 0
        if response.status != 200:
            raise EngineUnreachable(f"{self._kind} could not tell the state of {jid}: {_words(body)}")
        found: Mapping[str, Any] = json.loads(body)
        labels = found["Config"].get("Labels") or {}
        # The engine also finds containers by a part of their id.
        if found["Name"] != f"/{jid}" or labels.get(JID_LABEL) != jid:
            return None, 0
        return found, _age(found["Created"], date)

    async def _delete(self, identity: str) -> None:
        status, answer = await self._call("DELETE", f"/containers/{identity}", {"force": "1", "v": "1"})
        if status not in (200, 204, 404, 409):  # 404: gone meanwhile; 409: being removed already
            raise EngineRefused("remove", status, _words(answer))

    async def _containers(self, filters: Mapping[str, list[str]]) -> list[str]:
        query = {"all": "1", "filters": json.dumps({"label": [JID_LABEL], **filters})}
        return [item["Labels"][JID_LABEL] for item in await self._json("GET", "/containers/json", query)]

    # --- what waits for its image --------------------------------------------------------------

    async def _hold(self, jid: str, body: Mapping[str, Any]) -> None:
        """Raises NameTaken where another job of that name waits already."""
        held = await self._mark(_PENDING, jid, body.get("Labels") or {}, body)
        if held["Labels"] != self._labels(body.get("Labels") or {}, body):
            raise NameTaken(f"a job {jid} waits for its image")

    def _take_later(self, jid: str, body: Mapping[str, Any]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._take(jid, body))
        self._taking[jid] = task
        task.add_done_callback(lambda done: self._taken(jid, done))
        return task

    def _taken(self, jid: str, task: asyncio.Task[None]) -> None:
        if self._taking.get(jid) is task:
            del self._taking[jid]
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s: %s", jid, error)

    async def _take(self, jid: str, body: Mapping[str, Any]) -> None:
        """Pull, create, start; gives up as soon as the marker is gone, since the job was deleted."""
        call = "pull"
        try:
            await self._pull(str(body["Image"]))
            if not await self._marker(_PENDING, jid):
                return
            call = "create"
            identity = await self._create(jid, body)
            if not await self._marker(_PENDING, jid):
                await self._delete(identity)
                return
            await self._start(identity)
        except NameTaken:
            pass  # another pman that waited for the same image was first
        except _NoSuchImageError:
            await self._mark(
                _FAILED, jid, body.get("Labels") or {}, body, "pull", "the engine does not keep the image"
            )
        except EngineRefused as refused:
            if refused.native["call"] != "start":
                await self._mark(
                    _FAILED, jid, body.get("Labels") or {}, body, call, str(refused.native["message"])
                )
            await self._unmark(_PENDING, jid)
            raise
        await self._unmark(_PENDING, jid)

    async def _pull(self, image: str) -> None:
        """One pull at a time for each image, whatever the number of jobs that wait for it."""
        if image not in self._pulls:
            self._pulls[image] = task = asyncio.create_task(self._pull_until_told(image))
            task.add_done_callback(lambda _: self._pulls.pop(image, None))
        await asyncio.shield(self._pulls[image])

    async def _pull_until_told(self, image: str) -> None:
        """Raises EngineRefused; an engine that goes away meanwhile is asked again when it is back."""
        while True:
            try:
                return await self._pull_now(image)
            except EngineUnreachable as error:
                log.warning("pull of %s interrupted: %s", image, error)
                await asyncio.sleep(5)

    async def _pull_now(self, image: str) -> None:
        repository, tag = docker.utils.parse_repository_tag(image)
        query = {"fromImage": repository, "tag": tag or "latest"}
        headers = await asyncio.to_thread(self._registry_auth, repository)
        async with self._request(
            "POST", "/images/create", query, headers=headers, timeout=_UNLIMITED
        ) as response:
            if response.status != 200:
                raise EngineRefused("pull", response.status, _words(await response.read()))
            async for line in response.content:
                if error := json.loads(line or b"{}").get("error"):
                    raise EngineRefused("pull", response.status, str(error))

    def _registry_auth(self, repository: str) -> Mapping[str, str]:
        """May run a credential helper, so not on the event loop."""
        registry, _ = docker.auth.resolve_repository_name(repository)
        if self._credentials is None:
            self._credentials = docker.auth.load_config()
        found = self._credentials.resolve_authconfig(registry)
        return {"X-Registry-Auth": docker.auth.encode_header(found).decode()} if found else {}

    def _labels(
        self, labels: Mapping[str, str], body: Mapping[str, Any], call: str = "", reason: str = ""
    ) -> dict[str, str]:
        extra = {_CALL_LABEL: call, _REASON_LABEL: reason} if call else {}
        return {**labels, _DOCUMENT_LABEL: json.dumps(body), **extra}

    async def _mark(self, kind: str, jid: str, labels: Mapping[str, str], body: Mapping[str, Any], call: str = "", reason: str = "") -> Mapping[str, Any]:  # fmt: skip
        """Create a marker, or find the one that is there."""
        volume = {"Name": kind + jid, "Labels": self._labels(labels, body, call, reason)}
        status, answer = await self._call("POST", "/volumes/create", body=volume)
        if status != 201:
            raise EngineRefused("hold", status, _words(answer))
        marker: Mapping[str, Any] = json.loads(answer)
        return marker

    async def _marker(self, kind: str, jid: str) -> Mapping[str, Any] | None:
        status, answer = await self._call("GET", f"/volumes/{kind}{quote(jid)}")
        if status != 200:
            return None
        marker: Mapping[str, Any] = json.loads(answer)
        return marker if (marker.get("Labels") or {}).get(JID_LABEL) == jid else None

    async def _unmark(self, kind: str, jid: str) -> bool:
        """Whether it was there, and pman's."""
        if not await self._marker(kind, jid):
            return False
        status, _ = await self._call("DELETE", f"/volumes/{kind}{quote(jid)}")
        return status == 204

    async def _markers(self, kind: str) -> list[str]:
        query = {"filters": json.dumps({"label": [JID_LABEL]})}
        volumes = (await self._json("GET", "/volumes", query)).get("Volumes") or ()
        return [volume["Labels"][JID_LABEL] for volume in volumes if volume["Name"].startswith(kind)]

    # --- the storebase -------------------------------------------------------------------------

    async def _storebase(self) -> str:
        if self._settings["STORAGE_TYPE"] == "host":
            return str(self._settings["STOREBASE"]).rstrip("/")
        name = self._settings["VOLUME_NAME"]
        if not name:
            mount = await self._mount_of_pfcon()
            if mount["Type"] == "bind":
                return str(mount["Source"])
            name = mount["Name"]
        status, answer = await self._call("GET", f"/volumes/{quote(name)}")
        if status == 404:
            raise ConfigError(f"VOLUME_NAME={name!r}: {self._kind} has no such volume")
        return str(json.loads(answer)["Mountpoint"])

    async def _mount_of_pfcon(self) -> Mapping[str, Any]:
        selector = self._settings["PFCON_SELECTOR"]
        query = {"filters": json.dumps({"label": [selector]})}
        for container in await self._json("GET", "/containers/json", query):
            for mount in container["Mounts"]:
                if mount["Destination"] == STOREBASE_MOUNT:
                    found: Mapping[str, Any] = mount
                    return found
        raise ConfigError(
            f"PFCON_SELECTOR={selector!r}: no running container with this label has a mount at {STOREBASE_MOUNT}",
            "start pfcon before pman, or set VOLUME_NAME, or STORAGE_TYPE=host and STOREBASE",
        )

    # --- HTTP ----------------------------------------------------------------------------------

    async def _json(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        status, answer = await self._call(method, path, query)
        if status >= 400:
            raise EngineUnreachable(f"{self._kind} answers {status} to {path}: {_words(answer)}")
        return json.loads(answer)

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
    ) -> tuple[int, bytes]:
        async with self._request(method, path, query, body=body) as response:
            return response.status, await response.read()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not self._prefix and path != "/version":
            await self._negotiate()
        options: dict[str, Any] = {"timeout": timeout} if timeout else {}
        if body is not None:
            options["json"] = body
        began = time.monotonic()
        try:
            async with self._session.request(
                method, f"{self._base}{self._prefix}{path}", params=query, headers=headers, **options
            ) as response:
                yield response
            log.debug("%s %s %d %.1f ms", method, path, response.status, (time.monotonic() - began) * 1e3)
        except TimeoutError as error:
            limit = self._settings["ENGINE_TIMEOUT"]
            raise EngineUnreachable(
                f"{self._kind} at {self._address} did not answer {method} {path} within {limit} s",
                "the engine hangs or is too busy; ENGINE_TIMEOUT sets how long pman waits",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(
                f"{self._kind} does not answer at {self._address}: {error or type(error).__name__}",
                "is it running, and may pman use its socket? See DOCKER_HOST"
                + (" and CONTAINER_HOST" if self._kind == "Podman" else ""),
            ) from error

    async def _negotiate(self) -> None:
        """The API version, once."""
        version = await self._json("GET", "/version")
        known, least = (tuple(map(int, version[key].split("."))) for key in ("ApiVersion", "MinAPIVersion"))
        self._prefix = "/v{}.{}".format(*max(min(API_VERSION, known), least))


class _NoSuchImageError(Exception):
    """The engine has to pull first."""


def _session(kind: str, address: str, tls: TLSConfig | None, timeout: float) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if address.startswith("http+unix:"):
        connector = aiohttp.UnixConnector(address.removeprefix("http+unix:").replace("//", "/", 1), limit=64)
    elif address.startswith(("http:", "https:")):
        connector = aiohttp.TCPConnector(limit=64, ssl=_ssl(tls) if tls else True)
    else:
        raise ConfigError(f"{kind} at {address!r}: use unix:///path/of/the.sock or tcp://host:port")
    limits = aiohttp.ClientTimeout(total=timeout)
    return aiohttp.ClientSession(connector=connector, timeout=limits, read_bufsize=2**18)


def _ssl(tls: TLSConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_cert or None)
    if tls.cert:
        context.load_cert_chain(*tls.cert)
    if not tls.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _words(answer: bytes) -> str:
    """What the engine says in an error, one line."""
    try:
        text = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        text = answer.decode(errors="replace")
    return " ".join(str(text).split())


def _age(created: str, date: str | None) -> float:
    """Seconds. Created has nanoseconds, which datetime cannot read; Date has whole seconds."""
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return (now - datetime.fromisoformat(created[:19] + "+00:00")).total_seconds()


def _native(jid: str, marker: Mapping[str, Any]) -> Mapping[str, Any]:
    """A marker in the shape of a container's inspection."""
    labels = marker["Labels"]
    body = json.loads(labels[_DOCUMENT_LABEL])
    call = labels.get(_CALL_LABEL)
    status = {None: "pulling", "pull": "unpulled"}.get(call, "created")
    time_of_end = marker.get("CreatedAt", "") if call else ""
    return {
        "Name": f"/{jid}",
        "Config": body,
        "HostConfig": body.get("HostConfig") or {},
        "State": {"Status": status, "Error": labels.get(_REASON_LABEL, ""), "FinishedAt": time_of_end},
    }


async def _demultiplexed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The payloads of Docker's frames: 1 byte stream, 3 zero, 4 length; a terminal's log has none.

    API 1.41 does not say which of the two it sends, but no text begins as a frame does.
    """
    buffer, framed = bytearray(), None
    async for chunk in chunks:
        buffer += chunk
        if framed is None and len(buffer) >= 4:
            framed = buffer[0] <= 2 and not any(buffer[1:4])
        if framed is False:
            yield bytes(buffer)
            buffer.clear()
        payload, start = bytearray(), 0
        while framed and len(buffer) >= start + 8:
            end = start + 8 + int.from_bytes(buffer[start + 4 : start + 8])
            if end > len(buffer):
                break
            payload += buffer[start + 8 : end]
            start = end
        if payload:
            yield bytes(payload)
        del buffer[:start]
    if buffer and not framed:
        yield bytes(buffer)
