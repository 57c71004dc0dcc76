"""Checks at the start: the namespace, the claim, and pman's permissions in the namespace."""

from __future__ import annotations

import asyncio
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
