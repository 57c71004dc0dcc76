"""deploy/cromwell: the configurations of a server hold their end of the contract with the template."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import WDL
from pyhocon import ConfigFactory  # type: ignore[import-untyped]  # it has no types

from pman.job import Job
from tests.a_job import FACTS, a_job, a_translation
from tests.cromwell_reading import runtime_of

DEPLOY = Path(__file__).parents[1] / "deploy" / "cromwell"
CONFS = sorted(file.name for file in DEPLOY.glob("*.conf"))

SITE = {
    "CROMWELL_URL": "http://a",
    "TIMELIMIT_MINUTES": "5",
    "NODE_SELECTOR": "partition=debug,constraint=a&b",
}

STRINGS = "job_name cwd out err script job_shell docker_cwd docker_cid docker_script docker_out docker_err"


def attributes(job: Job, **settings: str) -> dict[str, Any]:
    *_, document = a_translation("cromwell", **{**SITE, **settings}).render(job, FACTS)
    return runtime_of(document.text)


def emitted() -> set[str]:
    """By the template, for jobs that ask for everything."""
    job = a_job(gpu_limit=1, number_of_workers=2)
    return {*attributes(job, CONTAINER_USER="1:2", SHM_SIZE="32"), *attributes(job, CONTAINER_USER=":2")}


@cache
def provider(name: str) -> Mapping[str, Any]:
    text = re.sub(r"(?m)^include.*$", "", (DEPLOY / name).read_text())
    config: Mapping[str, Any] = ConfigFactory.parse_string(text)["backend"]["providers"]["SLURM"]["config"]
    return config


def template(name: str, key: str, strings: str = STRINGS) -> Any:
    """One of the scripts, as Cromwell reads it: the command of a draft-2 task."""
    declared = "\n".join(f"String {word}" for word in strings.split())
    attributes = provider(name)["runtime-attributes"] if "job_name" in strings else ""
    text = f"task a {{\n{declared}\n{attributes}\ncommand {{\n{provider(name)[key]}\n}}\n}}\n"
    document = WDL.parse_document(text, version="draft-2")
    document.typecheck()
    return document.tasks[0]


def script(name: str, key: str, strings: str = STRINGS, **values: Any) -> str:
    """As Cromwell fills it in; what has no value is an optional attribute that was not given."""
    task = template(name, key, strings)
    known = {word: f"/{word}" for word in strings.split()} | values
    env: Any = WDL.Env.Bindings()
    for declared in task.postinputs:
        value = known.get(declared.name)
        env = env.bind(
            declared.name, WDL.Value.Null() if value is None else WDL.Value.from_json(declared.type, value)
        )
    library = WDL.StdLib.Base("draft-2")
    parts = [part if isinstance(part, str) else part.eval(env, library).value for part in task.command.parts]
    lines = "".join(parts).strip("\n").split("\n")
    cut = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[cut:] for line in lines)


def used(name: str) -> set[str]:
    """The attributes that stand in a placeholder of the submission."""
    found = set()
    for part in template(name, "submit-docker").command.parts:
        if not isinstance(part, str):
            found |= set(re.findall(r"[a-z_]+", re.sub(r'"[^"]*"', "", str(part.expr))))
    return found


def unused(name: str) -> set[str]:
    """Those that a configuration says it has no use for."""
    told = re.search(
        r"^# Attributes of pman's that have no use here: (.*)$", (DEPLOY / name).read_text(), re.MULTILINE
    )
    return set(told[1].split(", ")) if told else set()


@pytest.mark.parametrize("name", CONFS)
def test_what_the_template_emits_is_declared_and_what_is_declared_is_emitted(name: str) -> None:
    declared = {item.name for item in template(name, "submit-docker").postinputs} - set(STRINGS.split())

    assert {attribute.replace("memory_mb", "memory") for attribute in declared} == emitted() - unused(name)


@pytest.mark.parametrize("name", CONFS)
def test_what_is_declared_is_used(name: str) -> None:
    assert {attribute.replace("memory_mb", "memory") for attribute in used(name)} >= emitted() - unused(name)


def given(**changes: Any) -> dict[str, Any]:
    """The attributes of a job as the scripts get them."""
    settings = {name: changes.pop(name) for name in list(changes) if name.isupper()}
    found = attributes(a_job(**changes), **settings)
    memory = found.pop("memory", None)
    return {**found, "memory_mb": int(memory.split()[0]) if memory else None}


@pytest.mark.parametrize("name", CONFS)
def test_the_scripts_are_scripts(name: str) -> None:
    jobs: list[dict[str, Any]] = [
        {},
        {"gpu_limit": 2, "number_of_workers": 3},
        {"cpu_limit": 0, "memory_limit": 0},
    ]
    texts = [script(name, "submit-docker", **given(**job)) for job in jobs]
    texts += [
        script(name, key, "job_id docker_cid job_shell") for key in ("kill", "kill-docker", "check-alive")
    ]

    for text in texts:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), text
    for text in texts[:3]:
        inner = dict(re.findall(r"<<'(\w+)'\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE))
        assert set(inner) == {"WORKER", "JOB", *(["MOUNTS"] if "apptainer" in name else [])}
        for part in inner.values():
            subprocess.run(["sh", "-n"], input=part, text=True, check=True)


@pytest.mark.parametrize("name", CONFS)
def test_a_server_that_is_configured_so_loses_no_job(name: str) -> None:
    config = provider(name)
    text = (DEPLOY / name).read_text()

    assert re.search(config["job-id-regex"], "42")
    assert config["exit-code-timeout-seconds"] == 60
    assert "scancel /job_id" in script(name, "kill-docker", "job_id docker_cid job_shell")
    assert "call-caching.enabled = false" in text
    assert "--no-requeue" in config["submit-docker"]


SUBMITTED = [
    ({}, "--ntasks=1 --cpus-per-task=1", "--time=5", "--partition=debug", "--constraint=a&b"),
    ({"number_of_workers": 3, "cpu_limit": 2500}, "--ntasks=3 --cpus-per-task=3"),
    ({"gpu_limit": 2}, "--gres=gpu:2"),
    ({"jid": "a.b-c"}, "--comment=a.b-c"),
]


@pytest.mark.parametrize(("changes", "told"), [(row[0], row[1:]) for row in SUBMITTED])
@pytest.mark.parametrize("name", CONFS)
def test_a_job_is_submitted_with_all_that_it_asks_for(
    name: str, changes: dict[str, Any], told: tuple[str, ...], tmp_path: Path
) -> None:
    """What sbatch is called with, by running the script with one that tells."""
    (tmp_path / "execution").mkdir()
    for program in ("sbatch", "apptainer"):
        shim = tmp_path / program
        shim.write_text('#!/bin/sh\necho "$@" > "$0.told"\necho 42\n')
        shim.chmod(0o755)
    text = script(name, "submit-docker", **given(**changes), cwd=str(tmp_path))
    path = f"{tmp_path}:/usr/bin:/bin"

    done = subprocess.run(
        ["bash", "-c", text],
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    called = (tmp_path / "sbatch.told").read_text()
    assert done.stdout == "42\n"
    for option in told:
        assert option in called
    assert (tmp_path / "execution" / "worker").is_file()


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"CONTAINER_USER": "1:2"}, "CONTAINER_USER=1:2: "), ({"CONTAINER_USER": ":2"}, "CONTAINER_USER=:2: "),
     ({"SHM_SIZE": "32"}, "SHM_SIZE=32: ")],
)  # fmt: skip
def test_what_apptainer_cannot_do_is_refused_by_name(
    settings: dict[str, str], told: str, tmp_path: Path
) -> None:
    text = script("slurm-apptainer.conf", "submit-docker", **given(**settings), cwd=str(tmp_path))

    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert told in done.stderr


@pytest.mark.skipif(not shutil.which("sh"), reason="there is no shell")
@pytest.mark.parametrize(
    ("millicores", "told"), [(300, "--cpus 0.300"), (12345, "--cpus 12.345"), (0, "--rm")]
)
def test_the_container_is_limited_to_a_thousandth_of_a_core(
    millicores: int, told: str, tmp_path: Path
) -> None:
    """What docker is called with, by running the worker with one that tells."""
    shim = tmp_path / "docker"
    shim.write_text('#!/bin/sh\ntest "$1" != run || echo "$@" "--rm" > "$0.told"\n')
    shim.chmod(0o755)
    job = given(cpu_limit=millicores, memory_limit=64, CONTAINER_USER="1:2", SHM_SIZE="32")

    worked("slurm-docker.conf", tmp_path, {**job, **storebase(tmp_path)})

    called = (tmp_path / "docker.told").read_text()
    for option in (
        told,
        "--user 1:2",
        "--memory 64m --memory-swap 64m",
        "--shm-size 32m",
        '/8,target=/share/incoming,"volume-opt=o=bind,ro"',
    ):
        assert option in called
    assert (tmp_path / "worker-0.rc").read_text() == "0\n"


def storebase(directory: Path) -> dict[str, str]:
    """The attributes of a job with a storebase there."""
    base = directory / "base"
    for name in ("in", "out"):
        (base / "job" / name).mkdir(parents=True)
    return {
        "storebase": f"{base}",
        "inputdir_source": f"{base}/job/in",
        "outputdir_source": f"{base}/job/out",
    }


def worked(name: str, directory: Path, job: dict[str, Any], **environment: str) -> str:
    """Run the worker of a job, with the programs in the directory; what it says."""
    (directory / "execution").mkdir(exist_ok=True)
    text = script(name, "submit-docker", **job)
    for here, part in re.findall(r"<<'([A-Z]+)'\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE):
        (directory / "execution" / here.lower()).write_text(f"{part}\n")
    done = subprocess.run(
        ["sh", "execution/worker", f"{directory}/worker-0"],
        cwd=directory,
        env={"PATH": f"{directory}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


@pytest.mark.parametrize(
    ("name", "engine"),
    [("slurm-docker.conf", "docker"), ("slurm-docker.conf", "podman"), ("slurm-apptainer.conf", "apptainer")],
)
@pytest.mark.parametrize("field", ["inputdir_source", "outputdir_source"])
@pytest.mark.parametrize("target", ["/etc", "../outside", "other", "base", "", "/etc/passwd"])
def test_no_container_is_given_a_directory_that_a_link_leads_to(
    name: str, engine: str, field: str, target: str, tmp_path: Path
) -> None:
    (tmp_path / engine).write_text('#!/bin/sh\necho "$1" >> "$0.told"\n')
    (tmp_path / engine).chmod(0o755)
    job = {**given(), **storebase(tmp_path), field: f"{tmp_path}/base/link"}
    for directory in ("outside", "base/other"):
        (tmp_path / directory).mkdir()
    if target:
        (tmp_path / "base/link").symlink_to(target)

    said = worked(name, tmp_path, job, CONTAINER_ENGINE=engine)

    assert re.search("pman: .* (leads elsewhere by a link|cannot be opened)", said), said
    assert (tmp_path / "worker-0.rc").read_text() == "78\n"
    told = tmp_path / f"{engine}.told"
    assert not told.exists() or not {"run", "create", "exec"} & set(told.read_text().split())


def test_a_return_code_is_written_where_no_container_can_put_a_link(tmp_path: Path) -> None:
    """What is in the worker's directory, the container may have exchanged."""
    (tmp_path / "docker").write_text(f"#!/bin/sh\nln -sfn {tmp_path}/outside {tmp_path}/worker-0/execution\n")
    (tmp_path / "docker").chmod(0o755)
    for directory in ("outside", "worker-0"):
        (tmp_path / directory).mkdir()

    worked("slurm-docker.conf", tmp_path, {**given(), **storebase(tmp_path)})

    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize(("rc", "told"), [("3\n", "3"), ("137\n", "137"), ("", "1"), ("a secret\n", "1")])
@pytest.mark.parametrize("name", CONFS)
def test_the_return_code_is_the_containers_and_nothing_else_that_it_may_lead_to(
    name: str, rc: str, told: str, tmp_path: Path
) -> None:
    """The script of the batch job, with a worker that only writes its return code."""
    execution = tmp_path / "execution"
    execution.mkdir()
    (execution / "script").touch()
    (tmp_path / "secret").write_text(rc)
    (execution / "worker").write_text('ln -s ../../secret "$1/execution/rc"\n')
    text = script(name, "submit-docker", **given(), cwd=str(tmp_path))
    (job,) = re.findall(r"<<'JOB'\n(.*?)\nJOB$", text, re.DOTALL | re.MULTILINE)

    done = subprocess.run(["sh"], input=job, capture_output=True, text=True, check=True)

    assert (execution / "rc").read_text().strip() == told
    assert "secret" not in done.stdout + done.stderr
