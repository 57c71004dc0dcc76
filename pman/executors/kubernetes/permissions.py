"""Checks at the start: the namespace, the claim, pman's permissions in the namespace, and the release."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from pman.errors import ConfigError
from pman.executors.kubernetes.api import Api, namespace_path

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

NEEDED = {
    ("batch", "jobs"): ("get", "list", "watch", "create", "patch", "delete"),
    ("", "pods"): ("list", "watch", "delete"),
    ("", "pods/log"): ("get",),
    ("", "events"): ("list", "watch"),
}
"""The verbs that this package uses, by API group and resource. Documents of other kinds need more."""

CLAIM = ("get", "", "persistentvolumeclaims")
"""For the check of the claim, where the storebase is one."""


SAFE_SUBPATH = {20: 11, 21: 5, 22: 2}
"""By minor version, the release that mends CVE-2021-25741; later minor versions never had it.

https://github.com/kubernetes/kubernetes/issues/104980
"""


def left_open(version: str) -> Sequence[str]:
    """Say what an API server of this version, such as v1.20.2, tells of the kubelets, which are no newer."""
    release = re.match(r"v1\.(\d+)\.(\d+)", version)
    minor, patch = map(int, release.groups()) if release else (0, 0)
    if patch >= SAFE_SUBPATH.get(minor, 0):
        return []
    return [
        f"Kubernetes {version} has CVE-2021-25741: who exchanges a directory for a link just as the kubelet "
        f"mounts it can lead a job out of the storebase; 1.{minor}.{SAFE_SUBPATH[minor]} mends it"
    ]


async def missing_permissions(api: Api, claim: str | None) -> Sequence[str]:
    """The permissions that pman lacks, such as `create jobs.batch` or `get pods/log`."""
    wanted = [(verb, *resource) for resource, verbs in NEEDED.items() for verb in verbs]
    wanted += [CLAIM] if claim else []
    allowed = await asyncio.gather(*(_may(api, *each) for each in wanted))
    return [
        f"{verb} {resource}{f'.{group}' if group else ''}"
        for (verb, group, resource), may in zip(wanted, allowed, strict=True)
        if not may
    ]


async def check_namespace(api: Api) -> None:
    """Raises ConfigError where there is none. Without the permission to read it, there is no telling."""
    answer = await api.call("GET", namespace_path(api.namespace))
    if answer.status == 404:
        raise ConfigError(
            f"JOB_NAMESPACE={api.namespace!r}: {api.address} has no such namespace",
            "`kubectl get namespaces` lists them",
        )


async def check_claim(api: Api, claim: str | None) -> None:
    """Raises ConfigError where there is none. Without the permission to read claims, it is missing."""
    if claim is None:
        return
    answer = await api.call("GET", api.path("/api/v1 persistentvolumeclaims", claim))
    if answer.status == 404:
        namespace = api.namespace
        raise ConfigError(
            f"VOLUME_NAME={claim!r}: the namespace {namespace} has no such persistentvolumeclaim",
            f"`kubectl get persistentvolumeclaims --namespace {namespace}` lists them",
        )


async def _may(api: Api, verb: str, group: str, resource: str) -> bool:
    kind, _, part = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": kind, "subresource": part}
    spec = {"resourceAttributes": {"namespace": api.namespace, **attributes}}
    kinds = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    answer = await api.call("POST", REVIEWS, body={**kinds, "spec": spec})
    if answer.status >= 400:
        return True  # a cluster that does not answer reviews; the call itself will tell
    return bool(answer.content["status"].get("allowed"))
