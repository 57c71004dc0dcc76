"""The store and the informer of Kubernetes, and how objects and configuration are read; no cluster."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, UnknownJob
from pman.executors.kubernetes import access, api, connect, informer, objects, store
from pman.executors.kubernetes.access import Access, Connections
from pman.executors.kubernetes.api import JOBS, Api
from pman.executors.kubernetes.bundle import Bundle
from pman.executors.kubernetes.executor import check_name
from pman.executors.kubernetes.informer import EventHandler, Informer
from pman.executors.kubernetes.manifests import Manifest, dropped, has
from pman.executors.kubernetes.metadata import uid as uid_of
from pman.executors.kubernetes.objects import Objects
from pman.executors.kubernetes.permissions import left_open
from pman.executors.kubernetes.status import has_ended, has_started, main_container, pod_has_ended
from pman.executors.kubernetes.store import Store
from pman.job import JID_LABEL
from tests.live import DEADLINE

Object = dict[str, Any]


def job(jid: str = "a", uid: str = "1", version: str = "1", status: Object | None = None) -> Object:
    labels = {JID_LABEL: jid}
    return {
        "metadata": {
            "name": jid,
            "uid": uid,
            "resourceVersion": version,
            "labels": labels,
            "managedFields": [],
        },
        "spec": {"template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "plugin"}]}}},
        "status": status or {},
    }


def pod(name: str = "p", of: str = "1", version: str = "1", state: Object | None = None) -> Object:
    reference = {"kind": "Job", "name": "a", "uid": of, "controller": True}
    status = {"containerStatuses": [{"name": "plugin", "state": state}]} if state else {}
    metadata = {
        "name": name,
        "uid": f"{of}-{name}",
        "resourceVersion": version,
        "ownerReferences": [reference],
    }
    return {"metadata": metadata, "spec": {"containers": [{"name": "plugin"}]}, "status": status}


def event(about: str, uid: str = "e", version: str = "1", at: str = "") -> Object:
    metadata = {"name": uid, "uid": uid, "resourceVersion": version, "creationTimestamp": at}
    return {"metadata": metadata, "involvedObject": {"uid": about}, "lastTimestamp": None}


def ended(**counts: int) -> Object:
    return {"conditions": [{"type": "Failed", "status": "True"}], **counts}


TERMINATED = {"terminated": {"exitCode": 0, "containerID": "docker://1"}}


@pytest.fixture
def stored() -> Store:
    return Store()


def native_of(stored: Store, jid: str = "a") -> Mapping[str, Any]:
    native = stored.native(jid)
    assert native is not None
    return native


def test_what_is_told_of_a_job_is_all_of_it_in_order(stored: Store) -> None:
    stored.put_event(event("1-q", "late", at="2026-01-01T00:00:02Z"))  # before what it is about
    stored.put_pod(pod("q"))
    stored.put_pod(pod("p"))
    stored.put_pod(pod("other", of="2"))
    stored.put_job(job())
    stored.put_event(event("1", "early", at="2026-01-01T00:00:01Z"))
    stored.put_event(event("3", "strange"))

    native = native_of(stored)

    assert [each["metadata"]["name"] for each in native["pods"]] == ["p", "q"]
    assert [each["metadata"]["name"] for each in native["events"]] == ["early", "late"]
    assert "managedFields" not in native["job"]["metadata"]


def test_a_revision_differs_with_each_change_and_only_then(stored: Store) -> None:
    stored.put_job(job())
    seen = [stored.revision("a")]
    changes: list[Callable[[], None]] = [
        lambda: stored.put_job(job(version="2")),
        lambda: stored.put_pod(pod()),
        lambda: stored.put_pod(pod(version="2")),
        lambda: stored.put_event(event("1-p")),
        lambda: stored.put_event(event("1-p", version="2")),
        lambda: stored.drop_event("e"),
        lambda: stored.drop_pod(uid_of(pod())),
    ]
    for change in changes:
        change()
        seen.append(stored.revision("a"))
    assert len(set(seen)) == len(seen)
    before = stored.revision("a")
    stored.put_job(job(version="2"))
    stored.retain_jobs({"1"})
    stored.retain_pods(set())
    stored.put_pod(pod(of="2"))
    stored.put_event(event("2"))
    stored.drop_event("e")
    assert stored.revision("a") == before


def test_what_is_listed_anew_is_all_there_is(stored: Store) -> None:
    for found in (job("a", "1"), job("b", "2")):
        stored.put_job(found)
    for found in (pod("p", of="1"), pod("q", of="2")):
        stored.put_pod(found)
    for found in (event("1", "e"), event("2-q", "f")):
        stored.put_event(found)

    stored.put_job(job("b", "2", version="2"))
    stored.put_job(job("c", "3"))
    stored.retain_jobs({"2", "3"})
    stored.put_pod(pod("r", of="2"))
    stored.retain_pods({"2-r"})
    stored.put_event(event("2", "g"))
    stored.retain_events({"g"})

    assert stored.jids() == ["b", "c"]
    native = native_of(stored, "b")
    assert [each["metadata"]["name"] for each in native["pods"]] == ["r"]
    assert [each["metadata"]["name"] for each in native["events"]] == ["g"]
    assert stored.native("a") is None and stored.revision("a") is None


def test_what_was_deleted_does_not_come_back(stored: Store) -> None:
    stored.add_created_job(job())
    stored.delete_job(uid_of(job()))
    stored.put_job(job(version="2"))  # what the watch had on its way
    assert stored.native("a") is None
    assert stored.is_deleted(job(), since=0)
    assert not stored.is_deleted(job(), since=time.monotonic())

    stored.put_job(job(uid="2"))
    stored.delete_job(uid_of(job(version="3")))
    assert native_of(stored)["job"]["metadata"]["uid"] == "2"


def test_a_later_job_of_the_name_takes_the_place_of_the_earlier(stored: Store) -> None:
    stored.put_job(job(uid="1"))
    stored.put_pod(pod("old", of="1"))
    stored.put_job(job(uid="2"))
    stored.put_pod(pod("new", of="2"))
    stored.put_job(job(uid="1", version="9"))

    assert [each["metadata"]["name"] for each in native_of(stored)["pods"]] == ["new"]


def test_what_pman_made_does_not_go_behind_what_the_watch_told_since(stored: Store) -> None:
    stored.put_job(job(version="5"))
    stored.add_created_job(job(version="4"))
    assert native_of(stored)["job"]["metadata"]["resourceVersion"] == "5"


def test_what_the_watch_tells_late_of_an_earlier_job_does_not_bury_the_one_that_pman_made(
    stored: Store,
) -> None:
    stored.add_created_job(job(uid="2"))
    stored.put_job(job(uid="1"))  # another pman's, which was deleted before
    assert native_of(stored)["job"]["metadata"]["uid"] == "2"
    stored.delete_job("1")
    stored.put_job(job(uid="2", version="2"))

    assert native_of(stored)["job"]["metadata"]["resourceVersion"] == "2"
    assert not stored.is_deleted(job(uid="2"), since=0)


def test_a_job_that_pman_made_and_no_watch_tells_of_is_asked_for(
    stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.add_created_job(job())
    assert stored.native("a")
    monkeypatch.setattr(store, "SYNC_LAG_SECONDS", -1)
    assert stored.native("a") is None
    stored.put_job(job())
    assert stored.native("a")


NAMES = st.sampled_from(["a", "b"])


class LaggingInformer(RuleBasedStateMachine):
    """Jobs that this pman and another one create and delete; their events arrive whenever they like."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.live: dict[str, Object] = {}
        self.count = itertools.count(1)
        self.changes: list[tuple[Callable[[Object], None], Object]] = []
        """Events that have not arrived yet."""
        self.listed: list[Object] | None = None
        self.there: set[str] = set()
        self.own: dict[str, str] = {}
        """The uid, by name, of what pman itself has created last and nobody has deleted."""
        self.deleted: set[str] = set()
        """The uids of what pman itself has deleted."""

    def changed(self, what: Callable[[Object], None], found: Object) -> None:
        found["metadata"]["resourceVersion"] = str(next(self.count))
        self.changes.append((what, copy.deepcopy(found)))

    def create(self, name: str) -> Object:
        self.live[name] = job(name, uid=f"{name}-{next(self.count)}")
        self.changed(self.store.put_job, self.live[name])
        return copy.deepcopy(self.live[name])

    def delete(self, name: str) -> Object:
        found = self.live.pop(name)
        self.own.pop(name, None)
        self.changed(lambda item: self.store.delete_job(uid_of(item)), found)
        return copy.deepcopy(found)

    @rule(name=NAMES)
    def another_creates(self, name: str) -> None:
        if name not in self.live:
            self.create(name)

    @rule(name=NAMES)
    def another_deletes(self, name: str) -> None:
        if name in self.live:
            self.delete(name)

    @rule(name=NAMES)
    def pman_creates(self, name: str) -> None:
        if name not in self.live:
            made = self.create(name)
            self.store.add_created_job(made)
            self.own[name] = made["metadata"]["uid"]

    @rule(name=NAMES)
    def pman_deletes(self, name: str) -> None:
        if name in self.live:
            gone = self.delete(name)
            self.store.delete_job(uid_of(gone))
            self.deleted.add(gone["metadata"]["uid"])

    @rule(name=NAMES)
    def the_cluster_changes(self, name: str) -> None:
        if name in self.live:
            self.changed(self.store.put_job, self.live[name])

    @precondition(lambda self: self.listed is None)
    @rule()
    def the_watch_tells(self) -> None:
        if self.changes:
            what, found = self.changes.pop(0)
            what(found)

    @precondition(lambda self: self.listed is None)
    @rule()
    def a_list_begins(self) -> None:
        self.store.begin_job_list()
        self.listed = copy.deepcopy(list(self.live.values()))
        self.there = {each["metadata"]["uid"] for each in self.listed}
        self.changes.clear()

    @precondition(lambda self: self.listed is not None)
    @rule()
    def the_list_tells(self) -> None:
        assert self.listed is not None
        if self.listed:
            self.store.put_job(self.listed.pop())
        else:
            self.store.retain_jobs(self.there)
            self.listed = None

    @invariant()
    def what_lives_is_not_taken_for_deleted(self) -> None:
        for found in self.live.values():
            assert not self.store.is_deleted(found, since=time.monotonic())

    @invariant()
    def pman_sees_what_it_does_itself(self) -> None:
        for name in ("a", "b"):
            native = self.store.native(name)
            found = native["job"]["metadata"]["uid"] if native else None
            assert found not in self.deleted
            assert name not in self.own or found in (None, self.own[name])

    def teardown(self) -> None:
        while self.listed is not None:
            self.the_list_tells()
        while self.changes:
            self.the_watch_tells()
        for name in ("a", "b"):
            native = self.store.native(name)
            version = native["job"]["metadata"]["resourceVersion"] if native else None
            assert version == (self.live[name]["metadata"]["resourceVersion"] if name in self.live else None)
        assert self.store.jids() == sorted(self.live)


test_the_memory_tells_what_is_however_late_a_watch_tells_it = LaggingInformer.TestCase


def test_what_pman_changed_is_not_known_before_the_watch_tells_it(
    stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.put_job(job(version="5"))
    stored.expect(job(version="5"))
    assert stored.native("a")
    stored.expect(job(version="7"))
    stored.put_job(job(version="6"))
    assert stored.native("a") is None
    stored.put_job(job(version="7"))
    assert stored.native("a")
    monkeypatch.setattr(store, "SYNC_LAG_SECONDS", 0)
    stored.expect(job(version="8"))  # and never told
    assert stored.native("a")


def test_a_job_that_is_being_deleted_is_gone(stored: Store) -> None:
    going = job(version="2")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    stored.put_job(job())
    stored.put_job(going)
    assert stored.native("a") is None and stored.jids() == []


def test_only_a_job_whose_label_is_its_name_counts(stored: Store) -> None:
    strange = job()
    strange["metadata"]["labels"] = {JID_LABEL: "b"}
    stored.put_job(strange)
    assert stored.jids() == []
    loose = pod()
    loose["metadata"]["ownerReferences"] = []
    stored.put_job(job())
    stored.put_pod(loose)
    assert native_of(stored)["pods"] == []


def test_the_end_of_a_job_waits_for_that_of_its_pods(stored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.put_job(job())
    stored.put_pod(pod(state={"running": {}}))
    assert stored.active() == ["a"]
    stored.put_job(job(version="2", status=ended(failed=1)))
    assert stored.active() == []
    assert stored.native("a") is None
    stored.put_pod(pod(version="2", state=TERMINATED))
    assert stored.native("a")
    stored.put_job(job(version="3", status=ended(failed=2)))
    assert stored.native("a") is None
    monkeypatch.setattr(store, "SYNC_LAG_SECONDS", -1)  # it is not coming
    assert stored.native("a")


def test_pods_that_the_watch_does_not_see_are_asked_for(stored: Store) -> None:
    unlabelled = job()
    unlabelled["spec"]["template"]["metadata"] = None
    stored.put_job(unlabelled)
    assert stored.native("a") is None


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "UNKNOWN_OBJECTS_LIMIT", 5)
    monkeypatch.setattr(store, "DELETED_LIMIT", 5)
    stored = Store()
    stored.put_job(job())
    for i in range(50):
        stored.put_event(event("1", f"own-{i}"))
        stored.put_event(event(f"strange-{i}", f"of-{i}"))
        stored.delete_job(f"b-{i}")
    assert len(native_of(stored)["events"]) == store.EVENTS_PER_OBJECT
    assert len(stored._events.by_parent) <= 5 + 1 + 1
    assert len(stored._events.parents) <= store.EVENTS_PER_OBJECT + 6
    assert len(stored._deleted) == 5


def test_nothing_stays_of_what_has_gone(stored: Store) -> None:
    stored.put_job(job())
    stored.put_pod(pod())
    stored.put_event(event("1"))
    stored.put_event(event("1-p", "f"))
    stored.drop_pod(uid_of(pod()))
    stored.delete_job(uid_of(job()))
    for table in (
        "_jobs",
        "_names_by_uid",
        "_expected",
    ):
        assert not getattr(stored, table), table
    for children in (stored._pods, stored._events):
        assert not children.by_parent
        assert not children.parents


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], False),
        ([{"type": "Complete", "status": "True"}], True),
        ([{"type": "Failed", "status": "True"}], True),
        ([{"type": "Failed", "status": "False"}], False),
        ([{"type": "FailureTarget", "status": "True"}], False),
        ([{"type": "Suspended", "status": "True"}], False),
    ],
)
def test_the_conditions_tell_whether_a_job_has_ended(conditions: list[Object], expected: bool) -> None:
    assert has_ended({"status": {"conditions": conditions}}) is expected
    assert not has_ended({})


def test_a_pod_is_over_when_none_of_its_containers_can_run() -> None:
    two = pod(state=TERMINATED)
    two["spec"]["containers"].append({"name": "sidecar"})
    assert not pod_has_ended(two)
    two["status"]["containerStatuses"].append({"name": "sidecar", "state": {"running": {}}})
    assert not pod_has_ended(two)
    two["status"]["containerStatuses"][1]["state"] = TERMINATED
    assert pod_has_ended(two)
    assert pod_has_ended({"status": {"phase": "Failed"}})  # evicted before it began
    assert not pod_has_ended(pod(state={"waiting": {}}))
    assert not pod_has_ended(pod())


def test_a_deleted_pod_that_had_not_told_of_its_start_is_not_over_by_the_word_terminated() -> None:
    assert not pod_has_ended(
        pod(state={"terminated": {"exitCode": 0, "startedAt": None, "finishedAt": None}})
    )


def test_the_main_container_is_the_first_or_the_one_that_is_named() -> None:
    two = pod(state={"waiting": {}})
    two["spec"]["containers"].insert(0, {"name": "sidecar"})
    two["status"]["containerStatuses"].append({"name": "sidecar", "state": {"running": {}}})
    assert main_container(two) == "sidecar"
    assert has_started(two)
    two["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "plugin"}
    assert main_container(two) == "plugin"
    assert not has_started(two)
    assert not has_started(pod())


def test_the_defaults_of_the_api_server_make_no_other_object() -> None:
    wanted = {"a": 1, "b": [{"c": "d"}], "e": {}}
    assert has({"a": 1, "b": [{"c": "d", "x": 1}], "e": {"y": 2}, "z": 3}, wanted)
    assert not has({"a": 2, "b": [{"c": "d"}], "e": {}}, wanted)
    assert not has({"a": 1, "b": [], "e": {}}, wanted)
    assert not has({"a": 1}, wanted)


def test_fields_that_the_api_server_drops_are_named_and_their_values_are_not() -> None:
    sent = {"a": 1, "b": [{"c": "secret", "d": 1}, {"c": "x"}], "e": {}, "f": {"g": "secret"}, "h": "1024Mi"}
    found = {"a": 1, "b": [{"d": 1}, {"c": "x", "y": 1}], "f": {}, "h": "1Gi", "z": 2}
    assert list(dropped(sent, found)) == ["b[0].c", "f.g"]
    assert not list(dropped(sent, sent))


def test_names_stay_inside_of_their_path() -> None:
    there = Api(Access(None, 5), "default")
    assert there.path("/api/v1 pods", "a.b-c") == "/api/v1/namespaces/default/pods/a.b-c"
    assert Api(Access(None, 5), "a/b").path("/api/v1 pods") == "/api/v1/namespaces/a%2Fb/pods"
    for right in ("a", "a.b-1", "a" * 63):
        check_name(right)
    for wrong in ("", ".", "..", "a/b", "a%2fb", "A", "-a", "a\n", "a" * 64):
        with pytest.raises(UnknownJob):
            check_name(wrong)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "a: [",
        "kind: Config",
        "current-context: a\ncontexts: []",
        "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: 3",
        "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\n"
        "clusters: [{name: b, cluster: {server: 'https://x', certificate-authority: nowhere}}]\nusers: []",
    ],
)
async def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    with pytest.raises(ConfigError, match=f"KUBECONFIG='{file}'"):
        await Access(str(file), 5).load()


async def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(
        "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\n"
        "clusters: [{name: b, cluster: {server: 'https://x', certificate-authority-data: eHl6}}]\n"
        "users: [{name: c, user: {token: t}}]"
    )
    settings = {"KUBECONFIG": str(file), "ENGINE_TIMEOUT": 1, "JOB_NAMESPACE": "default"}
    executor = connect(settings)
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        await executor.ping()
    await executor.close()


async def test_kubeconfigs_that_do_not_exist_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"KUBECONFIG='/nowhere:/no/where'.* does not exist"):
        await Access("/nowhere:/no/where", 5).load()
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=f"KUBECONFIG is not set: {tmp_path}/.kube/config does not exist"):
        await Access(None, 5).load()


KUBECONFIG = """\
current-context: a
contexts: [{name: a, context: {cluster: b, user: c}}]
clusters: [{name: b, cluster: {server: 'https://there:6443'}}]
users: [{name: c, user: {token: secret}}]
"""


async def test_several_kubeconfigs_are_one_as_for_kubectl(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("\n".join(KUBECONFIG.splitlines()[:3]))
    (tmp_path / "two").write_text("current-context: b\n" + KUBECONFIG.splitlines()[3])
    cluster = Access(f"{tmp_path}/nowhere:{tmp_path}/two:{tmp_path}/one", 5)
    configuration = await cluster.load()
    assert configuration.host == "https://there:6443"
    assert await cluster.authorization(configuration) == {"Authorization": "Bearer secret"}


async def test_the_default_is_that_of_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").write_text(KUBECONFIG)
    assert (await Access(None, 5).load()).host == "https://there:6443"


async def test_in_the_cluster_the_service_account_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, constant in (("token", "SERVICE_TOKEN_FILENAME"), ("ca.crt", "SERVICE_CERT_FILENAME")):
        (tmp_path / file).write_text("one\n")
        monkeypatch.setattr(f"kubernetes.aio.config.incluster_config.{constant}", str(tmp_path / file))
    monkeypatch.setattr(access, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")

    cluster = Access(None, 5)
    configuration = await cluster.load()

    assert configuration.host == "https://10.0.0.1:443"
    assert await cluster.authorization(configuration) == {"Authorization": "bearer one"}


async def test_nothing_is_left_of_an_executor_that_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG.replace("https://there:6443", "http://127.0.0.1:9"))
    before = asyncio.all_tasks()
    executor = connect({"KUBECONFIG": str(file), "ENGINE_TIMEOUT": 1, "JOB_NAMESPACE": "default"})
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
        await executor.list()
    await executor.close()
    assert asyncio.all_tasks() == before


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def served(handler: Handler, directory: Path, kubeconfig: str = KUBECONFIG) -> AsyncIterator[Api]:
    """An API whose server answers as the handler does."""
    app = web.Application()
    app.router.add_route("*", "/{address:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    file = directory / "kubeconfig"
    file.write_text(kubeconfig.replace("https://there:6443", f"http://127.0.0.1:{runner.addresses[0][1]}"))
    found = Api(Access(str(file), 5), "default")
    try:
        yield found
    finally:
        await found.close()
        await runner.cleanup()


async def test_connections_of_credentials_that_were_replaced_are_closed_with_their_last_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "CREDENTIALS_RELOAD_SECONDS", -1)
    is_authorised = True
    streaming = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/stream":
            return web.json_response({}, status=200 if is_authorised else 401)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        await streaming.wait()
        await response.write(b"two")
        return response

    async with served(answer, tmp_path) as there:
        async with there.request("GET", "/stream", stream=True) as stream:
            is_authorised = False
            for _ in range(10):
                with pytest.raises(EngineUnreachable, match="does not know pman's credentials"):
                    await there.call("GET", "/version")
            streaming.set()
            assert await stream.read() == b"onetwo"
        sets = [each._http for each in gc.get_objects() if isinstance(each, Connections)]
        assert sum(not each._session.closed for each in sets) <= 2  # those in use
        is_authorised = True
        assert await there.read("/version") == {}


async def test_a_plugin_that_hangs_when_credentials_are_renewed_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CREDENTIALS_CHECK_SECONDS", 0)
    hung = tmp_path / "hung"
    plugin = tmp_path / "plugin"
    version = "client.authentication.k8s.io/v1"
    status = {"token": "secret", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    answer = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})
    plugin.write_text(f"#!/bin/sh\ntest ! -e {hung} || exec sleep 60\necho '{answer}'\n")
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": version, "command": str(plugin)}}
    kubeconfig = KUBECONFIG.replace("{token: secret}", json.dumps(user))

    async def answer_empty(_: web.Request) -> web.Response:
        return web.json_response({})

    async with served(answer_empty, tmp_path, kubeconfig) as there:
        assert await there.read("/version") == {}
        there._access.timeout = 1
        hung.touch()
        with pytest.raises(EngineUnreachable, match="no credentials for Kubernetes within 1 s") as raised:
            await asyncio.wait_for(there.read("/version"), DEADLINE)
        assert "KUBECONFIG" in raised.value.hint
        hung.unlink()
        assert await there.read("/version") == {}


async def test_a_strangers_object_that_is_being_deleted_is_no_earlier_jobs_and_is_not_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "NAME_RETRY_SECONDS", 0)
    metadata = {"name": "a-map", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    posts: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            posts.append(request.path)
            return web.json_response({"message": 'configmaps "a-map" already exists'}, status=409)
        if request.path.endswith("/configmaps/a-map"):
            return web.json_response({"kind": "ConfigMap", "metadata": metadata})
        return web.json_response({"message": "not found"}, status=404)

    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a-map"}}
    manifests = [Manifest("a", body, "/api/v1 configmaps"), Manifest("a", {"kind": "Job", **job()}, JOBS)]
    async with served(answer, tmp_path) as there:
        with pytest.raises(EngineRefused, match="already exists"):
            await Bundle(Objects(there), manifests).apply()

    assert len(posts) == 1


async def test_a_creation_that_something_between_answers_with_no_json_finds_its_own_job(
    tmp_path: Path,
) -> None:
    posts: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(job())
        posts.append(request.path)
        if len(posts) == 1:
            return web.Response(text='{"kind": "Jo')
        return web.json_response({"message": 'jobs "a" already exists'}, status=409)

    async with served(answer, tmp_path) as there:
        created = await Bundle(Objects(there), [Manifest("a", {"kind": "Job", **job()}, JOBS)]).apply()

    assert created == job()
    assert len(posts) == 2


async def test_watches_that_something_between_cuts_go_on_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informer, "STEADY_WATCH_SECONDS", 0)
    monkeypatch.setattr(informer, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(informer, "RETRY_LIMIT_SECONDS", 1e6)  # where pauses grew, twenty would take hours
    stored = Store()
    stored.put_job(job(version="0"))
    lists: list[str] = []
    versions: list[str] = []
    twenty = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            lists.append(request.path)
            return web.json_response({"metadata": {"resourceVersion": "0"}, "items": [job(version="0")]})
        versions.append(request.query["resourceVersion"])
        version = str(len(versions))
        if len(versions) == 20:
            twenty.set()
        response = web.StreamResponse()
        await response.prepare(request)
        change = {"type": "MODIFIED", "object": job(version=version)}
        await response.write(json.dumps(change).encode() + b"\n")
        await until(lambda: native_of(stored)["job"]["metadata"]["resourceVersion"] == version)
        if request.transport:
            request.transport.abort()
        return response

    handler = EventHandler(put=stored.put_job, drop=stored.delete_job, retain=stored.retain_jobs)
    async with served(answer, tmp_path) as there, watching(Informer(there, "/jobs", {}, handler)) as found:
        await asyncio.wait_for(twenty.wait(), 60)
        assert found.is_synced

    assert lists == ["/jobs"]
    assert versions[:20] == [str(version) for version in range(20)]


async def until(probe: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not probe():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watching(found: Informer) -> AsyncIterator[Informer]:
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_bug_does_not_end_a_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(informer, "RETRY_SECONDS", 0.01)
    lists: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            lists.append(request.path)
            return web.json_response({"metadata": {"resourceVersion": "0"}, "items": [job()]})
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(60)
        return response

    stored = Store()

    def put(found: Mapping[str, Any]) -> None:
        if len(lists) < 3:
            raise LookupError("what no API server says")
        stored.put_job(found)

    handler = EventHandler(put=put, drop=stored.delete_job, retain=stored.retain_jobs)
    async with served(answer, tmp_path) as there, watching(Informer(there, "/jobs", {}, handler)) as found:
        await until(lambda: found.is_synced)
        assert native_of(stored)

    assert len(lists) == 3
    traces = [record for record in caplog.records if record.exc_info]
    assert ["by a bug" in record.getMessage() for record in traces] == [True, True]


# --- what a release leaves open ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "mended"),
    [
        ("v1.20.2", "1.20.11"),
        ("v1.20.10-eks-84b4fe6", "1.20.11"),
        ("v1.21.4+k3s1", "1.21.5"),
        ("v1.22.1", "1.22.2"),
        ("v1.20.11", None),
        ("v1.22.2", None),
        ("v1.23.0", None),
        ("v1.36.1-gke.100", None),
        ("dev", None),
    ],
)
def test_a_release_whose_sub_paths_can_be_raced_is_named_with_the_one_that_mends_it(
    version: str, mended: str | None
) -> None:
    said = left_open(version)

    assert [sentence.partition("; ")[2] for sentence in said] == ([f"{mended} mends it"] if mended else [])
