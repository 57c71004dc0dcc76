"""The matrix of options and engines, cell by cell, from schema/.

Each field of a request and each setting, on each engine: where `pman config --matrix` says that it
is honoured, it is shown by what the job itself sees, or by what the engine says of the job; where
not, it is refused by name. Nothing is silently ignored, and a new option needs a cell here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from pman import executors
from pman.settings import DECLARED, engine_schema, properties
from pman.translation.request import PROPERTIES
from tests import engines
from tests.behaviour.sight import (
    LABEL,
    NOWHERE,
    OUTSIDE,
    READ_TOKEN,
    SITE,
    TOKEN,
    OfPod,
    Sight,
    kept_by_local,
    matrix,
)
from tests.engines import slurm
from tests.engines.relay import Certificates, relay
from tests.live import live, refused_start, unreached, until

REFUSED_FIELDS: Mapping[str, Any] = {"number_of_workers": 3, "gpu_limit": 1}
REFUSED_SETTINGS = {
    "VOLUME_NAME": "a-volume",
    "PFCON_SELECTOR": "org.example=pfcon",
    "SHM_SIZE": "32",
    "JOB_NETWORK": "none",
    "JOB_PIDS_LIMIT": "300",
    "TIMELIMIT_MINUTES": "5",
    "START_GRACE_SECONDS": "5",
    "JOB_TTL_SECONDS": "50",
    "JOB_NAMESPACE": "elsewhere",
    "NODE_SELECTOR": "disk=ssd",
    "CROMWELL_LAG_SECONDS": "5",
    "PATH_MAP": "/a=/b",
    "IMAGE_PULL_SECRETS": "a-secret",
    "SLURM_RUNTIME": "podman",
    "SLURM_ACCOUNT": "chris",
    "SLURM_QOS": "high",
}
"""Each asks for what some engine does not do."""

# --- the cells: fields of a request ------------------------------------------------------------------

SHOWN: dict[str, Callable[[Sight], None]] = {}
"""By option: how an engine that honours it is seen to."""


def shows(*options: str) -> Callable[[Callable[[Sight], None]], Callable[[Sight], None]]:
    def add(demonstration: Callable[[Sight], None]) -> Callable[[Sight], None]:
        SHOWN.update(dict.fromkeys(options, demonstration))
        return demonstration

    return add


@shows("jid")
def _name(sight: Sight) -> None:
    assert sight.outside.labels["org.chrisproject.pman.jid"] == sight.jid
    assert sight.answer["jid"] == sight.jid


@shows("image")
def _image(sight: Sight) -> None:
    assert sight.outside.image == sight.answer["image"] == sight.engine.image


@shows("entrypoint", "args", "args_path_flags")
def _command(sight: Sight) -> None:
    assert sight.args == ["--in", "/share/incoming", "--x", "two words", "/share/incoming", "/share/outgoing"]


@shows("type")
def _type(sight: Sight) -> None:
    assert sight.args[-2:] == ["/share/incoming", "/share/outgoing"]
    assert sight.bare[0] == ["--y", "/share/outgoing"]


@shows("env")
def _env(sight: Sight) -> None:
    assert sight.seen["env"] == sight.value


@shows("auid")
def _auid(sight: Sight) -> None:
    assert sight.outside.labels["org.chrisproject.pman.auid"] == "rudolph"


@shows("number_of_workers")
def _workers(sight: Sight) -> None:
    assert sight.bare[1] == 2


@shows("cpu_limit")
def _cpu(sight: Sight) -> None:
    if sight.engine.name == "local":  # whole cores
        assert re.fullmatch("[0-9]+", sight.seen["cores"])
    else:
        quota, period = map(int, sight.seen["cpu"].split())
        assert quota * 1000 / period == 300


@shows("memory_limit")
def _memory(sight: Sight) -> None:
    if sight.engine.name == "local":  # nothing that a job could see: its processes are watched
        answer = sight.main.run(sight.main.script("a=x; while true; do a=$a$a; done", memory_limit=64))
        assert "64 MiB" in answer["message"]
    else:
        assert int(sight.seen["memory"]) == 123 * 2**20


@shows("gpu_limit")
def _gpu(sight: Sight) -> None:
    """Without a GPU the engine says so; told of one, it runs the job."""
    request = sight.main.request(gpu_limit=1)
    if sight.engine.name == "docker":
        response = sight.main.post(request)
        assert response.status_code == 400
        assert "gpu_limit" in response.json()["message"]
        return
    if sight.engine.name == "slurm":
        _gpu_of_slurm(sight)
        return
    sight.main.submit(request)
    if sight.engine.name == "cromwell":  # a SLURM without one says so, or the node that has none to give
        answer = sight.main.finished(request["jid"])
        assert answer["status"] == "finishedSuccessfully" or "gpu" in answer["message"], answer
        return
    waiting = until(
        lambda: _when(
            sight.main.status(request["jid"]), lambda told: "gpu" in (told["message"] + told["hint"]).lower()
        )
    )
    assert waiting["status"] == "notstarted"
    if not sight.engine.namespace:
        return  # a swarm's nodes are told of their GPUs by the configuration of their daemons only
    cluster, path = sight.engine.namespace.cluster, f"/api/v1/nodes/{sight.node.name}/status"
    capacity = "/status/capacity/nvidia.com~1gpu"
    cluster.call("PATCH", path, [{"op": "add", "path": capacity, "value": "1"}])
    try:
        assert sight.main.finished(request["jid"])["status"] == "finishedSuccessfully"
        (pod,) = sight.engine.namespace.pods(request["jid"])
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    finally:
        cluster.call("PATCH", path, [{"op": "remove", "path": capacity}])


def _gpu_of_slurm(sight: Sight) -> None:
    """More than there are is refused; one is given to the job, and told to the container runtime."""
    response = sight.main.post(sight.main.request(gpu_limit=99))
    assert response.status_code == 400
    assert "gpu_limit" in response.json()["message"]
    request = sight.main.request(gpu_limit=1)
    sight.main.submit(request)
    assert slurm.job(request["jid"])["tres_per_node"] == "gres:gpu:1"
    assert "nvidia.com/gpu=0" in sight.main.finished(request["jid"])["logs"]  # a node without NVIDIA's


def _when(answer: dict[str, Any], holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    return answer if holds(answer) else None


@shows("input_dir", "output_dir", "STOREBASE")
def _directories(sight: Sight) -> None:
    assert sight.seen["input"] == "hello"


# --- the cells: settings -----------------------------------------------------------------------------


@shows("CONTAINER_ENV")
def _engine(sight: Sight) -> None:
    assert requests.get(sight.main.server.url, timeout=60).json()["container_env"] == sight.engine.name
    assert sight.seen


@shows("STORAGE_TYPE")
def _storage(sight: Sight) -> None:
    """Of the others that an engine knows: VOLUME_NAME."""
    assert requests.get(sight.main.server.url, timeout=60).json()["storage_type"] == "host"
    assert sight.seen["input"] == "hello"
    allowed = properties(engine_schema(sight.engine.name, "settings"))["STORAGE_TYPE"]["enum"]
    for refused in set(DECLARED["STORAGE_TYPE"]["enum"]) - set(allowed):
        told = refused_start(
            {**sight.main.environment(), "STORAGE_TYPE": refused, "STOREBASE": "", "VOLUME_NAME": "a"}
        )
        assert f"STORAGE_TYPE='{refused}'" in told


@shows("VOLUME_NAME")
def _volume(sight: Sight) -> None:
    if sight.engine.namespace:
        _claim(sight)
        return
    with _pfcon(sight) as (base, volume, _):
        _copies(sight, base, "docker_local_volume", VOLUME_NAME=volume)


@shows("PFCON_SELECTOR")
def _selector(sight: Sight) -> None:
    with _pfcon(sight) as (base, _, label):
        _copies(sight, base, "docker_local_volume", PFCON_SELECTOR=label)


@contextmanager
def _pfcon(sight: Sight) -> Iterator[tuple[Path, str, str]]:
    """A container with a volume as pfcon's: the volume's directory and name, the container's label."""
    native = sight.engine.native
    assert native is not None
    volume, label = native.volumes.create(f"pman-test-{sight.value}"), f"org.example.test-{sight.value}"
    pfcon = native.containers.run(
        sight.engine.image, ["sleep", "300"], detach=True, labels={label: "pfcon"},
        volumes={volume.name: {"bind": "/var/local/storeBase", "mode": "rw"}},
    )  # fmt: skip
    try:
        yield Path(volume.attrs["Mountpoint"]), str(volume.name), f"{label}=pfcon"
    finally:
        pfcon.remove(force=True)
        volume.remove()


def _claim(sight: Sight) -> None:
    """A claim of the tests' own: a directory of the host behind it."""
    assert sight.engine.namespace is not None
    base = sight.main.storebase.parent / "claim"
    base.mkdir(exist_ok=True)
    with sight.engine.namespace.claim(base) as name:
        _copies(sight, base, "kubernetes_pvc", VOLUME_NAME=name)


def _copies(sight: Sight, base: Path, storage: str, **settings: str) -> None:
    """Files in and out of this storebase."""
    with live(sight.engine, base, STORAGE_TYPE=storage, STOREBASE="", **settings) as running:
        assert requests.get(running.server.url, timeout=60).json()["storage_type"] == storage
        request = running.script("cp $in/in.txt $out/copy")
        answer = running.run(request)
        assert answer["status"] == "finishedSuccessfully", answer
        assert running.output(request, "copy").read_text() == "hello\n"


@shows("CONTAINER_USER")
def _user(sight: Sight) -> None:
    assert (sight.seen["uid"], sight.seen["gid"]) == ("1234", "2345")
    assert int(sight.seen_by_other["uid"]) in range(2000, 2006)
    assert "4321" in sight.seen_by_group["groups"].split()


@shows("ENABLE_HOME_WORKAROUND")
def _home(sight: Sight) -> None:
    assert sight.seen["home"] == "/tmp"


@shows("SHM_SIZE")
def _shm(sight: Sight) -> None:
    assert sight.seen["shm_mount"] == "tmpfs"
    if sight.engine.namespace and sight.engine.namespace.cluster.version() < (1, 22):
        # There the limit of an emptyDir in memory is not the mount's; who overruns it is evicted.
        overrun = "dd if=/dev/zero of=/dev/shm/x bs=1M count=48; sleep 300"
        answer = sight.main.run(sight.main.script(overrun, memory_limit=200))
        assert answer["status"] == "finishedWithError"
        assert '"shm" exceeds the limit "32Mi"' in answer["message"]
    else:
        assert int(sight.seen["shm"]) == 32 * 2**10


@shows("JOB_NETWORK")
def _network(sight: Sight) -> None:
    """Of the networks that are no settings' words: test_networks.py."""
    others = sight.seen_by_other
    assert "eth0" in others["interfaces"].split()
    assert others["net"] != str(Path("/proc/self/ns/net").readlink())
    if sight.engine.name == "swarm":
        assert sight.seen["net"] == str(Path("/proc/self/ns/net").readlink())
    else:
        assert sight.seen["interfaces"].split() == ["lo"]


@shows("JOB_PIDS_LIMIT")
def _processes(sight: Sight) -> None:
    assert sight.seen["pids"] == "300"
    assert sight.seen_by_other["pids"] == "max"
    bomb = "i=0; while [ $i -lt 400 ]; do sleep 60 >/dev/null 2>&1 & i=$((i+1)); done 2>&1 | tail -n 1"
    assert "can't fork" in sight.main.run(sight.main.script(bomb))["logs"]
    assert sight.seen_by_group["pids"] == "4096"


@shows("JOB_LABELS")
def _labels(sight: Sight) -> None:
    assert (sight.outside.labels["org.example.test"], sight.outside.labels["c"]) == (sight.value, "d")


@shows("JOB_LOGS_TAIL")
def _tail(sight: Sight) -> None:
    assert [line.split()[:2] for line in sight.answer["logs"].splitlines()] == [
        ["line", str(number)] for number in range(13, 20)
    ]


@shows("JOB_LOGS_BYTES")
def _bytes(sight: Sight) -> None:
    assert sight.answer
    logs = sight.other.status(sight.jid)["logs"]
    assert 1000 < len(logs) <= 2000
    assert logs.splitlines()[-1].startswith("line 19 ")


@shows("IGNORE_LIMITS")
def _no_limits(sight: Sight) -> None:
    seen = sight.seen_by_other
    if sight.engine.name == "local":
        assert len(os.sched_getaffinity(0)) == 1 or not seen["cores"].isdigit()
    else:
        assert seen["cpu"].split()[0] in {"-1", "max"}
        assert seen["memory"] == "max" or int(seen["memory"]) > 2**50


@shows("REMOVE_JOBS")
def _kept(sight: Sight) -> None:
    assert sight.answer
    assert sight.other.delete(sight.jid).status_code == 204
    assert sight.other.get(sight.jid).status_code == 200


@shows("TIMELIMIT_MINUTES")
def _time_limit(sight: Sight) -> None:
    """On every engine by test_jobs.py::test_a_job_that_does_not_end_in_time_is_ended, which waits for it."""
    assert sight.honours("TIMELIMIT_MINUTES")


@shows("START_GRACE_SECONDS")
def _grace(sight: Sight) -> None:
    request = sight.other.request(image="localhost:1/pman/no-such-image:1")
    sight.main.submitted.append(request["jid"])
    sight.other.submit(request)
    answer = sight.other.finished(request["jid"])
    assert answer["status"] == "finishedWithError"
    assert request["image"] in answer["message"]


@shows("JOB_TTL_SECONDS")
def _kept_for_a_while(sight: Sight) -> None:
    assert sight.seen_by_other
    until(lambda: sight.main.get(sight.other_jid).status_code == 404)
    assert isinstance(sight.outside, OfPod)
    assert sight.outside.job["spec"]["ttlSecondsAfterFinished"] == DECLARED["JOB_TTL_SECONDS"]["default"]
    assert sight.main.get(sight.jid).status_code == 200


@shows("JOB_NAMESPACE")
def _namespace(sight: Sight) -> None:
    assert isinstance(sight.outside, OfPod)
    assert sight.engine.namespace is not None
    assert sight.outside.pod["metadata"]["namespace"] == sight.engine.namespace.name


@shows("NODE_SELECTOR")
def _node(sight: Sight) -> None:
    if sight.engine.name == "slurm":
        assert sight.outside.node == slurm.partition()
        with live(sight.engine, sight.main.storebase, NODE_SELECTOR="constraint=no-node-has-this") as running:
            response = running.post(running.request())
            assert response.status_code == 502
            assert "NODE_SELECTOR" in response.json()["hint"]
        return
    if sight.engine.name == "cromwell":
        _partition(sight)
        return
    assert sight.outside.node == sight.node.name
    with sight.node.without():  # an admin changes the node: what has run stays as it was
        if swarm := cast(Any, sight.engine.native):  # the types of its client know nothing of tasks
            chosen = {"label": f"org.chrisproject.pman.jid={sight.jid}"}
            until(lambda: {task["Status"]["State"] for task in swarm.api.tasks(chosen)} == {"rejected"})
        assert sight.main.status(sight.jid) == sight.answer
    with live(sight.engine, sight.main.storebase, NODE_SELECTOR=f"{LABEL}=no-node-has-this") as running:
        request = running.request()
        running.submit(request)
        answer = until(lambda: _when(running.status(request["jid"]), lambda told: " node" in told["message"]))
        assert answer["status"] == "notstarted"


def _partition(sight: Sight) -> None:
    assert sight.outside.node == engines.PARTITION
    for selector, told in (("partition=no-such", "the partition"), ("constraint=no-such", "the constraint")):
        with live(sight.engine, sight.main.storebase, NODE_SELECTOR=selector) as running:
            answer = running.run(running.request())
            assert answer["status"] == "finishedWithError"
            assert told in answer["message"]
    refused = refused_start({**sight.main.environment(), "NODE_SELECTOR": "disk=ssd"})
    assert "NODE_SELECTOR='disk=ssd': a node selector of SLURM is partition or constraint" in refused


@shows("IMAGE_PULL_SECRETS")
def _secrets(sight: Sight) -> None:
    assert isinstance(sight.outside, OfPod)
    assert sight.outside.pod["spec"]["imagePullSecrets"] == [{"name": "pman-test-registry"}]


@shows("DOCKER_HOST")
def _docker_host(sight: Sight) -> None:
    with relay(sight.engine.address) as between:
        _reaches(sight, DOCKER_HOST=f"tcp://{between.address}")


@shows("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
def _tls(sight: Sight) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there to make certificates with")
    certificates = Certificates(sight.directory)
    with relay(sight.engine.address, certificates.as_dockerd()) as between:
        settings = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates.directory)}
        _reaches(sight, DOCKER_HOST=f"tcp://{between.address}", **settings)


def _reaches(sight: Sight, **settings: str) -> None:
    """By another way, the same engine."""
    assert sight.answer
    changes = {"CONTAINER_HOST": "", **settings}
    with live(sight.engine, sight.main.storebase, **changes) as running:
        assert running.status(sight.jid)["status"] == "finishedSuccessfully"
        assert running.run(running.request())["status"] == "finishedSuccessfully"


@shows("CONTAINER_HOST", "KUBECONFIG", "CROMWELL_URL")
def _address(sight: Sight) -> None:
    assert sight.engine.variable in {"CONTAINER_HOST", "KUBECONFIG", "CROMWELL_URL"}
    assert sight.seen


@shows("LOCAL_STATE")
def _state(sight: Sight) -> None:
    assert sight.outside.labels
    assert kept_by_local(sight.main, sight.jid).is_dir()


@shows("ENGINE_TIMEOUT")
def _timeout(sight: Sight) -> None:
    """On engines with an address by test_api.py::test_a_silent_engine_is_503_within_the_set_time."""
    if sight.engine.name in engines.VARIABLES:
        assert sight.honours("ENGINE_TIMEOUT")
        return
    with live(sight.engine, sight.main.storebase, ENGINE_TIMEOUT="1") as running:
        request = running.script("sleep 300")
        running.submit(request)
        running.started(request["jid"])
        supervisor = int((kept_by_local(running, request["jid"]) / "lock").read_text())
        os.kill(supervisor, signal.SIGSTOP)
        began = time.monotonic()
        assert running.delete(request["jid"]).status_code == 204
        assert 1 <= time.monotonic() - began < 60


@shows("PMAN_TEMPLATES")
def _templates(sight: Sight) -> None:
    assert sight.seen_by_other["site"] == "here"
    assert sight.seen["site"] == ""


@shows("PMAN_POLICY")
def _policy(sight: Sight) -> None:
    response = sight.other.post(sight.other.request(jid=f"forbidden-{sight.value}"))
    assert response.status_code == 400
    assert [error["path"] for error in response.json()["errors"]] == ["$.request.jid"]
    assert "policy" in response.json()["message"]


@shows("APPLICATION_MODE")
def _mode(sight: Sight) -> None:
    assert sight.answer
    assert f"GET /api/v1/{sight.jid}/ 200" in sight.main.server.output()
    assert "GET /api/v1/" not in sight.other.server.output()


@shows("AUTH_TOKEN", "AUTH_READ_TOKEN", "AUTH_V1", "PMAN_PAGE")
def _for_people(sight: Sight) -> None:
    request = sight.other.request()
    sight.main.submitted.append(request["jid"])
    sight.other.submit(request)
    address = sight.other.server.address
    job = f"{address}/api/v2/jobs/{request['jid']}"
    assert requests.get(f"{address}/api/v1/{request['jid']}/", timeout=100).status_code == 200
    assert requests.get(job, timeout=100).status_code == 401
    assert requests.delete(job, timeout=100).status_code == 401
    reading = {"Authorization": f"Bearer {READ_TOKEN}"}
    assert requests.get(job, headers=reading, timeout=100).status_code == 200
    assert requests.delete(job, headers=reading, timeout=100).status_code == 403
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    assert requests.delete(job, headers=allowed, timeout=100).status_code == 204
    assert "text/html" not in requests.get(sight.other.server.root, timeout=100).headers["Content-Type"]
    assert "text/html" in requests.get(sight.main.server.root, timeout=100).headers["Content-Type"]


@shows("ALLOWED_HOSTS", "TRUSTED_PROXIES")
def _hosts(sight: Sight) -> None:
    url = f"{sight.main.server.root}/api/v2/jobs/not-{sight.jid}"
    for host, status in (("pman.example.org", 404), ("evil.example", 403)):
        browser = {"Host": host, "Accept-Language": "en", "X-Forwarded-For": "192.0.2.7"}
        assert requests.get(url, headers=browser, timeout=100).status_code == status
    until(lambda: '"address": "192.0.2.7"' in sight.main.server.output())  # written once it is answered


@shows("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA")
def _https(sight: Sight) -> None:
    """That a file is read, on every engine; what it does then is in tests/web/test_server.py."""
    missing = str(sight.directory / "missing.pem")
    environment = {**unreached(sight.engine.name, sight.directory), "TLS_CERT": missing, "TLS_KEY": missing}
    assert f"TLS_CERT='{missing}'" in refused_start(environment)
    assert "TLS_CLIENT_CA" in refused_start({**environment, "TLS_CLIENT_CA": "missing.pem"})


@shows("HTTP_HEADER_BYTES", "HTTP_BODY_BYTES", "HTTP_UNFINISHED_BYTES", "HTTP_CONNECTIONS",
       "HTTP_CONNECTIONS_PER_ADDRESS", "HTTP_HEADER_SECONDS", "HTTP_STALL_SECONDS", "HTTP_REQUEST_SECONDS",
       "HTTP_IDLE_SECONDS")  # fmt: skip
def _bounds(sight: Sight) -> None:
    """They hold before any engine is asked: two of them here, and each one by itself in test_limits.py."""
    address = sight.other.server.root
    assert (
        requests.get(f"{address}/healthz", headers={"X-Long": "x" * 20_000}, timeout=100).status_code == 431
    )
    assert requests.post(f"{address}/api/v1/", json="x" * 200_000, timeout=100).status_code == 413


@shows("PORT")
def _port(sight: Sight) -> None:
    """Servers of the tests have PORT=0 in their environment."""
    assert not sight.main.server.root.endswith(":5010")
    assert sight.main.server.root != sight.other.server.root


@shows("SECRET_KEY")
def _secret(sight: Sight) -> None:
    assert sight.answer
    assert f"hidden-{sight.value}" not in sight.main.server.output()


@shows("SLURM_MODE", "SLURM_CONF")
def _programs(sight: Sight) -> None:
    """By SLURM's programs, what slurmrestd has taken."""
    if "SLURM_CONF" not in os.environ or not shutil.which("squeue"):
        pytest.skip("SLURM's programs are not there, or not configured")
    settings = {"SLURM_MODE": "cli", "SLURM_CONF": os.environ["SLURM_CONF"], "SLURMRESTD_URL": ""}
    _reaches(sight, **settings)


@shows("SLURMRESTD_URL", "SLURM_JWT", "SLURM_JWT_FILE", "SLURM_USER")
def _rest(sight: Sight) -> None:
    """At another address, with the token in a file, and the user that it is for named."""
    file = sight.directory / "token"
    file.write_text(sight.engine.environment["SLURM_JWT"])
    token = {"SLURM_JWT_FILE": str(file), "SLURM_JWT": ""}
    user = slurm.headers()["X-SLURM-USER-NAME"]
    with relay(sight.engine.address) as between:
        _reaches(sight, SLURMRESTD_URL=f"http://{between.address}", SLURM_USER=user, **token)


@shows("SLURM_DIRECTORY")
def _jobs_directory(sight: Sight) -> None:
    """The nodes see it where it is, pman by a link."""
    own, link = sight.main.storebase.parent / f"jobs-{sight.value}", sight.directory / "link"
    own.mkdir()
    link.symlink_to(own)
    hidden = {"SLURM_DIRECTORY": str(own), "PATH_MAP": f"{own}={link}"}
    with live(sight.engine, sight.main.storebase, **hidden) as running:
        request = running.script("echo said")
        assert running.run(request)["logs"] == "said\n"
        assert (own / "jobs" / request["jid"] / "log").read_text() == "said\n"


@shows("SLURM_RUNTIME")
def _runtime(sight: Sight) -> None:
    assert sight.engine.environment["SLURM_RUNTIME"] == "podman"
    assert sight.seen
    for setting in ("CONTAINER_USER=1:1", "SHM_SIZE=64"):
        name, _, text = setting.partition("=")
        told = refused_start({**sight.engine.environment, "CONTAINER_ENV": "slurm", "STOREBASE": "/",
                              "SLURM_RUNTIME": "apptainer", name: text})  # fmt: skip
        assert f"{name}={text!r}: only SLURM_RUNTIME=podman or docker" in told


@shows("SLURM_ACCOUNT", "SLURM_QOS")
def _account(sight: Sight) -> None:
    """Without slurmdbd, SLURM takes any account, and shows no quality of service."""
    with live(sight.engine, sight.main.storebase, SLURM_ACCOUNT="chris", SLURM_QOS="normal") as running:
        request = running.request()
        running.submit(request)
        assert slurm.job(request["jid"])["account"] == "chris"
        assert running.document(request)["job"]["qos"] == "normal"


@shows("CROMWELL_LAG_SECONDS")
def _lag(sight: Sight) -> None:
    """For so long an unknown name may be a job that Cromwell does not tell of yet."""
    with live(sight.engine, sight.main.storebase, CROMWELL_LAG_SECONDS="3") as running:
        began = time.monotonic()
        assert running.get(f"not-{sight.jid}").status_code == 404
        assert 3 <= time.monotonic() - began < 100


@shows("PATH_MAP")
def _path_map(sight: Sight) -> None:
    """Where pman does not see the directory of a log, it says so, and where it is."""
    if sight.engine.name == "slurm":
        sight.once(_jobs_directory)
        return
    assert sight.answer["logs"]
    with live(sight.engine, sight.main.storebase, PATH_MAP="/=/nowhere") as running:
        logs = running.status(sight.jid)["logs"]
        assert logs.startswith("pman does not see the log of this job: on the cluster it is in /")


# --- the matrix --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=engines.NAMES)
def sight(
    request: pytest.FixtureRequest,
    storebase: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sight]:
    with ExitStack() as stack:
        engine = engines.need(request.param)
        yield Sight(engine, storebase, tmp_path_factory.mktemp("sight"), stack)


@pytest.mark.parametrize("option", [*PROPERTIES, *DECLARED])
def test_an_option_works_as_the_job_sees_it_or_is_refused_by_name(sight: Sight, option: str) -> None:
    if sight.honours(option):
        sight.once(SHOWN[option])
    elif option in REFUSED_FIELDS:
        response = sight.main.post(sight.main.request(**{option: REFUSED_FIELDS[option]}))
        assert response.status_code == 400
        assert [error["path"] for error in response.json()["errors"]] == [f"$.{option}"]
    elif option in NOWHERE:
        assert sight.main.environment()[option] == NOWHERE[option]
        assert sight.seen
    else:
        assert option in REFUSED_SETTINGS  # with which pman does not start: see the next test


@pytest.mark.parametrize("engine", executors.names())
def test_every_setting_that_an_engine_does_not_honour_stops_its_start_by_name(
    engine: str, storebase: Path
) -> None:
    """At once: first all that the engine's schema narrows, then all that its templates do not read."""
    refused = {
        option: text for option, text in REFUSED_SETTINGS.items() if not matrix()[option].honoured[engine]
    }

    told = refused_start({**unreached(engine, storebase), **refused})
    left = {option: text for option, text in refused.items() if f"{option}={text!r}" not in told}
    if left:
        told = refused_start({**unreached(engine, storebase), **left})

    assert [option for option, text in left.items() if f"{option}={text!r}" not in told] == []


def test_every_cell_has_its_demonstration_or_its_refusal() -> None:
    refused = {*REFUSED_FIELDS, *REFUSED_SETTINGS, *NOWHERE}
    for option in [*PROPERTIES, *DECLARED]:
        for engine in executors.names():
            known = SHOWN if matrix()[option].honoured[engine] else refused
            assert option in known, f"{option} on {engine}: show here that it works, or how it is refused"


def test_every_engine_is_looked_at() -> None:
    assert set(engines.NAMES) >= set(executors.names())
    assert set(engines.NAMES) - set(engines.VARIABLES) == {"local"}  # which is always there
    assert set(OUTSIDE) == set(SITE) == set(engines.NAMES)
