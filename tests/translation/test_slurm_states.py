"""What pman says of each state of SLURM's: recorded from a real one, or derived from a recorded one."""

from __future__ import annotations

from typing import Any

import pytest

from pman.errors import EngineRefused
from tests import states
from tests.a_job import shipped_rules

STARTED, NOT_STARTED = "started", "notstarted"
SUCCESS, FAILURE = "finishedSuccessfully", "finishedWithError"

ROWS = [
    ("completed", SUCCESS, "finished", 0),
    ("failed-3", FAILURE, "failed with exit code 3", 3),
    ("failed-125", FAILURE, "podman could not start a container of docker.io/", 125),
    ("failed-126", FAILURE, "exit code 126, a program could not be executed", 126),
    ("failed-127", FAILURE, "exit code 127, a program was not found", 127),
    (
        "failed-137",
        FAILURE,
        "killed by SIGKILL (exit code 137), most likely for using more than 200 MiB",
        137,
    ),
    ("killed-without-limit", FAILURE, "killed by SIGKILL (exit code 137)", 137),
    ("failed-139", FAILURE, "killed by SIGSEGV (exit code 139)", 139),
    ("killed", FAILURE, "killed by SIGKILL (exit code 137), most likely", 137),
    ("out-of-memory", FAILURE, "out of memory, killed for using more than 30 MiB of memory", ...),
    ("image-of-apptainer", FAILURE, "failed with exit code 255", 255),
    ("without-a-log", FAILURE, "SLURM could not start the job (vm)", ...),
    ("launch-failed", FAILURE, "SLURM could not start the job", ...),
    ("bad-constraints", FAILURE, "SLURM ended the job before it began", 0),
    ("failed-without-a-code", FAILURE, "failed in SLURM: FAILED (NonZeroExitCode)", None),
    ("begun-anew", FAILURE, "a node failed or the job was preempted, and SLURM began it anew", 75),
    ("linked", FAILURE, "not run: input_dir leads elsewhere by a link: ", 78),
    ("timeout", FAILURE, "time limit of 1 minutes exceeded", ...),
    ("timeout-of-the-partition", FAILURE, "the time limit of its partition exceeded", ...),
    ("cancelled", FAILURE, "cancelled in SLURM", ...),
    ("ended-by-pman", FAILURE, "above the site's limit", ...),
    ("node-fail", FAILURE, "a node of SLURM failed", ...),
    ("boot-fail", FAILURE, "a node of SLURM did not boot", ...),
    ("deadline", FAILURE, "ended by SLURM at its deadline", ...),
    ("preempted", FAILURE, "preempted, SLURM gave its nodes to another job", ...),
    ("lost", FAILURE, "the job was lost: SLURM has forgotten job", None),
    ("by-its-script", FAILURE, "ended by SIGTERM (exit code 143)", 143),
    ("running", STARTED, "running", None),
    ("resizing", STARTED, "running", None),
    ("signaling", STARTED, "running", None),
    ("suspended", STARTED, "suspended by SLURM", None),
    ("stopped", STARTED, "suspended by SLURM", None),
    ("completing", STARTED, "ending", None),
    ("completed-completing", STARTED, "ending", None),
    ("stage-out", STARTED, "ending", None),
    ("configuring", NOT_STARTED, "SLURM prepares the nodes", None),
    ("power-up-node", NOT_STARTED, "SLURM prepares the nodes", None),
    ("unsubmitted", NOT_STARTED, "being submitted to SLURM", None),
    ("held", NOT_STARTED, "held in the queue of SLURM (JobHeld", None),
    ("pending-jobheldadmin", NOT_STARTED, "held in the queue of SLURM (JobHeldAdmin)", None),
    ("requeue-hold", NOT_STARTED, "held in the queue of SLURM (REQUEUE_HOLD)", None),
    ("resv-del-hold", NOT_STARTED, "held in the queue of SLURM (RESV_DEL_HOLD)", None),
    ("special-exit", NOT_STARTED, "held by SLURM after an exit code", None),
    ("requeued", NOT_STARTED, "waiting in the queue of SLURM", None),
    ("requeue-fed", NOT_STARTED, "waiting in the queue of SLURM", None),
    ("pending-begin", NOT_STARTED, "waiting in the queue of SLURM (BeginTime)", None),
    ("pending-resources", NOT_STARTED, "waiting in the queue of SLURM (Resources)", None),
    ("pending-priority", NOT_STARTED, "waiting in the queue of SLURM (Priority)", None),
    ("pending-dependency", NOT_STARTED, "waiting in the queue of SLURM (Dependency)", None),
    ("pending-dependencyneversatisfied", NOT_STARTED, "it will never start, since what it depends on", None),
    ("pending-cpu", NOT_STARTED, "it asks for more than SLURM will ever give it (PartitionConfig)", None),
    ("pending-partitiontimelimit", NOT_STARTED, "it asks for more than SLURM will ever give it (Part", None),
    ("pending-badconstraints", NOT_STARTED, "it asks for more than SLURM will ever give it (BadC", None),
    ("pending-invalidaccount", NOT_STARTED, "it asks for more than SLURM will ever give it (Inva", None),
    ("pending-qosmaxcpuperjoblimit", NOT_STARTED, "it asks for more than SLURM will ever give it", None),
    ("pending-assocgrpcpulimit", NOT_STARTED, "waiting in the queue of SLURM (AssocGrpCpuLimit)", None),
    ("pending-qosmaxjobsperuserlimit", NOT_STARTED, "waiting in the queue of SLURM (QOSMax", None),
    ("pending-partitiondown", NOT_STARTED, "waiting in the queue of SLURM (PartitionDown)", None),
    ("pending-reqnodenotavail", NOT_STARTED, "waiting in the queue of SLURM (ReqNodeNotAvail)", None),
    ("revoked", "undefined", "another cluster of the federation", None),
    ("unheard-of", STARTED, "SLURM calls the job DREAMING, which pman does not know", None),
]
"""State, status, the beginning of the message, exit code (...: any)."""


@pytest.mark.parametrize(("state", "status", "message", "exit_code"), ROWS)
def test_each_state_of_slurm_becomes_a_status_and_a_message(
    state: str, status: str, message: str, exit_code: Any
) -> None:
    info = shipped_rules("slurm").read("a", states.native("slurm", state))

    assert (info.status, info.message[: len(message)]) == (status, message)
    assert exit_code is ... or info.exit_code == exit_code
    if info.ended and state != "lost":
        assert info.timestamp.startswith("20")


def test_every_recorded_state_has_its_row() -> None:
    assert sorted(row[0] for row in ROWS) == states.recorded("slurm")


@pytest.mark.parametrize("state", states.recorded("slurm"))
def test_image_command_and_digest_are_told_in_every_state(state: str) -> None:
    info = shipped_rules("slurm").read("a", states.native("slurm", state))

    assert (info.image, info.cmd[:8]) == ("docker.io/fnndsc/pl-simpledsapp:2.1.0", "bash -c ")
    assert len(info.digest) == 64


@pytest.mark.parametrize(
    ("runtime", "hint"),
    [
        ("none", "is bash on the node, in the PATH of its jobs?"),
        ("podman", "is bash in the image, and podman on the node?"),
    ],
)
def test_a_program_that_was_not_found_is_looked_for_where_the_runtime_runs_it(
    runtime: str, hint: str
) -> None:
    native = states.native("slurm", "failed-127")

    assert (
        shipped_rules("slurm").read("a", {**native, "notes": {**native["notes"], "runtime": runtime}}).hint
        == hint
    )


def test_what_never_starts_has_a_hint() -> None:
    for state, status, message, _ in ROWS:
        if status == NOT_STARTED and not message.startswith(("waiting", "SLURM prepares")):
            assert shipped_rules("slurm").read("a", states.native("slurm", state)).hint, state


@pytest.mark.parametrize(
    ("call", "words", "status", "told"),
    [
        ("submit", "Requested node configuration is not available", 400, "no node of SLURM has as much"),
        ("submit", "Invalid generic resource (gres) specification", 400, "gpu_limit"),
        ("submit", "Invalid partition name specified", 502, "partition or constraint"),
        ("submit", "Invalid feature specification", 502, "partition or constraint"),
        ("submit", "Invalid account or account/partition combination specified", 502, "account"),
        ("submit", "Invalid qos specification", 502, "quality of service"),
        ("create", "[Errno 28] No space left on device: '/x'", 502, "no space left"),
        ("create", "[Errno 13] Permission denied: '/x'", 502, "cannot be written"),
        ("create", "[Errno 5] Input/output error", 502, "could not be made"),
        ("submit", "something new", 502, "SLURM refused the job"),
    ],
)
def test_each_refusal_is_told_with_slurms_own_words(call: str, words: str, status: int, told: str) -> None:
    refused = shipped_rules("slurm").refusal(EngineRefused(call, 500, words))

    assert refused.status == status
    assert told in str(refused)
    assert words in str(refused)
