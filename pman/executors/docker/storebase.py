"""Finds where the engine's host has the storebase, and how a job gets two directories of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from pman.errors import ConfigError
from pman.executors.docker.api import SUBPATH_VERSION, Api, filtered, numbers

STOREBASE_MOUNT = "/var/local/storeBase"
"""pfcon's container mounts the storebase there."""

BY_PATH = (
    "jobs mount their directories by path, since {engine} knows no sub-paths ({newer} does): "
    "what is no job of this engine and exchanges a directory of the storebase for a link while a job starts "
    "may lead its mount elsewhere"
)

PODMAN_SUBPATH_VERSION = (4, 5)
"""Podman takes `subpath=` for a bind mount: it opens the directory, looks where it is, and mounts what it has
opened (libpod's safeMountSubPath; by openat2 in 5.8). An older one refuses the option by its name."""

SPEC_GENERATOR = {
    "required": ["name", "image"],
    "propertyNames": {
        "description": "no field of Podman's own API, in which its templates are; those that begin with a "
        "capital are of Docker's, in which they were before",
        "pattern": "^(?:[a-z]|Networks$)",
    },
}
"""JSON Schema. Podman drops a field that it does not know without a word."""


@dataclass(frozen=True, slots=True)
class Storebase:
    path: str
    """Absolute, on the engine's host."""

    volume: str = ""
    """The name of the volume that it is; '' where it is a directory."""


async def facts(api: Api, storebase: Storebase) -> Mapping[str, Any]:
    """See Executor.facts."""
    native = await api.description()
    facts = {"storebase": storebase.path, "native": native, "log_driver": native.get("LoggingDriver", "")}
    if numbers(native["ApiVersion"]) < SUBPATH_VERSION:
        return {**facts, "storebase_volume": None, **by_path(f"Docker with API {native['ApiVersion']}")}
    if storebase.volume:
        return {**facts, "storebase_volume": {"name": storebase.volume, "device": ""}}
    return {**facts, "storebase_volume": {"name": volume_name(storebase.path), "device": storebase.path}}


async def podman_facts(api: Api, storebase: Storebase) -> Mapping[str, Any]:
    """Return the facts of Podman, whose own API takes another document."""
    native = await api.description()
    subpath = tuple(map(int, native["Version"].split(".")[:2])) >= PODMAN_SUBPATH_VERSION
    warnings = {} if subpath else by_path(f"Podman {native['Version']}", "Podman 4.5")
    documents = {"container.yaml": SPEC_GENERATOR}
    return {
        "storebase": storebase.path,
        "native": native,
        "subpath": subpath,
        "documents": documents,
        **warnings,
    }


def by_path(engine: str, newer: str = "Docker 26") -> Mapping[str, Any]:
    """Says of an engine that mounts by path what that leaves open, and which one is newer."""
    return {"warnings": [BY_PATH.format(engine=engine, newer=newer)]}


def volume_name(directory: str) -> str:
    """Name the volume that is made of a directory: for each directory its own."""
    return f"pman-storebase-{hashlib.sha256(directory.encode()).hexdigest()[:12]}"


async def find(api: Api, settings: Mapping[str, Any]) -> Storebase:
    """Find it by STORAGE_TYPE. Raises ConfigError."""
    if settings["STORAGE_TYPE"] == "host":
        return Storebase(str(settings["STOREBASE"]))
    named = settings["VOLUME_NAME"]
    mount = {"Name": named} if named else await _mount(api, settings["PFCON_SELECTOR"])
    if mount.get("Type") == "bind":
        return Storebase(str(mount["Source"]))
    where = f"/volumes/{quote(mount['Name'], safe='')}"
    volume = await api.find(where, f"{api.kind} cannot tell where a volume is")
    if volume is None:
        raise ConfigError(
            f"VOLUME_NAME={mount['Name']!r}: {api.kind} has no such volume",
            "pfcon's compose file or `docker volume ls` tells its name",
        )
    options = volume.get("Options") or {}
    if "bind" in str(options.get("o", "")).split(","):  # it is mounted there while somebody uses it only
        return Storebase(str(options["device"]), str(mount["Name"]))
    path = str(volume.get("Mountpoint") or "")
    if not path.startswith("/"):
        raise ConfigError(
            f"VOLUME_NAME={mount['Name']!r}: its driver does not say where it is ({path!r})",
            "use a volume of the driver local, or STORAGE_TYPE=host",
        )
    return Storebase(path, str(mount["Name"]))


async def _mount(api: Api, selector: str) -> Mapping[str, Any]:
    """pfcon's mount of the storebase."""
    for container in await api.json("/containers/json", filtered(label=[selector])):
        for mount in container["Mounts"]:
            if mount["Destination"] == STOREBASE_MOUNT:
                return cast(Mapping[str, Any], mount)
    raise ConfigError(
        f"PFCON_SELECTOR={selector!r}: no running container so labelled mounts {STOREBASE_MOUNT}",
        "start pfcon before pman, or set VOLUME_NAME, or STORAGE_TYPE=host and STOREBASE",
    )
