"""The network of the jobs, by JOB_NETWORK: pman's own is made where it is missing, a site's must be there.

Of the pmans that make it at the same time all but one are refused: by a swarm, since it has a name once
only, by an engine, since two networks cannot have one bridge; names of networks it takes twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pman.errors import ConfigError, EngineUnreachable
from pman.executors.docker.api import Api, words
from pman.executors.shared.tasks import Attempts
from pman.job import LABEL_PREFIX

Answer = tuple[int, bytes]

LABEL = f"{LABEL_PREFIX}network"

LABELS = {LABEL: "jobs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Describes the call that makes the network which is pman's."""

    name: str
    bodies: Sequence[Mapping[str, Any]]
    """The call's bodies, without the name; the second one is sent where the engine refuses the first."""

    path: str = "/networks/create"
    look: str = "/networks/{}"
    """The path that tells of a network; Podman shows no options by Docker's API."""

    scope: str = ""
    """The scope that a network of jobs must have; '' allows any."""

    interface: bool = False
    """Says whether the bridge on the machine gets a name, so that no second network can be made."""


BRIDGE = Own(
    name="pman-jobs",
    bodies=[
        {
            "CheckDuplicate": True,
            "Driver": "bridge",
            "Labels": LABELS,
            "Options": {"com.docker.network.bridge.enable_icc": "false"},
        }
    ],
    interface=True,
)
"""On Docker: its containers reach what is outside, and not each other."""

PODMAN_BRIDGE = Own(
    name="pman-jobs",
    path="/libpod/networks/create",
    look="/libpod/networks/{}/json",
    bodies=[
        {"driver": "bridge", "labels": LABELS, "dns_enabled": False, "options": {"isolate": isolate}}
        for isolate in ("strict", "true")
    ],
)
"""On Podman: its containers reach no other network; without `strict`, none that is isolated like this one."""

SWARM_BRIDGE = Own(
    name="pman-swarm-jobs",
    bodies=[{"Driver": "bridge", "Scope": "swarm", "Labels": LABELS}],
    scope="swarm",
)
"""In a swarm: a bridge on each node, without options, which a swarm keeps from nodes (swarmkit's
cnmallocator). No overlay: it has few addresses, and one for each job."""

EVERYWHERE = ("none", "host")

VISIBLE_INTERVAL_SECONDS, VISIBLE_TIMEOUT_SECONDS = 0.05, 5.0
"""For so long is looked for the network of somebody who was quicker."""


class Network:
    def __init__(self, api: Api, settings: Mapping[str, Any], own: Own) -> None:
        """`own`: what makes the one that is pman's."""
        self._api = api
        self._name = settings["JOB_NETWORK"]
        self._own = own

    async def ensure(self) -> None:
        """Returns once it is there. Raises ConfigError."""
        if self._name is None or self._name in EVERYWHERE:
            return
        network = await self._find()
        if self._name == self._own.name:
            network = network or await self._made()
            self._check_own(network)
        elif network is None:
            raise ConfigError(
                f"JOB_NETWORK={self._name!r}: {self._api.kind} has no such network",
                "unset it, and jobs have a network that pman makes; `docker network ls` has the names",
            )
        elif fault := self._fault(network):
            raise ConfigError(f"JOB_NETWORK={self._name!r}: {fault[0]}", fault[1])

    def _check_own(self, network: Mapping[str, Any]) -> None:
        """Raises ConfigError."""
        if LABEL not in (network.get("Labels") or {}):
            raise ConfigError(
                f"JOB_NETWORK={self._name!r}: there is a network of this name that pman has not made",
                "remove it, or give it another name and set JOB_NETWORK to that",
            )
        options = (network.get("Options") or {}).items()
        # Podman's are not compared: 4.3 tells none once somebody has listed its networks by Docker's API.
        wanted = self._own.bodies[0].get("Options", {})
        if not wanted.items() <= options:
            raise ConfigError(
                f"JOB_NETWORK={self._name!r}: there is a network of this name that does not keep jobs apart; "
                f"it lacks {', '.join(f'{name}={value}' for name, value in wanted.items())}",
                f"docker network rm {self._name}, and pman makes it anew",
            )

    def _fault(self, network: Mapping[str, Any]) -> tuple[str, str] | None:
        """Say why no job can be in a network, and what helps."""
        if network.get("Ingress") or network.get("ConfigOnly"):
            return "no container can be in this network", "docker network create makes one"
        if self._own.scope not in ("", network.get("Scope")) and self._name != "bridge":
            return (
                "this network is one of the engine's, and not of its swarm",
                "docker network create --scope swarm makes one of the swarm",
            )
        of_a_swarm = network.get("Scope") == SWARM_BRIDGE.scope
        if of_a_swarm and not self._own.scope and not network.get("Attachable"):
            return (
                "this network is one of the swarm's, for its services only",
                "docker network create --attachable makes one for containers, too",
            )
        return None

    async def needed(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of a call that needs the network; asked again where that had to be made anew.

        An unused network goes by `docker network prune`.
        """
        status, answer = await call()
        message = words(answer)
        if status < 400 or "not found" not in message or f" {self._name}" not in message:
            return status, answer
        try:
            await self.ensure()
        except ConfigError as error:
            raise EngineUnreachable(str(error), error.hint) from error
        return await call()

    async def _find(self) -> Any:
        """The network; not one whose id begins like its name, as an engine would take it."""
        path = self._own.look.format(quote(self._name, safe=""))
        answer = await self._api.find(path, f"{self._api.kind} cannot tell of the network of the jobs")
        network = {name[:1].upper() + name[1:]: value for name, value in (answer or {}).items()}
        return network if self._name in (network.get("Name"), network.get("Id")) else None

    async def _made(self) -> Any:
        """The new one, or that of somebody who was quicker."""
        name = "Name" if self._own.path == "/networks/create" else "name"
        for body in self._own.bodies:
            options = await self._options(body)
            status, answer = await self._api.call(
                "POST", self._own.path, json={name: self._own.name, **body, **options}
            )
            if status < 400 or status == 409:
                break
        async for _ in Attempts(VISIBLE_INTERVAL_SECONDS, within=VISIBLE_TIMEOUT_SECONDS):
            if network := await self._find():
                return network
        raise ConfigError(
            f"{self._api.kind} does not make the network {self._name} for the jobs: {words(answer)}",
            "set JOB_NETWORK to the name of a network that is there; none; or host",
        )

    async def _options(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Name the bridge, in at most 15 characters; each of several engines on a machine has its own."""
        if not self._own.interface:
            return {}
        seed = f"{(await self._api.json('/info'))['ID']} {self._own.name}"
        bridge = f"pman-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"
        return {"Options": {**body["Options"], "com.docker.network.bridge.name": bridge}}
