"""Brings Jobs into each state that a cluster can be brought into, and writes what it says of them.

    KUBECONFIG=an-administrators python -m tests.states.record_kubernetes [STATE...]

Needs a cluster with one node that shares this machine's /tmp, and the image localhost/pman-test:1 on it. What
one cannot bring about, such as words of newer versions, is derived, and says from what.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pman.translation.render import Templates, loader
from pman.translation.variables import job_variables, site_variables
from tests.a_job import a_job, settings_of
from tests.engines.cluster import Cluster, ClusterError
from tests.states import HERE

STOREBASE = Path("/tmp/pman-states")
LINK = STOREBASE / "link-to-etc"
NAMESPACE = "pman-states"
FULL = "pman-states-full"
"""A namespace whose quota lets no pod in."""

NODE = "127.0.0.1"
Native = dict[str, Any]


def container_state(native: Native, kind: str) -> Any:
    """Of the first container that is in such a state."""
    statuses = [status for pod in native["pods"] for status in pod["status"].get("containerStatuses", ())]
    return next((status["state"][kind] for status in statuses if kind in status["state"]), None)


def waiting(*words: str) -> Callable[[Native], bool]:
    return lambda native: (container_state(native, "waiting") or {}).get("reason") in words


def warned(*words: str) -> Callable[[Native], bool]:
    return lambda native: bool({event["reason"] for event in native["events"]} & {*words})


def running(native: Native) -> bool:
    return bool(container_state(native, "running"))


def ended(native: Native) -> bool:
    """And all its pods are gone or at rest."""
    at_rest = all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in native["pods"])
    return bool(native["job"].get("status", {}).get("conditions")) and at_rest


def unscheduled(native: Native) -> bool:
    conditions = [each for pod in native["pods"] for each in pod["status"].get("conditions", ())]
    return any(each["type"] == "PodScheduled" and each["status"] == "False" for each in conditions)


@dataclass
class Recipe:
    command: list[str]
    until: Callable[[Native], bool]
    settings: Mapping[str, str] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[Any], None] = lambda _: None
    """What a site's template could do to the document."""

    then: Callable[[Cluster, str], None] | None = None
    """Done once `until` holds; what is recorded is what comes of it."""

    namespace: str = NAMESPACE


def pod_of(body: Any) -> Any:
    return body["spec"]["template"]["spec"]


def plugin_of(body: Any) -> Any:
    return pod_of(body)["containers"][0]


def path(jid: str, namespace: str = NAMESPACE) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs/{jid}"


def end(cluster: Cluster, jid: str) -> None:
    """As the executor does, for a rule that calls a job overdue."""
    annotations = {
        "org.chrisproject.pman.reason": "the image localhost:1/none:1 could not be pulled: refused"
    }
    patch = {"metadata": {"annotations": annotations}, "spec": {"activeDeadlineSeconds": 1}}
    cluster.call("PATCH", path(jid), patch)


def delete_pods(cluster: Cluster, jid: str) -> None:
    selector = f"org.chrisproject.pman.jid={jid}"
    cluster.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=selector)


def restarting(body: Any) -> None:
    pod_of(body)["restartPolicy"] = "OnFailure"
    body["spec"]["backoffLimit"] = 6


MISSING_SECRET = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "no-such-secret", "key": "a"}}}
INIT = {"name": "prepare", "image": "localhost/pman-test:1", "command": ["sh", "-c", "exit 5"]}
MIXED = "mkdir $2/first && exit 0; mkdir $2/second && sleep 3 && exit 4; sleep 100"
MIXED_RUNNING = "mkdir $2/first && exit 0; sleep 100"
NONE = "localhost:1/none:1"
NO_CLAIM = {"STORAGE_TYPE": "kubernetes_pvc", "STOREBASE": "", "VOLUME_NAME": "no-such-claim"}

RECIPES: Mapping[str, Recipe] = {
    "without-pods": Recipe(["true"], lambda _: True),
    "without-pods-quota": Recipe(["true"], warned("FailedCreate"), namespace=FULL),
    "unschedulable-cpu": Recipe(["true"], unscheduled, job={"cpu_limit": 1_000_000}),
    "unschedulable-selector": Recipe(["true"], unscheduled, {"NODE_SELECTOR": "disk=none"}),
    "unschedulable-claim": Recipe(["true"], unscheduled, NO_CLAIM),
    "creating": Recipe(["true"], waiting("ContainerCreating")),
    "image-pull": Recipe(["true"], waiting("ErrImagePull"), job={"image": NONE}),
    "image-pull-back-off": Recipe(["true"], waiting("ImagePullBackOff"), job={"image": NONE}),
    "image-invalid-name": Recipe(
        ["true"], waiting("InvalidImageName"), change=lambda body: plugin_of(body).update(image="No Name")
    ),
    "image-never-pull": Recipe(
        ["true"],
        waiting("ErrImageNeverPull"),
        job={"image": NONE},
        change=lambda body: plugin_of(body).update(imagePullPolicy="Never"),
    ),
    "config-error": Recipe(
        ["true"],
        waiting("CreateContainerConfigError"),
        change=lambda body: plugin_of(body).update(env=[MISSING_SECRET]),
    ),
    "create-error": Recipe(
        ["true"],
        waiting("CreateContainerError"),
        job={"memory_limit": 5},
    ),
    "sandbox-failed": Recipe(["true"], warned("FailedCreatePodSandBox"), job={"memory_limit": 3}),
    "mount-failed": Recipe(["true"], warned("FailedMount"), {"STOREBASE": f"{STOREBASE}-of-another-node"}),
    "link": Recipe(["true"], waiting("CreateContainerConfigError"), job={"input_dir": LINK.name}),
    "running": Recipe(["sh", "-c", "sleep 1000"], running),
    "crash-loop": Recipe(
        ["false"],
        waiting("CrashLoopBackOff"),
        change=restarting,
    ),
    "succeeded": Recipe(["true"], ended),
    "succeeded-out-of-memory": Recipe(
        ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=300M; true"], ended, job={"memory_limit": 16}
    ),
    "failed-3": Recipe(["sh", "-c", "exit 3"], ended),
    "failed-126": Recipe(["sh", "-c", "/etc/passwd"], ended),
    "failed-127": Recipe(["sh", "-c", "no-such-program"], ended),
    "failed-137": Recipe(["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"], ended),
    "failed-139": Recipe(["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"], ended),
    "out-of-memory": Recipe(
        ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=300M"], ended, job={"memory_limit": 16}
    ),
    "not-found": Recipe(["no-such-program"], ended),
    "not-executable": Recipe(["/etc/passwd"], ended),
    "time-limit": Recipe(["sh", "-c", "sleep 1000"], ended, {"TIMELIMIT_MINUTES": "1"}),
    "deadline": Recipe(
        ["sh", "-c", "sleep 1000"],
        lambda native: ended(native) and not native["pods"],
        change=lambda body: body["spec"].update(activeDeadlineSeconds=60),
    ),
    "ended-by-pman": Recipe(
        ["true"], waiting("ErrImagePull", "ImagePullBackOff"), job={"image": NONE}, then=end
    ),
    "pods-deleted": Recipe(["sh", "-c", "exit 3"], ended, then=delete_pods),
    "evicted-shm": Recipe(
        ["sh", "-c", "dd if=/dev/zero of=/dev/shm/a bs=1M count=20; sleep 1000"], ended, {"SHM_SIZE": "1"}
    ),
    "evicted-disk": Recipe(
        ["sh", "-c", "dd if=/dev/zero of=/tmp/a bs=1M count=20; sleep 1000"],
        ended,
        change=lambda body: plugin_of(body)["resources"]["limits"].update({"ephemeral-storage": "1Mi"}),
    ),
    "out-of-cpu": Recipe(
        ["true"], ended, job={"cpu_limit": 1_000_000}, change=lambda body: pod_of(body).update(nodeName=NODE)
    ),
    "init-failed": Recipe(["true"], ended, change=lambda body: pod_of(body).update(initContainers=[INIT])),
    "workers-running": Recipe(
        ["sh", "-c", MIXED_RUNNING, "sh"],
        lambda native: running(native) and container_state(native, "terminated"),
        job={"number_of_workers": 3},
    ),
    "workers-failed": Recipe(["sh", "-c", MIXED, "sh"], ended, job={"number_of_workers": 3}),
}


def main(cluster: Cluster, names: list[str]) -> None:
    for namespace in (NAMESPACE, FULL):
        body = {"metadata": {"name": namespace}}
        try:
            cluster.call("POST", "/api/v1/namespaces", body)
        except ClusterError as error:
            if error.status != 409:
                raise
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    if not cluster.call("GET", f"/api/v1/namespaces/{FULL}/resourcequotas")["items"]:
        cluster.call("POST", f"/api/v1/namespaces/{FULL}/resourcequotas", quota)
    version = f"Kubernetes {cluster.call('GET', '/version')['gitVersion'].removeprefix('v')}"
    chosen = {name: recipe for name, recipe in RECIPES.items() if name in names or not names}
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda item: _recorded(cluster, *item), chosen.items()))
    for name, native in zip(chosen, found, strict=True):
        _write(name, {"recorded_from": version}, native)
    for namespace in (NAMESPACE, FULL):
        cluster.call("DELETE", f"/api/v1/namespaces/{namespace}")


def _recorded(cluster: Cluster, name: str, recipe: Recipe) -> Native:
    jid = f"pman-state-{name}"
    body = _document(jid, name, recipe)
    made = _made(cluster, body, recipe.namespace)
    native = {"job": _plain(made), "pods": [], "events": []}
    if name != "without-pods":
        native = _settled(cluster, made, recipe.until)
    if recipe.then:
        recipe.then(cluster, jid)
        native = _settled(cluster, made, lambda native: ended(native) and not native["pods"])
    status = native["job"].get("status", {})
    print(f"{name}: {status.get('conditions')}", *(pod["status"] for pod in native["pods"]), sep="\n  ")
    cluster.call("DELETE", path(jid, recipe.namespace), {"propagationPolicy": "Background"})
    return native


def _document(jid: str, name: str, recipe: Recipe) -> Any:
    for directory in ("incoming", "outgoing"):
        (STOREBASE / name / directory).mkdir(parents=True, exist_ok=True)
        (STOREBASE / name / directory).chmod(0o777)
    LINK.unlink(missing_ok=True)
    LINK.symlink_to("/etc")
    for left in (STOREBASE / name / "outgoing").iterdir():
        left.rmdir()
    asked = {
        "image": "localhost/pman-test:1",
        "entrypoint": (recipe.command[0],),
        "args": (*recipe.command[1:], "/share/incoming", "/share/outgoing"),
        "cpu_limit": 0,
        "memory_limit": 50,
        "input_dir": f"{name}/incoming",
        "output_dir": f"{name}/outgoing",
        **recipe.job,
    }
    environ = {"STOREBASE": str(STOREBASE), "JOB_NAMESPACE": recipe.namespace, **recipe.settings}
    settings = settings_of("kubernetes", **environ)
    variables = (
        job_variables(a_job(jid=jid, **asked), settings),
        site_variables(settings, {"storebase": settings["STOREBASE"] or ""}),
    )
    (document,) = Templates("kubernetes", loader()).render(*variables).documents
    body: Any = json.loads(json.dumps(document.content))  # what anchors share is no longer one
    recipe.change(body)
    return body


def _made(cluster: Cluster, body: Any, namespace: str) -> Any:
    """The Job, anew."""
    jid = body["metadata"]["name"]
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        try:
            return cluster.call("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)
        except ClusterError as error:
            if error.status != 409:
                raise
            cluster.call("DELETE", path(jid, namespace), {"propagationPolicy": "Background"})
            time.sleep(0.2)
    raise AssertionError(f"{jid} is in the way")


def _settled(cluster: Cluster, made: Any, until: Callable[[Native], bool]) -> Native:
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        native = _native(cluster, made)
        if until(native):
            return native
        time.sleep(0.02)
    raise AssertionError(f"{made['metadata']['name']}: {json.dumps(native['pods'])[:3000]}")


def _native(cluster: Cluster, made: Any) -> Native:
    namespace, uid = made["metadata"]["namespace"], made["metadata"]["uid"]
    job = cluster.call("GET", path(made["metadata"]["name"], namespace))
    where = f"/api/v1/namespaces/{namespace}"
    pods = cluster.call("GET", f"{where}/pods", labelSelector=f"controller-uid={uid}")["items"]
    pods.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    known = {uid, *(pod["metadata"]["uid"] for pod in pods)}
    events = cluster.call("GET", f"{where}/events", fieldSelector="type=Warning")["items"]
    events.sort(key=lambda event: event["lastTimestamp"] or event["eventTime"])
    return {
        "job": _plain(job),
        "pods": list(map(_plain, pods)),
        "events": [_plain(event) for event in events if event["involvedObject"]["uid"] in known],
    }


def _plain(found: Any) -> Any:
    found["metadata"].pop("managedFields", None)
    return found


def _write(name: str, origin: Mapping[str, object], native: Mapping[str, Any]) -> None:
    file = HERE / "kubernetes" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    about = {**origin, "date": datetime.now(UTC).date().isoformat()}
    file.write_text(json.dumps({**about, "native": native}, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(Cluster(os.environ["KUBECONFIG"]), sys.argv[1:])
