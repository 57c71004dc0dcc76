"""Reads the metadata of a Kubernetes object: its name, uid, version, labels and owner."""

from __future__ import annotations

from collections.abc import Mapping

from pman.executors.kubernetes.api import Object
from pman.job import JID_LABEL


def without_managed_fields(item: Object) -> Object:
    """The object without managedFields, which are half of it, and of no use here."""
    if "managedFields" not in item["metadata"]:
        return item
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


def name(item: Object) -> str:
    return str(item["metadata"]["name"])


def uid(item: Object) -> str:
    return str(item["metadata"]["uid"])


def resource_version(item: Object) -> str:
    """The resourceVersion: tells whether two states are the same, not which one is newer."""
    return str(item["metadata"].get("resourceVersion", ""))


def labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def is_pmans(job: Object) -> bool:
    return labels(job).get(JID_LABEL) == name(job)


def is_terminating(item: Object) -> bool:
    """Tell whether it is deleted and waits for a finalizer."""
    return bool(item["metadata"].get("deletionTimestamp"))


def owner_uid(pod: Object, jid: str = "") -> str:
    """The uid of the Job that controls the pod, or ''; with a jid, only of a Job of that name."""
    for reference in pod["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference["kind"] == "Job" and jid in ("", reference["name"]):
            return str(reference["uid"])
    return ""
