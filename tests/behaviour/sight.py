"""One engine with all that a site may set, and jobs that look at what came of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import requests

from pman import executors
from pman.translation.honoured import Row, rows
from tests import engines
from tests.engines import slurm
from tests.engines.cluster import ClusterError
from tests.engines.swarm import relabel
from tests.live import Live, live, until

NOWHERE = {
    "CROMWELL_URL": "http://127.0.0.1:1",
    "DOCKER_HOST": "unix:///nowhere/docker.sock",
    "DOCKER_TLS_VERIFY": "1",
    "DOCKER_CERT_PATH": "/nowhere",
    "CONTAINER_HOST": "unix:///nowhere/podman.sock",
    "KUBECONFIG": "/nowhere/kubeconfig",
    "LOCAL_STATE": "/nowhere",
    "SLURM_MODE": "cli",
    "SLURMRESTD_URL": "unix:///nowhere/slurmrestd.sock",
    "SLURM_JWT": "no-token",
    "SLURM_JWT_FILE": "/nowhere/token",
    "SLURM_USER": "nobody",
    "SLURM_CONF": "/nowhere/slurm.conf",
    "SLURM_DIRECTORY": "/nowhere",
}
"""Addresses of engines: set for another one, as they may be in any shell, they change nothing."""

SITE = {
    "docker": ("container.yaml.j2", '{% block environment %}\nEnv: {{ ["SITE=here"] }}\n{% endblock %}'),
    "podman": ("container.yaml.j2", "{% block environment %}\nenv: {SITE: here}\n{% endblock %}"),
    "swarm": ("service.yaml.j2", '{% block environment %}\n    Env: ["SITE=here"]\n{% endblock %}'),
    "kubernetes": (
        "job.yaml.j2",
        "{% block environment %}\n            - {name: SITE, value: here}\n{% endblock %}",
    ),
    "cromwell": ("workflow.wdl.j2", "{% block extra %}\nexport SITE=here\n{% endblock %}"),
    "local": ("job.sh.j2", "{% block extra %}\nexport SITE=here\n{% endblock %}"),
    "slurm": ("job.sh.j2", "{% block options %}\noptions+=(--env SITE=here)\n{% endblock %}"),
}
"""By engine: a file, and a block of it that sets a variable of the job's environment."""

PARTITIONS: Mapping[str, Callable[[], str]] = {
    "cromwell": lambda: engines.PARTITION,
    "slurm": slurm.partition,
}
"""By engine before a SLURM: what NODE_SELECTOR selects."""

LABEL = "org.example.pman-test"
"""Of the node that NODE_SELECTOR selects."""

TOKEN = "c0ffee-0f-a-s1ght"  # noqa: S105  (of these tests only)
READ_TOKEN = "t3a-for-those-who-look"  # noqa: S105  (of this test only)

LOOK = r"""
{
  echo "uid $(id -u)"
  echo "gid $(id -g)"
  echo "groups $(id -G)"
  echo "home $HOME"
  echo "site $SITE"
  echo "env $GIVEN"
  echo "input $(cat $in/in.txt)"
  echo "cores $(grep Cpus_allowed_list /proc/self/status | cut -f 2)"
  echo "net $(readlink /proc/self/ns/net)"
  echo "interfaces $(ls /sys/class/net | tr '\n' ' ')"
  echo "shm $(df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2)"
  echo "shm_mount $(grep ' /dev/shm ' /proc/mounts | cut -d ' ' -f 3)"
  cd /sys/fs/cgroup
  if [ -e memory.max ]; then
    echo "memory $(cat memory.max)"
    echo "pids $(cat pids.max)"
    echo "cpu $(cat cpu.max)"
  elif [ -e memory/memory.limit_in_bytes ]; then
    echo "memory $(cat memory/memory.limit_in_bytes)"
    echo "pids $(cat pids/pids.max)"
    echo "cpu $(cat cpu/cpu.cfs_quota_us) $(cat cpu/cpu.cfs_period_us)"
  fi
} > $out/seen
for a; do printf '%s\0' "$a"; done > $out/args
i=0; while [ $i -lt 20 ]; do printf 'line %d %0300d\n' $i 0; i=$((i + 1)); done
"""


@cache
def matrix() -> dict[str, Row]:
    return {row.option: row for row in rows([], executors.names())}


class Sight:
    """One engine with all that a site may set, the jobs that look at it, and a view from outside."""

    def __init__(
        self,
        engine: engines.Engine,
        storebase: Path,
        directory: Path,
        stack: ExitStack,
    ) -> None:
        self.engine = engine
        self.directory = directory
        self._shown: set[Callable[[Sight], None]] = set()
        self.value = uuid.uuid4().hex[:8]
        self.selector = f"{LABEL}={self.value}"
        if engine.name in PARTITIONS:
            self.selector = f"partition={PARTITIONS[engine.name]()}"
        elif self.honours("NODE_SELECTOR"):
            self.node = LabelledNode(engine, self.value, stack)
        self.main: Live = stack.enter_context(live(engine, storebase, **self._settings()))
        self.other: Live = stack.enter_context(live(engine, storebase, **self._other_settings()))
        self.request = self.main.script(
            LOOK,
            args=["--in", "replaced", "--x", "two words"],
            args_path_flags=["--in"],
            env=[f"GIVEN={self.value}", "HOME=/root"],
            auid="rudolph",
            cpu_limit=300,
            memory_limit=123,
        )
        self.jid: str = self.request["jid"]
        self.main.submit(self.request)

    def once(self, demonstration: Callable[[Sight], None]) -> None:
        """One may speak for several options."""
        if demonstration not in self._shown:
            demonstration(self)
        self._shown.add(demonstration)

    def honours(self, option: str) -> bool:
        return matrix()[option].honoured[self.engine.name]

    def _settings(self) -> dict[str, str]:
        asked = {
            "CONTAINER_USER": "1234:2345",
            "ENABLE_HOME_WORKAROUND": "yes",
            "SHM_SIZE": "32",
            "JOB_NETWORK": "host" if self.engine.name == "swarm" else "none",
            "JOB_PIDS_LIMIT": "300",
            "JOB_LABELS": f"org.example.test={self.value},c=d",
            "JOB_LOGS_TAIL": "7",
            "NODE_SELECTOR": self.selector,
            "IMAGE_PULL_SECRETS": "pman-test-registry",
            "APPLICATION_MODE": "development",
            "SECRET_KEY": f"hidden-{self.value}",
            "ALLOWED_HOSTS": "pman.example.org",
            "TRUSTED_PROXIES": "127.0.0.1",
        }
        return {
            **{name: text for name, text in asked.items() if self.honours(name)},
            **{name: text for name, text in NOWHERE.items() if not self.honours(name)},
        }

    def _other_settings(self) -> dict[str, str]:
        """What would be in the way of the first job, or of looking at it."""
        name, block = SITE[self.engine.name]
        folder = self.directory / "site" / self.engine.name
        folder.mkdir(parents=True)
        (folder / name).write_text(f'{{% extends "builtin/{self.engine.name}/{name}" %}}\n{block}\n')
        forbidden = {"properties": {"jid": {"not": {"pattern": "forbidden"}}}}
        (self.directory / "policy.json").write_text(json.dumps({"properties": {"request": forbidden}}))
        asked = {
            "CONTAINER_USER": "2000-2005:",
            "IGNORE_LIMITS": "yes",
            "JOB_PIDS_LIMIT": "0",
            "REMOVE_JOBS": "no",
            "AUTH_TOKEN": TOKEN,
            "AUTH_READ_TOKEN": READ_TOKEN,
            "AUTH_V1": "no",
            "PMAN_PAGE": "no",
            "JOB_LOGS_BYTES": "2000",
            "HTTP_HEADER_BYTES": "4096",
            "HTTP_BODY_BYTES": "100000",
            "JOB_TTL_SECONDS": "10",
            "START_GRACE_SECONDS": "3",
            "PMAN_TEMPLATES": ":".join(
                filter(None, [str(folder.parent), self.engine.environment.get("PMAN_TEMPLATES")])
            ),
            "PMAN_POLICY": str(self.directory / "policy.json"),
        }
        return {name: text for name, text in asked.items() if self.honours(name)}

    # --- what the jobs saw ---

    @cached_property
    def answer(self) -> dict[str, Any]:
        """Of the first job, once it has ended."""
        answer = self.main.finished(self.jid)
        assert answer["status"] == "finishedSuccessfully", answer
        return answer

    @cached_property
    def seen(self) -> dict[str, str]:
        assert self.answer
        return _seen(self.main, self.request)

    @cached_property
    def args(self) -> list[str]:
        assert self.answer
        return self.main.output(self.request, "args").read_text().split("\0")[:-1]

    @cached_property
    def seen_by_other(self) -> dict[str, str]:
        """Of a job that the second pman ran; on Kubernetes it is gone ten seconds after its end."""
        request = self.other.script(LOOK + "touch $out/done", cpu_limit=300, memory_limit=123)
        self.other_jid = request["jid"]
        self.main.submitted.append(request["jid"])  # the other removes nothing
        self.other.submit(request)
        until(lambda: self.other.output(request, "done").exists())
        return _seen(self.other, request)

    @cached_property
    def seen_by_group(self) -> dict[str, str]:
        """Look with a job of a pman that has a group, and no user."""
        with live(self.engine, self.main.storebase, CONTAINER_USER=":4321") as running:
            request = running.script(LOOK)
            answer = running.run(request)
            assert answer["status"] == "finishedSuccessfully", answer
            return _seen(running, request)

    @cached_property
    def bare(self) -> tuple[list[str], int]:
        """The arguments of a job of type fs, and how many workers had it: two where the engine can."""
        request = self.main.request(type="fs", args=["--y"], number_of_workers=2)
        if not self.honours("number_of_workers"):
            request["number_of_workers"] = 1
        request["entrypoint"] = [
            "sh",
            "-c",
            'for o; do :; done; d=$(mktemp -d $o/XXXXXX); chmod 755 $d; printf "%s\\n" "$@" > $d/args',
            "sh",
        ]
        answer = self.main.run(request)
        assert answer["status"] == "finishedSuccessfully", answer
        files = list(self.main.output(request, ".").glob("*/args"))
        return files[0].read_text().split("\n")[:-1], len(files)

    # --- what the engine says ---

    @cached_property
    def outside(self) -> Outside:
        assert self.answer
        return OUTSIDE[self.engine.name](self)


def _seen(running: Live, request: Mapping[str, Any]) -> dict[str, str]:
    lines = running.output(request, "seen").read_text().splitlines()
    return {name: text for name, _, text in (line.partition(" ") for line in lines)}


class LabelledNode:
    """A node of a cluster with a label of the tests', taken away at the end."""

    def __init__(self, engine: engines.Engine, value: str, stack: ExitStack) -> None:
        self._engine = engine
        self._value = value
        if engine.namespace:
            self.name = str(engine.namespace.cluster.nodes()[0]["metadata"]["name"])
        else:
            assert engine.native is not None
            self.name = str(engine.native.nodes.list()[0].id)
        try:
            self.label(value)
        except ClusterError as error:
            pytest.skip(f"KUBECONFIG's user may not label a node: {error}")
        stack.callback(self.label, None)

    def label(self, value: str | None) -> None:
        if self._engine.namespace:
            change = {"metadata": {"labels": {LABEL: value}}}
            self._engine.namespace.cluster.call("PATCH", f"/api/v1/nodes/{self.name}", change)
            return
        relabel(self._engine.native, {LABEL: value})

    @contextmanager
    def without(self) -> Iterator[None]:
        self.label(None)
        yield
        self.label(self._value)


class Outside:
    """What an engine says of the first job."""

    image: str
    labels: Mapping[str, str]
    node: str = ""


class OfContainer(Outside):
    def __init__(self, sight: Sight) -> None:
        assert sight.engine.native is not None
        config = sight.engine.native.api.inspect_container(sight.jid)["Config"]
        self.image, self.labels = config["Image"], config["Labels"]


class OfService(Outside):
    def __init__(self, sight: Sight) -> None:
        assert sight.engine.native is not None
        service = sight.engine.native.services.get(sight.jid)  # type: ignore[no-untyped-call]  # in its stubs
        container = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
        self.image, self.labels = container["Image"].partition("@")[0], service.attrs["Spec"]["Labels"]
        assert self.labels.items() >= container["Labels"].items()
        self.node = service.tasks()[0]["NodeID"]


class OfPod(Outside):
    def __init__(self, sight: Sight) -> None:
        assert sight.engine.namespace is not None
        self.job = sight.engine.namespace.job(sight.jid)
        (self.pod,) = sight.engine.namespace.pods(sight.jid)
        self.image = self.pod["spec"]["containers"][0]["image"]
        self.labels = self.pod["metadata"]["labels"]
        assert self.labels.items() >= self.job["metadata"]["labels"].items()
        self.node = self.pod["spec"]["nodeName"]


class OfProcess(Outside):
    def __init__(self, sight: Sight) -> None:
        job = json.loads((kept_by_local(sight.main, sight.jid) / "job.json").read_text())
        self.image, self.labels = job["image"], job["labels"]


class OfBatchJob(Outside):
    """What SLURM has of it, besides what pman keeps."""

    def __init__(self, sight: Sight) -> None:
        job = slurm.job(sight.jid)
        kept = json.loads((kept_by_slurm(sight.main, sight.jid) / "job.json").read_text())
        self.image, self.labels = kept["notes"]["image"], json.loads(job["comment"])
        self.node, self.job = job["partition"], job


def kept_by_slurm(running: Live, jid: str) -> Path:
    return running.storebase / ".pman/jobs" / jid


class OfWorkflow(Outside):
    """By Cromwell's own API: the newest of the job's name."""

    def __init__(self, sight: Sight) -> None:
        flows = f"{sight.engine.address}/api/workflows/v1"
        label = {"label": f"org.chrisproject.pman.jid:{sight.jid}"}
        (found,) = requests.get(f"{flows}/query", params=label, timeout=60).json()["results"]
        metadata = requests.get(f"{flows}/{found['id']}/metadata", timeout=60).json()
        (call,) = metadata["calls"]["ChRISJob.plugin_instance"]
        self.attributes: Mapping[str, str] = call["runtimeAttributes"]
        self.image, self.labels = self.attributes["docker"], metadata["labels"]
        self.node = self.attributes["slurm_partition"]


def kept_by_local(running: Live, jid: str) -> Path:
    return Path(running.environment()["LOCAL_STATE"]) / "jobs" / jid


OUTSIDE: Mapping[str, Callable[[Sight], Outside]] = {
    "docker": OfContainer,
    "podman": OfContainer,
    "swarm": OfService,
    "kubernetes": OfPod,
    "cromwell": OfWorkflow,
    "local": OfProcess,
    "slurm": OfBatchJob,
}
