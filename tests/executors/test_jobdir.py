"""The directories of jobs: each comes whole and once, and its name is free as soon as it goes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pman.errors import EngineRefused, NameTaken, UnknownJob
from pman.executors.shared.jobdir import ABANDONED_SECONDS, JobDirectories, incarnation_of, text_of


@pytest.fixture
def directories(tmp_path: Path) -> JobDirectories:
    directories = JobDirectories(tmp_path)
    directories.jobs.mkdir()
    directories.aside.mkdir()
    return directories


def create(directories: JobDirectories, jid: str, text: str = "{}") -> str:
    with directories.creation(jid) as new:
        (new / "job.json").write_text(text)
        return incarnation_of(new)


def test_a_directory_appears_when_it_is_whole(directories: JobDirectories) -> None:
    with directories.creation("a") as new:
        (new / "job.json").write_text("{}")
        assert directories.names() == []

    assert directories.names() == ["a"]
    assert list(directories.aside.iterdir()) == []


def test_what_fails_on_the_way_leaves_nothing(directories: JobDirectories) -> None:
    with pytest.raises(EngineRefused, match="create: 500"), directories.creation("a") as new:
        (new / "no/such/file").write_text("")

    assert directories.names() == []
    assert list(directories.aside.iterdir()) == []


def test_of_many_who_create_one_name_one_does(directories: JobDirectories) -> None:
    def attempt(number: int) -> bool:
        try:
            create(directories, "a", str(number))
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(50))) == 1


def test_a_name_that_becomes_free_while_it_is_taken_is_had(
    directories: JobDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(directories, "a", "old")
    rename = Path.rename

    def delete_after(source: Path, target: Path) -> Path:
        """Do as another pman may between a refused rename and the next look."""
        try:
            return rename(source, target)
        finally:
            monkeypatch.undo()
            directories.set_aside("a")

    monkeypatch.setattr(Path, "rename", delete_after)
    create(directories, "a", "new")

    assert (directories.path("a") / "job.json").read_text() == "new"


@pytest.mark.parametrize("jid", [".", "..", ".hidden", "a/b", "a\0b"])
def test_what_leads_elsewhere_is_no_name(directories: JobDirectories, jid: str) -> None:
    with pytest.raises(UnknownJob):
        directories.path(jid)


def test_what_is_set_aside_frees_its_name_and_is_seen_to_go(directories: JobDirectories) -> None:
    create(directories, "a")

    aside = directories.set_aside("a")

    assert (aside / "job.json").exists()
    assert directories.names() == []
    assert directories.is_set_aside("a") and not directories.is_set_aside("b")
    create(directories, "a")
    with pytest.raises(UnknownJob):
        directories.set_aside("b")


def test_a_later_job_of_the_name_is_not_set_aside_for_an_earlier_one(directories: JobDirectories) -> None:
    earlier = create(directories, "a")
    directories.set_aside("a", earlier)
    later = create(directories, "a")

    with pytest.raises(UnknownJob):
        directories.set_aside("a", earlier)

    assert directories.names() == ["a"]
    directories.set_aside("a", later)


def test_what_a_pman_left_aside_is_abandoned_after_a_while(directories: JobDirectories) -> None:
    create(directories, "a"), create(directories, "b")
    old, _ = directories.set_aside("a"), directories.set_aside("b")
    os.utime(old, (0, old.stat().st_mtime - ABANDONED_SECONDS - 1))

    assert list(directories.abandoned()) == [old]


def test_an_incarnation_is_the_same_by_path_and_by_descriptor(directories: JobDirectories) -> None:
    incarnation = create(directories, "a")
    descriptor = os.open(directories.path("a"), os.O_RDONLY)

    assert incarnation_of(directories.path("a")) == incarnation_of(descriptor) == incarnation
    os.close(descriptor)


def test_names_can_be_asked_for_by_a_file(directories: JobDirectories) -> None:
    create(directories, "a"), create(directories, "b")
    (directories.path("b") / "job.sh").write_text("")

    assert directories.names("job.sh") == ["b"]


def test_a_file_that_is_not_there_has_no_text(directories: JobDirectories) -> None:
    create(directories, "a", "text")

    assert text_of(directories.path("a") / "job.json") == "text"
    assert text_of(directories.path("a") / "rc") == ""
