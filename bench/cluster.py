"""pman before a Kubernetes cluster that is full of finished Jobs: polls, and what the API server is asked.

To run a thousand Jobs takes a cluster of one node a quarter of an hour. So a few are run, through
pman, and the others are made as these are and marked as finished: a Job that wants no pods of its
controller, a pod that no scheduler takes, the status of both set to what those of a finished job
are. For the API server, its watches and pman they are Jobs that succeeded; only, they have no logs.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench import load
from bench.counting import Access, Counted, access, counting
from bench.jobs import FEW_LINES, LABEL, request, side_by_side
from bench.measure import SETTLED, Extent, poll_of, removed_at_the_end
from bench.results import Clustered, Results
from bench.server import Server, environment, serving
from bench.statistics import paired
from bench.wire import Connection, WrongAnswer

RUN = 10
"""Jobs that really run."""

CLIENTS = (1, 8, 32, 128)
PATIENCE = 300
"""Seconds for the jobs that run."""


def measure(
    kubeconfig: str, image: str, extent: Extent, results: Results, tell: Callable[[str], None]
) -> None:
    """In the namespace of the kubeconfig's context. Removes what it made. Raises OSError, WrongAnswer."""
    to = access(kubeconfig)
    cluster = Cluster(to, image)
    results.conditions["cluster"] = cluster.version()
    with (
        tempfile.TemporaryDirectory(prefix="pman-bench-") as directory,
        counting(to) as counted,
        removed_at_the_end(cluster.remove_all, tell),
    ):
        place = Path(directory)
        place.chmod(0o755)
        for name in ("incoming", "outgoing"):
            (place / "storebase" / name).mkdir(parents=True)
        engine = {
            "CONTAINER_ENV": "kubernetes",
            "KUBECONFIG": str(counted.kubeconfig(place, to.namespace)),
            "JOB_NAMESPACE": to.namespace,
        }
        with serving(environment(engine, place, {LABEL: cluster.token}), place) as server:
            count = max(extent.finished)
            tell(f"{RUN} jobs on the cluster, and {count - RUN:,} that are marked as finished")
            began = time.monotonic()
            names = cluster.run(server.address) + cluster.mark(server.address, count - RUN)
            results.conditions["seconds to make the cluster's jobs"] = f"{time.monotonic() - began:.0f}"
            Measurement(cluster, server, counted, extent, results).all(names, tell)
            results.memory[f"before a cluster with {count:,} jobs"] = server.memory()


@dataclass(frozen=True, slots=True)
class Measurement:
    cluster: Cluster
    server: Server
    counted: Counted
    extent: Extent
    results: Results

    def all(self, names: Sequence[str], tell: Callable[[str], None]) -> None:
        tell(f"polls of {len(names):,} finished jobs of the cluster")
        kind = f"{len(names):,} finished"
        few = max(10, self.extent.polls // 5)  # the API server looks at all pods for those of one job
        self.poll(f"{kind}, first poll of each", names, few)
        with Connection(self.server.address) as pman:
            for jid in names[few:]:
                pman.expect(200, "GET", poll_of(jid)[0])
        self.poll(kind, names, few)
        for clients in CLIENTS:
            self.load(kind, clients, names)

    def poll(self, kind: str, names: Sequence[str], count: int) -> None:
        """Latency for one client; floor: the Job and its pods, one after the other."""
        with Connection(self.server.address) as pman, self.cluster.access.connection() as server:

            def asked(connection: Connection, paths: Sequence[str]) -> float:
                began = time.perf_counter()
                answers = [connection.request("GET", path) for path in paths]
                took = time.perf_counter() - began
                if wrong := [answer for answer in answers if answer[0] != 200]:
                    raise WrongAnswer(f"{paths}: {wrong}")
                return took

            def through_pman(index: int) -> float:
                return asked(pman, poll_of(names[index % len(names)]))

            def directly(index: int) -> float:
                return asked(server, self.cluster.floor_of(names[index % len(names)]))

            self.results.cluster_polls[kind] = paired(count, through_pman, directly)

    def load(self, kind: str, clients: int, names: Sequence[str]) -> None:
        asked, own = self.counted.asked.copy(), self.server.cpu()
        paths = [poll_of(jid) for jid in names]
        cell = load.run(load.Load(self.server.address, paths, clients, self.extent.seconds))
        polls = max(1, cell.all_polls) / 1e3
        spent = (self.server.cpu() - own) / polls
        asked = self.counted.asked - asked
        found = Clustered(kind, clients, cell, spent, asked["other"] / polls, asked["logs"] / polls)
        self.results.cluster_loads.append(found)


class Cluster:
    """The jobs of one run, found by their label."""

    def __init__(self, to: Access, image: str) -> None:
        self.access = to
        self.token = f"bench-{uuid.uuid4().hex[:8]}"
        self._image = image
        self._jobs = f"/apis/batch/v1/namespaces/{to.namespace}/jobs"
        self._pods = f"/api/v1/namespaces/{to.namespace}/pods"

    def version(self) -> str:
        with self.access.connection() as server:
            return f"Kubernetes {server.expect(200, 'GET', '/version')['gitVersion']}"

    def run(self, pman: str) -> list[str]:
        """Through pman, to their ends. Raises WrongAnswer for a job that fails."""
        names = [f"{self.token}-run-{index}" for index in range(RUN)]

        def submit(connection: Connection, jid: str) -> None:
            connection.expect(201, "POST", "/api/v1/", self._request(jid))

        side_by_side(lambda: Connection(pman), submit, names)
        with Connection(pman) as connection:
            deadline = time.monotonic() + PATIENCE
            for jid in names:
                answer = connection.expect(200, "GET", f"/api/v1/{jid}/")
                while not answer["status"].startswith("finished") and time.monotonic() < deadline:
                    time.sleep(0.5)
                    answer = connection.expect(200, "GET", f"/api/v1/{jid}/")
                if answer["status"] != "finishedSuccessfully":
                    raise WrongAnswer(f"{jid} did not run: {answer['status']}: {answer['message']}")
        return names

    def mark(self, pman: str, count: int) -> list[str]:
        """As the Job controller and the kubelet leave a job that has succeeded."""
        names = [f"{self.token}-{index}" for index in range(count)]
        with Connection(pman) as connection:
            answer = connection.expect(200, "POST", "/api/v1/?dry_run=true", self._request(names[0]))
        text = json.dumps(answer["documents"][0]["content"])

        jobs: dict[str, Mapping[str, Any]] = {}

        def job(server: Connection, jid: str) -> None:
            document = json.loads(text.replace(names[0], jid))
            document["spec"]["parallelism"] = 0
            jobs[jid] = server.expect(201, "POST", self._jobs, json.dumps(document).encode())
            server.expect(200, "PATCH", f"{self._jobs}/{jid}/status", _ended_job())

        def pod(server: Connection, jid: str) -> None:
            server.expect(201, "POST", self._pods, json.dumps(_pod_of(jobs[jid])).encode())
            server.expect(200, "PATCH", f"{self._pods}/{jid}-pod/status", b'{"status":{"phase":"Succeeded"}}')

        side_by_side(self.access.connection, job, names)
        time.sleep(SETTLED)  # of a Job whose end the controller has not seen yet, it would delete the pod
        side_by_side(self.access.connection, pod, names)
        return names

    def floor_of(self, jid: str) -> list[str]:
        """What has to be asked for the answer to a poll, but for the log."""
        return [f"{self._jobs}/{jid}", f"{self._pods}?labelSelector={quote(f'job-name={jid}')}"]

    def remove_all(self) -> None:
        selector = quote(f"{LABEL}={self.token}")
        with self.access.connection() as server:
            for kind, query in ((self._jobs, "propagationPolicy=Background"), (self._pods, "")):
                server.expect(200, "DELETE", f"{kind}?labelSelector={selector}&{query}")

    def _request(self, jid: str) -> bytes:
        """With little, so that all that run find room."""
        return request(jid, FEW_LINES, self._image, cpu_limit=50, memory_limit=16)


def _pod_of(job: Mapping[str, Any]) -> Mapping[str, Any]:
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    template = job["spec"]["template"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = {**template["metadata"], "name": f"{name}-pod", "ownerReferences": [owner]}
    spec = {**template["spec"], "schedulerName": "nobody"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _ended_job() -> bytes:
    now = _now()
    condition = {"type": "Complete", "status": "True", "lastProbeTime": now, "lastTransitionTime": now}
    status = {"succeeded": 1, "startTime": now, "completionTime": now, "conditions": [condition]}
    return json.dumps({"status": status}).encode()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
