"""The calls of Cromwell's executor: ids, submissions, polls, removals and logs, with documented answers."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pman import executors
from pman.errors import EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.executors.cromwell.cache import REMOVED_LABEL
from pman.executors.cromwell.executor import CromwellExecutor
from pman.executors.cromwell.workflows import workflow_id
from pman.job import AUID_LABEL, DIGEST_LABEL, JID_LABEL, REASON_LABEL, Document
from tests.a_job import FACTS, a_job, a_translation, settings_of, shipped_rules

NOT_STARTED, FAILURE = "notstarted", "finishedWithError"


# --- names -----------------------------------------------------------------------------------------


def test_the_id_of_a_job_never_changes() -> None:
    """Another one, in another version of pman, would run jobs twice."""
    assert workflow_id("chris-jid-42", 1) == "3a1133ae-1f68-5818-9032-cc40885ad594"


@given(st.lists(st.tuples(st.text(), st.integers(1, 20)), unique=True))
def test_every_name_and_generation_has_an_id_of_its_own(given: list[tuple[str, int]]) -> None:
    assert len({uuid.UUID(workflow_id(*one)) for one in given}) == len(given)


# --- calls, against a server that answers what a test wants -----------------------------------------


class Cromwell:
    """The documented answers, and no life of its own: a test says what has become of a workflow."""

    def __init__(self) -> None:
        self.workflows: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        """Which it has taken and does not tell of yet."""

        self.asked: list[str] = []
        self.failing: list[int | str] = []
        """What the next calls are answered with: a status, `drop`, or `drop after` having done it."""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._fail])
        flows = "/api/workflows/v1"
        app.router.add_get("/engine/v1/version", _version)
        app.router.add_post(flows, self._submit)
        app.router.add_post(f"{flows}/query", self._query)
        app.router.add_get(flows + "/{id}/metadata", self._metadata)
        app.router.add_post(flows + "/{id}/abort", self._abort)
        app.router.add_patch(flows + "/{id}/labels", self._labels)
        return app

    @property
    def only(self) -> dict[str, Any]:
        (found,) = self.workflows.values()
        return found

    @web.middleware
    async def _fail(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path.rpartition('/')[2]}")
        fault = self.failing.pop(0) if self.failing else None
        if isinstance(fault, int):
            return web.json_response({"status": "error", "message": "out of order"}, status=fault)
        response: web.StreamResponse = await handler(request) if fault != "drop" else web.Response()
        if fault:
            assert request.transport is not None
            request.transport.abort()
        return response

    async def _submit(self, request: web.Request) -> web.Response:
        assert request.content_type == "multipart/form-data"
        form = {name: str(text) for name, text in (await request.post()).items()}
        workflow = json.loads(form["requestedWorkflowId"])
        if workflow in self.workflows:
            message = f"Requested workflow IDs are already in use: {workflow}"
            return web.json_response({"status": "fail", "message": message}, status=400)
        self.workflows[workflow] = {
            "id": workflow, "status": "Submitted", "calls": {}, "labels": json.loads(form["labels"]),
            "submittedFiles": {"options": form["workflowOptions"]}, "form": form,
        }  # fmt: skip
        return web.json_response({"id": workflow, "status": "Submitted"}, status=201)

    def _known(self, request: web.Request) -> dict[str, Any]:
        workflow = request.match_info["id"]
        if workflow not in self.workflows or workflow in self.hidden:
            text = json.dumps({"status": "fail", "message": f"Unrecognized workflow ID: {workflow}"})
            raise web.HTTPNotFound(text=text, content_type="application/json")
        return self.workflows[workflow]

    async def _metadata(self, request: web.Request) -> web.Response:
        found = dict(self._known(request))
        if "submittedFiles:options" not in request.query.getall("includeKey"):
            del found["submittedFiles"]
        return web.json_response({**found, "form": None})

    async def _query(self, request: web.Request) -> web.Response:
        asked = await request.json()
        ids = {item["id"] for item in asked if "id" in item}
        labels = [tuple(item["label"].split(":", 1)) for item in asked if "label" in item]
        rows = [
            {"id": found["id"], "status": found["status"], "labels": found["labels"]}
            for found in self.workflows.values()
            if (not ids or found["id"] in ids) and found["id"] not in self.hidden
            and all(found["labels"].get(name) == value for name, value in labels)
            and (not labels or REMOVED_LABEL not in found["labels"])
        ]  # fmt: skip
        return web.json_response({"results": rows, "totalResultsCount": len(rows)})

    async def _abort(self, request: web.Request) -> web.Response:
        found = self.workflows.get(request.match_info["id"])
        if not found or found["status"] in ("Succeeded", "Failed", "Aborted"):
            return web.json_response({"status": "error", "message": "Couldn't abort"}, status=404)
        found["status"] = "Aborted"
        return web.json_response({"id": found["id"], "status": "Aborting"})

    async def _labels(self, request: web.Request) -> web.Response:
        found = self._known(request)
        found["labels"] = {**found["labels"], **(await request.json())}
        return web.json_response({"id": found["id"], "labels": found["labels"]})


async def _version(_: web.Request) -> web.Response:
    return web.json_response({"cromwell": "92-a"})


async def _html(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


@pytest.fixture
async def cromwell() -> AsyncIterator[tuple[Cromwell, Callable[..., CromwellExecutor]]]:
    """The server, and what makes a pman's executor for it, with its settings."""
    server = Cromwell()
    made: list[CromwellExecutor] = []
    async with _served(server) as address:

        def connect(**settings: str) -> CromwellExecutor:
            given = {"CROMWELL_LAG_SECONDS": "1", **settings, "CROMWELL_URL": address}
            executor = executors.connect("cromwell", settings_of("cromwell", **given).values)
            assert isinstance(executor, CromwellExecutor)
            made.append(executor)
            return executor

        yield server, connect
        for executor in made:
            await executor.close()


@asynccontextmanager
async def _served(server: Cromwell) -> AsyncIterator[str]:
    runner = web.AppRunner(server.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


Served = tuple[Cromwell, Callable[..., CromwellExecutor]]


@cache
def documents() -> tuple[Document, ...]:
    return tuple(a_translation("cromwell", CROMWELL_URL="http://a").render(a_job(), FACTS))


async def applied(executor: CromwellExecutor, jid: str = "a-job") -> Mapping[str, Any]:
    return await executor.apply(jid, documents())


async def test_a_submission_is_answered_at_once_and_told_from_memory_until_cromwell_tells_of_it(
    cromwell: Served,
) -> None:
    server, connect = cromwell
    executor = connect()
    server.hidden.add(workflow_id("a-job", 1))

    info = shipped_rules("cromwell").read("a-job", await applied(executor))

    assert server.asked == ["POST v1"]
    assert (info.status, info.message) == (NOT_STARTED, "taken by Cromwell, which does not tell of it yet")
    assert info.digest == a_job().digest
    assert info.cmd == "simpledsapp --prefix le /share/incoming /share/outgoing"
    assert shipped_rules("cromwell").read("a-job", await executor.inspect("a-job")) == info
    server.hidden.clear()
    assert (await executor.inspect("a-job"))["known"]


async def test_the_form_is_the_documents(cromwell: Served) -> None:
    server, connect = cromwell

    await applied(connect())

    form = server.only["form"]
    assert set(form) - {"workflowType", "workflowTypeVersion", "requestedWorkflowId"} == {
        "workflowSource", "labels", "workflowOptions",
    }  # fmt: skip
    assert form["workflowSource"] == documents()[2].text
    assert set(server.only["labels"]) >= {JID_LABEL, DIGEST_LABEL, AUID_LABEL}


async def test_another_pman_waits_for_what_cromwell_has_taken_and_does_not_tell_of_yet(
    cromwell: Served,
) -> None:
    """Or the same one, started anew: it has no memory of what it submitted."""
    server, connect = cromwell
    await applied(connect())
    server.hidden.add(workflow_id("a-job", 1))
    other = connect(CROMWELL_LAG_SECONDS="20")

    async def told() -> None:
        await asyncio.sleep(0.4)
        server.hidden.clear()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(told())
        inspected = tasks.create_task(other.inspect("a-job"))
        with pytest.raises(NameTaken):
            await applied(other)

    assert inspected.result()["metadata"]["status"] == "Submitted"
    assert len(server.workflows) == 1


async def test_what_cromwell_never_tells_of_is_a_503_for_who_submits_it_again(cromwell: Served) -> None:
    server, connect = cromwell
    await applied(connect())
    server.hidden.add(workflow_id("a-job", 1))

    with pytest.raises(EngineUnreachable, match="does not tell of it within 1 s"):
        await applied(connect())


async def test_what_cromwell_never_tells_of_cannot_be_deleted_and_that_is_said(cromwell: Served) -> None:
    server, connect = cromwell
    executor = connect()
    await applied(executor)
    server.hidden.add(workflow_id("a-job", 1))
    server.only["status"] = "Aborted"

    with pytest.raises(EngineUnreachable, match="does not tell of it within 1 s"):
        await executor.remove("a-job")


async def test_a_job_that_cromwell_tells_of_too_late_does_not_run_on_when_it_is_deleted(
    cromwell: Served,
) -> None:
    """By a pman that did not submit it: a 404 would be the last that is heard of it."""
    server, connect = cromwell
    await applied(connect())
    server.hidden.add(workflow_id("a-job", 1))
    other = connect()

    with pytest.raises(EngineUnreachable, match="does not tell of it within 1 s"):
        await other.remove("a-job")

    assert server.only["status"] == "Aborted"
    server.hidden.clear()
    await other.remove("a-job")
    assert server.only["labels"][REMOVED_LABEL] == "yes"


async def test_a_name_that_nobody_submitted_is_unknown(cromwell: Served) -> None:
    _, connect = cromwell

    for call in (connect().inspect("a-job"), connect().remove("a-job"), connect().end("a-job", "a reason")):
        with pytest.raises(UnknownJob):
            await call


async def test_a_name_is_free_again_after_its_deletion_for_every_pman(cromwell: Served) -> None:
    server, connect = cromwell
    first, second = connect(), connect()
    for turn in range(1, 4):
        await applied(first)
        await second.remove("a-job")
        assert server.workflows[workflow_id("a-job", turn)]["labels"][REMOVED_LABEL] == "yes"
        with pytest.raises(UnknownJob):
            await first.inspect("a-job")

    native = await applied(connect())

    assert native["metadata"]["id"] == workflow_id("a-job", 4)
    assert (await second.inspect("a-job"))["metadata"]["id"] == workflow_id("a-job", 4)
    assert list(await first.list()) == ["chris-jid-42"]  # as the label says
    assert len(server.workflows) == 4


async def test_many_deletions_at_once_delete_one_job(cromwell: Served) -> None:
    server, connect = cromwell
    executor = connect()
    await applied(executor)

    answers = await asyncio.gather(*(executor.remove("a-job") for _ in range(5)), return_exceptions=True)

    assert {type(answer) for answer in answers} <= {type(None), UnknownJob}
    assert server.only["status"] == "Aborted"
    await applied(executor)
    assert len(server.workflows) == 2


async def test_a_job_that_is_ended_keeps_the_reason(cromwell: Served) -> None:
    server, connect = cromwell
    executor = connect()
    await applied(executor)

    await executor.end("a-job", "the site's second")
    await executor.end("a-job", "too late")

    info = shipped_rules("cromwell").read("a-job", await executor.inspect("a-job"))
    assert (info.status, info.message) == (FAILURE, "the site's second")
    assert server.only["labels"][REASON_LABEL] == "the site's second"
    assert not await executor.active() or server.only["status"] == "Aborted"


FAULTS: list[list[int | str]] = [[500], [503], ["drop"], ["drop after"]]


@pytest.mark.parametrize("failing", FAULTS)
async def test_a_submission_that_fails_is_tried_again_and_makes_one_workflow(
    cromwell: Served, failing: list[int | str]
) -> None:
    server, connect = cromwell
    server.failing = list(failing)
    executor = connect()

    if failing == ["drop after"]:
        with pytest.raises(NameTaken):  # it was carried out: pman then looks at what is there
            await applied(executor)
    else:
        await applied(executor)

    assert len(server.workflows) == 1
    assert (await executor.inspect("a-job"))["metadata"]["labels"][DIGEST_LABEL] == a_job().digest


@pytest.mark.parametrize("fault", [500, 503, 302, "drop"])
async def test_a_failure_of_the_server_is_no_answer_and_says_what_was_tried(
    cromwell: Served, fault: int | str
) -> None:
    server, connect = cromwell
    executor = connect()
    await applied(executor)

    async def end() -> None:
        await executor.end("a-job", "a reason")

    for call in (executor.inspect, executor.remove, lambda _: executor.ping(), lambda _: executor.list()):
        server.failing = [fault] * 4
        with pytest.raises(EngineUnreachable, match=r"Cromwell (at http://127|does not answer at)"):
            await call("a-job")


async def test_a_refusal_is_told_in_cromwells_words(cromwell: Served) -> None:
    server, connect = cromwell
    server.failing = [400]

    with pytest.raises(EngineRefused, match="submit: 400 out of order"):
        await applied(connect())

    assert not server.workflows


async def test_what_is_no_cromwell_is_told_as_such() -> None:
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", _html)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    executor = executors.connect("cromwell", settings_of("cromwell", CROMWELL_URL=address).values)
    try:
        with pytest.raises(EngineUnreachable) as error:
            await executor.facts()
        assert "<html>" in str(error.value)
        assert "CROMWELL_URL" in error.value.hint
    finally:
        await executors.close(executor)
        await runner.cleanup()


def running(server: Cromwell) -> None:
    call = {"executionStatus": "Running", "jobId": "7", "stdout": "/a/execution/stdout", "callRoot": "/a"}
    for workflow in server.workflows.values():
        workflow.update(status="Running", calls={"ChRISJob.plugin_instance": [call]})


async def test_one_poll_is_one_request_and_many_at_a_time_are_one_query(cromwell: Served) -> None:
    server, connect = cromwell
    executor = connect()
    names = [f"job-{index}" for index in range(40)]
    for name in names:
        await applied(executor, name)
    running(server)
    await asyncio.gather(*map(executor.inspect, names))
    server.asked.clear()

    await executor.inspect(names[0])
    assert server.asked == ["GET metadata"]

    server.asked.clear()
    for _ in range(10):
        found = await asyncio.gather(*map(executor.inspect, names))
        assert {native["metadata"]["status"] for native in found} == {"Running"}
    assert server.asked.count("POST query") <= 20
    assert server.asked.count("GET metadata") <= 10

    server.workflows[workflow_id("job-7", 1)]["status"] = "Succeeded"
    found = await asyncio.gather(*map(executor.inspect, names))
    assert [native["metadata"]["status"] for native in found].count("Succeeded") == 1


async def test_what_a_workflow_was_submitted_with_is_asked_for_once(cromwell: Served) -> None:
    server, connect = cromwell
    await applied(connect())
    executor = connect()

    natives = [await executor.inspect("a-job") for _ in range(3)]

    assert natives[0]["metadata"]["submittedFiles"] == natives[2]["metadata"]["submittedFiles"]
    assert server.asked[1:] == ["GET metadata"] * 3


async def test_a_poll_that_fails_fails_for_all_who_asked_and_the_next_is_answered(cromwell: Served) -> None:
    server, connect = cromwell
    executor = connect()
    names = [f"job-{index}" for index in range(5)]
    for name in names:
        await applied(executor, name)
    server.failing = [500] * 6

    found = await asyncio.gather(*map(executor.inspect, names), return_exceptions=True)
    assert EngineUnreachable in {type(answer) for answer in found}

    server.failing = []
    assert len(await asyncio.gather(*map(executor.inspect, names))) == 5


async def test_many_who_ask_for_names_that_nobody_submitted_cost_few_calls(cromwell: Served) -> None:
    """Cromwell, and the polls of the jobs that there are, must not suffer from it."""
    server, connect = cromwell
    executor = connect(CROMWELL_LAG_SECONDS="2")
    names = [f"never-{index}" for index in range(50)]

    found = await asyncio.gather(*map(executor.inspect, names * 3), return_exceptions=True)

    assert {type(answer) for answer in found} == {UnknownJob}
    assert len(server.asked) < 4 * len(names) + 20
    assert not executor._workflows._awaited


async def test_who_asks_for_one_unknown_name_too_many_has_to_come_again(
    cromwell: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pman.executors.cromwell.workflows.MAX_AWAITED", 2)
    _, connect = cromwell
    executor = connect()

    found = await asyncio.gather(
        *map(executor.inspect, ["never-1", "never-2", "never-1", "never-3"]), return_exceptions=True
    )

    assert [type(answer) for answer in found] == [UnknownJob, UnknownJob, UnknownJob, EngineUnreachable]
    with pytest.raises(UnknownJob):
        await executor.inspect("never-3")


async def test_while_cromwell_fails_nobody_waits_for_what_it_does_not_tell_of(cromwell: Served) -> None:
    server, connect = cromwell
    executor = connect(CROMWELL_LAG_SECONDS="20")

    async def fail() -> None:
        await asyncio.sleep(0.3)
        server.failing = [500] * 10

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(fail())
        with pytest.raises(EngineUnreachable, match="out of order"):
            await executor.inspect("a-job")


async def test_what_is_kept_of_jobs_does_not_grow_with_their_number(
    cromwell: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pman.executors.cromwell.workflows.MAX_GENERATIONS", 2)
    monkeypatch.setattr("pman.executors.cromwell.cache.MAX_BYTES", 10_000)
    _, connect = cromwell
    executor = connect()
    names = [f"job-{index}" for index in range(6)]
    for name in names:
        await applied(executor, name)
        await executor.inspect(name)
        await executor.remove(name)

    for name in names:  # free, whether or not the deletion is remembered
        assert (await applied(executor, name))["metadata"]["id"] == workflow_id(name, 2)
        assert (await executor.inspect(name))["metadata"]["id"] == workflow_id(name, 2)
    assert len(executor._workflows._generations) <= 2
    assert len(executor._workflows.cache._cached) <= 5
    assert not executor._workflows.submitted


# --- logs ------------------------------------------------------------------------------------------


async def read(executor: CromwellExecutor, tail: int = 100, *, follow: bool = False) -> str:
    return b"".join([chunk async for chunk in executor.logs("a-job", tail, follow=follow)]).decode()


def with_directory(server: Cromwell, directory: Path, status: str = "Running") -> Path:
    running(server)
    server.only["calls"]["ChRISJob.plugin_instance"][0]["callRoot"] = "/cluster/call"
    server.only["status"] = status
    (directory / "call" / "execution").mkdir(parents=True)
    return directory / "call" / "execution"


async def test_a_log_is_read_where_pman_sees_the_directory_of_the_call(
    cromwell: Served, tmp_path: Path
) -> None:
    server, connect = cromwell
    executor = connect(PATH_MAP=f"/cluster={tmp_path}")
    await applied(executor)
    assert await read(executor) == ""
    directory = with_directory(server, tmp_path)
    assert await read(executor) == ""
    (directory / "stdout").write_text("one\ntwo\n")
    (directory / "stderr").write_text("")

    assert await read(executor) == "one\ntwo\n"
    assert await read(executor, 1) == "two\n"
    assert await read(connect()) == (
        "pman does not see the log of this job: on the cluster it is in /cluster/call/execution\n"
    )


async def test_a_log_is_followed_from_before_it_begins_to_the_end(cromwell: Served, tmp_path: Path) -> None:
    server, connect = cromwell
    executor = connect(PATH_MAP=f"/cluster={tmp_path}")
    await applied(executor)

    async def live() -> None:
        await asyncio.sleep(0.3)
        directory = with_directory(server, tmp_path)
        await asyncio.sleep(0.4)
        for text in ("one\n", "two\n"):
            with (directory / "stdout").open("a") as file:
                file.write(text)
            await asyncio.sleep(0.3)
        server.only["status"] = "Succeeded"

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        assert await read(executor, follow=True) == "one\ntwo\n"


async def test_a_job_that_could_not_begin_has_slurms_words_for_a_log(
    cromwell: Served, tmp_path: Path
) -> None:
    server, connect = cromwell
    executor = connect(PATH_MAP=f"/cluster={tmp_path}")
    await applied(executor)
    directory = with_directory(server, tmp_path, "Failed")
    (directory / "stderr.submit").write_text("sbatch: error: no\n")
    server.only["failures"] = [
        {"message": "Workflow failed", "causedBy": [{"message": "Unable to start job.", "causedBy": []}]}
    ]

    native = await executor.inspect("a-job")

    assert await read(executor) == await read(executor, follow=True) == "sbatch: error: no\n"
    assert native["causes"] == ["Unable to start job."]
    assert native["files"] == {
        "directory": "/cluster/call/execution", "slurm": "", "submit": "sbatch: error: no",
    }  # fmt: skip
    assert (
        shipped_rules("cromwell").read("a-job", native).message
        == "SLURM did not take the job: sbatch: error: no"
    )


@pytest.mark.parametrize("name", ["stdout", "stderr", "stderr.slurm"])
async def test_a_job_cannot_make_pman_show_a_file_that_is_not_its_own(
    cromwell: Served, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The container writes into the directory of its call; pman may read what the job may not."""
    server, connect = cromwell
    (tmp_path / "secret").write_text("a secret\n")
    executor = connect(PATH_MAP=f"/cluster={tmp_path}")
    await applied(executor)
    directory = with_directory(server, tmp_path, "Failed")
    (directory / name).symlink_to(tmp_path / "secret")

    assert await read(executor) == ""
    assert (await executor.inspect("a-job"))["files"]["slurm"] == ""
    assert "which is no file of the job's" in caplog.text


async def test_a_link_within_the_directory_of_the_call_is_followed(cromwell: Served, tmp_path: Path) -> None:
    """As deploy/cromwell makes them."""
    server, connect = cromwell
    executor = connect(PATH_MAP=f"/cluster={tmp_path}")
    await applied(executor)
    directory = with_directory(server, tmp_path)
    (directory.parent / "worker-0").mkdir()
    (directory.parent / "worker-0" / "stdout").write_text("said\n")
    (directory / "stdout").symlink_to("../worker-0/stdout")

    assert await read(executor) == "said\n"


async def test_nobody_waits_for_a_log_that_is_a_pipe(cromwell: Served, tmp_path: Path) -> None:
    server, connect = cromwell
    executor = connect(PATH_MAP=f"/cluster={tmp_path}")
    await applied(executor)
    directory = with_directory(server, tmp_path, "Failed")
    for name in ("stdout", "rc"):
        os.mkfifo(directory / name)

    async with asyncio.timeout(5):
        assert await read(executor) == ""
        assert "rc" not in (await executor.inspect("a-job"))["files"]
