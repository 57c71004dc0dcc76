"""A job of SLURM's is submitted once, whoever tries and wherever they end; many polls are one query."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pman.engine.engine import Engine
from pman.errors import BadRequest, ConfigError, EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.executors.slurm import directory
from pman.executors.slurm.cli import Cli
from pman.executors.slurm.directory import Directories
from pman.executors.slurm.executor import SlurmExecutor
from pman.executors.slurm.listing import POLL_INTERVAL_SECONDS
from pman.executors.slurm.native import Entry
from pman.executors.slurm.submission import HELD_UNTIL
from pman.job import JID_LABEL, Document
from pman.translation.translation import Translation
from tests.a_job import a_job, settings_of, site_templates

JID = "chris-jid-42"
JOB = {"name": JID, "comment": json.dumps({JID_LABEL: JID})}


class Crash(BaseException):
    """pman ends here."""


class Cluster:
    """Ids, states and scripts as slurmctld would have them; several executors may share it."""

    def __init__(self) -> None:
        self.entries: dict[int, dict[str, Any]] = {}
        self.scripts: dict[int, str] = {}
        self.released: list[int] = []
        self.queries = 0
        self.away = False
        self.takes_jobs = asyncio.Event()
        self.takes_jobs.set()
        self.last = 0

    @property
    def alive(self) -> list[int]:
        return [one for one, entry in self.entries.items() if entry["states"] != ["CANCELLED"]]

    def change(self, job_id: int, *states: str, **changes: Any) -> None:
        self.entries[job_id].update(states=list(states), reason="None", eligible=0, **changes)


class Way:
    """A Transport to it; `crash`: the call before (-) or after (+) which pman ends."""

    fields: Sequence[str] = ()

    def __init__(self, cluster: Cluster, crash: str = "", delay: float = 0) -> None:
        self.cluster, self.crash, self.delay = cluster, crash, delay

    async def _at(self, moment: str) -> None:
        await asyncio.sleep(self.delay)
        if self.cluster.away:
            raise EngineUnreachable("SLURM is away")
        if self.crash == moment:
            raise Crash

    async def submit(self, job: Mapping[str, Any], script: str) -> int:
        assert job["begin_time"] == HELD_UNTIL  # or it would run before its id stands in its directory
        await self._at("-submit")
        await self.cluster.takes_jobs.wait()
        if "nonsense" in job:
            raise EngineRefused("submit", 400, "no nonsense")
        self.cluster.last += 1
        job_id = self.cluster.last
        self.cluster.entries[job_id] = {
            "id": job_id, "name": job["name"], "comment": job["comment"],
            "states": ["PENDING"],
            "reason": "BeginTime", "eligible": time.time() + 10**9, "submitted": time.time() - 1000,
            "exit_code": 0, "signal": 0, "start": "", "end": "", "nodes": "", "restarts": 0,
        }  # fmt: skip
        self.cluster.scripts[job_id] = script
        await self._at("+submit")
        return job_id

    async def release(self, job_id: int, begin: str) -> None:
        await self._at("-release")
        self.cluster.released.append(job_id)
        self.cluster.change(job_id, "RUNNING")
        await self._at("+release")

    async def cancel(self, job_id: int) -> None:
        await self._at("-cancel")
        self.cluster.change(job_id, "CANCELLED")

    async def jobs(self) -> Sequence[Entry]:
        await self._at("-jobs")
        self.cluster.queries += 1
        return [dict(entry) for entry in self.cluster.entries.values()]

    async def accounting(self, job_id: int) -> Entry | None:
        return None

    async def version(self) -> str:
        return "a cluster"


def documents(**changes: Any) -> list[Document]:
    content = {"job": {**JOB, **changes}, "notes": {"image": "i", "labels": {JID_LABEL: JID}}}
    return [Document("job.json", "", content), Document("job.sh", "#!/bin/sh\n", None)]


async def a_pman(directory: Path, cluster: Cluster, crash: str = "", delay: float = 0) -> SlurmExecutor:
    given = settings_of("slurm", SLURM_MODE="cli", STOREBASE=str(directory)).values
    executor = SlurmExecutor(Way(cluster, crash, delay), given)
    await executor.facts()
    return executor


async def posted(executor: SlurmExecutor) -> None:
    """As the engine does it."""
    try:
        await executor.apply(JID, documents())
    except NameTaken:
        await executor.inspect(JID, fresh=True)
        await executor.resume(JID)


@pytest.mark.parametrize("moment", ["-submit", "+submit", "-release", "+release"])
async def test_a_pman_that_ends_at_any_call_leaves_one_job_to_the_next(tmp_path: Path, moment: str) -> None:
    cluster = Cluster()
    with pytest.raises(Crash):
        await (await a_pman(tmp_path, cluster, moment)).apply(JID, documents())

    later = await a_pman(tmp_path, cluster)
    assert list(await later.unfinished()) == [JID]
    assert (await later.inspect(JID))["source"] == "unsubmitted"
    await later.resume(JID)

    assert set(cluster.released) == {1}
    assert cluster.alive == [1]
    assert not await later.unfinished()
    assert not (tmp_path / ".pman/jobs" / JID / "job.sh").exists()
    await later.close()


async def test_two_pmans_and_many_posts_at_once_make_one_job_each_time(tmp_path: Path) -> None:
    cluster = Cluster()
    pmans = [await a_pman(tmp_path, cluster, delay=delay) for delay in (0, 0.001)]
    for _ in range(50):
        cluster.entries.clear()
        cluster.released.clear()

        await asyncio.gather(*(posted(executor) for executor in (*pmans, *pmans)))

        assert len(set(cluster.released)) == 1
        assert cluster.alive == cluster.released[:1]
        await pmans[0].remove(JID)
    for executor in pmans:
        await executor.close()


async def test_what_was_submitted_in_vain_is_cancelled_and_the_job_is_not(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    await Way(cluster).submit({**JOB, "begin_time": HELD_UNTIL}, "stray")

    await executor._submission.tidy(await executor._listing.get(since=time.monotonic()))

    assert cluster.alive == [1]
    await executor.close()


async def test_a_job_that_somebody_holds_is_left_alone(tmp_path: Path) -> None:
    """Also that of a pman with another storebase."""
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    cluster.entries[1].update(states=["PENDING"], reason="JobHeldUser")
    other = {"name": "other", "begin_time": HELD_UNTIL, "comment": json.dumps({JID_LABEL: "other"})}
    await Way(cluster).submit(other, "of another storebase")

    await executor._submission.tidy(await executor._listing.get(since=time.monotonic()))

    assert cluster.alive == [1, 2]
    await executor.close()


async def test_a_hundred_polls_of_a_moment_are_one_query_and_an_ended_job_needs_none(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())

    for _ in range(3):
        await asyncio.gather(*(executor.inspect(JID) for _ in range(100)))

    assert cluster.queries == 1
    cluster.change(1, "COMPLETED")
    await asyncio.sleep(POLL_INTERVAL_SECONDS)
    assert (await executor.inspect(JID))["job"]["states"] == ["COMPLETED"]
    queries, cluster.away = cluster.queries, True
    for _ in range(100):
        assert (await executor.inspect(JID, fresh=True))["source"] == "kept"
    assert cluster.queries == queries
    await executor.close()


async def test_slurm_that_is_away_is_unreachable_and_no_job_is_unknown_or_lost(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    cluster.away = True

    for call in (
        executor.inspect(JID, fresh=True),
        executor.inspect("other", fresh=True),
        executor.remove(JID),
    ):
        with pytest.raises(EngineUnreachable):
            await call

    cluster.away = False
    assert (await executor.inspect(JID, fresh=True))["job"]["states"] == ["RUNNING"]
    await executor.close()


async def test_a_job_that_slurm_forgot_is_told_by_its_exit_code_or_lost(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    del cluster.entries[1]

    assert (await executor.inspect(JID))["source"] == "lost"
    (tmp_path / ".pman/jobs" / JID / "rc").write_text("3\n")

    found = await executor.inspect(JID)
    assert (found["source"], found["job"]["states"], found["job"]["exit_code"]) == ("files", ["FAILED"], 3)
    await executor.close()


async def test_an_id_that_slurm_gave_to_another_job_since_is_not_the_jobs(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    cluster.entries[1] |= {"name": "other", "comment": json.dumps({JID_LABEL: "other"})}

    assert (await executor.inspect(JID))["source"] == "lost"
    await executor.close()


async def test_deleting_a_job_ends_no_other_that_has_its_number_since(tmp_path: Path) -> None:
    """slurmctld counts anew where it has lost its state."""
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    cluster.entries[1] |= {"name": "other", "comment": json.dumps({JID_LABEL: "other"})}

    await executor.end(JID, "enough")
    await executor.remove(JID)

    assert cluster.alive == [1]
    await executor.close()


async def test_a_storebase_that_is_not_mounted_is_told_and_no_job_is_unknown(tmp_path: Path) -> None:
    executor = await a_pman(tmp_path, Cluster())
    await executor.apply(JID, documents())
    (tmp_path / ".pman").rename(tmp_path / "elsewhere")

    for call in (executor.inspect(JID), executor.remove(JID), executor.list(), executor.unfinished()):
        with pytest.raises(EngineUnreachable, match="cannot be read"):
            await call

    (tmp_path / "elsewhere").rename(tmp_path / ".pman")
    assert (await executor.inspect(JID))["job"]["states"] == ["RUNNING"]
    await executor.close()


async def test_an_id_that_cannot_be_written_leaves_nothing_in_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", full)
    with pytest.raises(EngineRefused, match="No space left") as refused:
        await executor.apply(JID, documents())
    await executor.discard(JID, refused.value.leftover or "")

    assert cluster.alive == []
    assert list((tmp_path / ".pman/jobs").iterdir()) == []
    await executor.close()


async def test_a_job_whose_directory_was_deleted_is_known_while_it_runs(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    aside = executor._directories.set_aside(JID)
    executor._directories.delete(aside)

    assert (await executor.inspect(JID))["notes"]["labels"] == {JID_LABEL: JID}
    assert list(await executor.list()) == [JID]
    await executor.remove(JID)

    assert cluster.alive == []
    with pytest.raises(UnknownJob):
        await executor.inspect(JID, fresh=True)
    await executor.close()


async def test_a_job_deleted_while_it_is_submitted_does_not_run(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    cluster.takes_jobs.clear()
    applying = asyncio.create_task(executor.apply(JID, documents()))
    while not (tmp_path / ".pman/jobs" / JID).exists():  # noqa: ASYNC110  (of a file)
        await asyncio.sleep(0.001)

    await executor.remove(JID)
    cluster.takes_jobs.set()

    with pytest.raises(EngineRefused, match="deleted while"):
        await applying
    assert cluster.alive == []
    assert cluster.released == []
    await executor.close()


async def test_what_slurm_refuses_leaves_nothing(tmp_path: Path) -> None:
    executor = await a_pman(tmp_path, Cluster())
    with pytest.raises(EngineRefused) as refused:
        await executor.apply(JID, documents(nonsense=1))

    assert refused.value.leftover
    await executor.discard(JID, refused.value.leftover)

    with pytest.raises(UnknownJob):
        await executor.inspect(JID)
    assert list((tmp_path / ".pman/jobs").iterdir()) == []
    await executor.close()


async def test_why_pman_ended_a_job_is_kept(tmp_path: Path) -> None:
    cluster = Cluster()
    executor = await a_pman(tmp_path, cluster)
    await executor.apply(JID, documents())
    assert list(await executor.active()) == [JID]

    await executor.end(JID, "enough")

    assert (await executor.inspect(JID, fresh=True))["asked"] == "enough"
    assert list(await executor.active()) == []
    with pytest.raises(UnknownJob):
        await executor.end("other", "enough")
    await executor.close()


PLANTED: Mapping[str, Callable[[Path, Path], object]] = {
    "link": lambda file, secret: file.symlink_to(secret),
    "pipe": lambda file, _: os.mkfifo(file),
    "directory": lambda file, _: file.mkdir(),
    "socket": lambda file, _: os.mknod(file, stat.S_IFSOCK),
    "digits": lambda file, secret: shutil.copy(secret, file),
}
"""By what it is: how a job puts it in the place of a file in its directory, which is its user's."""


@pytest.mark.parametrize("kind", PLANTED)
async def test_what_a_job_plants_in_its_directory_misleads_no_reading(tmp_path: Path, kind: str) -> None:
    executor = await a_pman(tmp_path, cluster := Cluster())
    await executor.apply(JID, documents())
    (secret := tmp_path / "secret").write_text("5512" * 10**4)
    for name in ("rc", "asked", "log", "end.json", "job.sh"):
        PLANTED[kind](tmp_path / ".pman/jobs" / JID / name, secret)
        if not os.geteuid():  # else a job's user is pman's own, and may do what pman may
            os.chown(tmp_path / ".pman/jobs" / JID / name, 1234, 1234, follow_symlinks=False)
    cluster.change(1, "FAILED", exit_code=3)

    native = await executor.inspect(JID, fresh=True)
    log = b"".join([chunk async for chunk in executor.logs(JID, 10)])

    assert (native["source"], native["job"]["exit_code"]) == ("controller", 3)
    assert "5512" not in f"{native} {await executor.held(JID)}" or kind == "digits"
    assert log == (secret.read_bytes() if kind == "digits" else b"")
    del cluster.entries[1]
    forgotten = await executor.inspect(JID, fresh=True)
    assert forgotten["source"] == ("lost" if kind == "directory" else "kept")
    await executor.remove(JID)
    await executor.close()


async def test_why_a_job_is_ended_is_written_through_no_link(tmp_path: Path) -> None:
    executor = await a_pman(tmp_path, Cluster())
    await executor.apply(JID, documents())
    (target := tmp_path / "target").write_text("as it was")
    (tmp_path / ".pman/jobs" / JID / "asked").symlink_to(target)

    await executor.end(JID, "enough")

    assert target.read_text() == "as it was"
    assert (await executor.inspect(JID, fresh=True))["asked"] == "enough"
    await executor.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
async def test_what_another_user_wrote_in_the_place_of_pmans_own_files_is_no_record(tmp_path: Path) -> None:
    """Neither what was asked for, nor the id by which SLURM's job is ended."""
    executor = await a_pman(tmp_path, Cluster())
    await executor.apply(JID, documents())
    for name in ("id", "job.json"):
        os.chown(tmp_path / ".pman/jobs" / JID / name, 1234, 1234)
        executor._directories._documents.clear()

        record = executor._directories.read(JID)

        assert record is None or record.job_id is None
    await executor.close()


@pytest.mark.parametrize("name", ["", "jobs", "aside"])
async def test_a_directory_of_the_jobs_in_which_everybody_may_exchange_files_stops_the_start(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / ".pman" / name).mkdir(parents=True)
    (tmp_path / ".pman" / name).chmod(0o777)

    with pytest.raises(ConfigError, match="everybody may exchange what is in it"):
        await a_pman(tmp_path, Cluster())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("name", ["jobs", "aside"])
async def test_directories_of_the_jobs_that_somebody_else_has_put_there_stop_the_start(
    tmp_path: Path, name: str
) -> None:
    """Where everybody may write to the storebase, anybody can rename .pman and make another."""
    (tmp_path / ".pman" / name).mkdir(parents=True)
    os.chown(tmp_path / ".pman" / name, 4711, 4711)

    with pytest.raises(ConfigError, match=f"its owner is 4711, and pman writes as 0: .*{name}"):
        await a_pman(tmp_path, Cluster())


async def test_files_of_a_job_are_its_users_only_and_none_keeps_the_environment(tmp_path: Path) -> None:
    executor = await a_pman(tmp_path, Cluster(), crash="+submit")
    with pytest.raises(Crash):
        await executor.apply(JID, documents())

    directory = tmp_path / ".pman/jobs" / JID
    modes = {path.name: path.stat().st_mode & 0o777 for path in (directory, *directory.iterdir())}
    assert modes == {JID: 0o700, "job.json": 0o600, "job.sh": 0o600}


def test_many_threads_read_more_jobs_than_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "CACHED_DOCUMENTS", 5)
    directories = Directories(tmp_path / "root", None)
    directories.prepare()
    jids = [f"a-job-{number}" for number in range(6)]
    for jid in jids:
        directories.create(jid, {"job": {"name": jid}, "notes": {}}, "")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    try:
        with ThreadPoolExecutor(8) as threads:
            records = list(threads.map(directories.read, jids * 200))
    finally:
        sys.setswitchinterval(interval)

    assert [record.job["name"] for record in records if record] == jids * 200
    directories.set_aside(jids[-1])
    assert jids[-1] not in directories._documents


async def test_a_directory_that_pman_does_not_see_stops_the_start(tmp_path: Path) -> None:
    given = settings_of(
        "slurm", SLURM_MODE="cli", SLURM_DIRECTORY="/no/such/directory", STOREBASE=str(tmp_path)
    )

    with pytest.raises(ConfigError, match="/no/such/directory") as error:
        await SlurmExecutor(Way(Cluster()), given.values).facts()

    assert "PATH_MAP" in error.value.hint


async def test_the_storebase_is_looked_at_where_pman_sees_it(tmp_path: Path) -> None:
    """And told to the nodes where they do."""
    given = {"SLURM_MODE": "cli", "STOREBASE": "/cluster/base", "PATH_MAP": f"/cluster/base={tmp_path}"}
    settings = settings_of("slurm", **given)
    cluster = Cluster()
    engine = Engine(Translation(settings), SlurmExecutor(Way(cluster), settings.values))
    try:
        with pytest.raises(BadRequest, match="no directory in the storebase"):
            await engine.submit(a_job())
        for name in ("incoming", "outgoing"):
            (tmp_path / "key-chris-jid-42" / name).mkdir(parents=True)

        await engine.submit(a_job())

        assert "directory=/cluster/base/.pman/jobs/chris-jid-42\n" in cluster.scripts[1]
    finally:
        await engine.close()


async def test_a_template_with_a_word_that_sbatch_has_no_option_for_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = '{% extends "builtin/slurm/job.json.j2" %}\n{% block extra %}"delay_boot": 3,\n{% endblock %}\n'
    site = site_templates(tmp_path, {"slurm/job.json.j2": block})
    given = {"STOREBASE": str(tmp_path), "PMAN_TEMPLATES": str(site)}
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho is UP\n")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho slurm 1\n")
    for program in ("scontrol", "sbatch"):
        (tmp_path / program).chmod(0o755)

    with pytest.raises(ConfigError, match=r"^templates: job.json, job: .*delay_boot.*no option"):
        await Engine.start(settings_of("slurm", SLURM_MODE="cli", **given))


# --- SLURM's programs ------------------------------------------------------------------------------


def a_cli(directory: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> Cli:
    for name, script in programs.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin" if programs else str(directory))
    return Cli(settings_of("slurm", SLURM_MODE="cli", ENGINE_TIMEOUT="1", SLURM_CONF="/etc/own.conf").values)


async def test_a_program_that_hangs_is_ended_and_slurm_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = a_cli(tmp_path, monkeypatch, squeue="exec sleep 60")

    with pytest.raises(EngineUnreachable, match="squeue did not end within 1 s"):
        await cli.jobs()


async def test_programs_that_are_not_there_are_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = a_cli(tmp_path, monkeypatch)

    with pytest.raises(EngineUnreachable, match="squeue is not on pman's PATH"):
        await cli.jobs()


async def test_a_controller_that_is_away_is_no_refusal_and_a_refusal_is_none_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = 'echo "sbatch: error: Batch job submission failed: Unable to contact slurm controller" >&2; exit 1'
    with pytest.raises(EngineUnreachable, match="sbatch does not reach SLURM"):
        await a_cli(tmp_path, monkeypatch, sbatch=away).submit({"name": "a"}, "#!/bin/sh\n")
    no = (
        'echo "sbatch: error: Batch job submission failed: Requested node configuration is not available" >&2'
    )
    with pytest.raises(EngineRefused, match="node configuration is not available"):
        await a_cli(tmp_path, monkeypatch, sbatch=f"{no}; exit 1").submit({"name": "a"}, "#!/bin/sh\n")


async def test_nothing_of_pmans_environment_reaches_sbatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JWT", "a-secret")
    cli = a_cli(tmp_path, monkeypatch, sbatch=f'env >{tmp_path}/env; echo "$@" >{tmp_path}/args; echo "7;c"')

    job = {"name": "a", "begin_time": HELD_UNTIL, "environment": {"B": "c,d"}}
    assert await cli.submit(job, "#!/bin/sh\n") == 7

    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "HOME", "SLURM_CONF", "B"}
    assert (tmp_path / "args").read_text() == "--parsable --job-name=a --begin=now+3650days --export=B\n"


async def test_sbatch_is_found_on_pmans_path_whatever_path_a_job_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = a_cli(tmp_path, monkeypatch, sbatch="echo 7")

    assert await cli.submit({"name": "a", "environment": {"PATH": "/usr/bin:/bin"}}, "#!/bin/sh\n") == 7


async def test_where_sacct_is_not_installed_there_is_no_accounting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await a_cli(tmp_path, monkeypatch).accounting(7) is None


async def test_accounting_is_asked_where_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = 'echo "Slurm accounting storage is disabled" >&2; exit 1'
    assert await a_cli(tmp_path, monkeypatch, sacct=none).accounting(7) is None
    line = "7|a|CANCELLED by 1000|0:15|2026-11-25T01:02:03|2026-11-25T01:02:04|n1"
    found = await a_cli(tmp_path, monkeypatch, sacct=f"echo '{line}'").accounting(7)

    assert found is not None
    assert (found["name"], found["states"], found["signal"]) == ("a", ["CANCELLED"], 15)
    assert found["end"] == "2026-11-25T01:02:04Z"
    with pytest.raises(EngineUnreachable, match="sacct does not reach SLURM"):
        await a_cli(tmp_path, monkeypatch, sacct="echo no >&2; exit 1").accounting(7)
