"""What the metadata of a Kubernetes object says: its name, uid, version, labels and owner."""

from __future__ import annotations

from collections.abc import Mapping

from pman.executors.kubernetes.api import Object
from pman.job import JID_LABEL


def without_managed_fields(found: Object) -> Object:
    """Without the record of who set which field: half of an object, and of no use here."""
    if "managedFields" not in found["metadata"]:
        return found
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return {**found, "metadata": metadata}


def name(found: Object) -> str:
    return str(found["metadata"]["name"])


def uid(found: Object) -> str:
    return str(found["metadata"]["uid"])


def resource_version(found: Object) -> str:
    """Of this state of the object: says whether two are the same, not which one is newer."""
    return str(found["metadata"].get("resourceVersion", ""))


def labels(found: Object) -> Mapping[str, str]:
    return found["metadata"].get("labels") or {}


def is_pmans(job: Object) -> bool:
    return labels(job).get(JID_LABEL) == name(job)


def is_terminating(found: Object) -> bool:
    """Whether it is deleted and only waits for a finalizer."""
    return bool(found["metadata"].get("deletionTimestamp"))


def owner_uid(pod: Object, jid: str = "") -> str:
    """The uid of the Job that made it; with a jid, only of one of that name."""
    for reference in pod["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference["kind"] == "Job" and jid in ("", reference["name"]):
            return str(reference["uid"])
    return ""
