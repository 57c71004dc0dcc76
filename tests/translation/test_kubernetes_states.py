"""The rules of Kubernetes over answers of a real cluster (states/kubernetes) and variants of them.

What one node of 1.20 cannot show, such as words of newer versions, is a recording with a few fields changed
by hand, as Kubernetes' API types and the kubelet's source have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pman.errors import ConfigError, EngineRefused
from tests import states
from tests.a_job import shipped_rules

NOT_STARTED, STARTED = "notstarted", "started"
SUCCESS, FAILURE = "finishedSuccessfully", "finishedWithError"

Native = dict[str, Any]


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def recorded(state: str, age: float = 10, queued: float = 0) -> Native:
    """A recording as if all had begun `age` seconds ago, but for Job and pods that were `queued` before."""
    native = states.native("kubernetes", state)
    made = datetime.fromisoformat(native["job"]["metadata"]["creationTimestamp"])
    later = datetime.now(UTC) - timedelta(seconds=age) - made

    def moved(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) + later).strftime("%Y-%m-%dT%H:%M:%SZ")

    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", moved, json.dumps(native))
    shifted: Native = json.loads(text)
    if queued:
        for each in (shifted["job"], *shifted["pods"]):
            each["metadata"]["creationTimestamp"] = ago(age + queued)
    return shifted


ROWS = [
    ("without-pods", NOT_STARTED, "waiting for its pods"),
    ("without-pods-quota", NOT_STARTED, "waiting for the namespace's quota: Error creating: pods"),
    (
        "unschedulable-cpu",
        NOT_STARTED,
        "no node takes the job so far (Unschedulable): 0/1 nodes are available: 1 In",
    ),
    (
        "unschedulable-selector",
        NOT_STARTED,
        "no node takes the job so far (Unschedulable): 0/1 nodes are avail",
    ),
    (
        "unschedulable-claim",
        NOT_STARTED,
        "no node takes the job so far (Unschedulable): 0/1 nodes are available: 1 p",
    ),
    ("creating", NOT_STARTED, "the node prepares volumes and image"),
    (
        "image-pull",
        NOT_STARTED,
        "the image localhost:1/none:1 cannot be pulled so far: rpc error: code = Unknown desc",
    ),
    (
        "image-pull-back-off",
        NOT_STARTED,
        "the image localhost:1/none:1 cannot be pulled so far: rpc error: code",
    ),
    (
        "image-invalid-name",
        NOT_STARTED,
        "the image No Name cannot be used (InvalidImageName): Failed to apply",
    ),
    (
        "image-never-pull",
        NOT_STARTED,
        "the image localhost:1/none:1 cannot be used (ErrImageNeverPull): Container",
    ),
    (
        "config-error",
        NOT_STARTED,
        'the container cannot be made so far (CreateContainerConfigError): secret "no-such-se',
    ),
    (
        "link",
        NOT_STARTED,
        "input_dir or output_dir cannot be mounted so far, as where a symbolic link leads out",
    ),
    (
        "create-error",
        NOT_STARTED,
        "the container cannot be made so far (CreateContainerError): Error response from",
    ),
    (
        "mount-failed",
        NOT_STARTED,
        "the pod is not ready so far (FailedMount): MountVolume.SetUp failed for volume",
    ),
    (
        "sandbox-failed",
        NOT_STARTED,
        "the pod is not ready so far (FailedCreatePodSandBox): Failed to create pod",
    ),
    ("running", STARTED, "running"),
    ("workers-running", STARTED, "running, 1 of 3 workers finished"),
    ("crash-loop", STARTED, "its container ended and is started again: back-off 10s restarting failed"),
    ("succeeded", SUCCESS, "finished"),
    (
        "succeeded-out-of-memory",
        SUCCESS,
        "finished, but one of its processes was killed for using more than 16 MiB",
    ),
    ("failed-3", FAILURE, "failed with exit code 3"),
    ("failed-126", FAILURE, "exit code 126, a program could not be executed"),
    ("failed-127", FAILURE, "exit code 127, a program was not found"),
    ("failed-137", FAILURE, "killed by SIGKILL (exit code 137), maybe for using more than 50 MiB of memory"),
    ("failed-139", FAILURE, "killed by SIGSEGV (exit code 139)"),
    ("out-of-memory", FAILURE, "out of memory, killed for using more than 16 MiB of memory (exit code 137)"),
    ("not-found", FAILURE, "the program no-such-program was not found in the image: failed to create"),
    ("not-executable", FAILURE, "the program /etc/passwd may not be executed: failed to create shim task"),
    ("time-limit", FAILURE, "time limit of 1 minutes exceeded"),
    ("deadline", FAILURE, "time limit of 1 minutes exceeded, with the time that it waited for its turn"),
    (
        "being-ended-by-pman",
        STARTED,
        "being ended: the image localhost:1/none:1 could not be pulled: refused",
    ),
    ("ended-by-pman", FAILURE, "the image localhost:1/none:1 could not be pulled: refused"),
    (
        "pods-deleted",
        FAILURE,
        "failed, and the pod that failed is gone, so that no exit code is known: BackoffLimit",
    ),
    (
        "evicted-shm",
        FAILURE,
        'ended for using more of a volume than it may: Usage of EmptyDir volume "shm" exceeds',
    ),
    (
        "evicted-disk",
        FAILURE,
        "ended for using more of its node's disk than it may: Pod ephemeral local storage",
    ),
    (
        "out-of-cpu",
        FAILURE,
        "the cluster took the job off its node, it is safe to resubmit: OutOfcpu: Pod Node",
    ),
    ("init-failed", FAILURE, "failed with exit code 5 of the container prepare"),
    ("workers-failed", FAILURE, "failed with exit code 4 (worker pman-state-workers-failed-"),
]


@pytest.mark.parametrize(("state", "status", "told"), ROWS)
def test_each_state_of_a_real_cluster_becomes_a_status_and_a_message(
    state: str, status: str, told: str
) -> None:
    info = shipped_rules("kubernetes").read("a-jid", recorded(state))

    assert info.status == status
    assert info.message.startswith(told)


def test_every_recorded_state_has_its_row() -> None:
    assert {row[0] for row in ROWS} == set(states.recorded("kubernetes"))


@pytest.mark.parametrize(("state", "status", "_"), ROWS)
def test_the_other_fields_are_those_of_the_job(state: str, status: str, _: str) -> None:
    native = recorded(state)
    job = native["job"]

    info = shipped_rules("kubernetes").read("a-jid", native)

    assert info.image == job["spec"]["template"]["spec"]["containers"][0]["image"]
    assert info.cmd.endswith("/share/incoming /share/outgoing")
    assert len(info.digest) == 64
    found = job.get("status", {})
    if status == SUCCESS:
        assert (info.timestamp, info.exit_code) == (found["completionTime"], 0)
    elif status == FAILURE:
        assert info.timestamp == found["conditions"][0]["lastTransitionTime"]
    else:
        assert (info.timestamp, info.exit_code) == (found.get("startTime", ""), None)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("failed-3", 3),
        ("failed-139", 139),
        ("not-found", 127),
        ("not-executable", 126),
        ("out-of-memory", 137),
        ("workers-failed", 4),
        ("init-failed", 5),
        ("evicted-shm", None),
        ("pods-deleted", None),
        ("ended-by-pman", None),
    ],
)
def test_a_failed_job_has_the_exit_code_of_the_container_that_failed_where_there_is_one(
    state: str, code: int | None
) -> None:
    assert shipped_rules("kubernetes").read("a-jid", recorded(state)).exit_code == code


def test_the_command_is_the_one_that_was_asked_for_without_what_the_template_doubled() -> None:
    assert "kill -KILL $$'" in shipped_rules("kubernetes").read("a-jid", recorded("failed-137")).cmd
    assert (
        shipped_rules("kubernetes")
        .read("a-jid", recorded("workers-running"))
        .cmd.startswith("sh -c 'mkdir $2/first")
    )


def test_with_several_workers_it_is_said_which_one_failed_and_how_many_have_finished() -> None:
    native = recorded("workers-failed")
    name = next(
        pod["metadata"]["name"]
        for pod in native["pods"]
        if pod["status"]["containerStatuses"][0]["state"].get("terminated", {}).get("exitCode") == 4
    )

    message = shipped_rules("kubernetes").read("a-jid", native).message

    assert message == f"failed with exit code 4 (worker {name}; 1 of 3 workers finished)"


# --- what waits for ever is ended -----------------------------------------------------------------

GRACE = 300

ENDED_AFTER_GRACE = {
    "unschedulable-claim": "no node can take the job (Unschedulable): 0/1 nodes are available: 1 per",
    "image-pull": "the image localhost:1/none:1 could not be pulled: rpc error: code = Unknown desc ",
    "image-pull-back-off": "the image localhost:1/none:1 could not be pulled: rpc error: code = Unkn",
    "config-error": 'the container could not be made (CreateContainerConfigError): secret "no-such-s',
    "link": "input_dir or output_dir could not be mounted, as where a symbolic link leads out of the stor",
    "create-error": "the container could not be made (CreateContainerError): Error response from dae",
    "mount-failed": "the pod could not be made ready (FailedMount): MountVolume.SetUp failed for volume",
    "sandbox-failed": "the pod could not be made ready (FailedCreatePodSandBox): Failed to create po",
}
AT_ONCE = {"image-invalid-name", "image-never-pull"}


def warned_again(native: Native) -> Native:
    """The same warning a moment ago, as the kubelet repeats it."""
    for event in native["events"]:
        if event.get("firstTimestamp"):
            event |= {"lastTimestamp": ago(1), "count": event["count"] + 1}
    return native


@pytest.mark.parametrize(("state", "told"), ENDED_AFTER_GRACE.items())
def test_a_job_that_cannot_start_is_overdue_after_the_grace_and_not_before(state: str, told: str) -> None:
    before = shipped_rules("kubernetes").read("a-jid", warned_again(recorded(state, GRACE - 30)))
    after = shipped_rules("kubernetes").read("a-jid", warned_again(recorded(state, GRACE + 30)))

    assert (before.status, before.overdue) == (NOT_STARTED, False)
    assert (after.status, after.overdue) == (NOT_STARTED, True)
    assert after.message.startswith(told)
    assert before.hint


@pytest.mark.parametrize("state", sorted(AT_ONCE))
def test_an_image_that_can_never_be_used_makes_a_job_overdue_at_once(state: str) -> None:
    assert shipped_rules("kubernetes").read("a-jid", recorded(state)).overdue


@pytest.mark.parametrize("state", sorted({row[0] for row in ROWS} - {*ENDED_AFTER_GRACE, *AT_ONCE}))
def test_nothing_else_is_ever_overdue(state: str) -> None:
    assert not shipped_rules("kubernetes").read("a-jid", warned_again(recorded(state, 500_000))).overdue


def test_a_site_says_how_long_a_job_may_wait() -> None:
    native = warned_again(recorded("image-pull", 60))
    native["job"]["metadata"]["annotations"]["org.chrisproject.pman.start-grace-seconds"] = "50"

    assert shipped_rules("kubernetes").read("a-jid", native).overdue


WAITS = 7200
"""Seconds that a job has waited for its turn."""


@pytest.mark.parametrize("state", sorted(ENDED_AFTER_GRACE))
def test_the_grace_begins_with_the_obstacle_however_long_the_job_waited_before(state: str) -> None:
    early = shipped_rules("kubernetes").read("a-jid", warned_again(recorded(state, GRACE - 30, queued=WAITS)))
    late = shipped_rules("kubernetes").read("a-jid", warned_again(recorded(state, GRACE + 30, queued=WAITS)))

    assert (early.status, early.overdue) == (NOT_STARTED, False)
    assert (late.status, late.overdue) == (NOT_STARTED, True)


@pytest.mark.parametrize("state", ["image-pull", "mount-failed", "sandbox-failed"])
def test_one_failure_ends_no_job_however_long_ago(state: str) -> None:
    native = recorded(state, GRACE + 60)
    for event in native["events"]:
        event |= {"lastTimestamp": ago(1), "count": 1}

    assert not shipped_rules("kubernetes").read("a-jid", native).overdue


@pytest.mark.parametrize("state", ["image-pull-back-off", "config-error", "create-error", "link"])
def test_without_events_the_time_on_the_node_is_what_counts(state: str) -> None:
    early, late = recorded(state, GRACE - 30, queued=WAITS), recorded(state, GRACE + 30, queued=WAITS)
    early["events"] = late["events"] = []

    assert not shipped_rules("kubernetes").read("a-jid", early).overdue
    assert shipped_rules("kubernetes").read("a-jid", late).overdue


def test_a_pull_that_fails_after_a_long_time_has_its_grace_too() -> None:
    native = warned_again(recorded("image-pull", 2 * GRACE))
    for event in native["events"]:
        event["firstTimestamp"] = ago(60)

    assert not shipped_rules("kubernetes").read("a-jid", native).overdue


@pytest.mark.parametrize("state", ["mount-failed", "sandbox-failed"])
def test_an_obstacle_that_was_overcome_ends_no_job_whose_image_takes_long_to_be_pulled(state: str) -> None:
    native = warned_again(recorded(state, GRACE + 200))
    for event in native["events"]:
        event["lastTimestamp"] = ago(60)

    assert not shipped_rules("kubernetes").read("a-jid", native).overdue


def test_an_obstacle_of_another_kind_than_the_last_is_another_one() -> None:
    native = warned_again(recorded("mount-failed", GRACE + 60))
    for kind in ("one sandbox", "another"):
        event = deepcopy(native["events"][-1])
        event |= {"reason": "FailedCreatePodSandBox", "message": kind, "firstTimestamp": ago(20)}
        native["events"].append(event)

    info = shipped_rules("kubernetes").read("a-jid", native)

    assert (info.overdue, info.message) == (
        False,
        "the pod is not ready so far (FailedCreatePodSandBox): another",
    )


def test_a_volume_that_another_node_has_is_waited_for() -> None:
    native = warned_again(recorded("mount-failed", GRACE + 60))
    native["events"][-1] |= {
        "reason": "FailedAttachVolume",
        "message": 'Multi-Attach error for volume "a" Volume is already used by pod(s) b',
    }

    assert not shipped_rules("kubernetes").read("a-jid", native).overdue


def test_a_worker_that_waited_while_another_one_finished_has_its_grace() -> None:
    native = recorded("workers-running", WAITS)
    native["pods"] = [pod for pod in native["pods"] if pod["status"]["phase"] == "Succeeded"]
    waiting = warned_again(recorded("image-pull", 10, queued=WAITS))
    native["pods"] += waiting["pods"]
    native["events"] += waiting["events"]

    assert not shipped_rules("kubernetes").read("a-jid", native).overdue

    waiting = warned_again(recorded("image-pull", GRACE + 10, queued=WAITS))
    native["pods"][-1:] = waiting["pods"]
    native["events"] = waiting["events"]

    assert shipped_rules("kubernetes").read("a-jid", native).overdue


NOT_A_NODE = [
    "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
    "0/2 nodes are available: 2 node(s) didn't match node selector.",
    "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match node selector.",
    "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.",
    "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints.",
    "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, "
    "2 node(s) didn't match Pod's node affinity/selector.",
    "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't match Pod's node affinity/selector.",
    "0/3 nodes are available: 1 node(s) had disk pressure, 2 node(s) didn't match node selector.",
    "0/3 nodes are available: 1 node(s) exceed max volume count, 2 node(s) didn't match node selector.",
    "0/3 nodes are available: 3 pod has unbound immediate PersistentVolumeClaims.",
    '0/3 nodes are available: persistentvolumeclaim "a" is being deleted.',
]


@pytest.mark.parametrize("message", NOT_A_NODE)
def test_a_job_that_waits_for_a_node_is_never_overdue(message: str) -> None:
    """Also where no node has the labels: a pool of nodes may be scaled from none when a pod asks for them."""
    native = recorded("unschedulable-claim", 500_000)
    scheduled(native, "Unschedulable", message)

    info = shipped_rules("kubernetes").read("a-jid", native)

    assert (info.status, info.overdue) == (NOT_STARTED, False)
    assert "NODE_SELECTOR" in info.hint


def test_a_claim_that_went_while_the_job_waited_has_its_grace() -> None:
    native = recorded("unschedulable-claim", WAITS)
    for event in native["events"]:
        event["eventTime"] = ago(20)

    assert not shipped_rules("kubernetes").read("a-jid", native).overdue


def test_of_three_workers_that_run_none_is_ended_since_a_fourth_waits() -> None:
    native = recorded("workers-running", GRACE + 60)
    native["pods"] += recorded("image-pull", GRACE + 60)["pods"]

    info = shipped_rules("kubernetes").read("a-jid", native)

    assert (info.status, info.overdue) == (STARTED, False)


# --- variants of recordings -----------------------------------------------------------------------


def condition(native: Native, kind: str, reason: str = "", message: str = "") -> None:
    """The only one that holds."""
    native["job"]["status"] |= {
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ]
    }


def unconditioned(native: Native) -> None:
    del native["job"]["status"]["conditions"]


def terminated(native: Native, **changes: Any) -> None:
    native["pods"][0]["status"]["containerStatuses"][0]["state"]["terminated"] |= changes


def waits(native: Native, word: str, message: str = "why") -> None:
    native["pods"][0]["status"]["containerStatuses"][0]["state"] = {
        "waiting": {"reason": word, "message": message}
    }


def pod_says(native: Native, **changes: Any) -> None:
    native["pods"][0]["status"] |= changes


def disrupted(native: Native, reason: str) -> None:
    told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "the node goes"}
    native["pods"][0]["status"]["conditions"] = [told]


def shut_down(native: Native) -> None:
    disrupted(native, "TerminationByKubelet")
    pod_says(native, reason="Terminated", message="Pod was terminated in response to imminent node shutdown.")


def annotated(native: Native) -> None:
    native["job"]["metadata"]["annotations"]["org.chrisproject.pman.reason"] = "its image"


def scheduled(native: Native, reason: str, message: str) -> None:
    (found,) = [each for each in native["pods"][0]["status"]["conditions"] if each["type"] == "PodScheduled"]
    found |= {"reason": reason, "message": message}


def uncreated(native: Native, message: str) -> None:
    native["events"][-1]["message"] = message


PSS = (
    'Error creating: pods "a-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
)

VARIANTS: list[tuple[str, str, Callable[[Native], None], str, str]] = [
    # Between the last pod and the condition: the existing pman said `undefined`, and the platform cancelled.
    ("finishing", "succeeded", unconditioned, STARTED, "finishing"),
    (
        "finishing, 1.31",
        "succeeded",
        lambda it: condition(it, "SuccessCriteriaMet", "CompletionsReached"),
        STARTED,
        "finishing",
    ),
    ("failing", "failed-3", unconditioned, STARTED, "failing: exit code 3"),
    ("failing, evicted", "evicted-shm", unconditioned, STARTED, "failing: Evicted"),
    (
        "failing, 1.31",
        "failed-3",
        lambda it: condition(it, "FailureTarget", "PodFailurePolicy", "a rule"),
        STARTED,
        "failing: PodFailurePolicy: a rule",
    ),
    (
        "by a pod failure policy, 1.26",
        "failed-3",
        lambda it: condition(it, "Failed", "PodFailurePolicy", "a rule"),
        FAILURE,
        "failed with exit code 3",
    ),
    (
        "indexed, 1.29",
        "failed-3",
        lambda it: condition(it, "Failed", "MaxFailedIndexesExceeded", "a"),
        FAILURE,
        "failed with exit code 3",
    ),
    (
        "complete, 1.31",
        "succeeded",
        lambda it: condition(it, "Complete", "CompletionsReached"),
        SUCCESS,
        "finished",
    ),
    (
        "suspended, 1.21",
        "without-pods",
        lambda it: it["job"].update(
            status={
                "conditions": [
                    {
                        "type": "Suspended",
                        "status": "True",
                        "reason": "JobSuspended",
                        "message": "Job suspended",
                    }
                ]
            }
        ),
        NOT_STARTED,
        "suspended (Job suspended), until the cluster or its administrator lets it go on",
    ),
    (
        "to be suspended, 1.21",
        "without-pods",
        lambda it: it["job"]["spec"].update(suspend=True),
        NOT_STARTED,
        "suspended, until the cluster",
    ),
    (
        "resumed, 1.21",
        "running",
        lambda it: it["job"]["status"].update(
            conditions=[{"type": "Suspended", "status": "False", "reason": "JobResumed"}]
        ),
        STARTED,
        "running",
    ),
    (
        "being removed",
        "running",
        lambda it: it["job"]["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
        STARTED,
        "being removed",
    ),
    ("being ended", "image-pull", annotated, STARTED, "being ended: its image"),
    ("ended, and it had failed itself", "failed-3", annotated, FAILURE, "failed with exit code 3"),
    (
        "gated, 1.27",
        "unschedulable-cpu",
        lambda it: scheduled(it, "SchedulingGated", "Scheduling is blocked"),
        NOT_STARTED,
        "no node takes the job so far (SchedulingGated): Scheduling is blocked",
    ),
    (
        "no scheduler yet",
        "unschedulable-cpu",
        lambda it: pod_says(it, conditions=[]),
        NOT_STARTED,
        "waiting for a node",
    ),
    (
        "pod security, 1.23",
        "without-pods-quota",
        lambda it: uncreated(it, PSS),
        NOT_STARTED,
        "the cluster does not let the job have its pods so far: Error creating: pods",
    ),
    (
        "registry away",
        "image-pull",
        lambda it: waits(it, "RegistryUnavailable"),
        NOT_STARTED,
        "the image localhost:1/",
    ),
    (
        "unheard-of word",
        "image-pull",
        lambda it: waits(it, "Hibernating"),
        NOT_STARTED,
        "the container waits: Hiberna",
    ),
    (
        "run error",
        "image-pull",
        lambda it: waits(it, "RunContainerError"),
        NOT_STARTED,
        "the container cannot be made so far (RunContainerError): why",
    ),
    (
        "one worker ended, another waits",
        "workers-running",
        lambda it: it.update(pods=[pod for pod in it["pods"] if pod["status"]["phase"] == "Succeeded"]),
        STARTED,
        "1 of 3 workers finished",
    ),
    (
        "node does not answer",
        "running",
        lambda it: pod_says(it, phase="Unknown"),
        STARTED,
        "the node 127.0.0.1 does not answer: its state is unknown",
    ),
    (
        "node lost, running",
        "running",
        lambda it: pod_says(it, reason="NodeLost", message="Node is unresponsive"),
        STARTED,
        "the node 127.0.0.1 does not answer: Node is unresponsive",
    ),
    (
        "node lost",
        "failed-137",
        lambda it: pod_says(it, reason="NodeLost", message="Node is unresponsive"),
        FAILURE,
        "the cluster took the job off its node, it is safe to resubmit: NodeLost: Node is unresponsive",
    ),
    (
        "node low on memory",
        "evicted-shm",
        lambda it: pod_says(it, message="The node was low on resource: memory. "),
        FAILURE,
        "the cluster took the job off its node, it is safe to resubmit: Evicted: The node was low",
    ),
    (
        "preempted, 1.26",
        "failed-137",
        lambda it: disrupted(it, "PreemptionByScheduler"),
        FAILURE,
        "the cluster took the job off its node, it is safe to resubmit: PreemptionByScheduler: the node",
    ),
    (
        "node shut down, 1.26",
        "failed-137",
        shut_down,
        FAILURE,
        "the cluster took the job off its node, it is safe to resubmit: Terminated: Pod was terminated",
    ),
    (
        "over its own disk, 1.26",
        "evicted-disk",
        lambda it: disrupted(it, "TerminationByKubelet"),
        FAILURE,
        "ended for using more of its node's disk than it may",
    ),
    (
        "container lost, 1.22",
        "failed-137",
        lambda it: terminated(it, reason="ContainerStatusUnknown", message="gone"),
        FAILURE,
        "the node lost the job's container, it is safe to resubmit: gone",
    ),
    (
        "no limit",
        "out-of-memory",
        lambda it: it["job"]["spec"]["template"]["spec"]["containers"][0].update(resources={}),
        FAILURE,
        "out of memory, killed since its node had none left (exit code 137)",
    ),
    (
        "not found, containerd",
        "not-found",
        lambda it: terminated(
            it,
            reason="StartError",
            exitCode=128,
            message=('failed to create containerd task: exec: "a": executable file not found in $PATH'),
        ),
        FAILURE,
        "the program no-such-program was not found in the image: failed to create containerd task",
    ),
    (
        "too long",
        "not-found",
        lambda it: terminated(it, reason="StartError", message="argument list too long"),
        FAILURE,
        "the command line and environment are too long: argument list too long",
    ),
    (
        "no such user",
        "not-found",
        lambda it: terminated(it, reason="StartError", message="unable to find user a"),
        FAILURE,
        "the container could not be started: unable to find user a",
    ),
    (
        "a pod without containers",
        "failed-3",
        lambda it: pod_says(it, containerStatuses=[]),
        FAILURE,
        "its pod failed: without a reason",
    ),
    (
        "a pod with words",
        "failed-3",
        lambda it: pod_says(it, containerStatuses=[], reason="New", message="word"),
        FAILURE,
        "its pod failed: New: word",
    ),
]


def variant(source: str, change: Callable[[Native], None]) -> Native:
    native = recorded(source)
    change(native)
    return native


@pytest.mark.parametrize(
    ("name", "source", "change", "status", "told"), VARIANTS, ids=[row[0] for row in VARIANTS]
)
def test_a_state_that_the_cluster_at_hand_cannot_show_becomes_a_status_and_a_message(
    name: str, source: str, change: Callable[[Native], None], status: str, told: str
) -> None:
    info = shipped_rules("kubernetes").read("a-jid", variant(source, change))

    assert info.status == status, name
    assert info.message.startswith(told), name


def denied(*denials: tuple[str, float, float, int]) -> Native:
    """By message, seconds since the first and the last time, how often; the job waits since long before."""
    native = recorded("without-pods-quota", WAITS)
    (event,) = native["events"]
    native["events"] = [
        event | {"message": message, "firstTimestamp": ago(first), "lastTimestamp": ago(last), "count": count}
        for message, first, last, count in denials
    ]
    return native


QUOTA = 'Error creating: pods "a-x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0'
WEBHOOK = "Error creating: Internal error occurred: failed calling webhook: context deadline exceeded"
COMBINED = "(combined from similar events): "


def test_a_namespace_that_refuses_the_pods_for_good_makes_the_job_overdue() -> None:
    info = shipped_rules("kubernetes").read("a-jid", denied((PSS, GRACE + 60, 200, 3), (PSS, 100, 1, 1)))

    assert info.overdue
    assert info.message.startswith("the cluster does not let the job have its pods: ")
    assert (
        shipped_rules("kubernetes")
        .read("a-jid", denied((PSS, 6000, GRACE + 60, 9), (f"{COMBINED}{PSS}", GRACE, 1, 9)))
        .overdue
    )


@pytest.mark.parametrize(
    "denials",
    [
        [(WEBHOOK, 1, 1, 1)],
        [(QUOTA, WAITS, 10, 9), (WEBHOOK, 1, 1, 1)],
        [(WEBHOOK, WAITS, WAITS, 1), (QUOTA, WAITS, 40, 9), (WEBHOOK, 20, 20, 1), (WEBHOOK, 1, 1, 1)],
        [(QUOTA, WAITS, 4000, 9), (f"{COMBINED}{WEBHOOK}", 4000, 1, 20)],
        [(PSS, WAITS, 60, 9)],  # and then it was permitted, and the other pods have not been tried yet
        [(PSS, GRACE - 30, 1, 9)],
        [(PSS, WAITS, 60, 9), (QUOTA, 1, 1, 1)],
    ],
)
def test_a_job_that_waits_for_quota_is_not_ended_for_a_hiccup(
    denials: list[tuple[str, float, float, int]],
) -> None:
    info = shipped_rules("kubernetes").read("a-jid", denied(*denials))

    assert (info.status, info.overdue) == (NOT_STARTED, False)


@pytest.mark.parametrize(
    ("word", "at_once"),
    [
        ("ErrImagePull", False),
        ("ImagePullBackOff", False),
        ("RegistryUnavailable", False),
        ("InvalidImageName", True),
        ("ErrImageNeverPull", True),
        ("ImageInspectError", False),
        ("SignatureValidationFailed", True),
        ("CreateContainerConfigError", False),
        ("CreateContainerError", False),
        ("RunContainerError", False),
        ("PreCreateHookError", False),
        ("PreStartHookError", False),
        ("PostStartHookError", False),
    ],
)
def test_each_word_of_the_kubelet_for_a_container_that_cannot_start_ends_the_job(
    word: str, at_once: bool
) -> None:
    early, late = recorded("image-pull"), warned_again(recorded("image-pull", GRACE + 60))
    waits(early, word)
    waits(late, word)

    assert (
        shipped_rules("kubernetes").read("a-jid", early).status,
        shipped_rules("kubernetes").read("a-jid", late).status,
    ) == (NOT_STARTED, NOT_STARTED)
    assert shipped_rules("kubernetes").read("a-jid", early).overdue is at_once
    assert shipped_rules("kubernetes").read("a-jid", late).overdue


@pytest.mark.parametrize(
    "reason",
    [
        "Evicted",
        "Preempting",
        "Shutdown",
        "NodeShutdown",
        "Terminated",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfpods",
        "NodeLost",
        "NodeAffinity",
        "UnexpectedAdmissionError",
    ],
)
def test_what_the_cluster_did_to_a_pod_is_said_to_be_safe_to_resubmit(reason: str) -> None:
    native = variant("failed-137", lambda it: pod_says(it, reason=reason, message="why"))

    assert (
        shipped_rules("kubernetes").read("a-jid", native).message.endswith(f"safe to resubmit: {reason}: why")
    )


@pytest.mark.parametrize(
    ("given_by_the_api_server", "told"),
    [
        ("64Mi", "64 MiB"),
        ("1Gi", "1024 MiB"),
        ("2Ti", "2097152 MiB"),
        ("1536Mi", "1536 MiB"),
        ("512Ki", "512Ki"),
        ("500M", "500M"),
        ("67108864", "67108864"),
    ],
)
def test_the_memory_limit_is_told_in_mebibytes_however_the_api_server_writes_it(
    given_by_the_api_server: str, told: str
) -> None:
    native = recorded("out-of-memory")
    limits = native["job"]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    limits["memory"] = given_by_the_api_server

    assert f"more than {told} of memory" in shipped_rules("kubernetes").read("a-jid", native).message


def test_a_sidecar_is_not_taken_for_the_plugin() -> None:
    native = recorded("failed-3")
    (own,) = native["pods"][0]["status"]["containerStatuses"]
    other = deepcopy(own) | {"name": "a-sidecar"}
    other["state"]["terminated"]["exitCode"] = 143
    native["pods"][0]["status"]["containerStatuses"] = [other, own]
    native["job"]["spec"]["template"]["spec"]["containers"].insert(0, {"name": "a-sidecar", "image": "other"})

    info = shipped_rules("kubernetes").read("a-jid", native)

    assert (info.exit_code, info.message) == (3, "failed with exit code 3")
    assert info.image == "localhost/pman-test:1"


def test_of_several_failed_workers_the_first_that_was_not_ended_for_another_one_is_told() -> None:
    native = recorded("failed-3")
    native["job"]["spec"]["completions"] = 2
    ended = deepcopy(native["pods"][0])
    ended["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "name": "ended"}
    ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 143
    native["pods"].insert(0, ended)

    assert shipped_rules("kubernetes").read("a-jid", native).exit_code == 3


# --- what holds for every state -------------------------------------------------------------------

words = st.sampled_from(
    ["", "Evicted", "OOMKilled", "Error", "Completed", "StartError", "New", "DeadlineExceeded"]
)
codes = st.integers(0, 255)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("a"), "creationTimestamp": st.just("2026-01-01T00:00:00Z")}
        ),
        "spec": st.just({}),
        "status": st.fixed_dictionaries(
            {},
            optional={
                "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown", "New"]),
                "reason": words,
                "message": st.text(max_size=5),
                "conditions": st.lists(
                    st.fixed_dictionaries(
                        {
                            "type": st.sampled_from(["PodScheduled", "Ready", "DisruptionTarget"]),
                            "status": st.sampled_from(["True", "False"]),
                        }
                    ),
                    max_size=2,
                ),
                "containerStatuses": st.lists(
                    st.fixed_dictionaries(
                        {
                            "name": st.sampled_from(["plugin", "b"]),
                            "state": st.one_of(
                                st.just({}),
                                st.just({"running": {"startedAt": ""}}),
                                st.fixed_dictionaries(
                                    {"waiting": st.fixed_dictionaries({}, optional={"reason": words})}
                                ),
                                st.fixed_dictionaries(
                                    {
                                        "terminated": st.fixed_dictionaries(
                                            {"exitCode": codes},
                                            optional={"reason": words, "message": st.text(max_size=5)},
                                        )
                                    }
                                ),
                            ),
                        }
                    ),
                    max_size=2,
                ),
            },
        ),
    }
)
conditions = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                ["Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet", "New"]
            ),
            "status": st.sampled_from(["True", "False", "Unknown"]),
        },
        optional={"reason": words},
    ),
    max_size=3,
)


@given(conditions, st.lists(pods, max_size=3), st.integers(1, 3), st.booleans())
@hypothesis_settings(max_examples=300, deadline=None)
def test_only_a_condition_of_the_job_ends_it_and_no_state_is_undefined(
    told: list[dict[str, Any]], found: list[dict[str, Any]], workers: int, ended: bool
) -> None:
    native = recorded("running")
    native["job"]["status"] = {"conditions": told, "active": 1, "failed": 1, "succeeded": 3}
    native["job"]["spec"]["completions"] = workers
    native["pods"] = found
    if ended:
        annotated(native)

    info = shipped_rules("kubernetes").read("a-jid", native)

    hold = {each["type"] for each in told if each["status"] == "True"}
    assert info.ended is bool(hold & {"Complete", "Failed"})
    assert info.status != "undefined"
    assert info.message
    assert not (info.overdue and info.ended)
    if info.status == SUCCESS:
        assert "Complete" in hold


@pytest.mark.parametrize("native", [{}, {"job": {}}, {"job": {"status": None}, "pods": None, "events": None}])
def test_a_state_with_nothing_in_it_is_no_error(native: Mapping[str, Any]) -> None:
    assert shipped_rules("kubernetes").read("a-jid", native).status == NOT_STARTED


def test_every_rule_decides_for_some_state_that_was_seen() -> None:
    natives = [recorded(state) for state, *_ in ROWS]
    natives += [warned_again(recorded(state, GRACE + 60)) for state, *_ in ROWS]
    natives += [variant(source, change) for _, source, change, _, _ in VARIANTS]
    refused = denied((PSS, GRACE + 60, 1, 3))

    reached = {shipped_rules("kubernetes").read("a-jid", native).message for native in [*natives, refused]}

    rules = [rule.source["message"] for rule in shipped_rules("kubernetes")._states.rules]
    patterns = [re.compile(re.escape(re.split(r"{[{%]", message)[0])) for message in rules]
    unreached = [pattern.pattern for pattern in patterns if not any(map(pattern.match, reached))]
    assert unreached == []


# --- refusals and checks --------------------------------------------------------------------------

REFUSALS = [
    (
        403,
        'jobs.batch "a" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: 5',
        503,
        "no room",
    ),
    (
        403,
        'jobs.batch "a" is forbidden: unable to create content in namespace b, it is being terminated',
        502,
        "being removed",
    ),
    (
        403,
        'jobs.batch is forbidden: User "a" cannot create resource "jobs" in API group "batch"',
        502,
        "not permit",
    ),
    (401, "Unauthorized", 502, "does not know pman"),
    (404, 'namespaces "a" not found', 502, "does not exist"),
    (404, "the server could not find the requested resource", 502, "does not know what a template"),
    (
        422,
        'Job.batch "a" is invalid: spec.template.spec.containers[0].image: Required value',
        400,
        "does not accept",
    ),
    (400, "Job in version v1 cannot be handled as a Job", 400, "does not accept"),
    (413, "Request entity too large: limit is 3145728", 400, "too large"),
    (500, "etcdserver: request is too large", 400, "too large"),
    (422, 'Job.batch "a" is invalid: spec.metadata.labels[controller-uid]: Invalid', 400, "too large"),
    (409, 'configmaps "a" already exists', 409, "is in the way"),
    (409, 'object is being deleted: jobs.batch "a" already exists', 503, "is still being deleted"),
    (
        409,
        "Operation cannot be fulfilled on resourcequotas: the object has been modified",
        503,
        "could not do it now",
    ),
    (429, "Too many requests, please try again later", 503, "could not do it now"),
    (503, "the server is currently unable to handle the request", 503, "could not do it now"),
    (405, "the server does not allow this method", 502, "the API server refused"),
]


@pytest.mark.parametrize(("status", "words", "answer", "told"), REFUSALS)
def test_a_refusal_keeps_the_api_servers_words_and_adds_pmans(
    status: int, words: str, answer: int, told: str
) -> None:
    refused = shipped_rules("kubernetes").refusal(EngineRefused("create Job", status, words))

    assert refused.status == answer
    assert told in str(refused)
    assert str(refused).endswith(words)


def test_every_refusal_rule_decides_for_some_words() -> None:
    rules = shipped_rules("kubernetes")._refusals

    decided = [rules.rule(native=EngineRefused("create Job", *row[:2]).native) for row in REFUSALS]

    assert {rules.rules.index(rule) for rule in decided if rule} == set(range(len(rules.rules)))


def test_missing_permissions_stop_the_start_by_name() -> None:
    site = {"job_namespace": "chris"}

    with pytest.raises(ConfigError) as caught:
        shipped_rules("kubernetes").check({"missing": ["create jobs.batch", "get pods/log"]}, site)

    assert "does not permit pman to create jobs.batch, get pods/log in the namespace chris" in str(
        caught.value
    )
    assert "deploy/kubernetes/" in caught.value.hint
    shipped_rules("kubernetes").check({"missing": []}, site)
