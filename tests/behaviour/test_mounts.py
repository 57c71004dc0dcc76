"""No link in the storebase decides what a job is given, left there before or put there meanwhile."""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests import engines
from tests.engines import slurm
from tests.live import Live

RACES = int(os.environ.get("PMAN_TEST_RACES", "10"))
"""Submissions for an engine and direction; some hundred are for a person's patience."""

SIDE_BY_SIDE = 8

PLACES = [
    *("kubernetes-host", "kubernetes-claim", "local-host", "cromwell-hidden"),
    *("slurm-podman", "slurm-docker", "slurm-apptainer", "slurm-charliecloud", "slurm-none"),
]
"""The engine, and how it has its storebase: as a directory of the host that pman sees (host) or that it does
not see (hidden), or in another way; on SLURM, hidden, what runs the jobs."""

FOLLOWING = ["kubernetes-hidden", "kubernetes-claim"]
"""Where a link to another directory of the storebase is followed: the engine does, and pman cannot look."""

INSIDE = "inside\n"

WHO = "cat $in/who; : > $out/$JID"
"""Says whose directory is to be read, and leaves a file in the one that is to be written."""


@dataclass
class Place:
    running: Live
    outside: Path
    """A directory beside the storebase."""

    follows: bool

    @property
    def storebase(self) -> Path:
        return self.running.storebase

    def directory(self, name: str) -> Path:
        """One of the storebase, which tells its name."""
        directory = self.storebase / name
        directory.mkdir(parents=True)
        directory.chmod(0o777)
        (directory / "who").write_text(INSIDE)
        return directory

    def request(self, **directories: str) -> dict[str, Any]:
        request = self.running.script(WHO)
        (self.storebase / request["input_dir"] / "who").write_text(INSIDE)
        return {**request, "env": [f"JID={request['jid']}"], **directories}

    def outcome(self, request: Mapping[str, Any]) -> str:
        """What the job said, or '' for one that was refused or could not begin."""
        response = self.running.post(request)
        if response.status_code != 201:
            assert response.status_code in (400, 502), response.text
            return ""
        answer = self.running.finished(request["jid"])
        self.running.delete(request["jid"])
        if answer["status"] == "finishedSuccessfully":
            return str(answer["logs"])
        assert "link" in answer["message"], answer
        return ""

    def outcomes(self, requests: list[dict[str, Any]]) -> list[str]:
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(pool.map(self.outcome, requests))


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give each place in turn, with a pman of its own."""
    name, way = request.param.split("-")
    engine = engines.need(name)
    hidden = way == "hidden" or name == "slurm"
    if hidden and os.geteuid():
        pytest.skip("only root can hide a directory from a pman")
    root = tmp_path_factory.mktemp(request.param)
    for directory in (root, *root.parents[:2], root / "base", root / "outside"):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    (root / "outside").chmod(0o777)
    (root / "outside/who").write_text("outside\n")
    with (
        _storage(engine, way, root / "base") as settings,
        closing(Live(engine, root / "base", settings, hidden=hidden)) as running,
    ):
        yield Place(running, root / "outside", request.param in FOLLOWING)


@contextmanager
def _storage(engine: engines.Engine, way: str, base: Path) -> Iterator[Mapping[str, str]]:
    """Give the settings that lead a pman to the storebase."""
    settings = {"START_GRACE_SECONDS": "3"} if engine.namespace else {}
    if engine.namespace and way == "claim":
        with engine.namespace.claim(base) as claim:
            yield {**settings, "STORAGE_TYPE": "kubernetes_pvc", "STOREBASE": "", "VOLUME_NAME": claim}
    elif engine.name == "slurm":
        with TemporaryDirectory() as directory:
            Path(directory).chmod(0o755)
            (jobs := Path(directory, "jobs")).mkdir()
            try:
                yield {
                    **slurm.with_runtime(way, engine.image, Path(directory, "site")),
                    "SLURM_DIRECTORY": str(jobs),
                }
            except LookupError as error:
                pytest.skip(str(error))
    else:
        yield settings


# --- links that are there ----------------------------------------------------------------------------


def test_a_link_that_leads_out_of_the_storebase_is_mounted_by_no_job(place: Place) -> None:
    own, outside = place.directory("own"), place.outside
    links = {
        "absolute": str(outside),
        "relative": "../outside",
        "chain": "relative",
        "root": "/",
        "parent": "..",
        "own/below": "../../outside",
    }
    for name, target in links.items():
        (place.storebase / name).symlink_to(target)
    paths = ["absolute", "relative", "chain", f"root{outside}", "parent/outside", "own/below"]

    said = place.outcomes([place.request(input_dir=path) for path in paths])
    said += place.outcomes([place.request(output_dir=path) for path in paths])

    assert said == [""] * 12
    assert [file.name for file in (own.parent / "outside", *outside.iterdir()) if file.exists()] == ["who"]


def test_a_link_to_the_directory_of_another_job_is_not_followed_where_pman_can_see_to_it(
    place: Place,
) -> None:
    other = place.directory(f"key-of-another-{uuid.uuid4().hex}/outgoing")
    link = place.storebase / f"link-{uuid.uuid4().hex}"
    link.symlink_to(other)

    said = place.outcomes([place.request(input_dir=link.name)])

    assert said == ([INSIDE] if place.follows else [""])


# --- links that come while a job is submitted ---------------------------------------------------------


@pytest.mark.parametrize("direction", ["input_dir", "output_dir"])
def test_a_directory_that_is_exchanged_for_a_link_all_the_time_leads_no_job_out_of_the_storebase(
    place: Place, direction: str
) -> None:
    if "CVE-2021-25741" in place.running.server.output() and "PMAN_TEST_RACES" not in os.environ:
        pytest.skip("such a kubelet loses one race in a hundred, as pman has said at its start")
    raced = place.directory(f"raced-{direction}")
    link = place.storebase / f"link-{direction}"
    link.symlink_to(place.outside)

    with exchanged(raced, link):
        said = place.outcomes([place.request(**{direction: raced.name}) for _ in range(RACES)])

    print(f"{direction}: {said.count(INSIDE)} of {RACES} jobs were given the directory, the others nothing")
    assert set(said) <= {INSIDE, ""}
    assert [file.name for file in place.outside.iterdir()] == ["who"]


@contextmanager
def exchanged(first: Path, second: Path) -> Iterator[None]:
    """Let two files change names with each other until the block ends."""
    renameat2, over = ctypes.CDLL(None, use_errno=True).renameat2, threading.Event()
    names = [os.fsencode(first), os.fsencode(second)]

    def exchange() -> None:
        for pause in itertools.cycle([0, 0.0005, 0.005, 0, 0.03]):
            if over.wait(pause):
                return
            assert renameat2(-100, names[0], -100, names[1], 2) == 0  # AT_FDCWD, RENAME_EXCHANGE

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(exchange)
        try:
            yield
        finally:
            over.set()
        running.result()
