"""Finds what the demo can run on this machine: an engine that answers, and a real plugin for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from pman import executors, settings
from pman.errors import ConfigError
from pman.executors.docker.api import docker_address, podman_address

ADDRESSES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "CONTAINER_HOST")
_CLIENT = ("DOCKER_CONFIG", "DOCKER_CONTEXT", "XDG_RUNTIME_DIR")
_INHERITED = (*ADDRESSES, *_CLIENT, "HOME", "LANG", "PATH", "TMPDIR")
"""Where the engines are, and nothing else that configures a pman."""

SIMPLEDSAPP = {
    "localhost/fnndsc/pl-simpledsapp:1.0.3": "simpledsapp.py",
    "docker.io/fnndsc/pl-simpledsapp:2.1.0": "simpledsapp",
}
"""Builds of a real ChRIS plugin, and its program in each. The first is made without a registry."""

PULLED = "docker.io/fnndsc/pl-simpledsapp:2.1.0"

OWN_ENGINE = "local"

_OWN = {
    "image": "localhost/pman/demo-plugin:1",
    "entrypoint": [sys.executable, str(Path(__file__).with_name("plugin.py"))],
    "args": ["--threshold", "60", "--sleepLength", "1"],
}
"""Where there are no images: a plugin of pman's own, run by this Python."""

_ADDRESSES = {"docker": docker_address, "podman": podman_address}


class Unsuitable(Exception):
    """Why the demo cannot run on an engine."""


@dataclass(frozen=True, slots=True)
class Stage:
    """An engine, the plugin that it can run, and the environment of a server for it."""

    engine: str
    plugin: Mapping[str, Any]
    """The part of a request that is the plugin's: image, entrypoint, args."""

    environ: Mapping[str, str]


def names(wanted: str | None) -> list[str]:
    """The engines to try, best first. Raises ConfigError for one that the demo has no plugin for."""
    engines = [name for name in (*_ADDRESSES, OWN_ENGINE) if name in executors.names()]
    if wanted and wanted not in engines:
        raise ConfigError(f"--engine={wanted!r}: the demo can use {', '.join(engines)}")
    return [wanted] if wanted else engines


def stage(
    engine: str, environ: Mapping[str, str], image: str | None, pulling: Callable[[str], None]
) -> Stage:
    """Raises Unsuitable, ConfigError. `pulling` is told the image before a pull, which may take its time."""
    inherited = {name: environ[name] for name in _INHERITED if environ.get(name)}
    if engine == OWN_ENGINE:
        return Stage(engine, _OWN, inherited)
    client = _client(engine, inherited)
    try:
        info = client.info()
        wanted = [image] if image else list(SIMPLEDSAPP)
        present = _present(client, wanted) or _pulled(client, image or PULLED, pulling)
    except (DockerException, requests.RequestException) as error:
        raise Unsuitable(f"it broke off: {error}") from error
    finally:
        client.close()
    plugin = {
        "image": present,
        "entrypoint": [SIMPLEDSAPP.get(present, "simpledsapp")],
        "args": ["--prefix", "le-", "--sleepLength", "1"],
    }
    return Stage(engine, plugin, {**inherited, **_fitting(info)})


def _client(name: str, environ: Mapping[str, str]) -> docker.DockerClient:
    chosen = settings.load({**environ, "CONTAINER_ENV": name}, executors.names())
    address, tls = _ADDRESSES[name](chosen.values)
    address = address.removeprefix("http+")
    try:
        return docker.DockerClient(base_url=address, tls=tls or False, timeout=60)  # asks for the version
    except (DockerException, requests.RequestException) as error:
        if "Permission denied" in str(error):
            raise Unsuitable(f"this user may not use {address}; join its group, or use sudo") from error
        raise Unsuitable(f"it does not answer at {address}") from error


def _present(client: docker.DockerClient, images: Sequence[str]) -> str | None:
    for image in images:
        with suppress(ImageNotFound):
            client.images.get(image)
            return image
    return None


def _pulled(client: docker.DockerClient, image: str, pulling: Callable[[str], None]) -> str:
    pulling(image)
    failure = "it has no image for the demo and cannot pull one"
    try:
        repository, tag = docker.utils.parse_repository_tag(image)
        for line in client.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if error := cast(Mapping[str, str], line).get("error"):
                raise Unsuitable(f"{failure}: {error}")
    except APIError as error:
        raise Unsuitable(f"{failure}: {error.explanation or error}") from error
    if not _present(client, [image]):
        raise Unsuitable(f"it has no image for the demo: {image} is not there after a pull")
    return image


def _fitting(info: Mapping[str, Any]) -> Mapping[str, str]:
    """Settings for what an engine says of itself, so that it can limit jobs and their files are ours."""
    chosen = {}
    if not any("rootless" in str(option) for option in info.get("SecurityOptions") or ()):
        # Where it is rootless, its root is this user.
        chosen = {"CONTAINER_USER": f"{os.getuid()}:{os.getgid()}", "ENABLE_HOME_WORKAROUND": "yes"}
    if not (info.get("MemoryLimit") and info.get("CpuCfsQuota")):
        chosen["IGNORE_LIMITS"] = "yes"
    return chosen
