"""Documents as manifests: the path of the API that each has, refused where no Job can own its object.

And what the API server made of one: which fields the object has, and which were dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pman.errors import ConfigError, EngineRefused
from pman.executors.kubernetes.api import JOBS, Api, Object
from pman.executors.kubernetes.metadata import labels, name, uid
from pman.job import JID_LABEL, Document

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document of the job `jid`, as it is sent."""

    jid: str
    body: Object
    resource: str
    """E.g. `/apis/batch/v1 jobs`."""

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def is_the_job(self) -> bool:
        return self.resource == JOBS and name(self.body) == self.jid

    @property
    def marks(self) -> Mapping[str, Any]:
        """The metadata that tell one job from another of the same name."""
        metadata = self.body["metadata"]
        return {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}

    def owned_by(self, job: Object) -> Manifest:
        metadata = self.body["metadata"]
        references = [*(metadata.get("ownerReferences") or ()), owner_reference(job)]
        return replace(self, body={**self.body, "metadata": {**metadata, "ownerReferences": references}})

    def owners_of(self, existing: Object) -> set[str]:
        """The uids of the Jobs of this name that own it."""
        references = existing["metadata"].get("ownerReferences") or ()
        return {each["uid"] for each in references if each["kind"] == "Job" and each["name"] == self.jid}

    def is_of_the_same_name(self, existing: Object) -> bool:
        """Tell whether an object belongs to this job, or to an earlier one of its name."""
        return labels(existing).get(JID_LABEL) == self.jid or bool(self.owners_of(existing))

    def may_await(self, existing: Object) -> bool:
        """Tell whether the deletion of an object is worth the wait: of any Job, else of no stranger's."""
        return self.is_the_job or self.is_of_the_same_name(existing)


def owner_reference(job: Object) -> Mapping[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": name(job),
        "uid": uid(job),
        "controller": False,
        "blockOwnerDeletion": False,
    }


Kind = tuple[str, bool]
"""The path of its resource, such as `/apis/batch/v1 jobs`, and whether it is namespaced."""


class Manifests:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._kinds: dict[str, Mapping[str, Kind]] = {}
        """The kinds of each version that was asked for, by version and name."""

    async def read(self, jid: str, documents: Sequence[Document]) -> list[Manifest]:
        """Raises ConfigError where none is the Job, or one cannot belong to it; EngineRefused."""
        manifests = [await self._manifest(jid, document) for document in documents]
        if not any(manifest.is_the_job for manifest in manifests):
            raise ConfigError(f"templates/kubernetes: none of the documents is a Job of the name {jid}")
        return manifests

    async def _manifest(self, jid: str, document: Document) -> Manifest:
        body: Any = document.content
        try:
            resource, is_namespaced = await self._kind(str(body["apiVersion"]), str(body["kind"]))
            metadata = dict(body["metadata"])
            metadata["name"] = str(metadata["name"])
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"templates/kubernetes/{document.name}: a document needs apiVersion, kind and metadata.name"
            ) from error
        if metadata["name"] in (".", "..") or not {"/", "%"}.isdisjoint(metadata["name"]):  # no path of it
            raise EngineRefused(f"create {body['kind']}", 422, f"{metadata['name']!r} can be no name")
        namespace = metadata.setdefault("namespace", self._api.namespace)
        if namespace != self._api.namespace or not is_namespaced:
            raise ConfigError(
                f"templates/kubernetes/{document.name}: {body['kind']} {metadata['name']} would be outside "
                f"of the namespace {self._api.namespace}, where no Job can own it",
                "it would stay when the job is deleted; create it once, by hand",
            )
        return Manifest(jid, {**body, "metadata": metadata}, resource)

    async def _kind(self, version: str, kind: str) -> Kind:
        """Raises EngineRefused for one that the cluster does not have. `version`: such as `batch/v1`."""
        if kind not in self._kinds.get(version, ()):  # a site may add kinds at any time
            self._kinds[version] = await self._discover(version, kind)
        if kind not in self._kinds[version]:
            raise EngineRefused(f"create {kind}", 404, f"the cluster knows no kind {kind} in {version}")
        return self._kinds[version][kind]

    async def _discover(self, version: str, kind: str) -> Mapping[str, Kind]:
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        answer = await self._api.call("GET", prefix)
        if answer.status >= 400:
            raise EngineRefused(f"create {kind}", answer.status, f"{version}: {answer.message}")
        return {
            item["kind"]: (f"{prefix} {item['name']}", item["namespaced"])
            for item in answer.content.get("resources") or ()
            if "/" not in item["name"]  # pods/log and the like
        }


def warn_of_dropped(sent: Any, created: Any, reported: set[str]) -> None:
    """Warn once of each field that the API server ignores: of a later version, or of a disabled feature."""
    if new := set(dropped(sent, created)) - reported:
        log.warning("this API server does not know, and ignores, of the Job: %s", ", ".join(sorted(new)))
        reported |= new


def has(existing: Any, wanted: Any) -> bool:
    """Tell whether the object has all wanted fields; the API server adds defaults of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(existing, Mapping) and all(has(existing.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(existing, list) and len(existing) == len(wanted) and all(map(has, existing, wanted))
    return bool(existing == wanted)


def dropped(sent: Any, created: Any, at: str = "") -> Iterator[str]:
    """The paths of the fields that were sent and are not in the object, but for empty ones."""
    if isinstance(sent, Mapping) and isinstance(created, Mapping):
        for key, value in sent.items():
            where = f"{at}.{key}" if at else str(key)
            if key in created:
                yield from dropped(value, created[key], where)
            elif value:
                yield where
    elif isinstance(sent, list) and isinstance(created, list):
        for index, (one, other) in enumerate(zip(sent, created, strict=False)):
            yield from dropped(one, other, f"{at}[{index}]")
