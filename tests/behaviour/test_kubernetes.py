"""The executor against a real cluster, with the permissions that pman ships: documents, memory, faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.executors import Startable
from pman.executors.kubernetes import access, api, connect, informer, logs, objects
from pman.executors.kubernetes.bundle import Bundle
from pman.executors.kubernetes.executor import KubernetesExecutor
from pman.executors.kubernetes.permissions import left_open
from pman.executors.kubernetes.status import has_ended
from pman.job import DIGEST_LABEL, JID_LABEL, Document
from tests import engines
from tests.engines.apiserver import Fault, Proxy
from tests.engines.cluster import Cluster, ClusterError, Namespace, namespace

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds for what takes one; a slow machine must not fail a test."""

MUCH = "yes $(printf %1000d 1) | head -n 20000; sleep 300"
"""20 MB of log, more than is read ahead of a client."""

JOBS = "/apis/batch/v1/namespaces/{}/jobs"
MAPS = "/api/v1/namespaces/{}/configmaps"


class Site:
    """A namespace for these tests, in which pman may make ConfigMaps too, as a site's templates would."""

    def __init__(self, own: Namespace, directory: Path) -> None:
        self.own = own
        self.name = own.name
        self.cluster = own.cluster
        self.directory = directory
        user = yaml.safe_load(Path(own.environment["KUBECONFIG"]).read_text())["users"][0]["user"]
        self.token = str(user["token"])

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "ENGINE_TIMEOUT": 20,
            "STORAGE_TYPE": "host",
            "STOREBASE": "/storebase",
            "VOLUME_NAME": None,
            **self.own.environment,
            **changes,
        }

    def kubeconfig(self, address: str, user: Mapping[str, Any] | None = None) -> Path:
        """Of the cluster at another address; `user`: the credentials, else pman's."""
        file = self.directory / uuid.uuid4().hex
        write_kubeconfig(file, address, user or {"token": self.token})
        return file

    def objects(self, path: str) -> list[Any]:
        found: list[Any] = self.cluster.call("GET", path.format(self.name))["items"]
        return found

    def find(self, path: str, name: str) -> Any:
        """None where it is not there."""
        try:
            return self.cluster.call("GET", f"{path.format(self.name)}/{name}")
        except ClusterError as error:
            assert error.status == 404, error
            return None

    def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """As somebody else."""
        return self.cluster.call("POST", path.format(self.name), body)


def write_kubeconfig(file: Path, address: str, user: Mapping[str, Any]) -> None:
    content = {
        "clusters": [{"name": "it", "cluster": {"server": address}}],
        "users": [{"name": "pman", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "pman"}}],
        "current-context": "it",
    }
    file.write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    engines.need("kubernetes")
    own = namespace(Cluster(os.environ["KUBECONFIG"]))
    found = Site(own, tmp_path_factory.mktemp("kubeconfigs"))
    allow(found)
    yield found
    own.close()


def allow(site: Site) -> None:
    """ConfigMaps, for the account of the shipped RoleBinding; whoever has no namespace has this already."""
    with contextlib.suppress(ClusterError):
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{site.name}/"
        rules = [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch", "delete"]}
        ]
        metadata = {"name": "pman-documents"}
        shipped = site.cluster.call("GET", f"{path}rolebindings/pman")
        reference = {"kind": "Role", "name": "pman-documents", "apiGroup": "rbac.authorization.k8s.io"}
        site.cluster.call("POST", f"{path}roles", {"metadata": metadata, "rules": rules})
        binding = {"metadata": metadata, "subjects": shipped["subjects"], "roleRef": reference}
        site.cluster.call("POST", f"{path}rolebindings", binding)


@contextlib.asynccontextmanager
async def executor(site: Site, **changes: Any) -> AsyncIterator[KubernetesExecutor]:
    found = connect(site.settings(**changes))
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture(scope="module")
async def pman(site: Site) -> AsyncIterator[KubernetesExecutor]:
    async with executor(site) as found:
        yield found


@pytest.fixture
async def proxy(site: Site) -> AsyncIterator[Proxy]:
    async with Proxy(site.cluster).running() as found:
        yield found


@pytest.fixture
async def behind(site: Site, proxy: Proxy, quick: None) -> AsyncIterator[KubernetesExecutor]:
    """A pman that sees the cluster through the proxy."""
    async with executor(site, KUBECONFIG=str(site.kubeconfig(proxy.address))) as found:
        yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried soon."""
    monkeypatch.setattr(informer, "RETRY_LIMIT_SECONDS", 0.5)


@pytest.fixture
def jid() -> str:
    return f"pman-test-{uuid.uuid4().hex[:12]}"


def job(jid: str, script: str = "true", workers: int = 1, digest: str = "one", **metadata: Any) -> Document:
    labels = {JID_LABEL: jid}
    container = {
        "name": "plugin",
        "image": engines.IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
    }
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [container]}
    spec = {
        "parallelism": workers,
        "completions": workers,
        "backoffLimit": 0,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    marks = {"labels": labels, "annotations": {DIGEST_LABEL: digest}}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": jid, **marks, **metadata},
        "spec": spec,
    }
    return Document("job.yaml", "", body)


async def repeated(behind: KubernetesExecutor, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
    """Apply them again until what was taken back is gone.

    A kubelet of 1.20 that is to end a container just as it begins looks again after a minute only.
    """
    for _ in range(8):
        try:
            return await behind.apply(jid, documents)
        except EngineRefused as refused:
            assert "is being deleted" in str(refused)
    return await behind.apply(jid, documents)


def config_map(jid: str, name: str = "", value: str = "1", **metadata: Any) -> Document:
    marks = {"name": name or jid, "labels": {JID_LABEL: jid}, **metadata}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": marks, "data": {"key": value}}
    return Document("settings.yaml", "", body)


def refused_map(jid: str) -> Document:
    """What the API server says no to."""
    return config_map(jid, f"{jid}-refused", labels={"not a label": "!"})


async def until(probe: Callable[[], Awaitable[T | None]]) -> T:
    """The first answer of `probe` that counts as true."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := await probe():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"nothing came of {probe} within {DEADLINE} s")


async def ended(pman: KubernetesExecutor, jid: str) -> Mapping[str, Any]:
    async def probe() -> Mapping[str, Any] | None:
        native = await pman.inspect(jid)
        return native if has_ended(native["job"]) else None

    return await until(probe)


async def running(pman: KubernetesExecutor, jid: str) -> Mapping[str, Any]:
    async def probe() -> Mapping[str, Any] | None:
        native = await pman.inspect(jid)
        phases = [pod["status"]["phase"] for pod in native["pods"]]
        return native if phases and set(phases) == {"Running"} else None

    return await until(probe)


def has_ended_for_good(pod: Mapping[str, Any]) -> bool:
    """A kubelet that finds no container any more calls it waiting, and the pod failed."""
    status = pod["status"]
    return status["phase"] == "Failed" or all(
        "terminated" in each["state"] for each in status["containerStatuses"]
    )


async def remembered(pman: KubernetesExecutor, jid: str) -> int:
    """The revision, as soon as the memory answers."""

    async def probe() -> int | None:
        await pman.inspect(jid)
        revision = pman.revision(jid)
        assert revision is None or isinstance(revision, int)
        return revision

    return await until(probe)


async def gone(site: Site, path: str, name: str) -> None:
    async def probe() -> bool:
        return site.find(path, name) is None

    await until(probe)


async def log_of(pman: KubernetesExecutor, jid: str, *, follow: bool = False, tail: int = 1000) -> bytes:
    return b"".join([chunk async for chunk in pman.logs(jid, tail, follow=follow)])


# --- documents ---


async def test_what_comes_with_a_job_belongs_to_it_and_goes_with_it(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    documents = [config_map(jid, f"{jid}-before"), job(jid), config_map(jid, f"{jid}-after")]

    native = await pman.apply(jid, documents)

    uid = native["job"]["metadata"]["uid"]
    assert native["pods"] == [] and native["events"] == []
    for name in (f"{jid}-before", f"{jid}-after"):
        (owner,) = site.find(MAPS, name)["metadata"]["ownerReferences"]
        assert owner["uid"] == uid
        assert not owner.get("controller") and not owner.get("blockOwnerDeletion")
    await pman.remove(jid)
    await gone(site, MAPS, f"{jid}-before")
    await gone(site, MAPS, f"{jid}-after")


@pytest.mark.parametrize("first", [True, False], ids=["before the Job", "after it"])
async def test_a_document_that_is_refused_takes_the_others_back(
    site: Site, pman: KubernetesExecutor, jid: str, first: bool
) -> None:
    documents = [config_map(jid), *([refused_map(jid), job(jid)] if first else [job(jid), refused_map(jid)])]

    with pytest.raises(EngineRefused, match="not a label") as refused:
        await pman.apply(jid, documents)

    assert refused.value.native["call"] == "create ConfigMap"
    assert refused.value.native["status"] == 422
    await gone(site, MAPS, jid)
    await gone(site, JOBS, jid)
    with pytest.raises(UnknownJob):
        await until_raised(pman, jid)


async def until_raised(pman: KubernetesExecutor, jid: str) -> None:
    async def probe() -> None:
        await pman.inspect(jid)

    await until(probe)


async def test_what_a_call_that_was_cut_left_undone_is_done_by_its_repeat(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    await pman.apply(jid, [job(jid, "sleep 60")])

    with pytest.raises(NameTaken):
        await pman.apply(
            jid, [config_map(jid, f"{jid}-a"), job(jid, "sleep 60"), config_map(jid, f"{jid}-b")]
        )

    uid = (await pman.inspect(jid))["job"]["metadata"]["uid"]
    for name in (f"{jid}-a", f"{jid}-b"):
        assert [each["uid"] for each in site.find(MAPS, name)["metadata"]["ownerReferences"]] == [uid]
    await pman.remove(jid)


async def test_a_name_that_another_job_has_is_taken_and_nothing_is_added(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    await pman.apply(jid, [job(jid, digest="one")])

    with pytest.raises(NameTaken):
        await pman.apply(jid, [config_map(jid), job(jid, digest="two")])

    assert site.find(MAPS, jid) is None
    await pman.remove(jid)


async def test_what_another_call_has_taken_over_is_not_taken_back(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    async with executor(site) as other:
        slow = await bundle(other, jid)
        found = await slow._ensure(slow._before[0], None)
        await pman.apply(jid, [config_map(jid), job(jid, digest="two")])

        with pytest.raises(NameTaken):
            await slow._create_job()
        await slow.take_back(is_answered=True)

    assert site.find(MAPS, jid)["metadata"]["uid"] == found["metadata"]["uid"]
    await pman.remove(jid)
    await gone(site, MAPS, jid)


async def bundle(pman: KubernetesExecutor, jid: str) -> Bundle:
    documents = [config_map(jid), job(jid, digest="one")]
    return Bundle(pman._objects, await pman._manifests.read(jid, documents))


async def test_what_somebody_else_changed_is_taken_back_as_well(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    call = await bundle(pman, jid)
    await call._ensure(call._before[0], None)
    site.cluster.call("PATCH", f"{MAPS.format(site.name)}/{jid}", {"metadata": {"labels": {"a": "b"}}})

    await call.take_back(is_answered=True)

    await gone(site, MAPS, jid)


async def test_what_another_call_has_completed_is_not_taken_back(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    failing = await bundle(pman, jid)
    await failing._ensure(failing._before[0], None)
    made = await failing._create_job()
    with pytest.raises(NameTaken):
        await pman.apply(jid, [config_map(jid), job(jid, digest="one")])

    await failing.take_back(is_answered=False)

    assert site.find(JOBS, jid)["metadata"]["uid"] == made["metadata"]["uid"]
    assert "deletionTimestamp" not in site.find(JOBS, jid)["metadata"]
    (owner,) = site.find(MAPS, jid)["metadata"]["ownerReferences"]
    assert owner["uid"] == made["metadata"]["uid"]
    await pman.remove(jid)


async def test_a_job_that_is_taken_back_while_another_call_completes_it_is_made_again(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    failing, completing = await bundle(pman, jid), await bundle(pman, jid)
    await failing._ensure(failing._before[0], None)
    made = await failing._create_job()
    await failing.take_back(is_answered=False)

    await completing._complete(made)  # it found the Job before
    found = await completing.apply()

    assert found["metadata"]["uid"] != made["metadata"]["uid"]
    (owner,) = site.find(MAPS, jid)["metadata"]["ownerReferences"]
    assert owner["uid"] == found["metadata"]["uid"]
    await pman.remove(jid)


@pytest.mark.parametrize("value", ["1", "2"], ids=["the same", "another"])
async def test_what_was_left_before_there_was_a_job_is_taken_over_or_replaced(
    site: Site, pman: KubernetesExecutor, jid: str, value: str
) -> None:
    site.create(MAPS, config_map(jid, value=value).content)  # type: ignore[arg-type]

    native = await pman.apply(jid, [config_map(jid), job(jid)])

    found = site.find(MAPS, jid)
    assert found["data"] == {"key": "1"}
    assert found["metadata"]["ownerReferences"][0]["uid"] == native["job"]["metadata"]["uid"]
    await pman.remove(jid)


async def test_what_an_earlier_job_of_the_name_left_is_replaced(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    for value in ("1", "2", "3"):  # sooner than the cluster takes away what belongs to what was deleted
        documents = [config_map(jid, value=value), job(jid, digest=value), config_map(jid, f"{jid}-b", value)]
        native = await pman.apply(jid, documents)
        for name in (jid, f"{jid}-b"):
            found = site.find(MAPS, name)
            assert found["data"] == {"key": value}
            (owner,) = found["metadata"]["ownerReferences"]
            assert owner["uid"] == native["job"]["metadata"]["uid"]
        await pman.remove(jid)


async def test_what_belongs_to_somebody_else_is_left_alone(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    theirs = config_map(jid, labels={"app": "theirs"})
    site.create(MAPS, theirs.content)  # type: ignore[arg-type]

    with pytest.raises(EngineRefused, match="already exists") as refused:
        await pman.apply(jid, [job(jid), config_map(jid)])

    assert refused.value.native["status"] == 409
    assert site.find(MAPS, jid)["metadata"]["labels"] == {"app": "theirs"}
    await gone(site, JOBS, jid)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (config_map("a", namespace="elsewhere"), "outside of the namespace"),
        (
            Document("a.yaml", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}),
            "outside",
        ),
        (Document("a.yaml", "", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}), "metadata.name"),
        (Document("a.yaml", "", None), "needs apiVersion"),
    ],
)
async def test_what_cannot_belong_to_a_job_is_a_mistake_in_the_templates(
    site: Site, pman: KubernetesExecutor, jid: str, document: Document, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        await pman.apply(jid, [document, job(jid)])
    with pytest.raises(ConfigError, match="none of the documents is a Job"):
        await pman.apply(jid, [config_map(jid)])

    assert site.find(JOBS, jid) is None


async def test_a_kind_that_the_cluster_does_not_know_is_refused(pman: KubernetesExecutor, jid: str) -> None:
    for version in ("v1", "example.org/v1"):
        unknown = Document("a.yaml", "", {"apiVersion": version, "kind": "Wonder", "metadata": {"name": jid}})
        with pytest.raises(EngineRefused) as refused:
            await pman.apply(jid, [unknown, job(jid)])
        assert refused.value.native["call"] == "create Wonder"
        assert refused.value.native["status"] == 404


async def test_two_at_once_make_one_job(site: Site, pman: KubernetesExecutor, jid: str) -> None:
    documents = [config_map(jid, f"{jid}-a"), job(jid, "sleep 60"), config_map(jid, f"{jid}-b")]
    async with executor(site) as other:
        answers = await asyncio.gather(
            pman.apply(jid, documents), other.apply(jid, documents), return_exceptions=True
        )

    assert sorted(type(answer).__name__ for answer in answers) == ["NameTaken", "dict"]
    uid = site.find(JOBS, jid)["metadata"]["uid"]
    for name in (f"{jid}-a", f"{jid}-b"):
        assert [each["uid"] for each in site.find(MAPS, name)["metadata"]["ownerReferences"]] == [uid]
    await pman.remove(jid)


async def test_a_job_that_a_finalizer_holds_is_told_so(
    site: Site, pman: KubernetesExecutor, jid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pman.apply(jid, [job(jid, finalizers=["example.org/held"])])
    await pman.remove(jid)
    monkeypatch.setattr(objects, "NAME_ATTEMPTS", 2)

    with pytest.raises(
        EngineRefused, match=r"is being deleted, which waits for its .*example\.org/held"
    ) as held:
        await pman.apply(jid, [job(jid, digest="two")])

    assert held.value.native["status"] == 409
    site.cluster.call("PATCH", f"{JOBS.format(site.name)}/{jid}", {"metadata": {"finalizers": None}})
    monkeypatch.undo()
    await pman.apply(jid, [job(jid, digest="two")])
    await pman.remove(jid)


async def test_a_conflict_of_which_nothing_is_found_is_tried_again_and_told_in_the_servers_words(
    behind: KubernetesExecutor, proxy: Proxy, jid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.faults.append(Fault("POST", "/(jobs|configmaps)$", status=409, times=2))
    began = time.monotonic()
    await behind.apply(jid, [config_map(jid), job(jid)])
    assert time.monotonic() - began > 2 * objects.NAME_RETRY_SECONDS
    await behind.remove(jid)

    monkeypatch.setattr(objects, "NAME_ATTEMPTS", 2)
    monkeypatch.setattr(objects, "NAME_RETRY_SECONDS", 0)
    for kind in ("jobs", "configmaps"):
        proxy.faults[:] = [Fault("POST", f"/{kind}$", status=409)]
        with pytest.raises(EngineRefused, match="409 the proxy says no"):
            await behind.apply(jid, [config_map(jid, f"{jid}-b"), job(jid, digest="two")])
        assert proxy.faults[0].seen == 2


async def test_a_field_of_a_job_that_the_api_server_ignores_is_told_once(
    pman: KubernetesExecutor, jid: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (f"{jid}-a", f"{jid}-b"):
        document = job(name)
        content: Any = document.content
        content["spec"]["template"]["spec"]["noSuchField"] = "a value"
        await pman.apply(name, [document])
        await pman.remove(name)

    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told.endswith("ignores, of the Job: spec.template.spec.noSuchField")


# --- strangers ---


async def test_what_pman_has_not_made_is_not_seen_and_not_touched(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    theirs = job(jid, "sleep 300").content
    assert isinstance(theirs, dict)
    for name, labels in ((jid, {"app": "theirs"}), (f"{jid}-b", {JID_LABEL: jid})):
        site.create(JOBS, {**theirs, "metadata": {"name": name, "labels": labels}})
    metadata = {"name": f"{jid}-pod", "labels": {JID_LABEL: jid}}
    site.create(
        "/api/v1/namespaces/{}/pods", {"metadata": metadata, "spec": theirs["spec"]["template"]["spec"]}
    )

    for call in (pman.inspect(jid), pman.remove(f"{jid}-b"), pman.end(jid, "late"), pman.end(f"{jid}-b", "")):
        with pytest.raises(UnknownJob):
            await call
    with pytest.raises(UnknownJob):
        await pman.remove(jid)
    assert not {jid, f"{jid}-b"} & {*await pman.list(), *await pman.active()}
    with pytest.raises(NameTaken):
        await pman.apply(jid, [job(jid)])
    assert await log_of(pman, jid) == b""
    for name in (jid, f"{jid}-b"):
        assert "deletionTimestamp" not in site.find(JOBS, name)["metadata"]
        site.cluster.call("DELETE", f"{JOBS.format(site.name)}/{name}", propagationPolicy="Background")
    site.cluster.call("DELETE", f"/api/v1/namespaces/{site.name}/pods/{jid}-pod", gracePeriodSeconds="0")


@pytest.mark.parametrize("name", ["", ".", "..", "../pods", "A", "a/b", "a%2fb", "ä", "a" * 300, "a\n"])
async def test_what_can_be_no_name_is_not_asked_for(pman: KubernetesExecutor, name: str) -> None:
    for call in (pman.inspect(name), pman.remove(name), pman.end(name, "")):
        with pytest.raises(UnknownJob):
            await call
    assert await log_of(pman, name) == b""
    assert pman.revision(name) is None


# --- logs ---


async def test_the_log_of_one_worker_is_as_it_came(pman: KubernetesExecutor, jid: str) -> None:
    await pman.apply(jid, [job(jid, "for i in $(seq 1 100); do echo line $i; done; echo ü; printf end")])
    await ended(pman, jid)

    assert await log_of(pman, jid, tail=3) == "line 100\nü\nend".encode()
    assert (await log_of(pman, jid)).startswith(b"line 1\nline 2\n")
    await pman.remove(jid)
    assert await log_of(pman, jid) == b""


async def test_the_logs_of_several_workers_bear_their_names(pman: KubernetesExecutor, jid: str) -> None:
    await pman.apply(jid, [job(jid, "echo one; printf two", workers=3)])
    native = await ended(pman, jid)

    names = [pod["metadata"]["name"] for pod in native["pods"]]
    assert len(names) == 3
    wanted = "".join(f"[{name}] one\n[{name}] two\n" for name in names)
    assert (await log_of(pman, jid)).decode() == wanted
    last = "".join(f"[{name}] two\n" for name in names)
    assert (await log_of(pman, jid, tail=3)).decode() == last
    await pman.remove(jid)


async def test_a_log_is_followed_from_before_the_start_to_the_end(pman: KubernetesExecutor, jid: str) -> None:
    await pman.apply(jid, [job(jid, "echo one; sleep 1; echo two")])

    assert await log_of(pman, jid, follow=True) == b"one\ntwo\n"
    await pman.remove(jid)


async def test_all_workers_are_followed_at_once_and_line_by_line(pman: KubernetesExecutor, jid: str) -> None:
    script = "for i in 1 2 3; do printf a; sleep 0.2; echo $i; done"
    await pman.apply(jid, [job(jid, script, workers=3)])

    lines = (await log_of(pman, jid, follow=True)).decode().splitlines()

    names = [pod["metadata"]["name"] for pod in (await pman.inspect(jid))["pods"]]
    assert sorted(lines) == sorted(f"[{name}] a{i}" for name in names for i in (1, 2, 3))
    assert len(names) == 3
    await pman.remove(jid)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_client_that_goes_while_a_log_comes_faster_than_it_reads_leaves_nothing_behind(
    site: Site, jid: str, workers: int
) -> None:
    async with executor(site) as pman:
        await pman.apply(jid, [job(jid, MUCH, workers=workers)])
        await running(pman, jid)
        before = asyncio.all_tasks()
        following = pman.logs(jid, 100_000, follow=True)
        assert isinstance(following, AsyncGenerator)
        await anext(following)
        await asyncio.sleep(0.5)  # as much as is read ahead is there by then

        await asyncio.wait_for(following.aclose(), 5)

        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before
        await pman.remove(jid)


async def test_a_job_that_cannot_start_has_an_empty_log(pman: KubernetesExecutor, jid: str) -> None:
    document = job(jid)
    content: Any = document.content
    content["spec"]["template"]["spec"]["containers"][0]["image"] = "localhost/no-such-image:1"
    await pman.apply(jid, [document])

    async def told() -> bool:
        native = await pman.inspect(jid)
        assert await log_of(pman, jid) == b""
        return any("no-such-image" in event["message"] for event in native["events"])

    await until(told)
    assert pman.revision(jid) is not None or await remembered(pman, jid)
    following = asyncio.create_task(log_of(pman, jid, follow=True))
    await pman.end(jid, "it cannot start")
    assert await following == b""
    native = await ended(pman, jid)
    assert native["job"]["metadata"]["annotations"]["org.chrisproject.pman.reason"] == "it cannot start"
    await pman.remove(jid)


@pytest.mark.parametrize("status", [400, 404, 500, 502, 504])
async def test_a_log_that_a_node_does_not_show_for_a_moment_is_awaited(
    behind: KubernetesExecutor, proxy: Proxy, jid: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await behind.apply(jid, [job(jid, "echo important words; exit 3")])
    native = await ended(behind, jid)
    name = native["pods"][0]["metadata"]["name"]
    proxy.faults.append(Fault("GET", "/log", status=status))

    with pytest.raises(EngineUnreachable, match=f"the log of {name} cannot be read now: the proxy says no"):
        await log_of(behind, jid)

    monkeypatch.setattr(logs, "LOG_RECOVERY_SECONDS", 0)  # the node is lost
    assert (
        await log_of(behind, jid) == f"pman: the log of {name} cannot be read: the proxy says no\n".encode()
    )
    proxy.faults.clear()
    assert await log_of(behind, jid) == b"important words\n"
    await behind.remove(jid)


async def test_of_a_job_that_runs_it_is_told_that_its_node_does_not_show_the_log(
    behind: KubernetesExecutor, proxy: Proxy, jid: str
) -> None:
    await behind.apply(jid, [job(jid, "echo words; sleep 60")])
    await running(behind, jid)
    proxy.faults.append(Fault("GET", "/log", status=502))

    assert b"cannot be read: the proxy says no" in await log_of(behind, jid)
    await behind.remove(jid)


# --- end and remove ---


async def test_a_job_that_is_ended_stays_with_the_reason(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    await pman.apply(jid, [job(jid, "sleep 300")])
    await running(pman, jid)
    assert jid in await pman.active()

    await pman.end(jid, "too long")
    await pman.end(jid, "again")

    found = (await ended(pman, jid))["job"]
    await pman.end(jid, "again")
    assert found["metadata"]["annotations"]["org.chrisproject.pman.reason"] == "too long"
    assert site.find(JOBS, jid)["spec"]["activeDeadlineSeconds"] == 1
    await remembered(pman, jid)
    assert jid not in await pman.active()
    assert jid in await pman.list()
    await pman.remove(jid)


async def test_a_job_that_has_ended_is_not_ended_again(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    await pman.apply(jid, [job(jid)])
    await ended(pman, jid)
    before = site.find(JOBS, jid)["metadata"]["resourceVersion"]

    await pman.end(jid, "too long")

    assert site.find(JOBS, jid)["metadata"]["resourceVersion"] == before
    await pman.remove(jid)


async def test_the_processes_of_a_job_have_ended_when_its_removal_returns(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    await pman.apply(jid, [job(jid, "trap '' TERM; while true; do sleep 0.1; done", workers=2)])
    await running(pman, jid)

    await pman.remove(jid)

    assert all(map(has_ended_for_good, site.own.pods(jid)))
    with pytest.raises(UnknownJob):
        await pman.inspect(jid)
    with pytest.raises(UnknownJob):
        await pman.remove(jid)


async def test_a_removal_that_was_cut_is_completed_by_its_repeat(
    site: Site, pman: KubernetesExecutor, jid: str
) -> None:
    await pman.apply(jid, [job(jid, "trap '' TERM; while true; do sleep 0.1; done")])
    await running(pman, jid)
    site.cluster.call("DELETE", f"{JOBS.format(site.name)}/{jid}", propagationPolicy="Background")

    await pman.remove(jid)

    assert all(map(has_ended_for_good, site.own.pods(jid)))
    with pytest.raises(UnknownJob):
        await pman.remove(jid)


async def test_a_name_is_free_at_once_and_a_later_job_has_nothing_of_the_earlier(
    pman: KubernetesExecutor, jid: str
) -> None:
    for text in ("first", "second", "third"):
        native = await pman.apply(jid, [job(jid, f"echo {text}", digest=text)])
        found = await ended(pman, jid)
        assert found["job"]["metadata"]["uid"] == native["job"]["metadata"]["uid"]
        assert len(found["pods"]) == 1
        assert await log_of(pman, jid) == f"{text}\n".encode()
        await pman.remove(jid)


# --- memory ---


async def test_the_end_of_a_job_is_told_with_that_of_its_pods(pman: KubernetesExecutor, jid: str) -> None:
    jids = [f"{jid}-{i}" for i in range(6)]
    await asyncio.gather(*(pman.apply(each, [job(each, "exit 3")]) for each in jids))

    for native in await asyncio.gather(*(ended(pman, each) for each in jids)):
        (pod,) = native["pods"]
        (status,) = pod["status"]["containerStatuses"]
        assert status["state"]["terminated"]["exitCode"] == 3
    await asyncio.gather(*map(pman.remove, jids))


async def test_a_revision_differs_when_the_answer_does(pman: KubernetesExecutor, jid: str) -> None:
    await pman.apply(jid, [job(jid, "sleep 1")])
    seen: dict[int, str] = {}

    async def probe() -> bool:
        native = await pman.inspect(jid)
        revision = pman.revision(jid)
        if isinstance(revision, int):
            assert seen.setdefault(revision, str(native)) == str(native)
        return has_ended(native["job"]) and revision is not None

    await until(probe)
    assert len(seen) > 1  # how many are seen depends on the machine
    await pman.remove(jid)
    assert pman.revision(jid) is None


async def test_polls_cost_the_cluster_nothing(behind: KubernetesExecutor, proxy: Proxy, jid: str) -> None:
    jids = [f"{jid}-{i}" for i in range(3)]
    for each in jids:
        await behind.apply(each, [job(each)])
    for each in jids:
        await ended(behind, each)
        await remembered(behind, each)
    before = len(proxy.seen)

    for _ in range(1000):
        for each in jids:
            assert has_ended((await behind.inspect(each))["job"])
        assert set(jids) <= set(await behind.list())
        assert not set(jids) & set(await behind.active())

    assert len(proxy.seen) - before < 10
    await asyncio.gather(*map(behind.remove, jids))


async def test_two_pmans_see_what_the_other_one_does(site: Site, pman: KubernetesExecutor, jid: str) -> None:
    async with executor(site) as other:
        await other.list()
        await pman.apply(jid, [job(jid, "sleep 60")])
        assert (await other.inspect(jid))["job"]["metadata"]["name"] == jid
        await remembered(other, jid)
        await other.remove(jid)
        with pytest.raises(UnknownJob):
            await pman.inspect(jid, fresh=True)
        await pman.apply(jid, [job(jid, digest="two")])
        assert (await ended(other, jid))["job"]["metadata"]["annotations"][DIGEST_LABEL] == "two"
        await pman.remove(jid)


# --- faults ---


@pytest.mark.parametrize("how", ["told", "refused", "cut"])
async def test_a_watch_that_is_too_old_begins_anew(
    site: Site, behind: KubernetesExecutor, proxy: Proxy, jid: str, how: str
) -> None:
    await behind.apply(jid, [job(jid, "sleep 2")])
    await remembered(behind, jid)
    lists = proxy.count("GET", r"/jobs\?.*limit=")

    if how == "told":
        await proxy.expire_watches()
    elif how == "refused":
        proxy.faults.append(Fault("GET", "watch=1", status=410, times=3))
        proxy.cut_watches()
    else:
        proxy.cut_watches()

    await ended(behind, jid)
    await remembered(behind, jid)
    assert how == "cut" or proxy.count("GET", r"/jobs\?.*limit=") > lists  # a cut one just goes on
    await behind.remove(jid)


async def test_what_happened_while_nobody_watched_is_seen_after(
    site: Site, behind: KubernetesExecutor, proxy: Proxy, jid: str
) -> None:
    jids = {each: f"{jid}-{each}" for each in ("gone", "done", "new")}
    await behind.apply(jids["gone"], [job(jids["gone"], "sleep 300")])
    await behind.apply(jids["done"], [job(jids["done"], "sleep 1")])
    for each in ("gone", "done"):
        await remembered(behind, jids[each])

    await proxy.down()
    async with executor(site) as other:
        await other.remove(jids["gone"])
        await other.apply(jids["new"], [job(jids["new"])])
        await ended(other, jids["done"])
    for each in jids.values():
        with pytest.raises(EngineUnreachable, match="does not answer"):
            await behind.inspect(each)
        assert behind.revision(each) is None
    await proxy.up()

    assert has_ended((await behind.inspect(jids["done"]))["job"])
    await remembered(behind, jids["new"])
    assert jids["gone"] not in await behind.list()
    with pytest.raises(UnknownJob):
        await behind.inspect(jids["gone"])
    for each in ("done", "new"):
        await behind.remove(jids[each])


async def test_a_cluster_that_is_away_at_the_start_is_used_when_it_is_there(
    behind: KubernetesExecutor, proxy: Proxy, jid: str
) -> None:
    await proxy.down()
    calls: list[Callable[[], Awaitable[object]]] = [
        behind.facts,
        behind.ping,
        behind.list,
        behind.active,
        lambda: behind.inspect(jid),
        lambda: behind.apply(jid, [job(jid)]),
        lambda: behind.remove(jid),
        lambda: behind.end(jid, "late"),
        lambda: log_of(behind, jid),
    ]
    for call in calls:
        with pytest.raises(EngineUnreachable) as raised:
            await call()
        assert proxy.address in str(raised.value)
        assert "KUBECONFIG" in raised.value.hint

    await proxy.up()

    assert (await behind.facts())["native"]["missing"] == []
    await behind.apply(jid, [job(jid)])
    await ended(behind, jid)
    await remembered(behind, jid)
    await behind.remove(jid)


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("kind", ["jobs", "configmaps"])
async def test_a_creation_whose_connection_is_cut_is_one(
    site: Site, behind: KubernetesExecutor, proxy: Proxy, jid: str, cut: str, kind: str
) -> None:
    proxy.faults.append(Fault("POST", f"/{kind}$", cut=cut, times=1))

    native = await behind.apply(jid, [config_map(jid, f"{jid}-a"), job(jid), config_map(jid, f"{jid}-b")])

    assert proxy.faults[0].seen == 1
    uid = native["job"]["metadata"]["uid"]
    assert [each["metadata"]["uid"] for each in site.own.objects(jid, "/apis/batch/v1 jobs")] == [uid]
    for name in (f"{jid}-a", f"{jid}-b"):
        (owner,) = site.find(MAPS, name)["metadata"]["ownerReferences"]
        assert owner["uid"] == uid
    await behind.remove(jid)


@pytest.mark.parametrize("how", [{"status": 500}, {"cut": "before"}, {"cut": "after"}], ids=str)
@pytest.mark.parametrize("first", [True, False], ids=["before the Job", "after it"])
async def test_a_job_of_which_a_document_is_not_answered_is_taken_back_and_its_repeat_runs_once(
    site: Site, behind: KubernetesExecutor, proxy: Proxy, jid: str, how: dict[str, Any], first: bool
) -> None:
    maps = [config_map(jid, f"{jid}-a"), config_map(jid, f"{jid}-b")]
    documents = [*maps, job(jid, "sleep 300")] if first else [maps[0], job(jid, "sleep 300"), maps[1]]
    fault = Fault("POST", "/configmaps$", body=f"{jid}-b", times=2 if "cut" in how else 1, **how)
    proxy.faults.append(fault)

    with pytest.raises(EngineUnreachable):
        await behind.apply(jid, documents)

    assert fault.times == 0
    native = await repeated(behind, jid, documents)
    for each in ("a", "b"):
        (owner,) = site.find(MAPS, f"{jid}-{each}")["metadata"]["ownerReferences"]
        assert owner["uid"] == native["job"]["metadata"]["uid"]
    await running(behind, jid)
    assert len(site.own.pods(jid)) == 1
    await behind.remove(jid)


async def test_a_creation_of_which_nothing_is_known_is_completed_by_a_repeat(
    site: Site, behind: KubernetesExecutor, proxy: Proxy, jid: str
) -> None:
    documents = [config_map(jid, f"{jid}-a"), job(jid, "sleep 60"), config_map(jid, f"{jid}-b")]
    proxy.faults.append(Fault("POST", "/jobs$", cut="after", times=1))
    proxy.faults.append(Fault("POST", "/jobs$", cut="before", times=1))

    with pytest.raises(EngineUnreachable):
        await behind.apply(jid, documents)
    with pytest.raises(NameTaken):
        await behind.apply(jid, documents)

    uid = site.find(JOBS, jid)["metadata"]["uid"]
    for name in (f"{jid}-a", f"{jid}-b"):
        (owner,) = site.find(MAPS, name)["metadata"]["ownerReferences"]
        assert owner["uid"] == uid
    await behind.remove(jid)


async def test_a_server_that_is_busy_is_asked_again_when_it_says_so(
    behind: KubernetesExecutor, proxy: Proxy, jid: str
) -> None:
    proxy.faults.append(Fault("POST", "/jobs$", status=429, headers={"Retry-After": "0"}, times=2))
    await behind.apply(jid, [job(jid)])
    proxy.faults.append(Fault("GET", f"/jobs/{jid}$", status=429, headers={"Retry-After": "0"}))
    with pytest.raises(EngineUnreachable, match="the proxy says no"):
        await behind.inspect(jid, fresh=True)
    proxy.faults.clear()
    await behind.remove(jid)


@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_server_that_fails_did_not_answer(
    behind: KubernetesExecutor, proxy: Proxy, jid: str, status: int
) -> None:
    await behind.apply(jid, [job(jid)])
    proxy.faults.append(Fault("GET", f"/jobs/{jid}$", status=status))

    with pytest.raises(EngineUnreachable, match=f"answers {status}"):
        await behind.inspect(jid, fresh=True)
    proxy.faults.clear()
    await behind.remove(jid)


async def test_what_the_role_does_not_allow_is_told(site: Site) -> None:
    async with executor(site, JOB_NAMESPACE="kube-system") as elsewhere:
        missing = (await elsewhere.facts())["native"]["missing"]
        assert {"create jobs.batch", "watch jobs.batch", "delete pods", "get pods/log", "list events"} <= set(
            missing
        )
        for call in (elsewhere.inspect("a"), elsewhere.list(), elsewhere.remove("a"), elsewhere.end("a", "")):
            with pytest.raises(EngineUnreachable, match=r"lacks a permission.*cannot (get|list)") as raised:
                await call
            assert "pman check" in raised.value.hint
        with pytest.raises(EngineRefused, match="cannot create") as refused:
            await elsewhere.apply("a", [job("a")])
        assert refused.value.native["status"] == 403


async def test_permissions_that_are_taken_away_and_given_back(
    behind: KubernetesExecutor, proxy: Proxy, jid: str
) -> None:
    await behind.apply(jid, [job(jid, "sleep 60")])
    await remembered(behind, jid)
    proxy.faults.append(Fault("GET", "/jobs", status=403))
    proxy.cut_watches()

    async def refused() -> bool:
        try:
            await behind.inspect(jid)
        except EngineUnreachable as error:
            return "lacks a permission" in str(error)
        return False

    await until(refused)
    proxy.faults.clear()
    await remembered(behind, jid)
    await behind.remove(jid)


async def test_without_events_a_job_is_told_without_events(
    behind: KubernetesExecutor, proxy: Proxy, jid: str
) -> None:
    proxy.faults.append(Fault("GET", "/events", status=403))
    await behind.apply(jid, [job(jid)])
    native = await ended(behind, jid)
    await remembered(behind, jid)
    assert native["events"] == []
    await behind.remove(jid)


async def test_a_namespace_that_is_not_there_stops_the_start(site: Site) -> None:
    settings = {"KUBECONFIG": site.cluster.kubeconfig, "JOB_NAMESPACE": "pman-no-such-namespace"}
    async with executor(site, **settings) as nowhere:
        with pytest.raises(ConfigError, match="JOB_NAMESPACE='pman-no-such-namespace'"):
            await nowhere.facts()
    async with executor(site, JOB_NAMESPACE="pman-no-such-namespace") as nowhere:
        assert "create jobs.batch" in (await nowhere.facts())["native"]["missing"]


async def test_a_claim_that_is_not_there_stops_the_start(site: Site) -> None:
    async with executor(site, STORAGE_TYPE="kubernetes_pvc", VOLUME_NAME="no-such-claim") as nowhere:
        with pytest.raises(ConfigError, match="VOLUME_NAME='no-such-claim'"):
            await nowhere.facts()


async def test_what_is_asked_at_the_start(site: Site, pman: KubernetesExecutor) -> None:
    facts = await pman.facts()
    version = site.cluster.call("GET", "/version")["gitVersion"]
    native = {"version": version, "missing": []}
    assert facts == {"storebase": "/storebase", "native": native, "warnings": left_open(version)}
    assert await pman.ping() == f"Kubernetes {version} ({site.cluster.server})"
    assert not isinstance(pman, Startable)  # the cluster starts what was created


# --- credentials ---


async def test_credentials_that_are_rewritten_are_read_again(
    site: Site, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site.kubeconfig(proxy.address, {"token": "wrong"})
    async with executor(site, KUBECONFIG=str(file)) as pman:
        with pytest.raises(EngineUnreachable, match="does not know pman's credentials") as raised:
            await pman.list()
        assert "KUBECONFIG" in raised.value.hint
        monkeypatch.setattr(api, "CREDENTIALS_RELOAD_SECONDS", 0)
        write_kubeconfig(file, proxy.address, {"token": site.token})
        await pman.list()


async def test_a_token_by_a_plugin(site: Site, proxy: Proxy, tmp_path: Path) -> None:
    plugin, count = tmp_path / "plugin", tmp_path / "count"
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": site.token}}
    plugin.write_text(f"#!/bin/sh\necho >> {count}\necho '{json.dumps(answer)}'\n")
    plugin.chmod(0o755)
    file = site.kubeconfig(proxy.address, {"exec": {"apiVersion": version, "command": str(plugin)}})
    async with executor(site, KUBECONFIG=str(file)) as pman:
        await pman.list()
        await pman.list()
    assert len(count.read_text().splitlines()) == 1


async def test_a_plugin_that_fails_is_tried_again(
    site: Site, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "plugin"
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": site.token}}
    plugin.write_text("#!/bin/sh\nexit 1\n")
    plugin.chmod(0o755)
    file = site.kubeconfig(proxy.address, {"exec": {"apiVersion": version, "command": str(plugin)}})
    async with executor(site, KUBECONFIG=str(file)) as pman:
        with pytest.raises(EngineUnreachable) as raised:
            await pman.list()
        assert "credentials" in f"{raised.value} {raised.value.hint}"
        monkeypatch.setattr(api, "CREDENTIALS_RELOAD_SECONDS", 0)
        plugin.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
        await pman.list()


async def test_a_token_file_is_read_again(
    site: Site, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CREDENTIALS_CHECK_SECONDS", 0)
    token = tmp_path / "token"
    token.write_text(f"{site.token}\n")
    file = site.kubeconfig(proxy.address, {"tokenFile": str(token)})
    async with executor(site, KUBECONFIG=str(file)) as pman:
        await pman.list()
        token.write_text("wrong")
        with pytest.raises(EngineUnreachable, match="credentials"):
            await pman.ping()
        token.write_text(site.token)
        await pman.ping()
