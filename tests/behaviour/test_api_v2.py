"""API v2 on every real engine: few jobs, looked at from every side."""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from pman import schema
from pman.settings import MASK
from tests import engines
from tests.live import Live, live, until

TOKEN = "s3cret-of-a-user-4711"  # noqa: S105  (of no user)
VALID = {
    name: schema.validator({"$ref": f"urn:pman:api#/$defs/{name}"})
    for name in schema.load("api.json")["$defs"]
}


@dataclass(frozen=True)
class Served:
    """A pman with one job that has ended and one that runs."""

    live: Live
    group: str
    ended: Mapping[str, Any]
    """The request of it."""

    running: Mapping[str, Any]

    def get(self, path: str, kind: str = "", **params: Any) -> Any:
        """An answer that must be there, and be as it is described."""
        response = requests.get(f"{self.live.server.root}/api/v2/{path}", params=params, timeout=100)
        assert response.status_code == 200, response.text
        answer = response.json()
        if kind:
            assert not schema.faults(VALID[kind], answer)
        return answer

    def jids(self, **params: Any) -> list[str]:
        return [job["jid"] for job in self.get("jobs", "Jobs", q=self.group, **params)["jobs"]]


@pytest.fixture(scope="module")
def served(shared: Live) -> Iterator[Served]:
    group = f"v2-{uuid.uuid4().hex[:8]}"
    ended = shared.script(
        "echo one; echo two; exit 3", jid=f"{group}-ended", env=[f"USER_TOKEN={TOKEN}", "A=b"], auid="rudolph"
    )
    running = shared.script("echo begun; sleep 300", jid=f"{group}-running", env=[f"USER_TOKEN={TOKEN}"])
    shared.run(ended)
    second = int(time.time())
    until(lambda: int(time.time()) > second)  # SLURM tells whole seconds: of two in one, none is newer
    shared.submit(running)
    shared.started(running["jid"])
    yield Served(shared, group, ended, running)
    for jid in (ended["jid"], running["jid"]):
        shared.delete(jid)


def test_the_newest_jobs_come_first_and_can_be_chosen(served: Served) -> None:
    ended, running = served.ended["jid"], served.running["jid"]

    assert served.jids() == [running, ended]
    assert served.jids(status="finishedWithError") == [ended]
    assert served.jids(status="started,notstarted") == [running]
    assert served.jids(label=f"org.chrisproject.pman.jid={ended}") == [ended]
    assert served.jids(label="org.chrisproject.pman.jid=another") == []
    assert served.jids(newer="1h") == [running, ended]
    assert served.jids(older="1h") == []


def test_pages_follow_one_another(served: Served) -> None:
    first = served.get("jobs", "Jobs", q=served.group, limit=1)
    second = served.get("jobs", "Jobs", q=served.group, limit=1, cursor=first["next"])

    assert [job["jid"] for job in (*first["jobs"], *second["jobs"])] == served.jids()
    assert second["next"] is None


def test_a_job_tells_its_times_its_limits_and_what_was_asked_for(served: Served) -> None:
    job = served.get(f"jobs/{served.ended['jid']}", "Job")
    v1 = served.live.status(served.ended["jid"])

    assert {name: job[name] for name in v1 if name != "logs"} == {
        name: v1[name] for name in v1 if name != "logs"
    }
    assert job["exit_code"] == 3
    moments = [datetime.fromisoformat(job[name]) for name in ("created", "finished")]
    assert moments[0] <= moments[1]
    assert job["age"] >= 0
    assert job["limits"] == {"cpu": 200, "memory": 200, "gpu": 0, "workers": 1}
    assert {"USER_TOKEN", "A"} <= set(job["env"])
    request = job["request"]
    for name in ("entrypoint", "auid", "input_dir", "output_dir", "image"):
        assert request[name] == served.ended[name], name
    assert request["args"][: len(served.ended["args"])] == served.ended["args"]
    assert f"USER_TOKEN={MASK}" in request["env"]


def test_a_job_that_runs_tells_for_how_long(served: Served) -> None:
    job = served.get(f"jobs/{served.running['jid']}", "Job")

    assert job["started"]
    assert job["finished"] is None
    assert job["duration"] >= 0


def test_the_document_and_the_native_state_are_told_without_the_token(served: Served) -> None:
    for request in (served.ended, served.running):
        applied = served.get(f"jobs/{request['jid']}/document", "Applied")
        native = served.get(f"jobs/{request['jid']}/native", "Native")

        assert applied["documents"]
        assert request["jid"] in json.dumps(applied)
        assert applied["engine"] == native["engine"] == served.live.engine.name
        assert TOKEN not in json.dumps(applied)
        assert TOKEN not in json.dumps(native)


def test_the_rule_that_decides_is_named_with_its_place(served: Served) -> None:
    found = served.get(f"jobs/{served.ended['jid']}/explain", "Explanation")

    decided = found["tried"][-1]
    assert decided["decided"]
    assert decided["status"] == found["status"] == "finishedWithError"
    assert "state.yaml" in decided["file"]
    assert TOKEN not in json.dumps(found)


def test_the_log_is_told_as_it_is_by_v1(served: Served) -> None:
    url = f"{served.live.server.root}/api/v2/jobs/{served.ended['jid']}/logs"

    assert requests.get(url, timeout=60).text.splitlines()[-2:] == ["one", "two"]
    assert requests.get(url, params={"tail": 1}, timeout=60).text.splitlines() == ["two"]


def test_what_is_not_there_is_404_and_what_is_not_meant_400(served: Served) -> None:
    root = f"{served.live.server.root}/api/v2"
    for part in ("", "/logs", "/document", "/native", "/explain", "/events"):
        for jid in ("no-such-job", "..%2f..", "a%0Ab"):
            response = requests.get(f"{root}/jobs/{jid}{part}", timeout=60)
            assert response.status_code == 404, response.text
            assert not schema.faults(VALID["Error"], response.json())
        response = requests.get(f"{root}/jobs/{served.ended['jid']}{part}?tial=1", timeout=60)
        assert response.status_code == 400, response.text
    assert requests.delete(f"{root}/jobs/no-such-job", timeout=60).status_code == 404


# --- events ----------------------------------------------------------------------------------------


class Followed:
    """The events of a stream as they come."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self._found: queue.Queue[tuple[str, Mapping[str, Any]]] = queue.Queue()
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        place = ""
        try:
            for line in self._response.iter_lines(chunk_size=1, decode_unicode=True):
                name, _, value = line.partition(": ")
                if name == "id":
                    place = value
                elif name == "data":
                    self._found.put((place, json.loads(value)))
        except (requests.RequestException, AttributeError, ValueError):
            pass  # closed by the test
        self.ended.set()

    def until(self, kind: str, jid: str = "", status: str = "") -> tuple[str, Mapping[str, Any]]:
        """The first event of this kind, and the last id by then."""
        while True:
            place, event = self._found.get(timeout=60)
            assert not schema.faults(VALID["Event"], event)
            job = event.get("job", {"jid": "", "status": ""})
            if event["type"] == kind and jid in ("", job["jid"]) and status in ("", job["status"]):
                return place, event


@contextmanager
def following(url: str, since: str | None = None) -> Iterator[Followed]:
    headers = {"Last-Event-ID": since} if since else {}
    with requests.get(url, stream=True, timeout=100, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        response.encoding = "utf-8"
        followed = Followed(response)
        try:
            yield followed
        finally:
            if not followed.ended.is_set():  # closing waits for who reads, up to the next heartbeat
                response.raw.shutdown()


def test_what_happens_to_jobs_is_told_as_it_happens(served: Served) -> None:
    pman, events = served.live, f"{served.live.server.root}/api/v2/events"
    with following(events) as first:
        first.until("added", served.ended["jid"])
        place, synced = first.until("synced")
        assert served.running["jid"] in synced["jids"]

        request = pman.script("exit 4")
        pman.submit(request)
        jid = request["jid"]
        first.until("added", jid)
        with following(f"{pman.server.root}/api/v2/jobs/{jid}/events") as own:
            own.until("added", jid)
            if pman.status(jid)["status"] != "finishedWithError":
                first.until("changed", jid, "finishedWithError")
            until(lambda: pman.status(jid)["status"] == "finishedWithError")
            assert pman.delete(jid).status_code == 204
            first.until("removed", jid)
            own.until("removed", jid)
            assert own.ended.wait(60)
    with following(events, place) as later:
        later.until("removed", jid)


# --- what changes something ------------------------------------------------------------------------


def test_a_job_is_deleted_by_who_may(served: Served) -> None:
    request = served.live.request()
    served.live.run(request)
    url = f"{served.live.server.root}/api/v2/jobs/{request['jid']}"

    crossed = requests.delete(url, headers={"Origin": "http://evil.example"}, timeout=60)
    assert crossed.status_code == 403, crossed.text
    assert requests.delete(url, headers={"Sec-Fetch-Site": "cross-site"}, timeout=60).status_code == 403
    assert requests.delete(url, timeout=60).status_code == 204
    assert requests.get(url, timeout=60).status_code == 404


# --- without jobs: one engine will do --------------------------------------------------------------


@pytest.fixture(scope="module")
def local(storebase: Path) -> Iterator[Live]:
    with live(engines.need("local"), storebase, AUTH_TOKEN=TOKEN) as running:
        yield running


def test_pfcon_with_the_token_in_its_address_runs_a_job_as_it_always_did(local: Live) -> None:
    request = local.script("cat $in/in.txt")

    assert local.post(request).status_code == 201
    assert local.post(request).status_code == 201  # a repeat
    assert local.finished(request["jid"])["logs"] == "hello\n"
    assert local.delete(request["jid"]).status_code == 204


def test_with_a_token_both_versions_need_it(local: Live) -> None:
    for url in (
        f"{local.server.address}/api/v2/jobs/no-such-job",
        f"{local.server.address}/api/v1/no-such-job/",
    ):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            for call in (requests.get, requests.delete):
                refused = call(url, headers=headers, timeout=60)
                assert refused.status_code in (401, 429)
                assert TOKEN not in refused.text
                assert "no-such-job" not in refused.text

        signed = {"Authorization": f"Bearer {TOKEN}"}
        assert requests.delete(url, headers=signed, timeout=60).status_code == 404
        assert requests.delete(url, auth=("pfcon", TOKEN), timeout=60).status_code == 404
    assert requests.get(f"{local.server.address}/healthz", timeout=60).status_code == 200
    assert requests.get(f"{local.server.address}/readyz", timeout=60).status_code == 200


def test_no_page_of_another_site_can_submit_or_delete_by_v1(local: Live) -> None:
    """A form's media types are what a browser sends without asking; for the rest it asks, and is not let."""
    body = json.dumps(local.request())
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None):
        headers = {"Origin": "http://evil.example", **({"Content-Type": kind} if kind else {})}
        response = requests.post(local.server.url, data=body.encode(), headers=headers, timeout=60)
        assert response.status_code == 403, response.text
        del headers["Origin"]  # of a browser that says nothing
        response = requests.post(local.server.url, data=body.encode(), headers=headers, timeout=60)
        assert response.status_code == 415, response.text
    for method in ("DELETE", "POST"):
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": method}
        allowed = requests.options(f"{local.server.url}some-job/", headers=asked, timeout=60)
        assert not [name for name in allowed.headers if name.lower().startswith("access-control-")]


def render(pman: Live, **body: Any) -> requests.Response:
    return requests.post(f"{pman.server.root}/api/v2/render", json=body, timeout=100)


@pytest.mark.parametrize("engine", engines.NAMES)
def test_a_request_is_rendered_for_any_engine_and_nothing_is_submitted(local: Live, engine: str) -> None:
    request = local.request(env=[f"USER_TOKEN={TOKEN}"])

    response = render(local, request=request, engine=engine)

    assert response.status_code == 200, response.text
    found = response.json()
    assert not schema.faults(VALID["Rendered"], found)
    assert found["documents"]
    assert found["faults"] == []
    assert found["diff"] == {"changes": [], "unified": ""}
    assert TOKEN not in response.text
    assert local.get(request["jid"]).status_code == 404


def test_what_is_wrong_with_a_request_is_told_with_its_path(local: Live) -> None:
    found = render(local, request=local.request(cpu_limit=-5, image="No Image")).json()

    assert [fault["path"] for fault in found["faults"]] == ["$.cpu_limit", "$.image"]
    assert found["documents"] == []


def test_a_text_that_is_no_request_is_told_too(local: Live) -> None:
    found = render(local, request="{").json()

    assert "not JSON" in found["faults"][0]["message"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "request"),
        ({"request": 1}, "request"),
        ({"request": {}, "engine": "dokcer"}, "did you mean docker?"),
        ({"request": {}, "templates": "/etc"}, "use site, builtin"),
        ({"request": {}, "tempaltes": "site"}, "did you mean templates?"),
    ],
)
def test_a_dry_run_that_is_wrong_is_refused_by_name(local: Live, body: dict[str, Any], told: str) -> None:
    response = render(local, **body)

    assert response.status_code == 400
    assert told in response.text


def test_what_a_site_changes_is_told_against_the_shipped_templates(storebase: Path, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "job.yaml.j2").write_text(
        '{% extends "builtin/local/job.yaml.j2" %}\n'
        '{% block image %}\nimage: {{ job.image ~ "-site" }}\n{% endblock %}\n'
    )
    with live(engines.need("local"), storebase, PMAN_TEMPLATES=str(tmp_path)) as site:
        request = site.request()
        found = render(site, request=request).json()
        shipped = render(site, request=request, templates="builtin").json()
        files = requests.get(f"{site.server.root}/api/v2/templates?engine=local", timeout=60).json()

    (change,) = found["diff"]["changes"]
    assert (change["path"], change["kind"]) == ("$.image", "changed")
    assert "-site" in found["diff"]["unified"]
    assert shipped["diff"]["changes"] == []
    assert not schema.faults(VALID["Templates"], files)
    (own,) = [file for file in files["engines"][0]["files"] if not file["shipped"]]
    assert own["overrides"]


def test_the_engines_say_what_they_honour_and_the_configured_one_whether_it_answers(local: Live) -> None:
    found = requests.get(f"{local.server.root}/api/v2/engines", timeout=100)

    assert not schema.faults(VALID["Engines"], found.json())
    assert TOKEN not in found.text
    by_name = {engine["name"]: engine for engine in found.json()["engines"]}
    assert set(by_name) == set(engines.NAMES)
    assert [name for name, engine in by_name.items() if engine["configured"]] == ["local"]
    assert by_name["local"]["answers"]["reachable"]
    assert by_name["local"]["settings"]["AUTH_TOKEN"]["value"] == MASK
    assert by_name["docker"]["answers"] is None
    assert not by_name["local"]["request"]["gpu_limit"]["honoured"]
    assert by_name["docker"]["request"]["gpu_limit"]["honoured"]
