"""Which path of the API a kind of document has: what the API server itself says, asked once."""

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
        self._known: dict[str, Mapping[str, Kind]] = {}

    async def find(self, version: str, kind: str) -> Kind:
        """E.g. of `batch/v1` and `Job`. Raises EngineRefused for what the cluster does not have."""
        if kind not in self._known.get(version, ()):  # asked again, since a site may add kinds at any time
            self._known[version] = await self._ask(version, kind)
        if kind not in self._known[version]:
            raise EngineRefused(f"create {kind}", 404, f"the cluster knows no kind {kind} in {version}")
        return self._known[version][kind]

    async def _ask(self, version: str, kind: str) -> Mapping[str, Kind]:
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        answer = await self._api.call("GET", prefix)
        if answer.status >= 400:
            raise EngineRefused(f"create {kind}", answer.status, f"{version}: {answer.message}")
        return {
            item["kind"]: Kind(f"{prefix} {item['name']}", item["namespaced"])
            for item in answer.content.get("resources") or ()
            if "/" not in item["name"]  # pods/log and the like
        }
