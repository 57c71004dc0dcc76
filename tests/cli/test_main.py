from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pman.cli.main import main
from pman.settings import DECLARED
from tests import engines
from tests.live import DEADLINE, Live, Server, inherited, live, program, until

TOKEN = "a-token-of-the-site"  # noqa: S105  (of no site)
NOWHERE = "unix:///nonexistent/engine.sock"
REQUEST: Mapping[str, Any] = {
    "jid": "chris-jid-42",
    "image": "docker.io/fnndsc/pl-simpledsapp:2.1.0",
    "entrypoint": ["simpledsapp"],
    "args": ["--prefix", "le"],
    "type": "ds",
    "env": ["CHRIS_USER_TOKEN=open-sesame"],
    "auid": "rudolph",
    "number_of_workers": 1,
    "cpu_limit": 1000,
    "memory_limit": 200,
    "gpu_limit": 0,
    "input_dir": "key/incoming",
    "output_dir": "key/outgoing",
}


@pytest.fixture(autouse=True)
def _no_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def pman(*words: str, stdin: str | None = None, **environ: str) -> Result:
    """Configured by `environ` and by nothing else."""
    unset = dict.fromkeys((*DECLARED, "PMAN_URL"))
    return CliRunner().invoke(main, words, input=stdin, env={**unset, "DOCKER_HOST": NOWHERE, **environ})


def written(directory: Path, **changes: Any) -> str:
    path = directory / "request.json"
    path.write_text(json.dumps({**REQUEST, **changes}))
    return str(path)


# --- help --------------------------------------------------------------------------------------


def test_every_command_has_help_with_an_example() -> None:
    for name in main.list_commands(click.Context(main)):
        told = pman(name, "--help").stdout

        assert "Example" in told, name
        assert f"pman {name}" in told.partition("Example")[2], name


def test_the_help_tells_the_exit_codes_and_where_to_begin() -> None:
    told = pman("--help").stdout

    assert re.search(r"Exit\s+codes:", told)
    assert "pman demo" in told


@pytest.mark.parametrize("group", [(), ("templates",)])
def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with(group: tuple[str, ...]) -> None:
    shown = pman(*group, "--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    commands = re.findall(r"^  (\w+) +(\S.*?)(?:\.\.\.)?$", shown, re.MULTILINE)

    for name, text in commands:
        assert text in " ".join(pman(*group, name, "--help").stdout.split()), name
    assert len(commands) >= 5


def test_the_help_needs_none_of_the_heavy_imports() -> None:
    heavy = "{'quart', 'aiohttp', 'jinja2', 'jsonschema', 'rich', 'requests', 'docker', 'asyncio'}"
    program = f"import sys, pman.cli.main; print({heavy} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_an_unknown_command_is_wrong_usage() -> None:
    assert pman("srve").exit_code == 2


# --- render ------------------------------------------------------------------------------------


def test_render_prints_the_document_alone_and_masks_the_environment(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path), STORAGE_TYPE="host", STOREBASE="/srv/chris")

    assert done.exit_code == 0
    assert done.stdout.startswith('Image: "docker.io/fnndsc/pl-simpledsapp:2.1.0"\n')
    assert '"/srv/chris/key/incoming"' in done.stdout
    assert "CHRIS_USER_TOKEN=********" in done.stdout
    assert "open-sesame" not in done.output
    assert done.stderr == ""


def test_render_shows_the_environment_when_asked_to(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path), "--show-env", STORAGE_TYPE="host", STOREBASE="/srv/chris")

    assert "CHRIS_USER_TOKEN=open-sesame" in done.stdout


def test_render_reads_a_request_from_stdin() -> None:
    done = pman("render", "-", stdin=json.dumps(REQUEST), STORAGE_TYPE="host", STOREBASE="/srv/chris")

    assert "simpledsapp" in done.stdout


def test_render_tells_every_error_of_a_request_with_its_path(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path, args="--prefix", cpu_limit=-1, output_dir="../x"))

    assert done.exit_code == 2
    assert done.stdout == ""
    for path in ("$.args", "$.cpu_limit", "$.output_dir"):
        assert f"pman: {path}: " in done.stderr


def test_render_needs_no_configuration_and_says_what_it_assumes(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path), "--engine", "podman", STORAGE_TYPE="host")

    assert done.exit_code == 0
    assert done.stderr == "pman: STOREBASE is not set; assuming /storebase\n"
    assert '"/storebase/key/incoming"' in done.stdout


def test_render_assumes_a_storebase_where_the_engine_that_knows_it_does_not_answer(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path))

    assert done.exit_code == 0
    assert "assuming that the storebase is at /storebase" in done.stderr
    assert '"/storebase/key/incoming"' in done.stdout


def test_render_asks_the_engine_where_its_volume_is(tmp_path: Path) -> None:
    docker = engines.need("docker")
    assert docker.native
    volume = docker.native.volumes.create(f"pman-test-{uuid.uuid4().hex[:12]}")

    try:
        done = pman("render", written(tmp_path), VOLUME_NAME=volume.name, **docker.environment)
    finally:
        volume.remove()

    assert done.stderr == ""
    assert f'"{volume.attrs["Mountpoint"]}/key/incoming"' in done.stdout


def test_render_does_not_replace_a_setting_that_is_wrong(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path), STORAGE_TYPE="host", STOREBASE="relative")

    assert done.exit_code == 2
    assert "STOREBASE='relative'" in done.stderr


def test_render_names_several_documents(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path), "--engine", "local")

    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("# --- job.sh\n#!/bin/sh\n")
    assert "\n# --- job.yaml\n" in done.stdout


def test_render_names_the_engines_where_one_is_misspelt(tmp_path: Path) -> None:
    done = pman("render", written(tmp_path), "--engine", "dokcer")

    assert done.exit_code == 2
    assert "did you mean docker?" in done.stderr


def test_the_example_request_renders_for_every_engine() -> None:
    example = Path(__file__).parents[2] / "examples/simpledsapp.json"

    for engine in ("docker", "podman", "local"):
        assert pman("render", str(example), "--engine", engine).exit_code == 0


def test_render_of_a_file_that_is_not_there_is_wrong_usage() -> None:
    assert pman("render", "nowhere.json").exit_code == 2


def test_render_is_coloured_on_a_terminal_only(tmp_path: Path) -> None:
    output = on_a_terminal("render", written(tmp_path), STORAGE_TYPE="host", STOREBASE="/srv/chris")

    assert "\x1b[" in output
    assert re.sub(r"\x1b\[[\d;]*m", "", output).startswith('Image: "docker.io/fnndsc/pl-simpledsapp:2.1.0"')


def on_a_terminal(*words: str, **environ: str) -> str:
    """What a person sees, with the terminal's control codes."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pman", *words]
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    seen = b""
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        program(*command, env={**inherited(), "TERM": "xterm-256color", **environ}, **terminal) as process,
    ):
        os.close(theirs)
        with contextlib.suppress(OSError):  # Linux: EIO at the end
            while chunk := screen.read(65536):
                seen += chunk
        process.wait(DEADLINE)
    return seen.decode()


# --- config ------------------------------------------------------------------------------------


def test_config_shows_each_setting_with_its_origin_and_meaning(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("JOB_LOGS_TAIL=7\n")

    told = pman("config", SHM_SIZE="64").stdout

    assert re.search(r"^SHM_SIZE +64 +environment +size of /dev/shm", told, re.MULTILINE)
    assert re.search(r"^JOB_LOGS_TAIL +7 +\.env ", told, re.MULTILINE)
    assert re.search(r"^REMOVE_JOBS +yes +default ", told, re.MULTILINE)
    assert all(name in told for name in DECLARED)


@pytest.mark.parametrize("form", ["table", "json"])
def test_config_masks_secrets(form: str) -> None:
    told = pman("config", "--format", form, **{"SECRET_KEY": "open-sesame"}).output

    assert "open-sesame" not in told
    assert "********" in told


def test_config_as_json_keeps_the_types() -> None:
    told = json.loads(pman("config", "--format", "json", JOB_LABELS="a=b").stdout)

    assert told["JOB_LABELS"]["value"] == {"a": "b"}
    assert told["PORT"] == {"value": 5010, "source": "default", "meaning": DECLARED["PORT"]["description"]}


def test_config_tells_all_that_is_wrong() -> None:
    done = pman("config", SHM_SIZE="much", REMOVE_JOBS="perhaps")

    assert done.exit_code == 2
    assert "SHM_SIZE='much'" in done.stderr
    assert "REMOVE_JOBS='perhaps'" in done.stderr


def test_the_matrix_comes_from_the_templates(tmp_path: Path) -> None:
    site = tmp_path / "docker"
    site.mkdir()
    (site / "container.yaml.j2").write_text(
        '{% extends "builtin/docker/container.yaml.j2" %}{% block shm %}{% endblock %}'
    )

    shipped = json.loads(pman("config", "--matrix", "--format", "json").stdout)
    changed = json.loads(pman("config", "--matrix", "--format", "json", PMAN_TEMPLATES=str(tmp_path)).stdout)

    assert shipped["SHM_SIZE"]["honoured"]["docker"] is True
    assert changed["SHM_SIZE"]["honoured"]["docker"] is False
    assert shipped["gpu_limit"]["honoured"]["docker"] is True
    assert shipped["gpu_limit"]["honoured"]["podman"] is False


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_the_matrix_has_every_option_and_the_limits_of_the_engines(form: str) -> None:
    told = pman("config", "--matrix", "--format", form).stdout

    assert all(name in told for name in (*DECLARED, *REQUEST))
    assert "only number_of_workers=1 is supported" in told


def test_markdown_without_the_matrix_is_wrong_usage() -> None:
    assert pman("config", "--format", "markdown").exit_code == 2


# --- check -------------------------------------------------------------------------------------


def test_check_is_content_with_a_working_installation(shared: Live) -> None:
    done = pman("check", **shared.environment())

    assert done.exit_code == 0, done.output
    for subject in ("settings", "templates", "engine", "storebase", "jobs"):
        assert re.search(rf"✔ +{subject} +ok", done.stdout), subject


def test_check_of_an_engine_that_is_away_says_what_to_do_and_skips_the_rest() -> None:
    done = pman("check")

    assert done.exit_code == 1
    assert re.search(r"✘ +engine +failed .*nonexistent", done.stdout)
    assert re.search(r"– +storebase +skipped", done.stdout)
    assert "DOCKER_HOST" in done.stdout


def test_check_says_whether_pman_has_a_login_and_what_gives_it_one() -> None:
    alone, v1_open, closed = (
        pman("check", **environ).stdout
        for environ in ({}, {"AUTH_TOKEN": TOKEN, "AUTH_V1": "no"}, {"AUTH_TOKEN": TOKEN})
    )

    assert re.search(r"– +login +skipped +whoever reaches pman", alone)
    assert "AUTH_TOKEN=$(openssl rand -hex 32)" in alone
    assert "COMPUTE_SERVICE_URL=http://pman:$AUTH_TOKEN@pman:5010/api/v1/" in alone
    assert re.search(r"– +login +skipped +AUTH_V1=no", v1_open)
    assert re.search(r"✔ +login +ok", closed)


def test_check_tells_every_wrong_setting() -> None:
    done = pman("check", SHM_SIZE="much", REMOVE_JOBS="perhaps")

    assert done.exit_code == 1
    assert "SHM_SIZE='much'" in done.stdout
    assert "REMOVE_JOBS='perhaps'" in done.stdout


def test_check_tells_a_template_that_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/container.yaml.j2").write_text("Image: {{ job.imge }}\n")

    done = pman("check", PMAN_TEMPLATES=str(tmp_path))

    assert done.exit_code == 1
    assert "did you mean job.image?" in done.stdout


def test_check_of_a_storebase_that_is_not_here_says_so_without_calling_it_a_failure(shared: Live) -> None:
    done = pman("check", **{**shared.environment(), "STOREBASE": "/nonexistent/storebase"})

    assert "/nonexistent/storebase" in done.stdout
    assert re.search(r"[–✘] +storebase +(skipped|failed)", done.stdout)


def test_check_of_a_storebase_that_is_a_file_fails(tmp_path: Path) -> None:
    docker = engines.need("docker")
    (tmp_path / "file").touch()

    done = pman("check", STORAGE_TYPE="host", STOREBASE=str(tmp_path / "file"), **docker.environment)

    assert done.exit_code == 1
    assert "is not a directory" in done.stdout


def test_check_names_the_volume_that_the_engine_has_not() -> None:
    docker = engines.need("docker")

    done = pman("check", VOLUME_NAME="pman-test-no-such-volume", **docker.environment)

    assert done.exit_code == 1
    assert "pman-test-no-such-volume" in done.stdout


# --- serve -------------------------------------------------------------------------------------


def test_serve_does_not_start_with_a_wrong_setting() -> None:
    done = pman("serve", "--port", "0", SHM_SIZE="much")

    assert done.exit_code == 2
    assert "SHM_SIZE='much'" in done.stderr


# --- the client of a server ----------------------------------------------------------------------


@pytest.fixture
def job(local: Live) -> Iterator[dict[str, Any]]:
    """A request of three lines of log."""
    request = local.script("echo one; echo two; echo three")
    local.submitted.append(request["jid"])
    yield request


def remote(live: Live, *words: str, stdin: str | None = None) -> Result:
    return pman(*words, stdin=stdin, PMAN_URL=live.server.root)


def test_run_prints_the_log_on_stdout_and_the_status_on_stderr(local: Live, job: dict[str, Any]) -> None:
    done = remote(local, "run", "-", stdin=json.dumps(job))

    assert done.exit_code == 0, done.output
    assert done.stdout == "one\ntwo\nthree\n"
    assert f"pman: {job['jid']} finishedSuccessfully" in done.stderr


def test_run_on_a_terminal_keeps_the_log_apart_from_the_spinner(
    local: Live, job: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "request.json").write_text(json.dumps(job))

    output = on_a_terminal("run", str(tmp_path / "request.json"), "--url", local.server.url)

    lines = re.split(r"\r?\n", re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", output))
    seen = [line.rpartition("\r")[2] for line in lines]
    assert [line for line in seen if line in ("one", "two", "three")] == ["one", "two", "three"]


def test_run_ends_with_the_exit_code_of_the_job(local: Live, job: dict[str, Any]) -> None:
    job["entrypoint"] = ["sh", "-c", "exit 3"]

    done = remote(local, "run", "-", stdin=json.dumps(job))

    assert done.exit_code == 3
    assert "exit code 3" in done.stderr


def test_run_names_the_job_and_deletes_it_when_asked_to(local: Live, job: dict[str, Any]) -> None:
    jid = f"{job['jid']}-again"

    done = remote(local, "run", "-", "--rm", "--jid", jid, stdin=json.dumps(job))

    assert done.exit_code == 0, done.output
    assert jid in done.stderr
    assert local.get(jid).status_code == 404


def test_run_of_a_bad_request_tells_each_error_and_ends_with_2(local: Live) -> None:
    done = remote(local, "run", "-", stdin='{"jid": "x", "args": 1}')

    assert done.exit_code == 2
    assert "pman: $.args: " in done.stderr
    assert "pman: $.image: missing" in done.stderr


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_request_that_is_no_json_object_cannot_be_named(text: str) -> None:
    done = pman("run", "-", "--jid", "chris-jid-43", stdin=text)

    assert done.exit_code == 2
    assert "the request is no" in done.stderr.replace("not", "no")


@contextlib.contextmanager
def running_until_ready(directory: Path, running: Live) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`pman run` of a job that has begun, and the job's name."""
    request = running.script("echo ready; sleep 600")
    running.submitted.append(request["jid"])
    (directory / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", "pman", "run", "request.json", "--url", running.server.url]
    with program(*command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process, request["jid"]


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_and_delete_it(
    local: Live, tmp_path: Path
) -> None:
    with running_until_ready(tmp_path, local) as (process, jid):
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=DEADLINE)

    assert process.returncode == 130
    assert f"logs -f {jid}" in told
    assert f"rm {jid}" in told
    assert local.status(jid)["status"] == "started"


def test_run_says_that_the_job_goes_on_when_the_server_goes_away(storebase: Path, tmp_path: Path) -> None:
    with live(engines.need("local"), storebase) as running:
        with running_until_ready(tmp_path, running) as (process, jid):
            running.server.stop(signal.SIGKILL)
            _, told = process.communicate(timeout=DEADLINE)

        assert process.returncode == 1
        assert f"went away in the middle of the log of {jid}" in told
        assert "Traceback" not in told
        running.server = Server(running.environment())  # to delete the job


def test_ps_lists_the_jobs(local: Live, job: dict[str, Any]) -> None:
    local.run(job)

    table = remote(local, "ps").stdout
    data = json.loads(remote(local, "ps", "--format", "json").stdout)

    assert re.search(rf"^{job['jid']} +finishedSuccessfully ", table, re.MULTILINE)
    (found,) = (each for each in data if each["jid"] == job["jid"])
    assert found["status"] == "finishedSuccessfully"


def test_status_shows_one_job_without_its_log(local: Live, job: dict[str, Any]) -> None:
    local.run(job)

    table = remote(local, "status", job["jid"]).stdout
    data = json.loads(remote(local, "status", job["jid"], "--format", "json").stdout)

    assert re.search(r"^status +finishedSuccessfully", table, re.MULTILINE)
    assert data["jid"] == job["jid"]
    assert "logs" not in data


def test_logs_prints_the_log_or_its_end(local: Live, job: dict[str, Any]) -> None:
    local.run(job)

    assert remote(local, "logs", job["jid"]).stdout == "one\ntwo\nthree\n"
    assert remote(local, "logs", job["jid"], "--tail", "1").stdout == "three\n"


def test_logs_follows_a_job_to_its_end(local: Live) -> None:
    request = local.script("echo one; while [ ! -e $out/go ]; do sleep 0.1; done; echo two")
    local.submit(request)

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(remote, local, "logs", "-f", request["jid"])
        until(lambda: local.status(request["jid"])["logs"])
        local.output(request, "go").touch()

        assert following.result().stdout == "one\ntwo\n"


def test_rm_deletes_what_it_can_and_tells_the_rest(local: Live, job: dict[str, Any]) -> None:
    local.run(job)

    done = remote(local, "rm", "no-such-job", job["jid"])

    assert done.exit_code == 1
    assert done.stdout == f"{job['jid']}\n"
    assert done.stderr == "pman: no job 'no-such-job'\n"
    assert local.get(job["jid"]).status_code == 404


def test_a_job_that_is_not_there_is_one_clear_line(local: Live) -> None:
    done = remote(local, "status", "no-such-job")

    assert done.exit_code == 1
    assert done.stderr == "pman: no job 'no-such-job'\n"


def test_a_server_that_does_not_answer_is_told_with_its_address_and_what_to_do() -> None:
    done = pman("ps", PMAN_URL="http://127.0.0.1:1/api/v1/")

    assert done.exit_code == 1
    assert "no pman answers at http://127.0.0.1:1/api/v1/" in done.stderr
    assert "pman serve" in done.stderr
    assert "Traceback" not in done.output


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(local: Live) -> None:
    done = pman("ps", "--url", local.server.url, http_proxy="http://127.0.0.1:1")

    assert done.exit_code == 0


def test_an_address_that_is_none_is_wrong_usage() -> None:
    done = pman("ps", "--url", "localhost:5010")

    assert done.exit_code == 2
    assert "use http://host:port/api/v1/" in done.stderr


def test_a_server_that_is_no_pman_is_told() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            done = pman("ps", "--url", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            serving.join()

    assert done.exit_code == 1
    assert "is it a pman?" in done.stderr
