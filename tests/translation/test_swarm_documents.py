"""What is Docker Swarm's own: its documents, the rules over its tasks, and its executor's calls."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pman import executors
from pman.errors import BadRequest, ConfigError, EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.executors.docker.frames import demultiplexed
from pman.executors.swarm import executor as swarm_executor
from pman.executors.swarm import services
from pman.executors.swarm.logs import LOG_LABEL
from pman.executors.swarm.services import ENDED_LABEL, record
from pman.job import AUID_LABEL, JID_LABEL, Document
from pman.translation.translation import PROBE
from tests import states
from tests.a_job import FACTS, a_body, a_job, a_translation, content, settings_of, shipped_rules

HERE = Path(__file__).parents[1]

SITE = {
    "CONTAINER_USER": "1001:1002",
    "ENABLE_HOME_WORKAROUND": "yes",
    "SHM_SIZE": "64",
    "JOB_LABELS": "org.chrisproject.miniChRIS=plugininstance",
    "NODE_SELECTOR": "disk=ssd,node.role=worker",
    "TIMELIMIT_MINUTES": "90",
}
"""The configuration of the golden documents."""

GOLDEN = ["ds-simpledsapp", "ds-gpu-lungct", "ds-unicode-and-control", "fs-dircopy"]


STARTED, NOT_STARTED = "started", "notstarted"
SUCCESS, FAILURE = "finishedSuccessfully", "finishedWithError"


def of_container(translation: Any, job: Any) -> Any:
    return content(translation, job)["TaskTemplate"]["ContainerSpec"]


# --- documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_request_becomes_the_golden_document(name: str, request: pytest.FixtureRequest) -> None:
    golden = HERE / "golden" / "swarm" / f"{name}.yaml"
    translation = a_translation("swarm", **SITE)

    (document,) = translation.render(
        translation.parse((HERE / "requests" / f"{name}.json").read_bytes()), FACTS
    )

    if request.config.getoption("--update-golden", default=False):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(document.text, "utf-8")
    assert document.text == golden.read_text("utf-8")


def test_no_golden_document_is_left_over() -> None:
    assert sorted(file.stem for file in (HERE / "golden" / "swarm").iterdir()) == sorted(GOLDEN)


def test_everything_that_a_job_can_ask_for_is_honoured() -> None:
    a_translation("swarm").render(PROBE, FACTS)


def test_limits_are_converted_and_nothing_is_reserved_but_gpus() -> None:
    found = content(a_translation("swarm"), a_job(cpu_limit=1500, memory_limit=200))["TaskTemplate"]
    unlimited = content(a_translation("swarm", IGNORE_LIMITS="yes"), a_job())["TaskTemplate"]
    gpus = content(a_translation("swarm"), a_job(gpu_limit=2))["TaskTemplate"]

    assert found["Resources"]["Limits"] == {
        "NanoCPUs": 1_500_000_000,
        "MemoryBytes": 200 * 2**20,
        "Pids": 4096,
    }
    assert unlimited["Resources"]["Limits"] == {"NanoCPUs": 0, "MemoryBytes": 0, "Pids": 4096}
    assert not found["Resources"]["Reservations"]
    assert gpus["Resources"]["Reservations"] == {
        "GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 2}}]
    }


@pytest.mark.parametrize(
    ("user", "user_of_container", "groups"),
    [("1:2", "1:2", None), ("1:", "1", None), ("0:0", "0:0", None), (":2", None, ["2"]), ("", None, None)],
)
def test_the_user_has_his_primary_group_and_a_group_alone_is_added(
    user: str, user_of_container: str | None, groups: list[str] | None
) -> None:
    found = of_container(a_translation("swarm", CONTAINER_USER=user), a_job())

    assert (found.get("User"), found.get("Groups")) == (user_of_container, groups)


def test_nodes_are_selected_by_their_labels_and_by_what_swarms_know_of_them() -> None:
    given = {"NODE_SELECTOR": "disk=ssd,node.hostname=a,engine.labels.b=c,nodes=d"}

    found = content(a_translation("swarm", **given), a_job())["TaskTemplate"]

    assert found["Placement"]["Constraints"] == [
        "node.labels.disk==ssd",
        "node.hostname==a",
        "engine.labels.b==c",
        "node.labels.nodes==d",
    ]
    assert "Placement" not in content(a_translation("swarm"), a_job())["TaskTemplate"]


@pytest.mark.parametrize("selector", ["a b=c", "a/b=c", "é=c", "a==b", "a=b=c", "a=", "a={{b"])
def test_a_constraint_that_a_swarm_cannot_read_stops_the_start(selector: str) -> None:
    with pytest.raises(ConfigError, match=r"^NODE_SELECTOR="):
        settings_of("swarm", NODE_SELECTOR=selector)


def test_a_job_without_a_time_limit_has_no_health_not_even_that_of_its_image() -> None:
    assert of_container(a_translation("swarm"), a_job())["Healthcheck"] == {"Test": ["NONE"]}


def test_a_time_limit_is_a_health_that_fails_at_its_end() -> None:
    found = content(a_translation("swarm", TIMELIMIT_MINUTES="10000000"), a_job())

    health = found["TaskTemplate"]["ContainerSpec"]["Healthcheck"]
    assert health["Interval"] == 10_000_000 * 60 * 10**9 < 2**63
    assert health["Retries"] == 1
    assert found["Labels"]["org.chrisproject.pman.timelimit-minutes"] == "10000000"


@pytest.mark.parametrize("jid", ["a.b", "a-", "a_", "x" * 64, "_a", "ä1"])
def test_a_name_that_no_service_may_have_is_refused(jid: str) -> None:
    with pytest.raises(BadRequest, match="jid: "):
        a_translation("swarm").parse(a_body(jid=jid))


@pytest.mark.parametrize("jid", ["ab", "A-b_c", "x" * 63, "a--b"])
def test_a_name_that_a_service_may_have_is_taken(jid: str) -> None:
    assert a_translation("swarm").parse(a_body(jid=jid)).jid == jid


# --- Go templates ----------------------------------------------------------------------------------


def expanded(text: str) -> str:
    """As Go's text/template does, which knows no other action here than a string constant."""
    done = ""
    while True:
        before, found, text = text.partition("{{")
        done += before
        if not found:
            return done
        constant = re.match(r'("(?:[^"\\\n]|\\.)*")\}\}', text)
        assert constant, f"an action: {{{{{text}"
        done += json.loads(constant[1])
        text = text[constant.end() :]


words = st.text(st.characters(exclude_characters="\0", codec="utf-8")) | st.text('{}"-/* .a\\`', max_size=20)


@given(words)
def test_any_value_of_the_environment_reaches_the_job_as_the_text_it_was(value: str) -> None:
    (found,) = of_container(a_translation("swarm"), a_job(env=(f"A={value}",)))["Env"]

    name, _, text = found.partition("=")
    assert (name, expanded(text)) == ("A", value)


@given(words.filter(lambda text: "=" not in text and text))
def test_the_names_of_the_environment_are_not_expanded(name: str) -> None:
    assert of_container(a_translation("swarm"), a_job(env=(f"{name}=b=c",)))["Env"] == [f"{name}=b=c"]


@given(words)
def test_any_directory_is_mounted_as_it_is_named(name: str) -> None:
    found = of_container(a_translation("swarm"), a_job(input_dir=f"in{name}", output_dir=f"out{name}"))

    assert [expanded(mount["Source"]) for mount in found["Mounts"]] == [
        f"/srv/storebase/in{name}",
        f"/srv/storebase/out{name}",
    ]


@given(st.lists(words))
def test_arguments_are_not_expanded(args: list[str]) -> None:
    assert of_container(a_translation("swarm"), a_job(args=tuple(args)))["Args"] == args


@given(words.filter(bool), words, words, words)
def test_any_text_in_any_other_field_reaches_the_document_as_itself(
    jid: str, image: str, program: str, auid: str
) -> None:
    job = a_job(jid=jid, image=image, entrypoint=(program,), auid=auid)

    found = content(a_translation("swarm"), job)

    of_container = found["TaskTemplate"]["ContainerSpec"]
    assert (found["Name"], of_container["Image"], of_container["Command"]) == (jid, image, [program])
    for labels in (found["Labels"], of_container["Labels"]):
        assert (labels[JID_LABEL], labels[AUID_LABEL]) == (jid, auid)


# --- rules -----------------------------------------------------------------------------------------

ROWS: list[tuple[str, str, int | None, str]] = [
    ("created", NOT_STARTED, None, "waiting for the swarm to take it up"),
    *((word, NOT_STARTED, None, "waiting for a node")
      for word in ("new", "allocated", "pending", "assigned", "accepted")),
    ("pending-constraints", NOT_STARTED, None, "waiting for a node: no suitable node (scheduling"),
    ("pending-resources", NOT_STARTED, None, "waiting for a node: no suitable node (insufficient resources"),
    ("preparing", NOT_STARTED, None, "pulling the image localhost/pman-test:1"),
    ("ready", NOT_STARTED, None, "starting"),
    ("starting", NOT_STARTED, None, "starting"),
    ("starting-with-time-limit", STARTED, None, "running"),
    ("running", STARTED, None, "running"),
    ("workers-running", STARTED, None, "2 of 2 workers running"),
    ("worker-complete", STARTED, None, "1 of 2 workers finished"),
    ("worker-failed", STARTED, None, "0 of 2 workers finished, 1 failed"),
    ("being-removed", STARTED, None, "being ended"),
    ("being-ended", STARTED, None, "being ended: a reason"),
    ("unheard-of", STARTED, None, "the swarm calls a task hibernating, which pman does not know"),
    ("complete", SUCCESS, 0, "finished"),
    ("ended-too-late", SUCCESS, 0, "finished"),
    ("workers-complete", SUCCESS, 0, "all 2 workers finished"),
    ("failed-3", FAILURE, 3, "failed with exit code 3"),
    ("run-again", FAILURE, 3, "failed with exit code 3"),
    ("workers-failed", FAILURE, 3, "worker pman-state-workers-failed.0: failed with exit code 3"),
    ("failed-126", FAILURE, 126, "exit code 126, a program could not be executed"),
    ("failed-127", FAILURE, 127, "exit code 127, a program was not found"),
    ("failed-139", FAILURE, 139, "killed by SIGSEGV (exit code 139)"),
    ("killed", FAILURE, 137, "killed (exit code 137), most likely for using more than 200 MiB of memory"),
    ("out-of-memory", FAILURE, 137, "out of memory, killed for using more than 16 MiB of memory (exit"),
    ("killed-elsewhere", FAILURE, 137, "killed (exit code 137), most likely for using more than 16 MiB"),
    ("killed-without-limit", FAILURE, 137, "killed by SIGKILL (exit code 137)"),
    ("start-failed-not-found", FAILURE, 127, "the program no-such-program was not found in the image: "),
    ("start-failed-not-executable", FAILURE, 126, "the program /etc/passwd may not be executed: "),
    ("start-failed-too-long", FAILURE, 127, "the command line and environment are too long: "),
    ("start-failed-no-such-user", FAILURE, 128, "the container could not be started: starting"),
    ("rejected-image", FAILURE, None, "the image localhost/pman-no-such-image:1 could not be pulled: "),
    ("rejected-mount", FAILURE, None, "its directories could not be mounted: invalid mount config for type"),
    ("rejected-cpu", FAILURE, None, "rejected by its node: Range of CPUs is from 0.01"),
    ("rejected-link", FAILURE, None, "a link leads one of its directories out of the storebase: path"),
    ("rejected-subpath", FAILURE, None, "one of its directories does not exist in the storebase: cannot"),
    ("rejected-otherwise", FAILURE, None, "rejected by its node: conflicting options"),
    ("relabelled", FAILURE, None, "ended by the swarm: assigned node no longer meets constraints"),
    ("time-limit", FAILURE, 137, "ended at its time limit of 1 minutes"),
    ("ended", FAILURE, None, "time limit of 1 minutes exceeded"),
    ("shutdown", FAILURE, None, "ended by the swarm"),
    ("remove", FAILURE, None, "ended by the swarm"),
    ("abandoned", STARTED, None, "being ended by the swarm"),
    ("lost", FAILURE, None, "its node was lost"),
    ("orphaned", FAILURE, None, "its node was lost"),
    ("node-restarted", FAILURE, None, "its node was lost: No such container"),
    ("removed-halfway", FAILURE, None, "ended, to be removed"),
    ("failed-without-a-word", FAILURE, None, "failed: started"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "status", "code", "told"), ROWS)
def test_each_state_of_a_swarm_becomes_a_status_and_a_message(
    state: str, status: str, code: int | None, told: str
) -> None:
    native = states.native("swarm", state)

    info = shipped_rules("swarm").read("a-jid", native)

    assert (info.status, info.exit_code) == (status, code)
    assert info.message.startswith(told)
    assert info.image == native["service"]["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    assert info.cmd.split()[0] == native["service"]["Spec"]["TaskTemplate"]["ContainerSpec"]["Command"][0]
    assert len(info.digest) == 64
    assert info.timestamp.startswith("20") == (status != NOT_STARTED and state != "unheard-of")


def test_every_recorded_state_has_its_row() -> None:
    assert [row[0] for row in sorted(ROWS)] == states.recorded("swarm")


def long_running() -> dict[str, Any]:
    """With a limit that its node did not see to."""
    native = states.native("swarm", "starting-with-time-limit")
    native["service"]["Spec"]["Labels"]["org.chrisproject.pman.timelimit-minutes"] = "1"
    native["tasks"][0]["Status"]["Timestamp"] = "2026-01-01T00:00:00.123456789Z"
    return native


def test_a_job_whose_node_does_not_end_it_at_its_limit_is_overdue() -> None:
    info = shipped_rules("swarm").read("a-jid", long_running())

    assert (info.status, info.overdue) == (STARTED, True)
    assert info.message == "time limit of 1 minutes exceeded"


def test_every_rule_decides_for_some_state() -> None:
    natives = [*(states.native("swarm", state) for state in states.recorded("swarm")), long_running()]

    decided = {shipped_rules("swarm").read("a-jid", native).message for native in natives}

    # One message for each rule, but for the states that share theirs.
    for rule in shipped_rules("swarm")._states.rules:
        pattern = re.sub(r"\\{\\{.*?\\}\\}|\\{%.*?%\\}", ".*", re.escape(rule.source["message"]))
        assert any(re.fullmatch(pattern, message) for message in decided), rule.source["message"]


PENDING = ("new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting")
ENDED = ("complete", "shutdown", "failed", "rejected", "remove", "orphaned")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*PENDING, "running", *ENDED, "unheard of"]),
            st.sampled_from(["complete", "running", "shutdown", "remove"]),
            st.none() | st.sampled_from(["", "an error", "task: non-zero exit (3)", "unhealthy container"]),
            st.none() | st.integers(-1, 255),
        ),
        max_size=3,
    ),
    st.booleans(),
    st.booleans(),
)
@hypothesis_settings(max_examples=300)
def test_a_job_ends_with_all_its_tasks_and_succeeds_with_all_of_them_only(
    tasks: list[tuple[str, str, str | None, int | None]], closed: bool, limited: bool
) -> None:
    native = states.native("swarm", "running")
    native["service"]["Spec"]["Labels"]["org.chrisproject.pman.workers"] = str(max(len(tasks), 1))
    if limited:
        native["service"]["Spec"]["Labels"]["org.chrisproject.pman.timelimit-minutes"] = "1"
    if closed:
        native["service"]["Spec"]["Mode"] = {"ReplicatedJob": {}}
    native["tasks"] = [
        {
            **native["tasks"][0],
            "Slot": index,
            "DesiredState": desired,
            "Status": {"Timestamp": "2026-01-01T00:00:00Z", "State": state, "Err": error}
            | ({} if code is None else {"ContainerStatus": {"ExitCode": code}}),
        }
        for index, (state, desired, error, code) in enumerate(tasks)
    ]

    info = shipped_rules("swarm").read("a-jid", native)

    living = [state for state, _, _, _ in tasks if state not in ENDED]
    assert info.status != "undefined"
    assert info.ended == (not living and (bool(tasks) or closed))
    assert (info.status == SUCCESS) == (bool(tasks) and {task[0] for task in tasks} == {"complete"})
    assert info.message


REFUSALS = [
    ("create", 400, "rpc error: code = InvalidArgument desc = invalid memory value", 400, "does not accept"),
    ("create", 500, "rpc error: code = Unknown desc = key 'a b' is invalid", 400, "does not accept"),
    ("create", 500, "rpc error: trying to send message larger than max", 400, "too large"),
    ("create", 500, "write /var/lib/docker: no space left on device", 502, "no space left"),
    ("create", 403, "authorization denied by plugin", 502, "does not permit"),
    ("remove", 500, "something else", 502, "the swarm refused"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "status", "told", "answer", "explained"), REFUSALS)
def test_a_refusal_keeps_the_engines_words_and_adds_pmans(
    call: str, status: int, told: str, answer: int, explained: str
) -> None:
    refused = shipped_rules("swarm").refusal(EngineRefused(call, status, told))

    assert refused.status == answer
    assert explained in str(refused)
    assert str(refused).endswith(told)


MANAGER = {
    "ApiVersion": "1.41",
    "Swarm": {"LocalNodeState": "active", "ControlAvailable": True},
    "MemoryLimit": True,
    "CpuCfsQuota": True,
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"ApiVersion": "1.100"}, ""),
        ({"ApiVersion": "1.40"}, r"speaks API 1\.40; jobs of a swarm need 1\.41 \(Docker 20\.10\) or newer$"),
        ({"Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False}}, r"in no swarm \(inactive\)$"),
        ({"Swarm": {"LocalNodeState": "pending", "ControlAvailable": False}}, r"in no swarm \(pending\)$"),
        ({"Swarm": {"LocalNodeState": "active", "ControlAvailable": False}}, "is a worker of its swarm"),
        ({"Swarm": {}}, r"in no swarm \(it knows of none\)"),
        ({"MemoryLimit": False}, "cannot limit memory$"),
        ({"CpuCfsQuota": False}, "cannot limit cpu$"),
    ],
)
def test_an_engine_that_can_take_no_jobs_stops_the_start(changes: dict[str, Any], told: str) -> None:
    if not told:
        shipped_rules("swarm").check({**MANAGER, **changes}, {"ignore_limits": False})
    else:
        with pytest.raises(ConfigError, match=told):
            shipped_rules("swarm").check({**MANAGER, **changes}, {"ignore_limits": False})


# --- calls, against an engine that answers what a test wants ----------------------------------------

Answer = Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]


def no_leader(_: web.Request) -> web.Response:
    told = "rpc error: code = Unknown desc = The swarm does not have a leader."
    return web.json_response({"message": told}, status=503)


@asynccontextmanager
async def engine(directory: Path, **answers: Answer) -> AsyncIterator[tuple[executors.Executor, list[str]]]:
    """An executor, and the calls that come: the answers are by method and the word after the version."""
    calls: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10"})
        calls.append(f"{request.method} {request.path.removeprefix('/v1.41')}")
        found = answers[f"{request.method}_{request.path.split('/')[2]}"](request)
        return await found if isinstance(found, Awaitable) else found

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    socket = directory / "engine.sock"
    await web.UnixSite(runner, str(socket)).start()
    executor = executors.connect("swarm", settings_of("swarm", DOCKER_HOST=f"unix://{socket}").values)
    try:
        yield executor, calls
    finally:
        await executors.close(executor)
        await runner.cleanup()


def documents() -> tuple[Document, ...]:
    return a_translation("swarm").render(a_job(image="registry.example.org/a:1"), FACTS)


async def test_the_credentials_of_this_machine_go_to_the_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = base64.b64encode(b"somebody:his password").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example.org": {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    sent: list[str] = []

    def create(request: web.Request) -> web.Response:
        sent.append(request.headers["X-Registry-Auth"])
        return web.json_response({"ID": "a"}, status=201)

    async with engine(tmp_path, POST_services=create) as (executor, _):
        await executor.apply("chris-jid-42", documents())

    assert json.loads(base64.urlsafe_b64decode(sent[0]))["username"] == "somebody"


async def test_a_swarm_without_a_leader_is_unreachable_for_now(tmp_path: Path) -> None:
    async with engine(tmp_path, GET_services=no_leader, POST_services=no_leader) as (executor, _):
        for call in (executor.inspect("a"), executor.apply("a", documents()), executor.remove("a")):
            with pytest.raises(EngineUnreachable, match="does not have a leader"):
                await call


async def test_a_service_whose_connection_is_cut_is_asked_for_once_more(tmp_path: Path) -> None:
    def create(request: web.Request) -> web.Response:
        if len(calls) == 1:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"message": "name conflicts with an existing object"}, status=409)

    async with engine(tmp_path, POST_services=create) as (executor, calls):
        with pytest.raises(NameTaken, match="name conflicts"):
            await executor.apply("a", documents())

    assert calls == ["POST /services/create"] * 2


def failed() -> dict[str, Any]:
    """A job that has failed and that nobody has looked at."""
    native = states.native("swarm", "failed-3")
    native["tasks"][0]["Spec"] = {"ContainerSpec": {}}
    del native["service"]["Spec"]["Labels"][ENDED_LABEL]
    native["service"]["Spec"]["Mode"] = {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}}
    return native


async def test_an_end_is_told_once_the_swarm_can_neither_repeat_nor_change_it(tmp_path: Path) -> None:
    native, versions = failed(), []

    async def update(request: web.Request) -> web.Response:
        versions.append(request.query["version"])
        native["service"]["Spec"] = await request.json()
        native["tasks"][0]["Status"] |= {
            "State": "rejected",
            "Err": "assigned node no longer meets constraints",
        }
        return web.json_response({})

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(native["service"]),
        GET_tasks=lambda _: web.json_response(native["tasks"]),
        POST_services=update,
    ) as (executor, calls):
        told = shipped_rules("swarm").read("a", await executor.inspect("pman-state-failed-3"))
        told_later = shipped_rules("swarm").read("a", await executor.inspect("pman-state-failed-3"))

    assert versions == [str(native["service"]["Version"]["Index"])]
    assert calls[-2] == f"POST /services/{native['service']['ID']}/update"
    assert native["service"]["Spec"]["Mode"] == {"ReplicatedJob": {"MaxConcurrent": 0, "TotalCompletions": 0}}
    assert told_later == told  # though the swarm has rewritten what its task was


async def test_an_end_is_told_even_where_the_engine_does_not_let_the_service_be_closed(
    tmp_path: Path,
) -> None:
    native = failed()

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(native["service"]),
        GET_tasks=lambda _: web.json_response(native["tasks"]),
        POST_services=lambda _: web.json_response({"message": "authorization denied"}, status=403),
    ) as (executor, _):
        assert shipped_rules("swarm").read("a", await executor.inspect("pman-state-failed-3")).exit_code == 3


def given_up() -> dict[str, Any]:
    """A job whose one task is to be shut down, and has not ended."""
    native = states.native("swarm", "abandoned")
    native["service"]["Spec"]["Mode"] = {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}}
    return native


@pytest.mark.parametrize(
    ("node", "known", "status", "closes"),
    [
        ("ready", 200, STARTED, False),
        ("unknown", 200, STARTED, False),  # all of them are, to a manager that has just become the leader
        ("", 403, STARTED, False),
        ("down", 200, FAILURE, True),
        ("disconnected", 200, FAILURE, True),
        ("", 404, FAILURE, True),
    ],
)
async def test_a_job_that_a_swarm_gives_up_has_ended_once_its_node_is_lost_and_it_can_not_go_on(
    tmp_path: Path, node: str, known: int, status: str, closes: bool
) -> None:
    native = given_up()

    async def update(request: web.Request) -> web.Response:
        native["service"]["Spec"] = await request.json()
        return web.json_response({})

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(native["service"]),
        GET_tasks=lambda _: web.json_response(native["tasks"]),
        GET_nodes=lambda _: web.json_response({"Status": {"State": node}}, status=known),
        POST_services=update,
    ) as (executor, calls):
        told = shipped_rules("swarm").read("a", await executor.inspect("pman-state-running"))
        native["tasks"][0]["Status"]["State"] = "complete"  # as its node comes back
        if closes:
            told_later = shipped_rules("swarm").read("a", await executor.inspect("pman-state-running"))
            assert told_later == told

    assert told.status == status
    assert any(call.endswith("/update") for call in calls) == closes


@pytest.mark.parametrize("refusal", [403, 0])
async def test_a_lost_job_goes_on_being_ended_where_its_service_cannot_be_closed(
    tmp_path: Path, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = given_up()
    if not refusal:
        monkeypatch.setattr(services, "RECORD_BYTES", 10)

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(native["service"]),
        GET_tasks=lambda _: web.json_response(native["tasks"]),
        GET_nodes=lambda _: web.json_response({"Status": {"State": "down"}}),
        POST_services=lambda _: web.json_response({"message": "authorization denied"}, status=refusal or 200),
    ) as (executor, _):
        told = shipped_rules("swarm").read("a", await executor.inspect("pman-state-running"))

    assert (told.status, told.message) == (STARTED, "being ended by the swarm")


async def test_without_a_leader_nobody_knows_of_a_node(tmp_path: Path) -> None:
    native = given_up()

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(native["service"]),
        GET_tasks=lambda _: web.json_response(native["tasks"]),
        GET_nodes=no_leader,
    ) as (executor, _):
        with pytest.raises(EngineUnreachable, match="state of a node"):
            await executor.inspect("pman-state-running")


async def test_a_job_that_completes_while_its_end_is_prepared_is_not_ended(tmp_path: Path) -> None:
    native = states.native("swarm", "running")

    def tasks(request: web.Request) -> web.Response:
        if request.path.endswith("/logs"):
            native["tasks"][0]["Status"]["State"] = "complete"
            return web.Response(body=b"\x01\0\0\0\0\0\0\x04log\n")
        return web.json_response(native["tasks"])

    async with engine(
        tmp_path, GET_services=lambda _: web.json_response(native["service"]), GET_tasks=tasks
    ) as (executor, calls):
        await executor.end("pman-state-running", "a reason")

    assert any(call.endswith("/logs") for call in calls)
    assert not [call for call in calls if not call.startswith("GET")]


@pytest.mark.parametrize(("seconds", "raises"), [(200, True), (400, False), (None, False)])
async def test_a_log_that_a_swarm_cannot_fetch_is_awaited_for_some_minutes_after_the_end(
    tmp_path: Path, seconds: int | None, raises: bool
) -> None:
    native = states.native("swarm", "running" if seconds is None else "complete")
    ended = datetime.now(UTC) - timedelta(seconds=seconds or 0)
    native["tasks"][0]["Status"]["Timestamp"] = f"{ended:%Y-%m-%dT%H:%M:%S}.123456789Z"
    name = native["service"]["Spec"]["Name"]

    def tasks(request: web.Request) -> web.Response:
        if request.path.endswith("/logs"):
            return web.Response(body=b"\x01\0\0\0\0\0\0\x04log\n\x03\0\0\0\0\0\0\x06Error\n")
        return web.json_response(native["tasks"])

    async with engine(
        tmp_path, GET_services=lambda _: web.json_response(native["service"]), GET_tasks=tasks
    ) as (executor, _):
        if raises:
            with pytest.raises(EngineUnreachable, match=r"Error$"):
                [chunk async for chunk in executor.logs(name, 10)]
        else:
            assert b"".join([chunk async for chunk in executor.logs(name, 10)]) == b"log\nError\n"


LINES = "a\rb\n\u2028c\x85d\fe\n\nend"


@pytest.mark.parametrize(
    ("log", "tail", "told"),
    [
        (LINES, 1, "end"),
        (LINES, 2, "\nend"),
        (LINES, 3, "\u2028c\x85d\fe\n\nend"),
        (LINES, 9, LINES),
        ("one\ntwo\n", 1, "two\n"),
        ("one\ntwo\n", 2, "one\ntwo\n"),
        ("", 1, ""),
    ],
)
async def test_the_lines_of_a_log_that_is_kept_end_with_a_newline_only(
    tmp_path: Path, log: str, tail: int, told: str
) -> None:
    service = states.native("swarm", "ended")["service"]
    service["Spec"]["Labels"][LOG_LABEL] = log

    async with engine(tmp_path, GET_services=lambda _: web.json_response(service)) as (executor, _):
        chunks = [chunk async for chunk in executor.logs(service["Spec"]["Name"], tail)]

    assert b"".join(chunks).decode() == told


async def test_a_removal_that_does_not_see_the_end_of_a_task_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(swarm_executor, "REMOVAL_TIMEOUT_SECONDS", 0.2)
    native = states.native("swarm", "running")

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(native["service"]),
        GET_tasks=lambda _: web.json_response(native["tasks"]),
        POST_services=lambda _: web.json_response({}),
        DELETE_services=lambda _: web.json_response({}),
        DELETE_containers=lambda _: web.json_response({}, status=404),
    ) as (executor, calls):
        await executor.remove("pman-state-running")

    assert f"DELETE /services/{native['service']['ID']}" in calls
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert native["tasks"][0]["ID"] in told
    assert native["tasks"][0]["NodeID"] in told


def test_more_tasks_than_a_label_holds_are_not_kept() -> None:
    task = states.native("swarm", "complete")["tasks"][0]

    assert record([task], {})
    assert not record([{**task, "Slot": slot} for slot in range(5000)], {})


async def test_a_service_that_somebody_else_changes_is_closed_in_its_new_version(tmp_path: Path) -> None:
    native, versions = failed(), []

    def update(request: web.Request) -> web.Response:
        versions.append(request.query["version"])
        if len(versions) > 2:
            return web.json_response({})
        native["service"]["Version"]["Index"] += 1
        told = "rpc error: code = Unknown desc = update out of sequence"
        return web.json_response({"message": told}, status=500)

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(native["service"]),
        GET_tasks=lambda _: web.json_response(native["tasks"]),
        POST_services=update,
    ) as (executor, _):
        await executor.inspect("pman-state-failed-3")

    assert [int(version) - int(versions[0]) for version in versions] == [0, 1, 2]


async def test_a_job_whose_tasks_go_on_without_their_service_is_there_until_they_end(tmp_path: Path) -> None:
    running = states.native("swarm", "running")["tasks"][0]
    ended = states.native("swarm", "complete")["tasks"][0]
    left = [[running], [running], [ended]]

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response({"message": "not found"}, status=404),
        GET_tasks=lambda _: web.json_response(left.pop(0) if len(left) > 1 else left[0]),
    ) as (executor, calls):
        await executor.remove("a")
        with pytest.raises(UnknownJob):
            await executor.remove("a")

    assert calls.count("GET /tasks") == 4


async def test_what_a_swarm_says_of_a_log_that_it_cannot_fetch_is_part_of_it() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"\x03\0\0\0\0\0\0\x06Error\n\x01\0\0\0\0\0\0\x04log\n"

    assert [payload async for payload in demultiplexed(chunks())] == [b"Error\nlog\n"]


async def test_the_service_of_somebody_else_is_no_job(tmp_path: Path) -> None:
    service = states.native("swarm", "running")["service"]
    service["Spec"]["Labels"] = {}

    async with engine(
        tmp_path,
        GET_services=lambda _: web.json_response(service),
        GET_tasks=lambda _: web.json_response([]),
    ) as (executor, calls):
        for name in ("pman-state-running", service["ID"]):
            for call in (executor.inspect(name), executor.remove(name), executor.end(name, "a reason")):
                with pytest.raises(UnknownJob):
                    await call

    assert not [call for call in calls if not call.startswith("GET")]
