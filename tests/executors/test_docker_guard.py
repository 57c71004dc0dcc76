"""Which jobs keep another one from its start: those that could exchange its directories meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pman.executors.docker.guard import Directories, refusal, rivals
from pman.executors.docker.mounted import identities, mounted
from pman.executors.shared.directories import ways
from pman.job import INCOMING_LABEL, JID_LABEL, OUTGOING_LABEL

JOB = Directories("a", "/base/a/in", "/base/a/out")


@pytest.mark.parametrize(
    ("incoming", "outgoing", "runs", "is_rival"),
    [
        ("/base/b/in", "/base/b/out", True, False),
        ("/base/b/in", "/base/a", True, True),
        ("/base/b/in", "/base/a", False, True),
        ("/base/b/in", "/base/a/out", True, False),  # nobody exchanges the directory that was mounted for him
        ("/base/b/in", "/base/a/o", True, False),
        ("/base/a", "/base/b/out", True, False),  # read-only
        ("/base/a/out/x", "/base/b/out", False, True),
        ("/base/b/in", "/base/a/out/x/y", False, True),
        ("/base/a/out/x", "/base/a/out/y", True, False),  # it has its directories already
    ],
)
def test_a_rival_may_write_above_a_directory_of_the_job_or_waits_for_one_below_its_output(
    incoming: str, outgoing: str, *, runs: bool, is_rival: bool
) -> None:
    other = Directories("b", incoming, outgoing)

    assert list(rivals(JOB, [(other, runs), (None, True)])) == ([other] if is_rival else [])


def test_no_job_is_its_own_rival() -> None:
    nested = Directories("a", "/base/a/in", "/base/a")

    assert list(rivals(nested, [(nested, False)])) == []


def test_the_refusal_names_the_job_that_may_write_and_the_one_below() -> None:
    above = Directories("b", "/base/b/in", "/base/a")

    for one, other in ((JOB, above), (above, JOB)):
        assert "the job b may write to /base/a, and a has a directory below it" in str(refusal(one, other))


def test_directories_are_told_by_labels_or_not_at_all() -> None:
    labels = {JID_LABEL: "a", INCOMING_LABEL: "/base/a/in", OUTGOING_LABEL: "/base/a/out", "b": "c"}

    assert Directories.of(labels) == JOB
    assert Directories.of({JID_LABEL: "a"}) is None
    assert Directories.of(None) is None


def test_the_way_to_a_directory_is_each_one_above_it_from_the_top() -> None:
    assert list(ways(["a/b/c", "d"])) == ["a", "a/b", "a/b/c", "d"]


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="no processes to look into")
@pytest.mark.parametrize(("target", "is_same"), [("share/in", True), ("link/in", False), ("gone/in", False)])
def test_no_link_below_the_root_of_a_container_is_followed_to_what_it_was_given(
    tmp_path: Path, target: str, *, is_same: bool
) -> None:
    real = tmp_path.resolve()
    (real / "share/in").mkdir(parents=True)
    (real / "link").symlink_to(real / "share")
    container = {
        "Id": Path("/proc/self/cgroup").read_text(),
        "State": {"Pid": os.getpid()},
        "Mounts": [{"Source": "/base/in", "Destination": str(real / target)}],
    }

    assert (mounted(container, ["/base/in"]) == identities([str(real / "share/in")])) is is_same
    assert mounted(container, ["/base/in"]) is not None
