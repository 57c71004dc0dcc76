"""Reads the status of a Job and of a pod: whether they have ended, and which containers ran."""

from __future__ import annotations

from pman.executors.kubernetes.api import Object

MAIN_CONTAINER = "kubectl.kubernetes.io/default-container"
"""Annotation of a pod whose first container is not the plugin's."""


def has_ended(job: Object) -> bool:
    return bool(_end_conditions(job))


def end_time(job: Object) -> str:
    """ISO 8601; '' where it has not ended."""
    return max((str(each.get("lastTransitionTime") or "") for each in _end_conditions(job)), default="")


def _end_conditions(job: Object) -> list[Object]:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return [
        each for each in conditions if each["type"] in ("Complete", "Failed") and each["status"] == "True"
    ]


def main_container(pod: Object) -> str:
    named = (pod["metadata"].get("annotations") or {}).get(MAIN_CONTAINER)
    return str(named or pod["spec"]["containers"][0]["name"])


def has_started(pod: Object) -> bool:
    """Tell whether the main container runs or ran, so that there is a log."""
    for each in (pod.get("status") or {}).get("containerStatuses") or ():
        if each["name"] == main_container(pod):
            return "running" in each["state"] or "terminated" in each["state"]
    return False


def main_container_has_ended(pod: Object) -> bool:
    """Tell whether the main container ran and has ended, so that its node has the log, or has lost it."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(each["name"] == main_container(pod) and _has_run(each) for each in statuses)


def pod_has_ended(pod: Object) -> bool:
    """Tell whether the pod has no process, and will have none."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    return len(statuses) == len(containers) and all(map(_has_run, statuses))


def _has_run(container: Object) -> bool:
    """Tell whether a container ran and terminated: `terminated` without a containerID does not count.

    A kubelet (1.20, TerminatePod) writes that for each container of a deleted pod that was waiting by the
    status before; it may have begun to run since.
    """
    return bool(((container.get("state") or {}).get("terminated") or {}).get("containerID"))
