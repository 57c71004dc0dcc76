"""SLURM in trouble: clear answers, nothing lost, nothing doubled."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import engines
from tests.engines import slurm
from tests.engines.relay import relay
from tests.live import Live, Server, live, until


@pytest.fixture(scope="module")
def engine() -> engines.Engine:
    return engines.need("slurm")


@pytest.fixture(scope="module")
def plain(engine: engines.Engine, storebase: Path) -> Iterator[Live]:
    with live(engine, storebase) as running:
        yield running


@dataclass(frozen=True)
class Forgotten:
    """Jobs that have ended, long before they are looked at: SLURM forgets them after MinJobAge."""

    polled: dict[str, Any]
    """What pman said of the one whose end it saw."""

    unseen: Live
    """The pman that was killed before the other one ended, and that alone knows its directory."""

    other: str

    def wait(self) -> None:
        until(lambda: not {self.polled["jid"], self.other} & {job["name"] for job in slurm.jobs()}, 80)


@pytest.fixture(scope="module", autouse=True)
def forgotten(
    engine: engines.Engine, plain: Live, storebase: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Forgotten]:
    """Begun before all tests of this module, so that the last one need not wait for it."""
    own = {"SLURM_DIRECTORY": str(tmp_path_factory.mktemp("unseen"))}
    with live(engine, storebase, **own) as unseen:
        request = unseen.script("while [ ! -e $out/go ]; do sleep 0.1; done; echo said; exit 3")
        unseen.submit(request)
        unseen.started(request["jid"])
        unseen.server.stop(signal.SIGKILL)
        unseen.output(request, "go").touch()
        polled = plain.run(plain.script("echo said; exit 3"))
        yield Forgotten(polled, unseen, request["jid"])
        if unseen.server.process.poll() is not None:  # to delete its job
            unseen.server = Server(unseen.environment())


def unanswered(running: Live, jid: str) -> requests.Response:
    """Once what was asked a second ago is too old."""

    def probe() -> list[requests.Response] | None:
        response = running.get(jid)
        return None if response.status_code == 200 else [response]

    return until(probe)[0]


def test_slurmrestd_that_goes_and_comes_back_costs_no_job(engine: engines.Engine, storebase: Path) -> None:
    with relay(engine.address) as between:
        where = f"http://{between.address}"
        with live(engine, storebase, SLURMRESTD_URL=where) as running:
            request, late = (running.script("echo run >> $out/runs; sleep 1") for _ in range(2))
            running.submit(request)
            between.down()

            response = unanswered(running, request["jid"])
            assert response.status_code == 503
            assert "slurmrestd does not answer" in response.json()["message"]
            assert running.post(late).status_code == 503
            assert running.get("no-such-job").status_code == 503
            assert running.delete(request["jid"]).status_code == 503
            between.up()

            running.submit(late)
            for one in (request, late):
                assert running.finished(one["jid"])["status"] == "finishedSuccessfully"
                assert running.output(one, "runs").read_text() == "run\n"


def test_a_submission_whose_answer_is_lost_is_found_and_runs_once(
    engine: engines.Engine, storebase: Path
) -> None:
    with relay(engine.address) as between:
        where = {"SLURMRESTD_URL": f"http://{between.address}", "ENGINE_TIMEOUT": "1"}
        with live(engine, storebase, **where) as running:
            running.get("no-such-job")  # connected
            for pause in (0.0, 0.003, 0.01):
                request = running.script("echo run >> $out/runs")
                between.go_on()
                posted = running.post
                if pause:
                    time.sleep(pause)
                between.pause()
                assert posted(request).status_code == 503
                between.go_on()

                running.submit(request)

                assert running.finished(request["jid"])["status"] == "finishedSuccessfully"
                assert running.output(request, "runs").read_text() == "run\n"


def test_a_pman_that_starts_before_slurm_answers_serves_when_it_does(
    engine: engines.Engine, storebase: Path
) -> None:
    with relay(engine.address) as between:
        between.down()
        with live(engine, storebase, SLURMRESTD_URL=f"http://{between.address}") as running:
            request = running.request()
            assert running.post(request).status_code == 503
            between.up()

            assert running.run(request)["status"] == "finishedSuccessfully"


def test_an_expired_token_is_told_and_a_renewed_file_is_read(
    engine: engines.Engine, storebase: Path, tmp_path: Path
) -> None:
    if not shutil.which("scontrol") or "SLURM_CONF" not in os.environ:
        pytest.skip("there is no scontrol to make tokens with")

    def make(lifespan: int) -> str:
        words = ["scontrol", "token", f"lifespan={lifespan}"]
        given = {name: text for name, text in os.environ.items() if name != "SLURM_JWT"}
        done = subprocess.run(words, env=given, capture_output=True, text=True, check=True)
        return done.stdout

    file = tmp_path / "token"
    file.write_text(make(600))
    with live(engine, storebase, SLURM_JWT="", SLURM_JWT_FILE=str(file)) as running:
        request = running.script("echo said; while [ ! -e $out/go ]; do sleep 0.1; done")
        running.submit(request)
        file.write_text(make(1))

        response = unanswered(running, request["jid"])
        assert response.status_code == 503
        assert "token expired at 20" in response.json()["message"]
        assert "SLURM_JWT_FILE" in response.json()["hint"]
        assert running.post(running.request()).status_code == 503
        file.write_text(make(600))

        running.output(request, "go").touch()
        assert running.finished(request["jid"])["logs"] == "said\n"


def test_a_controller_that_is_not_there_is_503_by_its_programs_too(storebase: Path, tmp_path: Path) -> None:
    engine = engines.need("slurm-cli")
    text = Path(engine.environment["SLURM_CONF"]).read_text()
    nowhere = tmp_path / "slurm.conf"
    nowhere.write_text(re.sub(r"^SlurmctldPort=.*", "SlurmctldPort=1", text, flags=re.MULTILINE))
    with live(engine, storebase) as running:
        request = running.script("echo run >> $out/runs")
        with live(engine, storebase, SLURM_CONF=str(nowhere), ENGINE_TIMEOUT="3") as away:
            for response in (away.post(request), away.get(request["jid"]), away.delete(request["jid"])):
                assert response.status_code == 503
                assert re.search("does not reach SLURM|did not end within", response.json()["message"])

        assert running.run(request)["status"] == "finishedSuccessfully"
        assert running.output(request, "runs").read_text() == "run\n"


def test_both_ways_lead_to_the_same_jobs(plain: Live, storebase: Path) -> None:
    with live(engines.need("slurm-cli"), storebase) as other:
        request = plain.script("echo run >> $out/runs; while [ ! -e $out/go ]; do sleep 0.1; done")
        plain.submit(request)
        plain.started(request["jid"])

        assert other.status(request["jid"])["status"] == "started"
        plain.output(request, "go").touch()
        assert other.finished(request["jid"]) == plain.finished(request["jid"])
        assert other.delete(request["jid"]).status_code == 204
        assert plain.get(request["jid"]).status_code == 404


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can make a small file system")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def test_a_directory_of_the_jobs_that_is_full_is_told_and_costs_no_job(
    engine: engines.Engine, storebase: Path, small: Path
) -> None:
    with live(engine, storebase, SLURM_DIRECTORY=str(small)) as running:
        request = running.script("head -c 3000000 /dev/zero | tr '\\0' x || true; echo ran > $out/ran")
        answer = running.run(request)

        assert answer["status"] in {"finishedSuccessfully", "finishedWithError"}
        response = running.post(running.request())
        assert response.status_code == 502, response.text
        assert "no space left" in response.json()["message"]
        assert "SLURM_DIRECTORY" in response.json()["hint"]
        assert running.delete(request["jid"]).status_code == 204
        assert running.run(running.request())["status"] == "finishedSuccessfully"


def test_a_directory_of_the_jobs_that_cannot_be_written_is_told(
    engine: engines.Engine, storebase: Path, small: Path
) -> None:
    with live(engine, storebase, SLURM_DIRECTORY=str(small)) as running:
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        request = running.request()

        response = running.post(request)

        assert response.status_code == 502
        assert "cannot be written" in response.json()["message"]
        subprocess.run(["mount", "-o", "remount,rw", small], check=True)
        assert running.run(request)["status"] == "finishedSuccessfully"


def test_what_slurm_refuses_is_told_in_its_words_and_leaves_nothing(plain: Live) -> None:
    for changes, status in (({"memory_limit": 10**8}, 400), ({"gpu_limit": 77}, 400)):
        request = plain.request(**changes)

        response = plain.post(request)

        assert response.status_code == status, response.text
        assert plain.get(request["jid"]).status_code == 404
        assert not (plain.storebase / ".pman/jobs" / request["jid"]).exists()


def test_a_job_that_somebody_cancels_says_so_and_a_held_one_what_lets_it_run(plain: Live) -> None:
    request = plain.script("echo said; sleep 60")
    plain.submit(request)
    until(lambda: plain.status(request["jid"])["logs"])

    slurm.call("DELETE", f"/job/{slurm.job(request['jid'])['job_id']}")

    answer = plain.finished(request["jid"])
    assert "cancelled in SLURM" in answer["message"]
    assert answer["logs"].startswith("said\n")
    assert answer["logs"].splitlines()[-1].startswith("pman: cancelled in SLURM")


def test_what_a_strangers_jobs_are_called_disturbs_nothing(plain: Live, storebase: Path) -> None:
    """Neither a job of that name without pman's mark, nor one that bears another's mark."""
    request = plain.request()
    mark = f'{{"org.chrisproject.pman.jid": "{request["jid"]}-other"}}'
    for comment in ("", mark, "{", "[]"):
        sent = {"name": request["jid"], "comment": comment, "environment": {"PATH": "/bin"}, "hold": True}
        found = slurm.call("POST", "/job/submit", {"script": "#!/bin/sh\n", "job": sent})
        try:
            assert plain.get(request["jid"]).status_code == 404
            assert plain.delete(request["jid"]).status_code == 404
            assert slurm.job(request["jid"])["job_state"] == "PENDING"
        finally:
            slurm.call("DELETE", f"/job/{found['job_id']}")

    assert plain.run(request)["status"] == "finishedSuccessfully"


def test_two_pmans_tell_the_same_of_a_job_whoever_deletes_it(plain: Live) -> None:
    other = Server(plain.environment())
    try:
        request = plain.script("sleep 60")
        plain.submit(request)
        plain.started(request["jid"])
        mine, plain.server = plain.server, other
        assert plain.delete(request["jid"]).status_code == 204
        plain.server = mine

        assert plain.get(request["jid"]).status_code == 404
    finally:
        other.stop()


def test_a_job_that_slurm_begins_anew_runs_once_and_keeps_its_log(plain: Live) -> None:
    """slurmrestd 22.05 ignores that it should not be requeued."""
    if not shutil.which("scontrol") or "SLURM_CONF" not in os.environ:
        pytest.skip("there is no scontrol to requeue a job with")
    request = plain.script("echo run >> $out/runs; echo said; sleep 60")
    plain.submit(request)
    until(lambda: plain.status(request["jid"])["logs"])
    number = str(slurm.job(request["jid"])["job_id"])

    def begin() -> bool:
        """Of itself, SLURM would wait for two minutes."""
        words = ["scontrol", "update", f"JobId={number}", "StartTime=now"]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    subprocess.run(["scontrol", "requeue", number], check=True)
    until(lambda: slurm.job(request["jid"])["job_state"] == "PENDING")
    until(begin)

    answer = plain.finished(request["jid"])
    assert (answer["status"], answer["exit_code"]) == ("finishedWithError", 75)
    assert "SLURM began it anew" in answer["message"]
    assert answer["logs"].startswith("said\n")
    assert plain.output(request, "runs").read_text() == "run\n"


def test_what_slurm_has_forgotten_has_the_status_and_the_log_that_it_had(
    plain: Live, engine: engines.Engine, storebase: Path, forgotten: Forgotten
) -> None:
    """Whether a pman saw its end, or only the job's own script was there."""
    if not shutil.which("scontrol") or slurm.remembers() > 30:
        pytest.skip("this SLURM remembers jobs for too long; see MinJobAge")
    forgotten.wait()

    jid = forgotten.polled["jid"]
    assert plain.status(jid) == forgotten.polled
    with live(engine, storebase) as another:
        assert another.status(jid) == forgotten.polled
    forgotten.unseen.server = Server(forgotten.unseen.environment())
    answer = forgotten.unseen.status(forgotten.other)
    assert (answer["status"], answer["logs"]) == ("finishedWithError", forgotten.polled["logs"])
    assert answer["message"] == forgotten.polled["message"] == "failed with exit code 3"
    assert forgotten.unseen.delete(forgotten.other).status_code == 204
    assert forgotten.unseen.get(forgotten.other).status_code == 404
