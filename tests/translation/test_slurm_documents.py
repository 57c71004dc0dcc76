"""What is SLURM's own: its documents, the script run by a real bash, and the shape of SLURM's answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pman.errors import BadRequest, ConfigError, EngineUnreachable
from pman.executors.slurm.native import accounted, body, changes, entry, has_ended, words
from pman.executors.slurm.options import OPTIONS, options
from pman.executors.slurm.rest import expired, paths, token
from pman.settings import DECLARED
from pman.translation.translation import PROBE
from tests.a_job import FACTS, a_body, a_job, a_translation, settings_of, site_templates
from tests.behaviour.test_mounts import RACES, exchanged
from tests.translation.test_literals import shell_texts

HERE = Path(__file__).parents[1]

REST = {"SLURMRESTD_URL": "http://slurmrestd:6820"}
RUNTIMES = DECLARED["SLURM_RUNTIME"]["enum"]
CONTAINERS = ["podman", "docker"]

SITE = {
    **REST,
    "ENABLE_HOME_WORKAROUND": "yes",
    "JOB_LABELS": "org.chrisproject.miniChRIS=plugininstance",
    "NODE_SELECTOR": "partition=gpu,constraint=avx512&ib",
    "SLURM_ACCOUNT": "chris",
    "SLURM_QOS": "high",
    "TIMELIMIT_MINUTES": "90",
}
"""The configuration of the golden documents."""

GOLDEN = [
    ("ds-simpledsapp", "apptainer"),
    ("ds-unicode-and-control", "apptainer"),
    ("ds-gpu-lungct", "apptainer"),
    ("ds-gpu-lungct", "podman"),
    ("ds-simpledsapp", "docker"),
    ("ds-simpledsapp", "charliecloud"),
    ("ds-gpu-lungct", "enroot"),
    ("ds-simpledsapp", "oci"),
    ("ds-path-flags", "none"),
]


def rendered(runtime: str = "apptainer", job: Any = None, **environ: str) -> tuple[Any, str]:
    """job.json as data, and job.sh."""
    translation = a_translation("slurm", **REST, SLURM_RUNTIME=runtime, **environ)
    facts = {"storebase": environ.get("STOREBASE", FACTS["storebase"])}
    document, script = translation.render(job or a_job(), facts)
    return document.content, script.text


# --- documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "runtime"), GOLDEN)
def test_a_realistic_request_becomes_the_golden_documents(
    name: str, runtime: str, request: pytest.FixtureRequest
) -> None:
    user = {"CONTAINER_USER": "1001:1002", "SHM_SIZE": "64"} if runtime in CONTAINERS else {}
    translation = a_translation("slurm", **SITE, SLURM_RUNTIME=runtime, **user)

    made = translation.render(translation.parse((HERE / "requests" / f"{name}.json").read_bytes()), FACTS)

    for document in made:
        golden = HERE / "golden/slurm" / f"{name}-{runtime}{Path(document.name).suffix}"
        if request.config.getoption("--update-golden", default=False):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_bytes(document.text.encode())
        assert document.text.encode() == golden.read_bytes()


def test_no_golden_document_is_left_over() -> None:
    names = {file.stem for file in (HERE / "golden/slurm").iterdir()}

    assert names == {f"{name}-{runtime}" for name, runtime in GOLDEN}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_everything_that_a_job_can_ask_for_is_honoured_by_a_runtime_or_refused_by_name(runtime: str) -> None:
    translation = a_translation("slurm", **REST, SLURM_RUNTIME=runtime)
    without = {"charliecloud", "oci"}  # of a GPU

    translation.render(replace(PROBE, gpu_limit=0) if runtime in without else PROBE, FACTS)

    if runtime in without:
        with pytest.raises(BadRequest) as refused:
            translation.render(PROBE, FACTS)
        assert [fault.path for fault in refused.value.faults] == ["$.gpu_limit"]


def test_the_root_may_be_the_storebase() -> None:
    assert "base=$(cd -P / && pwd -P)" in rendered(STOREBASE="/")[1]


def test_limits_become_whole_cores_and_mebibytes_and_no_limit_is_left_out() -> None:
    limited, _ = rendered(job=a_job(cpu_limit=1500, memory_limit=200))
    unlimited, _ = rendered(IGNORE_LIMITS="yes")
    workers, _ = rendered(job=a_job(cpu_limit=1500, memory_limit=201, number_of_workers=3, gpu_limit=2))

    assert (limited["job"]["cpus_per_task"], limited["job"]["memory_per_node"]) == (2, 200)
    assert unlimited["job"]["cpus_per_task"] == 1
    assert not {"memory_per_node", "memory_per_cpu", "time_limit", "gres"} & set(unlimited["job"])
    assert (workers["job"]["tasks"], workers["job"]["memory_per_cpu"]) == (3, 101)
    assert workers["job"]["gpus_per_task"] == "2"
    assert limited["job"]["requeue"] is False
    assert limited["job"]["open_mode"] == "append"  # what SLURM begins anew keeps its log


def test_partition_constraint_account_and_quality_of_service_are_the_sites() -> None:
    found, _ = rendered(NODE_SELECTOR="constraint=a&b,partition=p", SLURM_ACCOUNT="c", SLURM_QOS="q")

    assert {"constraints": "a&b", "partition": "p", "account": "c", "qos": "q"}.items() <= found[
        "job"
    ].items()


@pytest.mark.parametrize("selector", ["disk=ssd", "partition=a b", "partition=a;id", "constraint=$(id)"])
def test_a_selector_that_slurm_has_no_word_for_stops_the_start(selector: str) -> None:
    with pytest.raises(ConfigError, match=r"^NODE_SELECTOR="):
        settings_of("slurm", **REST, NODE_SELECTOR=selector)


@pytest.mark.parametrize("runtime", sorted(set(RUNTIMES) - set(CONTAINERS)))
@pytest.mark.parametrize("setting", ["CONTAINER_USER", "SHM_SIZE"])
def test_what_a_runtime_cannot_do_stops_the_start_by_name(runtime: str, setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting}='5': only SLURM_RUNTIME=podman or docker"):
        settings_of("slurm", **REST, SLURM_RUNTIME=runtime, **{setting: "5"})


@pytest.mark.parametrize(
    "name", ["A-B", "a.b", "1A", "_", "UID", "SLURM_JOB_ID", "SRUN_X", "BASH_ENV", "LD_PRELOAD"]
)
def test_a_variable_that_no_shell_can_export_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        a_translation("slurm", **REST).parse(a_body(env=[f"{name}=x"]))

    assert [fault.path for fault in refused.value.faults] == ["$.env[0]"]


@pytest.mark.parametrize("path", ["a,b", "a:b", 'a"b', ".pman", ".pman/jobs/other"])
def test_a_directory_that_mounts_would_misread_or_that_is_pmans_own_is_refused_by_name(path: str) -> None:
    with pytest.raises(BadRequest) as refused:
        a_translation("slurm", **REST).parse(a_body(input_dir=path))

    assert [fault.path for fault in refused.value.faults] == ["$.input_dir"]


def test_what_the_way_to_slurm_needs_is_asked_for_by_name() -> None:
    with pytest.raises(ConfigError, match=r"SLURMRESTD_URL is not set: SLURM_MODE=rest needs"):
        settings_of("slurm")
    assert settings_of("slurm", SLURM_MODE="cli").engine == "slurm"


# --- the script, by a real bash --------------------------------------------------------------------

SHIM = """#!/bin/bash
case ${0##*/}:$1 in
  ch-image:list | podman:init) exit ;;
  podman:inspect) echo self/root%(out)s; exit ;;  # what has %(out)s/root for its root
  podman:start) echo "worker $SLURM_PROCID"; exit 3 ;;
esac
if [ "${0##*/}" = srun ] && [[ " $* " == *" bash -s "* ]]; then
  cat >%(out)s/stdin
  for SLURM_PROCID in 0 1; do export SLURM_PROCID; bash -s <%(out)s/stdin | sed "s/^/$SLURM_PROCID: /"; done
  exit
fi
for word; do
  printf '%%s\\0' "$word"
  case $word in /dev/fd/*) cat "$word" >%(out)s/file.$SLURM_PROCID ;; esac
done >%(out)s/args.$SLURM_PROCID
env -0 >%(out)s/env.$SLURM_PROCID
[ "${0##*/}:$1" != podman:create ] || exit 0
echo "worker $SLURM_PROCID"
exit 3
"""
PROGRAMS = {"charliecloud": "ch-run", "enroot": "srun", "oci": "srun", "none": "a-program"}
"""By runtime: what is run, where that is not its name."""


def prepared(directory: Path, runtime: str, job: Any, records: Path) -> Path:
    """Make a storebase, what a container would see of it, and the directory of the job, which is returned."""
    if runtime in ("apptainer", "charliecloud"):
        words = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "true"]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("this user may have no mount namespace")
    for path in (job.input_dir, job.output_dir):
        with contextlib.suppress(FileExistsError):  # a link, on purpose
            (directory / "base" / path).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (directory / "root").symlink_to(directory / "base/key")
    jobs = records / "jobs" / str(job.jid)
    jobs.mkdir(parents=True, exist_ok=True)
    return jobs


def run(
    directory: Path, runtime: str, job: Any, records: Path | None = None
) -> tuple[list[str], dict[str, str], str, int]:
    """What a program in the runtime's place is given: words and environment; the log, and the exit code.

    In a file `file.0` what it reads of a pipe.
    """
    (directory / "bin").mkdir(parents=True, exist_ok=True)
    for program in ("apptainer", "podman", "docker", "ch-run", "ch-image", "srun", "a-program"):
        file = directory / "bin" / program
        if not file.exists():
            file.write_text(SHIM % {"out": directory})
            file.chmod(0o755)
    records = records or directory
    if runtime == "podman" and job.input_dir == a_job().input_dir and job.output_dir == a_job().output_dir:
        # Nothing is mounted here: a container in /key of the storebase has its directories at /share.
        job = replace(job, input_dir="key/share/incoming", output_dir="key/share/outgoing")
    jobs = prepared(directory, runtime, job, records)
    shutil.rmtree(jobs / "begun", ignore_errors=True)
    _, script = rendered(runtime, job, SLURM_DIRECTORY=str(records), STOREBASE=str(directory / "base"))
    given = {"PATH": f"{directory}/bin:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
    (directory / "script").write_bytes(script.encode())
    done = subprocess.run(
        ["bash", directory / "script"], env=given, capture_output=True, cwd=directory, check=False
    )
    assert (jobs / "rc").read_text() == f"{done.returncode}\n"
    reached = (directory / "args.0").read_bytes().decode().split("\0")[:-1]
    pairs = (directory / "env.0").read_bytes().decode().split("\0")[:-1]
    environment = {name: text for name, _, text in (pair.partition("=") for pair in pairs)}
    return reached, environment, (done.stdout + done.stderr).decode(), done.returncode


def environment_of(
    directory: Path, runtime: str, words: list[str], environment: Mapping[str, str], name: str
) -> str | None:
    """What a job would see of a variable."""
    if runtime == "apptainer":
        prefixed = environment.get(f"APPTAINERENV_{name}")
        given = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
        return given[-1] if name == "HOME" else prefixed
    if runtime in CONTAINERS:
        lines = (directory / "file.0").read_bytes().decode().split("\n")
        told = [*lines, *(word for flag, word in pairwise(words) if flag == "--env")]
        return [item.partition("=")[2] for item in told if item.partition("=")[0] == name][-1]
    return environment.get(name)


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(max_examples=8)
@given(argv=st.lists(shell_texts, max_size=5), value=shell_texts, home=shell_texts)
def test_every_argument_and_variable_reaches_every_runtime_as_the_text_it_was(
    tmp_path_factory: pytest.TempPathFactory, runtime: str, argv: list[str], value: str, home: str
) -> None:
    directory = tmp_path_factory.getbasetemp() / f"script-{runtime}"  # one: templates are compiled once
    env = (f"TOKEN={value}", f"HOME={home}", f"options={value}", f"names={value}", f"IFS={value}")
    job = a_job(entrypoint=("a-program",), args=tuple(argv), env=env)

    reached, environment, _, code = run(directory, runtime, job)

    given = argv if runtime == "none" else ["a-program", *argv]
    assert reached[len(reached) - len(argv) :] == argv
    assert runtime in CONTAINERS or reached[len(reached) - len(given) :] == given
    for name, expected in (("TOKEN", value), ("HOME", home), ("options", value), ("names", value)):
        assert environment_of(directory, runtime, reached, environment, name) == expected
    assert code == 3


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_value_of_a_token_stands_on_a_command_line(runtime: str, tmp_path: Path) -> None:
    reached, _, log, _ = run(
        tmp_path, runtime, a_job(entrypoint=("a-program",), env=("CHRIS_USER_TOKEN=secret",))
    )

    assert not [word for word in reached if "secret" in word]
    assert "secret" not in log


@pytest.mark.parametrize("runtime", CONTAINERS)
def test_no_variable_of_a_job_reaches_the_client_itself(runtime: str, tmp_path: Path) -> None:
    names = ("PATH", "HOME", "CONTAINER_HOST", "_CONTAINERS_USERNS_CONFIGURED", "DOCKER_HOST", "GOGC")
    job = a_job(entrypoint=("a-program",), env=tuple(f"{name}=job" for name in names))

    reached, environment, _, _ = run(tmp_path, runtime, job)

    assert "job" not in environment.values()
    for name in names:
        assert environment_of(tmp_path, runtime, reached, environment, name) == "job"


@pytest.mark.parametrize("runtime", ["apptainer", "podman", "docker", "charliecloud", "none"])
def test_each_of_several_workers_is_a_task_and_names_its_lines(runtime: str, tmp_path: Path) -> None:
    job = a_job(number_of_workers=2, entrypoint=("a-program",), args=("it's", "$HOME\n"), env=("A=b c",))

    _, _, log, _ = run(tmp_path, runtime, job)

    assert log.splitlines() == [f"[{job.jid}.0] worker 0", f"[{job.jid}.1] worker 1"]
    both = [(tmp_path / f"args.{worker}").read_bytes() for worker in (0, 1)]
    assert [words.endswith(b"it's\0$HOME\n\0") for words in both] == [True, True]
    where, end = ("file.1", b"\n") if runtime in CONTAINERS else ("env.1", b"\0")
    assert b"A=b c" + end in (tmp_path / where).read_bytes()


def test_a_job_that_slurm_begins_anew_does_not_run_again(tmp_path: Path) -> None:
    job = a_job()
    prepared(tmp_path, "none", job, tmp_path)
    _, script = rendered("none", job, SLURM_DIRECTORY=str(tmp_path), STOREBASE=str(tmp_path / "base"))
    (tmp_path / "script").write_text(script)
    codes = [
        subprocess.run(
            ["bash", tmp_path / "script"], env={"SLURM_RESTART_COUNT": count}, check=False
        ).returncode
        for count in ("1", "2")  # before the first, a prolog has failed
    ]

    assert codes == [127, 75]


LINKS = {
    "absolute": "/etc",
    "root": "/",
    "relative": "../outside",
    "chain": "relative",
    "missing": "/no/such/directory",
    "a-file": "/etc/passwd",
    "another-job": "other/outgoing",
    "records": ".pman/jobs",
    "above-the-records": ".pman",
}
"""What a job may leave in the storebase, by name: where it leads."""

LINKED = [*LINKS, "root/etc", "above-the-records/jobs/j", "records/j", ".pman/jobs", ".pman"]
"""Directories of a request."""


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("field", ["input_dir", "output_dir"])
def test_no_runtime_is_given_a_directory_that_a_link_leads_to_or_that_has_the_jobs_records(
    tmp_path: Path, runtime: str, field: str
) -> None:
    storebase, jobs = tmp_path / "base", tmp_path / "base/.pman/jobs"
    for directory in (tmp_path / "outside", storebase / "other/outgoing", jobs / "j"):
        directory.mkdir(parents=True)
    for name, target in LINKS.items():
        (storebase / name).symlink_to(target)
    for linked in LINKED:
        job = a_job(jid=f"job-{linked.replace('/', '-')}", entrypoint=("a-program",), **{field: linked})

        with pytest.raises(FileNotFoundError, match="args"):  # no runtime has written any
            run(tmp_path, runtime, job, records=storebase / ".pman")

        assert (jobs / job.jid / "rc").read_text() == "78\n"
        assert (jobs / job.jid / "asked").read_text().startswith(field)


READING = """#!/bin/bash
[ "$1" != list ] || exit 0  # ch-image
for word; do
  path=${word#*source=} path=${path%%[,:]*}
  case $word in */share/incoming*) cat "$path/who" ;; */share/outgoing*) touch "$path/written" ;; esac
done
"""
"""A program in a runtime's place that mounts nothing, and reads and writes where it would mount from."""


@pytest.mark.parametrize("runtime", ["apptainer", "charliecloud"])
def test_what_is_exchanged_for_a_link_while_a_job_begins_is_not_what_a_runtime_mounts(
    tmp_path: Path, runtime: str
) -> None:
    job = a_job()
    for program in ("apptainer", "ch-run", "ch-image"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / program).write_text(READING)
        (tmp_path / "bin" / program).chmod(0o755)
    jobs = prepared(tmp_path, runtime, job, tmp_path)
    outside, link = tmp_path / "outside", tmp_path / "base/link"
    for directory in ("incoming", "outgoing"):
        (outside / directory).mkdir(parents=True)
        (outside / directory / "who").write_text("outside\n")
    (tmp_path / "base" / job.input_dir / "who").write_text("inside\n")
    link.symlink_to(outside)
    _, script = rendered(runtime, job, SLURM_DIRECTORY=str(tmp_path), STOREBASE=str(tmp_path / "base"))
    (tmp_path / "script").write_text(script)
    given = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
    said = []

    with exchanged((tmp_path / "base" / job.input_dir).parent, link):
        for _ in range(RACES):
            shutil.rmtree(jobs / "begun", ignore_errors=True)
            done = subprocess.run(["bash", tmp_path / "script"], env=given, capture_output=True, check=False)
            said.append("refused" if done.returncode == 78 else done.stdout.decode())

    assert set(said) <= {"inside\n", "refused"}
    assert sorted(path.name for path in outside.rglob("*")) == ["incoming", "outgoing", "who", "who"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_storebase_that_a_link_leads_to_is_the_sites_own(tmp_path: Path, runtime: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "base").symlink_to("disk")

    *_, code = run(tmp_path, runtime, a_job(entrypoint=("a-program",)))

    assert code == 3


def test_a_site_adds_options_of_its_runtime_and_sets_up_what_it_needs(tmp_path: Path) -> None:
    block = (
        '{% extends "builtin/slurm/job.sh.j2" %}\n{% block setup %}\nmodule load apptainer\n{% endblock %}\n'
        "{% block options %}\n  options+=(--bind /scratch)\n{% endblock %}\n"
    )
    site = site_templates(tmp_path, {"slurm/job.sh.j2": block})

    _, script = rendered(PMAN_TEMPLATES=str(site))

    assert "\nmodule load apptainer\n" in script
    assert "\n  options+=(--bind /scratch)\n" in script


# --- sbatch ----------------------------------------------------------------------------------------


def test_all_that_the_documents_say_is_an_option_of_sbatch() -> None:
    content, _ = rendered(job=PROBE, **{name: text for name, text in SITE.items() if name not in REST})

    words = options({**content["job"], "hold": True})

    assert f"--job-name={PROBE.jid}" in words
    assert {"--no-requeue", "--hold", "--time=90", "--partition=gpu", "--export=PATH"} <= set(words)
    assert all(word.startswith("--") for word in words)


def test_a_word_that_sbatch_has_no_option_for_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"no option for delay_boot"):
        options({"name": "a", "delay_boot": 3})


@given(st.sampled_from(sorted(set(OPTIONS) - {"hold", "no_kill", "requeue"})), shell_texts)
def test_no_value_becomes_another_option(name: str, text: str) -> None:
    (word, _) = options({name: text})

    assert word.split("=", 1)[1].removesuffix("M") == text.removesuffix("M")


# --- versions of the API ---------------------------------------------------------------------------

OLD = {
    "job_id": 7, "name": "a", "comment": "c", "job_state": "FAILED", "state_reason": "NonZeroExitCode",
    "exit_code": 768, "submit_time": 1795632424, "start_time": 1795632425, "end_time": 1795632426,
    "nodes": "n1", "restart_cnt": 0,
}  # fmt: skip
"""As SLURM 22.05.8 (0.0.38) has it."""


def number(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


NEW = {
    **OLD, "job_state": ["FAILED"], "submit_time": number(1795632424), "start_time": number(1795632425),
    "end_time": number(1795632426),
    "exit_code": {"status": ["ERROR"], "return_code": number(3),
                  "signal": {"id": {"set": False, "infinite": False, "number": 0}, "name": ""}},
}  # fmt: skip
"""As 0.0.40 (SLURM 23.11) and later are documented; not run here."""


def test_all_versions_have_one_shape() -> None:
    assert entry(NEW) == entry(OLD)
    assert entry(OLD)["exit_code"] == 3
    assert entry(OLD)["end"] == "2026-11-25T18:47:06Z"


def test_a_signal_is_one_in_all_versions() -> None:
    signal = {"id": number(9), "name": "SIGKILL"}
    newer = {**NEW, "exit_code": {"status": ["SIGNALED"], "return_code": number(0), "signal": signal}}
    older = {**NEW, "exit_code": {"status": "SIGNALED", "return_code": 0, "signal": {"signal_id": 9}}}

    assert {
        (entry(job)["exit_code"], entry(job)["signal"]) for job in (newer, older, {**OLD, "exit_code": 9})
    } == {(0, 9)}


def test_states_and_flags_are_a_list_in_all_versions() -> None:
    assert entry({**OLD, "job_state": "COMPLETING"})["states"] == ["COMPLETING"]
    assert not has_ended(entry({**NEW, "job_state": ["COMPLETED", "COMPLETING"]}))
    assert has_ended(entry({**NEW, "job_state": ["FAILED", "LAUNCH_FAILED"]}))
    assert not has_ended(entry({**OLD, "job_state": "PREEMPTED,REQUEUED"}))
    assert entry({**OLD, "exit_code": None, "end_time": None})["exit_code"] is None


def test_what_slurmdbd_keeps_has_the_same_shape() -> None:
    found = accounted(
        {"job_id": 7, "name": "a", "state": {"current": ["TIMEOUT"], "reason": "TimeLimit"},
         "exit_code": NEW["exit_code"], "time": {"start": 1795632425, "end": 1795632426, "submission": 1}}
    )  # fmt: skip

    assert found.keys() == entry(OLD).keys()
    assert (found["states"], found["start"], found["end"]) == (
        ["TIMEOUT"],
        entry(OLD)["start"],
        entry(OLD)["end"],
    )


def test_a_submission_has_the_forms_of_its_version() -> None:
    job = {"name": "a", "environment": {"A": "b=c"}, "time_limit": 5, "gres": "gpu:1", "requeue": False}

    assert body(job, "#!", 38) == {"script": "#!", "job": job}
    newer = {"name": "a", "environment": ["A=b=c"], "time_limit": number(5), "requeue": False}
    assert body(job, "#!", 39) == {"script": "#!", "job": {**newer, "tres_per_node": "gres/gpu:1"}}
    assert body(job, "#!", 42)["job"]["script"] == "#!"
    begin = body({"begin_time": "now+3650days"}, "#!", 40)["job"]["begin_time"]["number"]
    assert abs(begin - time.time() - 3650 * 86400) < 60
    assert body({"open_mode": "append"}, "#!", 39)["job"] == {"open_mode": ["APPEND"]}
    assert changes({"begin_time": "now"}, 38) == {"begin_time": "now"}
    assert body({"gpus_per_task": "2"}, "#!", 40)["job"] == {"tres_per_task": "gres/gpu:2"}


def test_the_newest_version_that_both_speak_is_taken() -> None:
    served = [f"/slurm/v0.0.{n}/{path}" for n in (37, 38, 99) for path in ("job/submit", "jobs/")]

    assert (paths(served).version, paths(served).jobs, paths(served).accounting) == (
        38,
        "/slurm/v0.0.38/jobs/",
        "",
    )
    with_accounting = paths([*served, "/slurmdb/v0.0.38/job/{job_id}"])
    assert with_accounting.accounting == "/slurmdb/v0.0.38/job/{job_id}"
    with pytest.raises(ConfigError, match=r"0\.0\.99"):
        paths(["/slurm/v0.0.99/job/submit"])


def test_errors_are_one_text_in_all_versions() -> None:
    old = {"errors": [{"error_code": 2000, "error": "Invalid partition name specified"}]}
    new = {"errors": [{"description": "Batch job submission failed", "error_number": 2000,
                       "error": "Invalid partition name specified", "source": "slurm_submit"}]}  # fmt: skip

    assert words(old) == "Invalid partition name specified"
    assert words(new) == "Batch job submission failed; Invalid partition name specified"
    assert words({"errors": []}) == words(None) == ""


# --- tokens ----------------------------------------------------------------------------------------


def test_a_token_file_is_read_again_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    given = {"SLURM_JWT_FILE": str(file), "SLURM_JWT": "other"}
    with pytest.raises(EngineUnreachable, match="no token"):
        token(given)
    for text in ("first\n", "SLURM_JWT=second\n"):
        file.write_text(text)
        assert token(given) == text.strip().removeprefix("SLURM_JWT=")
    assert token({"SLURM_JWT_FILE": None, "SLURM_JWT": "other"}) == "other"


@given(st.text())
def test_what_is_no_token_of_a_known_form_has_not_expired(text: str) -> None:
    assert expired(text) == ""


def test_an_expired_token_tells_since_when() -> None:
    past = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3MDAwMDAwMDB9.sig"  # {"exp": 1700000000}

    assert expired(past) == "2023-11-14T22:13:20+00:00"
