"""Each recorded state of a process of this machine, and what pman answers of it."""

from __future__ import annotations

import pytest

from tests import states
from tests.a_job import shipped_rules

SUCCESS, FAILURE = "finishedSuccessfully", "finishedWithError"

ROWS = [
    ("created", "notstarted", "waiting to be started"),
    ("starting", "started", "running"),
    ("running", "started", "running"),
    ("exited-0", SUCCESS, "finished"),
    ("exited-3", FAILURE, "failed with exit code 3"),
    ("exited-126", FAILURE, "exit code 126, a program could not be executed"),
    ("exited-127", FAILURE, "exit code 127, a program was not found"),
    ("exited-137", FAILURE, "killed by SIGKILL (exit code 137)"),
    ("failed", FAILURE, "the job could not be started: /no/such/directory could not be mounted"),
    ("lost", FAILURE, "the job was lost: its supervisor ended before it"),
    ("stopped", FAILURE, "ended with its supervisor, which was told to stop (exit code 137)"),
    ("out-of-memory", FAILURE, "out of memory, killed for using more than 200 MiB of memory (exit code 137)"),
    ("time-limit", FAILURE, "time limit of 0 minutes exceeded (exit code 137)"),
    ("ended-by-pman", FAILURE, "ended at its time limit of 1 minutes"),
    ("unheard-of", "started", "the local engine calls the job hibernating, which pman does not know"),
]


@pytest.mark.parametrize(("state", "status", "message"), ROWS)
def test_a_recorded_state_is_answered(state: str, status: str, message: str) -> None:
    info = shipped_rules("local").read("a-jid", states.native("local", state))

    assert (info.status, info.message[: len(message)]) == (status, message)


def test_every_recorded_state_has_its_row() -> None:
    assert {row[0] for row in ROWS} == set(states.recorded("local"))
