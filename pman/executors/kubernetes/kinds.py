"""The path of the API for a kind of document: asked of the API server (discovery), and cached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pman.errors import EngineRefused
from pman.executors.kubernetes.api import Api

JOBS = "/apis/batch/v1 jobs"
PODS = "/api/v1 pods"
EVENTS = "/api/v1 events"


@dataclass(frozen=True, slots=True)
class Kind:
    path: str
    """E.g. `/apis/batch/v1 jobs`."""

    namespaced: bool


class Kinds:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._discovered: dict[str, Mapping[str, Kind]] = {}

    async def find(self, version: str, kind: str) -> Kind:
        """Raises EngineRefused for one that the cluster does not have. `version`: such as `batch/v1`."""
        if kind not in self._discovered.get(version, ()):  # a site may add kinds at any time
            self._discovered[version] = await self._discover(version, kind)
        if kind not in self._discovered[version]:
            raise EngineRefused(f"create {kind}", 404, f"the cluster knows no kind {kind} in {version}")
        return self._discovered[version][kind]

    async def _discover(self, version: str, kind: str) -> Mapping[str, Kind]:
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        answer = await self._api.call("GET", prefix)
        if answer.status >= 400:
            raise EngineRefused(f"create {kind}", answer.status, f"{version}: {answer.message}")
        return {
            item["kind"]: Kind(f"{prefix} {item['name']}", item["namespaced"])
            for item in answer.content.get("resources") or ()
            if "/" not in item["name"]  # pods/log and the like
        }
