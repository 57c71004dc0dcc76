"""The page without a browser: what it answers, and what it never does. The rest is in tests/browser."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart.typing import TestClientProtocol as Client

from pman.engine.engine import Engine
from pman.errors import BadRequest, EngineUnreachable, Fault
from pman.resources import TEMPLATES
from pman.translation.translation import Translation
from pman.web.app import create_app
from pman.web.login import COOKIE
from pman.web.page.code import rows
from pman.web.page.jobs import Query, counted, limits, news
from pman.web.page.render import EXAMPLES
from pman.web.page.view import STATIC, duration, sentence
from tests.a_job import a_job_details, settings_of, site_templates
from tests.engine.test_engine import Held

GOLDEN = Path(__file__).parents[1] / "golden"
TOKEN = "a-token-of-the-site"  # noqa: S105  (of no site)
OWN = {"Origin": "http://localhost"}
"""As a browser sends a form of the page's own; the test client is at localhost."""

NATIVE: Mapping[str, Any] = {
    "Config": {"Image": "an/image:1", "Entrypoint": ["<b>"], "Cmd": [], "Env": ["TOKEN=sesame-open"]},
    "State": {"Status": "exited", "ExitCode": 3, "OOMKilled": False, "Error": ""},
    "HostConfig": {"Memory": 0, "NanoCpus": 0},
}


class Listed(Held):
    async def list(self) -> list[str]:
        if self.away:
            raise EngineUnreachable("the engine is away", "start it")
        return list(self.jobs)

    def revision(self, jid: str) -> None:
        return None

    async def remove(self, jid: str) -> None:
        del self.jobs[jid]

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> Any:
        yield b"</pre><script>alert(1)</script>"


def client(executor: Listed, engine: str = "docker", **environ: str) -> Client:
    settings = settings_of(engine, IGNORE_LIMITS="yes", **environ)  # it tells of none that it can keep
    running = Engine(Translation(settings), executor)
    return create_app(running).test_client()


def listed(*jids: str) -> Listed:
    executor = Listed()
    executor.jobs = dict.fromkeys(jids, NATIVE)
    return executor


async def test_every_answer_keeps_scripts_frames_and_guesses_out() -> None:
    page = client(listed("job-1"))

    for path in ("/", "/jobs/job-1", "/jobs/none", "/render", "/templates", "/nothing", "/static/page.css"):
        response = await page.get(path)
        if path == "/nothing":  # no page, so the API's answer
            assert response.status_code == 404
            continue
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_no_page_has_a_script_or_a_style_of_its_own() -> None:
    page = client(listed("job-1"))

    for path in ("/", "/jobs/job-1", "/jobs/job-1/cancel", "/render", "/templates"):
        text = await (await page.get(path)).get_data(as_text=True)
        assert not re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", text)
        assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", text)


async def test_static_files_are_kept_for_ever_by_an_address_with_their_digest() -> None:
    page = client(listed())

    text = await (await page.get("/")).get_data(as_text=True)
    names = re.findall(r"\"(/static/[^\"]+)\"", text)
    kept = [(await page.get(name)).headers["Cache-Control"] for name in names]

    assert len(names) >= 6
    assert all("immutable" in value for value in kept)
    assert (await page.get("/static/page.css")).headers["Cache-Control"] == "no-store"


async def test_what_a_job_holds_is_text() -> None:
    page = client(listed("job-1"))

    text = await (await page.get("/jobs/job-1")).get_data(as_text=True)

    assert "&lt;b&gt;" in text
    assert "&lt;/pre&gt;&lt;script&gt;" in text
    assert "<script>alert" not in text


async def test_no_value_of_env_is_shown() -> None:
    page = client(listed("job-1"))

    for part in ("rule", "request", "document", "native"):
        response = await page.get(f"/jobs/job-1/{part}")
        assert response.status_code == 200
        assert "sesame-open" not in await response.get_data(as_text=True)


async def test_an_engine_that_is_away_is_told_where_the_jobs_would_be() -> None:
    executor = listed("job-1")
    page = client(executor)
    executor.away = True

    response = await page.get("/")

    text = await response.get_data(as_text=True)
    assert response.status_code == 503
    assert "away" in text
    assert 'sse-connect="/events"' in text  # and the page goes on when it is back


async def test_only_a_form_of_the_page_itself_removes_a_job() -> None:
    executor = listed("job-1")
    page = client(executor)
    forms: list[dict[str, str]] = [
        {},
        {"Origin": "http://elsewhere"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", **OWN},
    ]

    for headers in forms:
        assert (await page.post("/jobs/job-1/cancel", headers=headers)).status_code == 403
    assert (await page.get("/jobs/job-1/cancel")).status_code == 200
    assert list(executor.jobs) == ["job-1"]

    response = await page.post("/jobs/job-1/cancel", headers={"Sec-Fetch-Site": "same-origin", **OWN})
    assert (response.status_code, response.headers["Location"]) == (303, "/?removed=job-1")
    assert not executor.jobs


async def test_with_a_token_of_the_site_a_form_needs_it_or_a_cookie_made_of_it() -> None:
    executor = listed("job-1", "job-2")
    page = client(executor, AUTH_TOKEN=TOKEN)

    for form in ({}, {"token": "another-token-of-nobody"}, {"token": "ü"}):
        assert (await page.post("/jobs/job-1/cancel", headers=OWN, form=form)).status_code == 401
    assert (await page.post("/jobs/job-1/cancel", headers={}, form={"token": TOKEN})).status_code == 403
    assert len(executor.jobs) == 2

    response = await page.post("/jobs/job-1/cancel", headers=OWN, form={"token": TOKEN})
    assert response.status_code == 303
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert (await page.post("/jobs/job-2/cancel", headers=OWN)).status_code == 303


@pytest.mark.parametrize("cookie", ["", "signed-in", "signed-in.aaaaaa.bbbbbbbbbbbbbbbbbbb", "ü"])
async def test_a_cookie_that_is_not_made_of_the_token_is_none(cookie: str) -> None:
    executor = listed("job-1")
    page = client(executor, AUTH_TOKEN=TOKEN)
    page.set_cookie("localhost", COOKIE, cookie)

    assert (await page.post("/jobs/job-1/cancel", headers=OWN)).status_code == 401
    assert executor.jobs


async def test_the_cookie_of_another_token_is_none() -> None:
    before = client(listed("job-1"), AUTH_TOKEN=TOKEN)
    response = await before.post("/jobs/job-1/cancel", headers=OWN, form={"token": TOKEN})
    executor = listed("job-1")
    after = client(executor, AUTH_TOKEN="another-token-of-the-site")  # noqa: S106  (of no site)

    cookie = response.headers["Set-Cookie"].partition(";")[0]
    assert (await after.post("/jobs/job-1/cancel", headers={**OWN, "Cookie": cookie})).status_code == 401


async def test_where_pman_removes_no_jobs_the_page_offers_none_and_says_why() -> None:
    executor = listed("job-1")
    page = client(executor, REMOVE_JOBS="no")

    text = await (await page.get("/jobs/job-1")).get_data(as_text=True)
    asked = await page.get("/jobs/job-1/cancel")
    sent = await page.post("/jobs/job-1/cancel", headers=OWN)

    assert "REMOVE_JOBS=no" in text
    assert "/cancel" not in text
    assert asked.status_code == sent.status_code == 409
    assert "REMOVE_JOBS" in await sent.get_data(as_text=True)
    assert list(executor.jobs) == ["job-1"]


async def test_the_page_of_an_engine_that_isolates_nothing_serves_this_machine_only() -> None:
    page = client(listed("job-1"), "local", LOCAL_STATE="/nowhere")

    assert (await page.get("/render", headers={"Host": "evil.example"})).status_code == 403
    assert (await page.get("/static/page.js", headers={"Host": "evil.example"})).status_code == 403
    assert (await page.get("/render", headers={"Host": "localhost:5010"})).status_code == 200


async def test_with_the_page_off_there_is_the_api_alone() -> None:
    alone = client(listed("job-1"), PMAN_PAGE="no")

    for path in ("/", "/render", "/static/page.css", "/jobs/job-1"):
        assert (await alone.get(path)).status_code == 404
    assert (await alone.get("/api/v2/jobs")).status_code == 200


async def test_a_template_that_is_not_there_is_told_with_the_one_that_was_meant() -> None:
    page = client(listed())

    response = await page.get("/templates/docker/contaner.yaml.j2")

    assert response.status_code == 404
    assert "did you mean docker/container.yaml.j2?" in await response.get_data(as_text=True)
    assert (await page.get("/templates/builtin/docker/container.yaml.j2")).status_code == 200


async def test_a_template_that_broke_since_pman_started_is_shown_with_the_fault_at_its_line(
    tmp_path: Path,
) -> None:
    name = "docker/container.yaml.j2"
    site_templates(tmp_path, {name: f'{{% extends "builtin/{name}" %}}'})
    page = client(listed(), PMAN_TEMPLATES=str(tmp_path))
    site_templates(tmp_path, {name: "{% block extra %}\n{% if %}"})

    text = await (await page.get(f"/templates/{name}")).get_data(as_text=True)

    assert f"{name}, line 2: " in text
    assert re.search(r'data-n="2"[^\n]*\n</span><span class="fault">', text)


async def test_a_request_that_is_too_large_for_a_form_is_told_on_a_page() -> None:
    response = await client(listed()).post("/render", form={"request": "x" * 20_000_000})

    assert response.status_code == 413
    assert response.mimetype == "text/html"


async def test_a_request_that_is_wrong_is_shown_without_the_values_of_its_env() -> None:
    request = '{"env": ["TOKEN=sesame-open", "A=\\"b", "C"],\n "args": ["D=e"],\n}'

    response = await client(listed()).post("/render", form={"request": request})
    _, form, result = re.split("</?textarea[^>]*>", await response.get_data(as_text=True))

    assert "sesame-open" in form  # where it was typed
    assert "sesame-open" not in result


# --- The parts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7440, "2 h 4 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({}, ""),
        ({"cpu_limit": None, "memory_limit": None}, ""),
        ({"cpu_limit": 1500, "memory_limit": 300, "number_of_workers": 1}, "1.5 cpu, 300 MiB"),
        ({"memory_limit": 2048, "gpu_limit": 1, "number_of_workers": 4}, "2 GiB, 1 gpu, 4 workers"),
    ],
)
def test_limits_are_told_in_short_and_what_is_unlimited_is_left_out(asked: dict[str, Any], text: str) -> None:
    assert limits(asked) == text


@pytest.mark.parametrize(
    ("query", "jids"),
    [
        ("", ["job-1", "job-2", "other-3"]),
        ("status=started", ["job-2"]),
        ("status=started,finishedWithError&q=JOB", ["job-1", "job-2"]),
        ("q=image:1", ["job-1", "other-3"]),
        ("q=exit code 3", []),
        ("q=1 job", []),
    ],
)
async def test_status_and_search_mean_on_the_page_what_they_mean_in_the_api(
    query: str, jids: list[str]
) -> None:
    executor = listed("job-1", "job-2", "other-3")
    running = {"Config": {**NATIVE["Config"], "Image": "an/image:2"}, "State": {"Status": "running"}}
    executor.jobs["job-2"] = {**NATIVE, **running}
    page = client(executor)

    shown = await (await page.get(f"/?{query}")).get_data(as_text=True)
    answer = await (await page.get(f"/api/v2/jobs?{query}")).get_json()

    assert sorted(re.findall(r'<tr id="job-([^"]+)"', shown)) == jids
    assert sorted(job["jid"] for job in answer["jobs"]) == jids


async def test_a_status_that_there_is_not_is_refused_on_the_page_as_in_the_api() -> None:
    response = await client(listed()).get("/?status=finished")

    assert response.status_code == 400
    assert "use notstarted, started" in await response.get_data(as_text=True)


async def test_several_statuses_of_an_address_stay_chosen_when_the_table_is_asked_for_anew() -> None:
    shown = await (await client(listed()).get("/?status=started,notstarted")).get_data(as_text=True)

    assert re.search(r'name="status" value="started,notstarted" checked', shown)
    assert Query("started,notstarted", "a b", 2).address(1) == "/?status=started%2Cnotstarted&q=a+b"


def test_the_count_tells_each_status_and_what_is_narrowed() -> None:
    jobs = [a_job_details(status="started"), a_job_details(status="finishedWithError")]

    assert counted(jobs, 2) == "2 jobs: 1 running, 1 failed"
    assert counted(jobs, 1) == "1 of 2 jobs"
    assert counted([], 0) == "No jobs"


def test_a_browser_hears_of_each_change_once_and_of_its_own_job_only() -> None:
    def event(kind: str, jid: str, place: str = "a-1") -> dict[str, Any]:
        return {"id": place, "type": kind, "job": {"jid": jid}}

    assert news(event("changed", "one"))
    assert news(event("removed", "one"), "one")
    assert not news(event("changed", "two"), "one")
    assert not news(event("added", "one", ""))
    assert news({"id": "a-1", "type": "synced", "jids": []}, "one")
    assert news({"id": "", "type": "unavailable", "message": ""}, "one")


texts = st.text(st.characters(exclude_characters="\r", codec="utf-8"), max_size=200)


@pytest.mark.parametrize(
    "name", ["a.yaml", "a.yaml.j2", "job.sh", "job.sh.j2", "a.json", "a.wdl", "a.wdl.j2", "a.diff"]
)
@given(text=texts)
def test_coloured_lines_are_the_text_and_nothing_of_it_is_html(name: str, text: str) -> None:
    found = [str(row.html) for row in rows(text, name)]

    plain = [html.unescape(re.sub(r"</?span[^<>]*>", "", line)) for line in found]
    assert plain == text.rstrip("\n").split("\n")
    assert all(set(re.findall(r"<(/?\w*)", line)) <= {"span", "/span"} for line in found)


@pytest.mark.parametrize("file", [*GOLDEN.glob("cromwell/*.wdl"), TEMPLATES / "cromwell/workflow.wdl.j2"])
def test_wdl_has_its_own_colours_and_its_command_those_of_a_shell(file: Path) -> None:
    found = "\n".join(str(row.html) for row in rows(file.read_text(), file.name))

    assert re.search(r'<span class="k">task</span>.*<span class="n">plugin_instance</span>', found)
    assert '<span class="nb">unset</span>' in found
    assert 'class="err"' not in found


def test_a_fault_stands_at_its_line_and_one_after_the_end_at_the_last() -> None:
    faults = [Fault("$.a", "wrong", "", 2), Fault("$", "ends too early", "", 9)]

    found = rows("{\n1\n}\n", "a.json", faults=faults, marked=[1])

    assert [row.faults for row in found] == [(), ("wrong",), ("ends too early",)]
    assert [row.marked for row in found] == [True, False, False]
    assert [row.number for row in rows("a\nb", "a.sh", first=7)] == [7, 8]


def test_each_vendored_file_is_named_with_its_version_and_licence() -> None:
    told = (STATIC / "vendor/README.md").read_text()

    for file in (STATIC / "vendor").glob("*.js"):
        (line,) = [line for line in told.splitlines() if line.startswith(f"| {file.name} |")]
        package, version, licence = line.split("|")[2].strip().split(",")[0], *line.split("|")[3:5]
        assert re.fullmatch(r" \d+\.\d+\.\d+ ", version)
        assert licence.strip()
        assert (STATIC / f"vendor/{package}.LICENSE").is_file()


async def test_a_broken_file_of_any_engine_is_shown_with_its_fault_and_hides_no_other(tmp_path: Path) -> None:
    broken = {"podman/container.yaml.j2": "a: 1\n{% block extra %}\n", "slurm/state.yaml": "a: 1\nrules: [",
              "docker/_part.j2": "x"}  # fmt: skip
    site = site_templates(tmp_path, broken)
    (site / "local").mkdir()
    (site / "local/job.sh.j2").write_bytes(b"caf\xe9")
    page = client(listed(), PMAN_TEMPLATES=str(site))

    listing = await (await page.get("/templates")).get_data(as_text=True)
    assert listing.count("cannot be read") == 3
    assert (await page.get("/api/v2/templates")).status_code == 200
    for name in (*broken, "local/job.sh.j2", "builtin/local/job.sh.j2", "kubernetes/job.yaml.j2"):
        response = await page.get(f"/templates/{name}")
        assert response.status_code == 200
        wrong = (name in broken and name != "docker/_part.j2") or name == "local/job.sh.j2"
        assert ('class="fault"' in await response.get_data(as_text=True)) == wrong
    for name in ("builtin/docker/_part.j2", "docker/none.j2", "none/container.yaml.j2"):
        assert (await page.get(f"/templates/{name}")).status_code == 404


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_request_that_pman_takes_unless_it_is_to_show_mistakes(name: str) -> None:
    translation = Translation(settings_of("kubernetes"))

    if name == "mistakes":
        with pytest.raises(BadRequest) as raised:
            translation.parse(EXAMPLES[name].encode())
        assert len(raised.value.faults) == 4
    else:
        assert translation.parse(EXAMPLES[name].encode())


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One of\ntwo lines. And more.", "One of two lines."),
        ("Docker Engine API 1.41; one\n\nmore", "Docker Engine API 1.41; one"),
        ("", ""),
    ],
)
def test_of_what_a_template_says_of_itself_the_first_sentence_is_listed(text: str, first: str) -> None:
    assert sentence(text) == first
