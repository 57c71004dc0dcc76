"""Markers: what an engine holds for pman where it has no container to show, as labelled, empty volumes.

A job whose image is still being pulled is held as a `pending` marker, so that it outlives pman and
every pman of the engine sees it. Why a job could not be taken is a `failed` marker. Volumes, since
they are what an engine without any image can name, label, list and delete.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from pman.errors import EngineRefused
from pman.executors.docker.api import Api, filtered, words
from pman.executors.docker.bodies import Bodies
from pman.job import JID_LABEL, LABEL_PREFIX, REASON_LABEL

Kind = Literal["pending", "failed"]

_DOCUMENT_LABEL = f"{LABEL_PREFIX}document"
_CALL_LABEL = f"{LABEL_PREFIX}call"


@dataclass(frozen=True, slots=True)
class Marker:
    """The container that is wanted, and why there is none."""

    labels: Mapping[str, str]
    created: str
    bodies: Bodies

    @property
    def body(self) -> Mapping[str, Any]:
        """The body that creates it; of a failed one, its config."""
        body: Mapping[str, Any] = json.loads(self.labels[_DOCUMENT_LABEL])
        return body

    @property
    def config(self) -> Mapping[str, Any]:
        """The container in the words of Docker's API."""
        return self.body if _CALL_LABEL in self.labels else self.bodies.config(self.body)

    @property
    def identity(self) -> str:
        """Another one for what another job of the name has left."""
        labels = json.dumps(dict(self.labels), sort_keys=True)
        return f"marker {self.created} {hashlib.sha256(labels.encode()).hexdigest()}"

    @property
    def state(self) -> Mapping[str, str]:
        """The fields that it adds to the State of a container that was never started."""
        call, reason = self.labels.get(_CALL_LABEL), self.labels.get(REASON_LABEL, "")
        status = {"Status": "ended"} if call == "end" else {}
        return {**status, "Error": reason, "FinishedAt": self.created if call else ""}

    def native(self, jid: str) -> Mapping[str, Any]:
        """The job in the shape of a container's inspection, with a State.Status of its own."""
        status = {None: "pulling", "pull": "unpulled"}.get(self.labels.get(_CALL_LABEL), "refused")
        return {**inspection(jid, self.config, {"Status": status, **self.state}), "Created": self.created}


class Markers:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def hold(self, jid: str, body: Mapping[str, Any]) -> bool:
        """Mark a job as pending; False where another one of that name is."""
        own = self._api.bodies.config(body).get("Labels") or {}
        labels = {**own, _DOCUMENT_LABEL: json.dumps(body)}
        return (await self._create("pending", jid, labels)).labels == labels

    async def fail(self, jid: str, config: Mapping[str, Any], refused: EngineRefused) -> Marker:
        """Keep why the engine would not have a job; `config`: the container in the words of Docker's API."""
        why = {_CALL_LABEL: str(refused.native["call"]), REASON_LABEL: str(refused.native["message"])}
        rest = {name: value for name, value in config.items() if name != "Env"}  # a token is of no more use
        labels = {**(config.get("Labels") or {}), _DOCUMENT_LABEL: json.dumps(rest), **why}
        return await self._create("failed", jid, labels)

    async def find(self, kind: Kind, jid: str) -> Marker | None:
        volume = await self._api.find(_path(kind, jid), f"{self._api.kind} cannot tell the state of {jid}")
        return self._marker(volume) if volume and (volume.get("Labels") or {}).get(JID_LABEL) == jid else None

    async def latest(self, jid: str) -> Marker | None:
        """A failure counts more than the wait that it ended."""
        failed, pending = await asyncio.gather(self.find("failed", jid), self.find("pending", jid))
        return failed or pending

    async def remove(self, kind: Kind, jid: str, body: Mapping[str, Any] | None = None) -> bool:
        """Delete it, with a body only that job's; False where there is none. Raises EngineRefused."""
        marker = await self.find(kind, jid)
        if not marker or (body is not None and marker.body != body):
            return False
        status, answer = await self._api.call("DELETE", _path(kind, jid))
        if status not in (204, 404):
            raise EngineRefused("remove", status, words(answer))
        return status == 204

    async def jids(self, kinds: Sequence[Kind]) -> set[str]:
        """The jobs that have a marker of these kinds."""
        answer = await self._api.json("/volumes", filtered(label=[JID_LABEL]))
        volumes = answer.get("Volumes") or ()
        names = {volume["Name"]: volume["Labels"][JID_LABEL] for volume in volumes}
        return {jid for name, jid in names.items() if name in {_name(kind, jid) for kind in kinds}}

    async def _create(self, kind: Kind, jid: str, labels: Mapping[str, str]) -> Marker:
        """The new one, or the one that is there already."""
        volume = {"Name": _name(kind, jid), "Labels": labels}
        status, answer = await self._api.call("POST", "/volumes/create", json=volume)
        if status != 201:
            raise EngineRefused("hold", status, words(answer))
        return self._marker(json.loads(answer))

    def _marker(self, volume: Mapping[str, Any]) -> Marker:
        return Marker(volume.get("Labels") or {}, volume.get("CreatedAt", ""), self._api.bodies)


def is_same(container: Mapping[str, Any] | None, config: Mapping[str, Any]) -> bool:
    """True for the container of the job with this config; its labels have the digest of the request."""
    return container is not None and bool(container["Config"]["Labels"] == config.get("Labels"))


def inspection(jid: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job in the shape of its container's inspection; `config`: what creates it, in Docker's words."""
    return {"Name": f"/{jid}", "Config": config, "HostConfig": config.get("HostConfig") or {}, "State": state}


def _name(kind: Kind, jid: str) -> str:
    return f"pman-{kind}.{jid}"


def _path(kind: Kind, jid: str) -> str:
    return f"/volumes/{quote(_name(kind, jid), safe='')}"
