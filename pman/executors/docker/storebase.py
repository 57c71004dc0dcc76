"""Finds where the engine's host has the storebase: pman mounts directories of it, by their paths there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

from pman.errors import ConfigError
from pman.executors.docker.api import Api, filtered

STOREBASE_MOUNT = "/var/local/storeBase"
"""pfcon's container mounts the storebase there."""


async def facts(api: Api, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """See Executor.facts."""
    native = await api.description()
    return {"storebase": await storebase(api, settings), "native": native}


async def storebase(api: Api, settings: Mapping[str, Any]) -> str:
    """Its absolute path there, by STORAGE_TYPE. Raises ConfigError."""
    if settings["STORAGE_TYPE"] == "host":
        return str(settings["STOREBASE"])
    named = settings["VOLUME_NAME"]
    mount = {"Name": named} if named else await _mount(api, settings["PFCON_SELECTOR"])
    if mount.get("Type") == "bind":
        return str(mount["Source"])
    where = f"/volumes/{quote(mount['Name'], safe='')}"
    volume = await api.find(where, f"{api.kind} cannot tell where a volume is")
    if volume is None:
        raise ConfigError(
            f"VOLUME_NAME={mount['Name']!r}: {api.kind} has no such volume",
            "pfcon's compose file or `docker volume ls` tells its name",
        )
    path = str(volume.get("Mountpoint") or "")
    if not path.startswith("/"):
        raise ConfigError(
            f"VOLUME_NAME={mount['Name']!r}: its driver does not say where it is ({path!r})",
            "use a volume of the driver local, or STORAGE_TYPE=host",
        )
    return path


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
