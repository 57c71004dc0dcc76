"""examples/engine-ssh as its docs say: built, installed, and run before a real sshd of this machine."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.a_job import a_request
from tests.live import Server, ended, refused_process, until

EXAMPLE = Path(__file__).parents[2] / "examples/engine-ssh"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed package's folder, by the tools that its pyproject.toml names."""
    target = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "engine-ssh")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, "--target", target, source],
        check=True,
        timeout=600,
    )
    return target


class Sshd:
    """A server of ssh for this user alone, on a port of the loopback."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)
        if program is None:
            pytest.skip("sshd is not installed (Debian: openssh-server)")
        for name in ("host", "client"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(command, check=True)
        shutil.copy(directory / "client.pub", directory / "authorized")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (directory / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {directory}/authorized\nStrictModes no\nMaxStartups 100\n"
        )
        key = (directory / "host.pub").read_text()
        (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
        self.config = directory / "ssh_config"
        self.config.write_text(
            f"Host node7\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {directory}/client\n  UserKnownHostsFile {directory}/known_hosts\n"
        )
        self._log = directory / "sshd.log"
        self._command = [program, "-D", "-e", "-f", str(directory / "sshd_config")]
        self.start()

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of Debian asks for it
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stderr=log)
        until(lambda: "Server listening" in self._log.read_text())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.write_text("")


@dataclass
class Site:
    environment: Mapping[str, str]
    storebase: Path
    sshd: Sshd
    server: Server

    def script(self, jid: str, text: str, **changes: Any) -> dict[str, Any]:
        for name in ("incoming", "outgoing"):
            (self.storebase / f"key-{jid}" / name).mkdir(parents=True)
        (self.storebase / f"key-{jid}/incoming/in.txt").write_text("hello\n")
        directories = {"input_dir": f"key-{jid}/incoming", "output_dir": f"key-{jid}/outgoing"}
        given = {"jid": jid, "entrypoint": ["sh", "-c", text, "sh"], "args": [], **directories}
        return a_request(**{"cpu_limit": 0, "memory_limit": 0, **given, **changes})

    def submit(self, request: Mapping[str, Any]) -> requests.Response:
        return requests.post(self.server.url, json=request, timeout=100)

    def get(self, jid: str) -> Any:
        return requests.get(f"{self.server.url}{jid}/", timeout=100).json()

    def finished(self, jid: str) -> Any:
        return until(lambda: answer if ended(answer := self.get(jid)) else None)


@pytest.fixture(scope="module")
def site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    storebase = directory / "storebase"
    storebase.mkdir()
    sshd = Sshd(directory)
    environment = {
        "CONTAINER_ENV": "ssh",
        "STOREBASE": str(storebase),
        "SSH_HOST": "node7",
        "SSH_CONFIG": str(sshd.config),
        "SSH_STATE": str(directory / "state"),
        "PMAN_TEMPLATES": str(package / "pman_ssh/templates"),
        "PYTHONPATH": str(package),
    }
    running = Site(environment, storebase, sshd, Server(environment))
    yield running
    running.server.stop()
    sshd.stop()


def test_a_job_reads_its_input_writes_its_output_and_tells_its_end(site: Site) -> None:
    text = 'cp "$1/in.txt" "$2/out.txt"; echo "$WHO"; echo oops >&2; exit 3'
    request = site.script("ssh-first", text, env=["WHO=it's me"])

    answer = site.submit(request)
    end = site.finished("ssh-first")

    assert answer.status_code == 201, answer.text
    assert (site.storebase / "key-ssh-first/outgoing/out.txt").read_text() == "hello\n"
    assert (end["status"], end["exit_code"]) == ("finishedWithError", 3)
    assert end["message"] == "failed with exit code 3"
    assert end["logs"].splitlines()[:2] == ["it's me", "oops"]
    assert site.submit(request).status_code == 201  # the same again is the same job
    assert site.submit({**request, "args": ["other"]}).status_code == 409


def test_of_many_calls_for_a_job_it_runs_once(site: Site) -> None:
    request = site.script("ssh-once", 'echo run >> "$2/runs"')

    with ThreadPoolExecutor(10) as pool:
        codes = [answer.status_code for answer in pool.map(site.submit, [request] * 10)]

    assert codes == [201] * 10
    assert site.finished("ssh-once")["status"] == "finishedSuccessfully"
    assert (site.storebase / "key-ssh-once/outgoing/runs").read_text() == "run\n"


def test_a_job_is_listed_ended_with_its_children_and_removed(site: Site) -> None:
    site.submit(site.script("ssh-long", 'sleep 1000 & while :; do date >> "$2/alive"; sleep 0.1; done'))
    alive = site.storebase / "key-ssh-long/outgoing/alive"
    until(alive.exists)

    assert site.get("ssh-long")["status"] == "started"
    jobs = requests.get(f"{site.server.root}/api/v2/jobs", timeout=100).json()["jobs"]
    assert "ssh-long" in {job["jid"] for job in jobs}
    assert requests.delete(f"{site.server.url}ssh-long/", timeout=100).status_code == 204

    size = alive.stat().st_size
    time.sleep(0.5)
    assert alive.stat().st_size == size
    assert requests.delete(f"{site.server.url}ssh-long/", timeout=100).status_code == 404


def test_a_job_goes_on_while_pman_is_away_and_what_was_left_unstarted_is_taken_up(site: Site) -> None:
    site.submit(site.script("ssh-away", 'until test -e "$2/go"; do sleep 0.1; done'))
    site.server.stop(signal.SIGKILL)
    unstarted = site.script("ssh-unstarted", "true")
    state = Path(site.environment["SSH_STATE"])
    shutil.copytree(
        state / "ssh-away", state / "ssh-unstarted", ignore=shutil.ignore_patterns("started", "pid")
    )
    (site.storebase / "key-ssh-away/outgoing/go").touch()

    site.server = Server(site.environment)

    assert site.finished("ssh-away")["status"] == "finishedSuccessfully"
    assert site.finished("ssh-unstarted")["status"] == "finishedSuccessfully"
    assert unstarted["jid"] == "ssh-unstarted"


def test_a_host_that_is_away_is_503_and_its_jobs_are_there_when_it_is_back(site: Site) -> None:
    site.submit(site.script("ssh-kept", "true"))
    site.finished("ssh-kept")
    site.sshd.stop()

    away = requests.get(f"{site.server.url}ssh-kept/", timeout=100)
    site.sshd.start()

    assert away.status_code == 503
    assert "node7" in away.json()["message"]
    assert site.get("ssh-kept")["status"] == "finishedSuccessfully"


def test_a_request_that_the_engine_cannot_honour_is_refused_by_name(site: Site) -> None:
    request = site.script("ssh-limited", "true", number_of_workers=2, memory_limit=100)

    answer = site.submit(request)

    assert answer.status_code == 400
    assert {error["path"] for error in answer.json()["errors"]} >= {"$.number_of_workers"}


def test_its_own_settings_are_checked_shown_and_refused_elsewhere(site: Site) -> None:
    environment = dict(site.environment)
    command = [sys.executable, "-m", "pman", "config", "--format", "json"]
    shown = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=60
    )
    del environment["SSH_HOST"]

    assert json.loads(shown.stdout)["SSH_HOST"]["value"] == "node7"
    assert "SSH_HOST is not set" in refused_process(environment)
    elsewhere = {**site.environment, "CONTAINER_ENV": "local", "PMAN_TEMPLATES": ""}
    assert "SSH_STATE" in refused_process(elsewhere)


def test_lint_finds_nothing_in_its_templates_and_rules(site: Site) -> None:
    lint = subprocess.run(
        [sys.executable, "-m", "pman", "lint", "--strict", site.environment["PMAN_TEMPLATES"]],
        env={**os.environ, "PYTHONPATH": site.environment["PYTHONPATH"]},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_example_is_small() -> None:
    (module,) = EXAMPLE.rglob("*.py")

    assert len([line for line in module.read_text().splitlines() if line.strip()]) <= 80
