"""No link in the storebase decides what a job is given, left there before or put there meanwhile."""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests import engines
from tests.engines import slurm
from tests.live import Live, until

RACES = int(os.environ.get("PMAN_TEST_RACES", "5"))
"""Submissions for an engine and direction; some hundred are for a person's patience."""

SIDE_BY_SIDE = 12

DOCKER = ["docker-host", "docker-hidden", "docker-volume", "swarm-hidden", "swarm-volume"]
"""Both ways to look, and both to mount. A swarm whose storebase pman sees would look as docker-host does, and
mount as swarm-hidden."""

PLACES = [
    *(f"{place}{which}" for place in DOCKER for which in ("", "-current")),
    *("podman-host", "podman-hidden", "kubernetes-host", "kubernetes-claim", "local-host", "cromwell-hidden"),
    *("slurm-podman", "slurm-docker", "slurm-apptainer", "slurm-charliecloud", "slurm-none"),
]
"""The engine, and how it has its storebase: as a directory of the host that pman sees (host) or that it does
not see (hidden), or in another way; on SLURM, hidden, what runs the jobs; `current`: see engines.current."""

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
    def is_by_path(self) -> bool:
        """Tells an engine that mounts by path, where pman alone keeps others from exchanging directories."""
        return "mount their directories by path" in self.running.server.output()

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
            assert response.status_code in (400, 409, 502), response.text + self.running.server.output()
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
    name, way, *current = request.param.split("-")
    engine = engines.current(name) if current else engines.need(name)
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
    elif way == "volume":
        assert engine.native is not None
        options = {"type": "none", "o": "bind", "device": str(base)}
        name = f"pman-test-{uuid.uuid4().hex[:12]}"
        volume = engine.native.volumes.create(name, driver="local", driver_opts=options)
        yield {"STORAGE_TYPE": "docker_local_volume", "STOREBASE": "", "VOLUME_NAME": volume.name}
        for lens in engine.native.containers.list(
            all=True, filters={"label": f"org.chrisproject.pman.lens={volume.name}"}
        ):
            lens.remove()
        volume.remove()
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

    directions = ("input_dir", "output_dir")
    said = place.outcomes([place.request(**{name: path}) for name in directions for path in paths])

    assert said == [""] * 12
    assert [file.name for file in (own.parent / "outside", *outside.iterdir()) if file.exists()] == ["who"]


def test_a_link_out_of_the_storebase_is_followed_by_no_engine_though_the_storebase_has_what_it_names(
    place: Place,
) -> None:
    """Some engines resolve it within the storebase when they are asked, and on the host when they mount."""
    own = place.directory(f"own-{uuid.uuid4().hex}")
    (own / "home").symlink_to("/home")
    (own / "root").symlink_to("/")
    (place.storebase / "home").mkdir(exist_ok=True)

    said = place.outcomes([place.request(input_dir=f"{own.name}/{name}") for name in ("home", "root")])

    assert said == ["", ""]


def test_a_link_to_the_directory_of_another_job_is_not_followed_where_pman_can_see_to_it(
    place: Place,
) -> None:
    other = place.directory(f"key-of-another-{uuid.uuid4().hex}/outgoing")
    link = place.storebase / f"link-{uuid.uuid4().hex}"
    link.symlink_to(other)

    said = place.outcomes([place.request(input_dir=link.name)])

    assert said == ([INSIDE] if place.follows else [""])


def test_a_directory_below_what_a_running_job_writes_is_given_to_no_other_job_until_it_has_ended(
    place: Place,
) -> None:
    if place.running.engine.name not in ("docker", "podman", "swarm"):
        pytest.skip("this engine has no need of it, or no means")
    above = f"above-{uuid.uuid4().hex}"
    place.directory(above)
    place.directory(f"{above}/below")
    requests = [place.request(**{name: f"{above}/below"}) for name in ("input_dir", "output_dir")]

    with exchanging_job(place, above):
        answers = [place.running.post(request) for request in requests]
        beside = place.outcomes([place.request(input_dir=above)])

    assert [answer.status_code for answer in answers] == [409, 409]
    assert all("could be exchanged" in answer.json()["message"] for answer in answers)
    assert [place.running.get(request["jid"]).status_code for request in requests] == [404, 404]
    assert beside == [INSIDE]
    assert place.outcomes(requests)[0] == INSIDE


def test_a_job_that_is_being_deleted_has_its_directories_to_itself_until_it_has_ended(place: Place) -> None:
    if place.running.engine.name not in ("docker", "podman", "swarm"):
        pytest.skip("this engine has no need of it, or no means")
    above = f"above-{uuid.uuid4().hex}"
    beats = place.directory(above) / "beats"
    place.directory(f"{above}/below")
    slow = place.running.script("while true; do echo >> $out/beats; sleep 0.01; done", output_dir=above)
    place.running.submit(slow)
    until(beats.exists)

    with ThreadPoolExecutor(1) as pool:
        deletion = pool.submit(place.running.delete, slow["jid"])
        until(lambda: place.running.post(place.request(input_dir=f"{above}/below")).status_code == 201)
        seen = beats.stat().st_size
        assert deletion.result().status_code == 204

    assert beats.stat().st_size == seen, (
        "the job was given its directories while another one could exchange them"
    )


def test_a_link_in_the_image_is_not_taken_for_the_directory_that_it_leads_to_on_the_node(
    place: Place, tmp_path: Path
) -> None:
    if place.running.settings.get("SLURM_RUNTIME") != "podman":
        pytest.skip("nothing is compared below the root of the container")
    request = place.request()
    own = place.directory(f"own-{uuid.uuid4().hex}")
    for name, directory in (("incoming", "input_dir"), ("outgoing", "output_dir")):
        (own / name).symlink_to(place.storebase / request[directory])
    (tmp_path / "share").symlink_to(own)
    image = f"localhost/pman-test-link-{uuid.uuid4().hex[:12]}"

    with slurm.podman_image(image, place.running.engine.image, tmp_path):
        place.running.submit({**request, "image": image})
        answer = place.running.finished(request["jid"])
        place.running.delete(request["jid"])

    assert answer["status"] == "finishedWithError"
    assert "the image has a link at /share" in answer["message"]


# --- links that come while a job is submitted ---------------------------------------------------------


@pytest.mark.parametrize("direction", ["input_dir", "output_dir"])
def test_a_directory_that_is_exchanged_for_a_link_all_the_time_leads_no_job_out_of_the_storebase(
    place: Place, direction: str
) -> None:
    """Only a job can exchange it; where nothing but pman stands against that, it has to be one that runs."""
    if "CVE-2021-25741" in place.running.server.output() and "PMAN_TEST_RACES" not in os.environ:
        pytest.skip("such a kubelet loses one race in a hundred, as pman has said at its start")
    above = f"above-{direction}"
    raced = place.directory(f"{above}/raced")
    link = place.storebase / above / "link"
    link.symlink_to(place.outside)

    with exchanging_job(place, above) if place.is_by_path else nullcontext(), exchanged(raced, link):
        requests = [place.request(**{direction: f"{above}/raced"}) for _ in range(RACES)]
        said = place.outcomes(requests)

    print(f"{direction}: {said.count(INSIDE)} of {RACES} jobs were given the directory, the others nothing")
    assert set(said) <= {INSIDE, ""}
    assert [file.name for file in place.outside.iterdir()] == ["who"]


@contextmanager
def exchanging_job(place: Place, output_dir: str) -> Iterator[None]:
    """A job that may exchange what is in this directory, for as long as the block takes."""
    (place.storebase / output_dir).chmod(0o777)
    request = place.running.script("sleep 3000", output_dir=output_dir)
    place.running.submit(request)
    place.running.started(request["jid"])
    yield
    assert place.running.delete(request["jid"]).status_code == 204


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
