"""The local engine: real processes, real mounts, a real shell."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from pman import settings
from pman.engine.engine import Engine
from pman.errors import BadRequest, ConfigError, Conflict, NameTaken, Refused, UnknownJob
from pman.executors.local import connect
from pman.executors.local.executor import WITHOUT_MOUNTS, LocalExecutor, Namespaces
from pman.job import Document, JobInfo
from pman.translation.translation import ASSUMED_FACTS, Translation

PROBED = ["probed", "none"]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start jobs as another user")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")

FACTS = {"platform": "Linux", "root": True, "cpu_affinity": True, "namespaces": "none"}


@dataclass
class Live:
    engine: Engine
    executor: LocalExecutor
    incoming: Path
    outgoing: Path
    state: Path
    mounts: bool
    """Whether jobs have /share/incoming and /share/outgoing as real paths."""

    async def submit(self, *argv: str, **fields: Any) -> str:
        jid: str = fields.setdefault("jid", "job-1")
        await self.engine.submit(await self.engine.parse(a_request(argv, **fields)))
        return jid

    async def finished(self, jid: str) -> tuple[JobInfo, str]:
        info, body = await until(lambda: self.engine.status(jid), lambda answer: answer[0].ended)
        return info, json.loads(body)["logs"]

    async def ran(self, *argv: str, **fields: Any) -> tuple[JobInfo, str]:
        return await self.finished(await self.submit(*argv, **fields))

    async def logged(self, jid: str, word: str) -> None:
        await until(lambda: self.engine.status(jid), lambda answer: word.encode() in answer[1])


def a_request(argv: tuple[str, ...], **fields: Any) -> str:
    request = {
        "jid": "job-1",
        "image": "localhost/pman-test:1",
        "entrypoint": [argv[0]],
        "args": argv[1:],
        "type": "fs",
        "auid": "cube",
        "env": [],
        "number_of_workers": 1,
        "cpu_limit": 0,
        "memory_limit": 0,
        "gpu_limit": 0,
        "input_dir": "in put/1",
        "output_dir": "out/1",
    }
    return json.dumps({**request, **fields})


async def until(ask: Callable[[], Any], holds: Callable[[Any], bool], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask()
        if holds(answer):
            return answer
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.02)


def configured(tmp_path: Path, **environ: str) -> settings.Settings:
    for directory in ("store/in put/1", "store/out/1"):
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
    given = {
        "CONTAINER_ENV": "local",
        "STOREBASE": f"{tmp_path}/store",
        "LOCAL_STATE": f"{tmp_path}/state",
        **environ,
    }
    return settings.load(given, ["local"])


async def started(tmp_path: Path, namespaces: Namespaces | None = None, **environ: str) -> Live:
    configuration = configured(tmp_path, **environ)
    executor = LocalExecutor(configuration.values, namespaces)
    engine = Engine(Translation(configuration), executor)
    facts = await engine.facts()
    store = tmp_path / "store"
    return Live(
        engine,
        executor,
        store / "in put/1",
        store / "out/1",
        tmp_path / "state",
        facts["namespaces"] != "none",
    )


@pytest.fixture(params=PROBED)
async def anyhow(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Live]:
    """With mounts where this machine allows them, and without."""
    live = await started(tmp_path, "none" if request.param == "none" else None)
    if request.param == "probed" and not live.mounts:
        pytest.skip("this machine does not let jobs have mounts")
    yield live
    await close(live)


@pytest.fixture(scope="session")
async def namespaces(tmp_path_factory: pytest.TempPathFactory) -> Namespaces:
    """What this machine allows, found out once."""
    executor = LocalExecutor(configured(tmp_path_factory.mktemp("probe")).values)
    found: Namespaces = (await executor.facts())["namespaces"]
    return found


@pytest.fixture
async def supervised(tmp_path: Path, namespaces: Namespaces) -> AsyncIterator[Live]:
    """For what the supervisor of a job does."""
    live = await started(tmp_path, namespaces)
    yield live
    await close(live)


@pytest.fixture
async def local(
    tmp_path: Path, namespaces: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Live]:
    """For what pman does: its jobs have supervisors too, which are measured where they are the subject."""
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        monkeypatch.delenv(name)
    live = await started(tmp_path, namespaces)
    yield live
    await close(live)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user may enter; pytest closes its own, also those of a run that goes on."""
    with tempfile.TemporaryDirectory(prefix="pman-test-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


async def close(live: Live) -> None:
    for jid in await live.executor.list():
        await live.engine.remove(jid)
    await live.engine.close()


def processes(mark: str) -> list[psutil.Process]:
    """Those that have the mark in their command line."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        process
        for process in found
        if process.info["status"] != psutil.STATUS_ZOMBIE and mark in (process.info["cmdline"] or [])
    ]


# --- files -------------------------------------------------------------------------------------------


async def test_a_job_reads_its_input_and_writes_its_output(anyhow: Live) -> None:
    (anyhow.incoming / "a.txt").write_text("hello")

    info, logs = await anyhow.ran("cp", "-v", "/share/incoming/a.txt", args_path_flags=[])

    assert (info.status, info.message) == ("finishedSuccessfully", "finished")
    assert (anyhow.outgoing / "a.txt").read_text() == "hello"
    assert "a.txt" in logs
    assert info.cmd == "cp -v /share/incoming/a.txt /share/outgoing"


async def test_the_value_of_an_option_is_mapped_where_there_are_no_mounts(tmp_path: Path) -> None:
    live = await started(tmp_path, "none")

    words = ["--in=/share/incoming/a", "--text=x/share/incoming", "/share/incomings", "a=/share/incoming"]
    _, logs = await live.ran("printf", "%s\n", *words)

    assert logs.splitlines() == [f"--in={live.incoming}/a", *words[1:], str(live.outgoing)]
    await close(live)


async def test_with_mounts_the_paths_are_real_and_the_input_is_read_only(supervised: Live) -> None:
    if not supervised.mounts:
        pytest.skip("this machine does not let jobs have mounts")
    (supervised.incoming / "a.txt").write_text("hello")

    info, logs = await supervised.ran(
        "sh", "-c", "cat /share/incoming/a.txt >/share/outgoing/b.txt; pwd; touch /share/incoming/c"
    )

    assert (supervised.outgoing / "b.txt").read_text() == "hello"
    assert "Read-only" in logs
    assert logs.startswith(str(supervised.state))
    assert info.message == "failed with exit code 1"
    assert not (supervised.incoming / "c").exists()


async def test_no_set_user_id_program_or_device_of_the_storebase_works_in_a_job(supervised: Live) -> None:
    if not supervised.mounts:
        pytest.skip("this machine does not let jobs have mounts")

    _, logs = await supervised.ran("sh", "-c", "grep ' /share/' /proc/mounts")

    options = [set(line.split()[3].split(",")) for line in logs.splitlines()]
    assert [own >= {"nosuid", "nodev"} for own in options] == [True, True]


@linux_only
async def test_mounts_leave_nothing_on_the_machine(local: Live) -> None:
    await local.submit("sh", "-c", "sleep 60; :")
    during = traces(local.state)
    await local.engine.remove("job-1")

    assert (during, traces(local.state)) == ([], [])


def traces(state: Path) -> list[str]:
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in mounts if str(state) in line or " /share" in line]


@linux_only
async def test_a_directory_that_is_gone_is_told(supervised: Live) -> None:
    if not supervised.mounts:
        pytest.skip("this machine does not let jobs have mounts")
    job = {"mounts": [{"source": "/nowhere", "target": "/share/incoming", "read_only": True}]}

    await supervised.executor.apply("job-1", documents("true", **job))

    info = await supervised.engine.info("job-1")
    assert info.status == "finishedWithError"
    assert "/nowhere could not be mounted: No such file or directory" in info.message


@linux_only
@pytest.mark.parametrize("subpath", ["link", "link/below", "in put/link", "../store/in put/1", "/etc"])
async def test_no_link_and_no_step_back_leads_from_the_storebase_to_what_is_mounted(
    supervised: Live, subpath: str
) -> None:
    if not supervised.mounts:
        pytest.skip("this machine does not let jobs have mounts")
    store = supervised.incoming.parents[1]
    (store / "out/below").mkdir()
    for link, target in (("link", "out"), ("in put/link", "/etc")):
        (store / link).symlink_to(target)
    mount = {"source": str(store), "subpath": subpath, "target": "/share/incoming", "read_only": True}

    await supervised.executor.apply("job-1", documents("ls /share/incoming", mounts=[mount]))

    info = await supervised.engine.info("job-1")
    assert info.status == "finishedWithError"
    assert f"{store}/{subpath} could not be mounted" in info.message
    assert ("a symbolic link is on the way" in info.message) == ("link" in subpath)


async def test_the_jobs_are_not_kept_where_a_job_could_be_given_them(tmp_path: Path) -> None:
    for state in ("store", "store/jobs"):
        with pytest.raises(
            ConfigError, match=rf"LOCAL_STATE='{tmp_path}/{state}'.*use {tmp_path}/store/.pman"
        ):
            await LocalExecutor(configured(tmp_path, LOCAL_STATE=f"{tmp_path}/{state}").values).facts()

    await LocalExecutor(configured(tmp_path, LOCAL_STATE=f"{tmp_path}/store/.pman").values).facts()


@root_only
@linux_only
def test_without_roots_rights_mounts_come_from_a_user_namespace_or_paths_are_mapped(open_path: Path) -> None:
    # The one capability is for a Python in a place that only root may enter; it grants no mount.
    another = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=+dac_read_search"]
    done = subprocess.run(
        [*another, "--ambient-caps=+dac_read_search", sys.executable, __file__, open_path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["logs"].startswith("hello\n12345 12345\n")
    assert ("Read-only" in answer["logs"]) == (answer["mounts"] == "True")
    assert answer["message"] == "failed with exit code 1"


async def _as_another_user(tmp_path: Path) -> dict[str, str]:
    live = await started(tmp_path)
    (live.incoming / "a.txt").write_text("hello\n")
    script = "cat $1/a.txt; echo $(id -u) $(id -g); echo 1 > $2/b; [ $1 = /share/incoming ] && touch $1/c"
    info, logs = await live.ran("sh", "-c", script, "sh", type="ds")
    await close(live)
    return {"logs": logs, "message": info.message, "mounts": str(live.mounts)}


# --- ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "failed with exit code 3"),
        ("kill -SEGV $$", "killed by SIGSEGV (exit code 139)"),
        ("kill -KILL $$", "killed by SIGKILL (exit code 137)"),
        ("/etc/passwd", "exit code 126, a program could not be executed"),
        ("no-such-program", "exit code 127, a program was not found"),
    ],
)
async def test_an_exit_code_and_a_signal_are_told(supervised: Live, script: str, message: str) -> None:
    info, logs = await supervised.ran("sh", "-c", script)

    assert (info.status, info.message) == ("finishedWithError", message)
    assert message in logs.splitlines()[-1]


async def test_a_program_that_this_machine_does_not_have_is_named(anyhow: Live) -> None:
    info, logs = await anyhow.ran("no-such-program")

    assert info.status == "finishedWithError"
    assert info.message == "exit code 127, a program was not found"
    assert "not those of the image: is no-such-program installed" in info.hint
    assert "no-such-program: not found" in logs or "no-such-program: command not found" in logs


async def test_the_environment_of_an_ended_job_is_kept_nowhere(anyhow: Live) -> None:
    for argv in (("true",), ("no-such-program",)):
        jid = f"job-{argv[0]}"
        await anyhow.ran(*argv, jid=jid, env=["CHRIS_USER_TOKEN=a-secret-token"])

        kept = [file for file in anyhow.state.rglob("*") if file.is_file()]
        assert kept
        assert not [file for file in kept if b"a-secret-token" in file.read_bytes()]


async def test_a_job_ends_with_its_first_process(anyhow: Live) -> None:
    script = "sleep 4711 & (setsid sleep 4711 &); exit 3"

    info, _ = await anyhow.ran("sh", "-c", script)

    assert info.message == "failed with exit code 3"
    assert not processes("4711")


async def test_a_job_over_its_memory_limit_is_killed_and_the_message_says_so(supervised: Live) -> None:
    program = "import time; kept = bytearray(2**28); print('done', flush=True); time.sleep(60)"

    info, _ = await supervised.ran(sys.executable, "-c", program, memory_limit=64)

    assert info.status == "finishedWithError"
    assert info.message.startswith("out of memory, killed for using more than 64 MiB of memory")


async def test_the_memory_of_all_processes_of_a_job_counts(supervised: Live) -> None:
    program = "import time; kept = bytearray(b'x' * 50 * 2**20); time.sleep(60)"

    info, _ = await supervised.ran(
        "sh", "-c", f'for i in 1 2 3; do {sys.executable} -c "{program}" & done; wait', memory_limit=150
    )

    assert "150 MiB" in info.message


@linux_only
async def test_memory_that_processes_share_counts_once(supervised: Live) -> None:
    program = (
        "import os, time; kept = bytearray(b'x' * 50 * 2**20)\n"
        "for _ in range(3):\n    if not os.fork(): time.sleep(1); os._exit(0)\n"
        "time.sleep(1)"
    )

    info, _ = await supervised.ran(sys.executable, "-c", program, memory_limit=150)

    assert info.message == "finished"


@linux_only
async def test_a_job_has_no_more_cores_than_its_cpu_limit(supervised: Live) -> None:
    program = "import os; print(len(os.sched_getaffinity(0)))"

    _, logs = await supervised.ran(sys.executable, "-c", program, cpu_limit=500)

    assert logs == "1\n"


async def test_a_job_over_the_time_limit_is_ended(supervised: Live) -> None:
    await supervised.executor.apply("job-1", documents("sleep 60", time_limit=1))

    info, _ = await supervised.finished("job-1")

    assert info.message == "time limit of 0 minutes exceeded (exit code 137)"


def test_the_time_limit_of_the_site_reaches_the_supervisor_in_seconds(tmp_path: Path) -> None:
    translation = Translation(configured(tmp_path, TIMELIMIT_MINUTES="2"))

    _, document = translation.render(translation.parse(a_request(("true",))), translation.assumed_facts())

    assert isinstance(document.content, dict)
    assert document.content["time_limit"] == 120


def documents(script: str, **job: object) -> list[Document]:
    content = {"image": "", "argv": ["sh"], "labels": {}, **job}
    return [Document("job.sh", f"exec </dev/null\n{script}\n", None), Document("job.yaml", "", content)]


# --- the environment and the user --------------------------------------------------------------------


async def test_of_pmans_environment_a_job_has_path_and_locale_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "topsecret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    live = await started(tmp_path, ENABLE_HOME_WORKAROUND="yes")
    program = "import json, os; print(json.dumps(dict(os.environ)))"

    _, logs = await live.ran(sys.executable, "-c", program, env=["A=1", "B="])

    environ = json.loads(logs)
    kept_by_shells = {"PWD", "SHLVL", "_", "LANG", "LANGUAGE"}
    assert {name: environ[name] for name in environ.keys() - kept_by_shells if name[:3] != "LC_"} == {
        "PATH": os.environ["PATH"],
        "HOME": "/tmp",
        "A": "1",
        "B": "",
    }
    assert environ["LC_ALL"] == "C.UTF-8"
    await close(live)


async def test_a_value_of_the_environment_is_in_no_command_line_and_no_readable_file(local: Live) -> None:
    await local.submit("sh", "-c", "echo up; sleep 60", env=["TOKEN=very-secret-token"])
    await local.logged("job-1", "up")

    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]

    assert not [line for line in lines if "very-secret-token" in line]
    directory = local.state / "jobs/job-1"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "documents/job.sh").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["a-b", "1A", "UID", "_", "a b"])
async def test_a_variable_that_a_shell_cannot_export_is_refused(local: Live, name: str) -> None:
    with pytest.raises(BadRequest, match="one that a shell can export"):
        await local.submit("true", env=[f"{name}=secret"])


@root_only
@pytest.mark.parametrize("namespaces", PROBED)
async def test_a_job_runs_as_the_user_of_the_site(open_path: Path, namespaces: str) -> None:
    live = await started(open_path, "none" if namespaces == "none" else None, CONTAINER_USER="12345:54321")
    live.outgoing.chmod(0o777)
    script = "id -u; id -g; id -G; echo there >/dev/stderr; : >scratch; echo 1 >$1/b"

    info, logs = await live.ran("sh", "-c", script, "sh")

    assert logs == "12345\n54321\n54321\nthere\n"
    assert info.message == "finished"
    assert ((live.outgoing / "b").stat().st_uid, (live.outgoing / "b").stat().st_gid) == (12345, 54321)
    await close(live)


@root_only
async def test_a_user_without_a_group_has_their_own(supervised: Live) -> None:
    await supervised.executor.apply("job-1", documents("id -g", user=65534))
    await supervised.executor.apply("job-2", documents("id -g", user=12345))

    (_, nobody), (_, stranger) = [await supervised.finished(jid) for jid in ("job-1", "job-2")]

    assert int(nobody) > 60000
    assert stranger == "12345\n"


def test_what_this_machine_cannot_honour_stops_the_start(tmp_path: Path) -> None:
    limited = Translation(configured(tmp_path))
    with pytest.raises(ConfigError, match="cannot limit the cpu"):
        limited.check({**ASSUMED_FACTS, "native": {**FACTS, "cpu_affinity": False}})
    Translation(configured(tmp_path, IGNORE_LIMITS="yes")).check(
        {**ASSUMED_FACTS, "native": {**FACTS, "cpu_affinity": False}}
    )
    with pytest.raises(ConfigError, match="CONTAINER_USER='1000'"):
        Translation(configured(tmp_path, CONTAINER_USER="1000")).check(
            {**ASSUMED_FACTS, "native": {**FACTS, "root": False}}
        )
    with pytest.raises(ConfigError, match="SHM_SIZE"):
        Translation(configured(tmp_path, SHM_SIZE="64"))
    with pytest.raises(BadRequest, match="no GPUs"):
        limited.parse(a_request(("true",), gpu_limit=1))


async def test_a_storebase_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    values = configured(tmp_path).values

    with pytest.raises(ConfigError, match="STOREBASE='/no/where'"):
        await connect({**values, "STOREBASE": "/no/where"}).facts()
    with pytest.raises(ConfigError, match="LOCAL_STATE='/dev/null"):
        await connect({**values, "LOCAL_STATE": "/dev/null/pman"}).facts()


# --- nothing lost, nothing doubled -------------------------------------------------------------------


async def test_a_job_survives_a_restart_of_pman(local: Live, tmp_path: Path) -> None:
    await local.submit("sh", "-c", "echo one; until [ -e $0/go ]; do sleep 0.05; done; echo two")
    await local.engine.close()

    again = await started(tmp_path)
    before = await again.engine.info("job-1")
    (again.outgoing / "go").touch()
    info, logs = await again.finished("job-1")

    assert (before.status, info.status, logs) == ("started", "finishedSuccessfully", "one\ntwo\n")
    assert await again.executor.list() == ["job-1"]
    await again.engine.close()


async def test_an_identical_repeat_answers_the_same_and_another_content_is_a_conflict(local: Live) -> None:
    await local.submit("sh", "-c", "echo x >>$0/ran")
    await local.submit("sh", "-c", "echo x >>$0/ran")
    await local.finished("job-1")

    with pytest.raises(Conflict):
        await local.submit("true")

    assert (local.outgoing / "ran").read_text() == "x\n"


async def test_a_start_that_is_refused_leaves_nothing_but_what_was_there(
    local: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await local.submit("sh", "-c", "echo begun; sleep 60")
    await local.logged(there, "begun")
    monkeypatch.setattr(sys, "executable", "false")

    with pytest.raises(Conflict):
        await local.submit("true", jid=there)
    with pytest.raises(Refused):
        await local.submit("true", jid="job-2")
    await local.executor.discard(there, "another that was made")
    await local.executor.discard("job-3", "what is gone by now")

    assert list(await local.executor.list()) == [there]
    assert (await local.engine.info(there)).status == "started"


async def test_of_many_that_apply_a_job_at_once_one_does(local: Live) -> None:
    job = documents(f"echo x >>'{local.outgoing}/ran'")

    applied = [local.executor.apply("job-1", job) for _ in range(5)]
    answers = await asyncio.gather(*applied, return_exceptions=True)
    await local.finished("job-1")

    assert sorted(map(repr, map(type, answers))) == sorted(
        [repr(dict), *[repr(NameTaken)] * 4],
    )
    assert (local.outgoing / "ran").read_text() == "x\n"
    assert not list((local.state / "aside").iterdir())


async def test_what_was_never_started_is_started_once_by_many(supervised: Live, tmp_path: Path) -> None:
    job = documents(f"echo x >>'{supervised.outgoing}/ran'")
    await supervised.executor.apply("job-1", job)
    await supervised.finished("job-1")
    (supervised.state / "jobs/job-1/state.json").unlink()  # as a pman leaves it that ends before the start
    (script,) = (document for document in job if document.name.endswith(".sh"))
    (supervised.state / "jobs/job-1/documents" / script.name).write_text(script.text)
    others = [connect(configured(tmp_path).values) for _ in range(4)]

    assert (await supervised.engine.info("job-1")).message == "waiting to be started"
    assert await supervised.executor.unfinished() == ["job-1"]
    await asyncio.gather(*(executor.resume("job-1") for executor in others))
    await supervised.finished("job-1")
    await supervised.executor.resume("job-1")

    assert (supervised.outgoing / "ran").read_text() == "x\nx\n"
    assert await supervised.executor.unfinished() == []


@linux_only
async def test_a_job_whose_supervisor_was_killed_is_told_as_lost_and_can_be_removed(local: Live) -> None:
    await local.submit("sh", "-c", "echo up; sleep 4712; echo no")
    await local.logged("job-1", "up")
    supervisor = int((local.state / "jobs/job-1/lock").read_text())

    os.kill(supervisor, signal.SIGKILL)
    info, _ = await local.finished("job-1")
    await local.engine.remove("job-1")

    assert info.status == "finishedWithError"
    assert info.message == "the job was lost: its supervisor ended before it"
    await until(lambda: asyncio.to_thread(processes, "4712"), lambda left: not left)


async def test_a_job_whose_supervisor_is_told_to_stop_says_so(supervised: Live) -> None:
    await supervised.submit("sh", "-c", "sleep 60; :")

    os.kill(int((supervised.state / "jobs/job-1/lock").read_text()), signal.SIGTERM)
    info, _ = await supervised.finished("job-1")

    assert info.message == "ended with its supervisor, which was told to stop (exit code 137)"


async def test_a_job_that_pman_ends_says_why_and_is_kept(anyhow: Live) -> None:
    jid = await anyhow.submit("sh", "-c", "echo begun; sleep 60")
    await anyhow.logged(jid, "begun")
    assert await anyhow.executor.active() == [jid]

    await anyhow.executor.end(jid, "nobody waits for it")
    await anyhow.executor.end(jid, "a second reason")

    info, body = await anyhow.engine.status(jid)
    assert (info.status, info.message, info.exit_code) == ("finishedWithError", "nobody waits for it", 137)
    assert b"begun" in body
    assert await anyhow.executor.active() == []


async def test_a_job_that_is_ended_before_its_start_never_runs(supervised: Live) -> None:
    documents = Translation(supervised.engine.settings).render(
        await supervised.engine.parse(a_request(("touch", "/share/outgoing/ran"))),
        await supervised.engine.facts(),
    )
    supervised.executor._create("job-1", documents, documents[1].content)
    assert await supervised.executor.active() == ["job-1"]

    await supervised.executor.end("job-1", "too late")
    await supervised.executor.resume("job-1")

    info = await supervised.engine.info("job-1")
    assert (info.status, info.message) == ("finishedWithError", "too late")
    assert not list(supervised.outgoing.iterdir())
    assert not list(supervised.state.glob("jobs/job-1/documents/*.sh"))
    with pytest.raises(UnknownJob):
        await supervised.executor.end("job-2", "not there")


async def test_a_document_that_makes_no_sense_is_told(supervised: Live) -> None:
    await supervised.executor.apply("job-1", documents("true", time_limit="soon"))

    info, _ = await supervised.finished("job-1")

    assert info.message.startswith("the job was lost: its supervisor ended before it (TypeError")


# --- remove ------------------------------------------------------------------------------------------


async def test_removing_a_running_job_ends_all_of_its_processes(anyhow: Live) -> None:
    daemon = "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(4713)"
    script = (
        f"trap '' TERM; sleep 4713 & setsid sleep 4713 & {sys.executable} -c '{daemon}'; echo up; sleep 4713"
    )
    await anyhow.submit("sh", "-c", script)
    await anyhow.logged("job-1", "up")

    await anyhow.engine.remove("job-1")

    assert not processes("4713")
    assert not processes(daemon)
    assert not list((anyhow.state / "jobs").iterdir())
    assert not list((anyhow.state / "aside").iterdir())
    with pytest.raises(UnknownJob):
        await anyhow.engine.remove("job-1")


async def test_a_supervisor_that_does_not_listen_is_ended_too(tmp_path: Path) -> None:
    live = await started(tmp_path, ENGINE_TIMEOUT="5")
    await live.submit("sh", "-c", "sleep 4714; :")
    supervisor = psutil.Process(int((live.state / "jobs/job-1/lock").read_text()))
    supervisor.suspend()

    await live.engine.remove("job-1")

    assert not processes("4714")
    assert not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE
    await live.engine.close()


async def test_a_job_may_leave_directories_that_cannot_be_changed(local: Live) -> None:
    await local.ran("sh", "-c", "mkdir -p a/b; : >a/b/c; ln -s / a/root; chmod 0 a/b a; chmod 500 .")

    await local.engine.remove("job-1")

    assert not list((local.state / "aside").iterdir())


async def test_what_a_pman_did_not_finish_removing_is_removed_at_the_next_start(
    local: Live, tmp_path: Path
) -> None:
    await local.submit("sh", "-c", "sleep 4715; :")
    left = local.state / "aside/job-1.left"
    (local.state / "jobs/job-1").rename(left)
    os.utime(left, (0, 0))
    half = local.state / "aside/job-2.half"
    half.mkdir()
    os.utime(half, (0, 0))

    again = await started(tmp_path)

    assert not list((local.state / "aside").iterdir())
    assert not processes("4715")
    await again.engine.close()


@pytest.mark.parametrize("jid", ["job-9", "../jobs", "a/b", ".", "..", "nul\0"])
async def test_a_job_that_is_not_there_is_unknown(local: Live, jid: str) -> None:
    with pytest.raises(UnknownJob):
        await local.executor.inspect(jid)
    with pytest.raises(UnknownJob):
        await local.executor.remove(jid)


# --- logs --------------------------------------------------------------------------------------------


async def test_stdout_and_stderr_come_in_the_order_they_were_written(local: Live) -> None:
    script = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done; echo no newline | tr -d '\\n'"

    _, logs = await local.ran("sh", "-c", script)

    pairs = [f"{kind} {number}\n" for number in range(1, 6) for kind in ("out", "err")]
    assert logs == "".join(pairs) + "no newline"


async def test_writing_to_dev_stdout_anew_does_not_cut_the_log(local: Live) -> None:
    _, logs = await local.ran("sh", "-c", "echo one; echo two >/dev/stdout; echo three >/dev/stderr")

    assert logs == "one\ntwo\nthree\n"


@bounded(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=st.binary(max_size=200).map(lambda text: text.replace(b"x", b"\n")), tail=st.integers(0, 9))
def test_the_tail_of_a_log_is_its_last_lines(local: Live, log: bytes, tail: int) -> None:
    log = log + b"y" * 70_000 + b"\n" + log
    directory = local.state / "jobs/job-1"
    directory.mkdir(exist_ok=True)
    (directory / "log").write_bytes(log)

    shown = asyncio.run(_all(local.executor.logs("job-1", tail)))

    lines = log.split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    assert shown == b"".join(lines[len(lines) - min(tail, len(lines)) :])


@bounded(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    log=st.lists(st.sampled_from([b"\n", b"a", b"y" * 70_000])),
    tail=st.integers(0, 9),
    limit=st.integers(0, 200_000),
)
def test_of_a_log_no_more_is_read_than_is_answered(
    local: Live, log: list[bytes], tail: int, limit: int
) -> None:
    directory = local.state / "jobs/job-1"
    directory.mkdir(exist_ok=True)
    (directory / "log").write_bytes(b"".join(log))

    end = asyncio.run(_all(local.executor.log_end("job-1", tail, limit)))

    lines = asyncio.run(_all(local.executor.logs("job-1", tail)))
    assert end == (lines if len(lines) <= limit else lines[-limit - 1 :])


async def test_a_poll_reads_no_more_of_a_log_than_it_answers(local: Live, tmp_path: Path) -> None:
    """A job may write one line without an end."""
    script = "head -c 30000000 /dev/zero | tr '\\0' x"
    await local.ran("sh", "-c", script)
    read = 0

    async for chunk in local.executor.log_end("job-1", 1000, 1_000_000):
        read += len(chunk)

    assert read == 1_000_001


async def test_a_log_that_grows_while_it_is_read_has_an_end(local: Live) -> None:
    await local.submit("sh", "-c", "echo one; exec sleep 60")
    await local.logged("job-1", "one")

    seen = b""
    async for chunk in local.executor.logs("job-1", 10):
        seen += chunk
        with (local.state / "jobs/job-1/log").open("ab") as log:
            log.write(b"more\n" * len(seen))

    assert seen == b"one\n"


async def _all(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_following_a_log_gives_lines_as_they_come_and_ends_with_the_job(local: Live) -> None:
    await local.submit("sh", "-c", "echo one; until [ -e $0/go ]; do sleep 0.05; done; printf two")

    seen = b""
    async for chunk in local.executor.logs("job-1", 10, follow=True):
        seen += chunk
        (local.outgoing / "go").touch()

    assert seen == b"one\ntwo"


async def test_following_the_log_of_a_job_that_is_removed_ends(local: Live) -> None:
    await local.submit("sh", "-c", "echo one; sleep 60")

    seen = b""
    async for chunk in local.executor.logs("job-1", 10, follow=True):
        seen += chunk
        await local.engine.remove("job-1")

    assert seen == b"one\n"
    assert await _all(local.executor.logs("job-1", 10)) == b""


async def test_the_engine_says_that_it_isolates_nothing(local: Live) -> None:
    assert "not isolated" in await local.engine.ping()


async def test_a_machine_that_lets_jobs_have_no_mounts_says_what_that_leaves_open(anyhow: Live) -> None:
    assert (WITHOUT_MOUNTS in (await anyhow.engine.facts())["warnings"]) != anyhow.mounts


# --- the text of a request ---------------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
mapped = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


@bounded(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(texts.filter(lambda text: "/share/" not in text), max_size=5),  # which becomes a real path
    values=st.lists(texts, max_size=5),
)
def test_any_text_reaches_the_process_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], values: list[str]
) -> None:
    translation = _translation(tmp_path_factory)
    env = [f"V{number}={value}" for number, value in enumerate(values)]
    request = a_request((sys.executable, "-c", mapped, *words), env=env)

    script, _ = translation.render(translation.parse(request), translation.assumed_facts())
    done = subprocess.run(
        ["/bin/sh"],
        env={"PATH": os.environ["PATH"]},
        input=script.text.encode(),
        capture_output=True,
        check=True,
    )

    argv, environ = json.loads(done.stdout)
    assert argv[:-1] == words
    assert [environ[f"V{number}"] for number in range(len(values))] == values


def _translation(tmp_path_factory: pytest.TempPathFactory) -> Translation:
    return Translation(configured(tmp_path_factory.getbasetemp()))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_as_another_user(Path(sys.argv[1])))))
