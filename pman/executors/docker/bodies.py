"""The body that creates a container: that of Docker's API, or that of Podman's own, which is another.

Podman creates by its own API, since only that one mounts a directory so that no link leads out. A container
is inspected, listed, started and deleted by Docker's API whichever way it was created.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of one API."""

    path: str
    """Where they are sent to."""

    config: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """One of them in the words of Docker's, in which the engine shows the container once it is there."""

    unstarted: Sequence[str]
    """The states before its process runs, by which a list is filtered."""

    @property
    def living(self) -> Sequence[str]:
        """These, and the states until its process has ended."""
        return [*self.unstarted, "running", "paused"]


def _spec_config(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A SpecGenerator, as far as the rules of state.yaml read a container that is not there yet."""
    limits = spec.get("resource_limits") or {}
    cpu, memory = limits.get("cpu") or {}, limits.get("memory") or {}
    return {
        "Image": spec.get("image"),
        "Entrypoint": spec.get("entrypoint"),
        "Cmd": spec.get("command"),
        "Env": [f"{name}={value}" for name, value in (spec.get("env") or {}).items()],
        "Labels": spec.get("labels"),
        "HostConfig": {
            "NanoCpus": (cpu.get("quota") or 0) * 10**9 // (cpu.get("period") or 10**5),
            "Memory": memory.get("limit") or 0,
        },
    }


DOCKER = Bodies("/containers/create", lambda body: body, ["created"])
PODMAN = Bodies("/libpod/containers/create", _spec_config, ["created", "initialized"])
