"""The page in a real browser, before a real docker."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Page, expect

from pman.web.page.view import duration
from tests.a_job import a_request
from tests.browser.conftest import TOKEN, Visit
from tests.engines.proxy import Hook, before
from tests.live import Live, live, until
from tests.translation.test_jsontext import SECRET, WITH_SECRETS

Visits = Callable[..., Visit]

expect.set_options(timeout=60_000)

LINES = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"
"""A job that runs until it is ended, and says so."""

SCREENSHOTS = os.environ.get("PMAN_SCREENSHOTS")
"""Directory to write pictures of the pages to; see `make screenshots`."""

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


# --- Jobs


def test_a_job_appears_and_ends_without_a_reload(docker: Live, visit: Visits) -> None:
    request = docker.script('until [ -e "$out/end" ]; do sleep 0.1; done')
    page = visit(docker).go(f"/?q={request['jid']}")
    expect(page.get_by_text("No job is like that")).to_be_visible()
    page.evaluate("window.same = true")

    docker.submit(request)
    row = page.get_by_role("row", name=re.compile(request["jid"]))
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("0.2 cpu, 200 MiB")
    docker.output(request, "end").touch()

    expect(row).to_contain_text("succeeded")
    docker.delete(request["jid"])
    expect(row).to_have_count(0)
    assert page.evaluate("window.same") is True


def test_a_filter_and_a_search_are_in_the_address_and_narrow_the_table(docker: Live, visit: Visits) -> None:
    good, bad = docker.request(), docker.script("exit 3")
    docker.run(good)
    docker.run(bad)
    page = visit(docker).go("/")

    page.get_by_label("Search by name or image").fill(bad["jid"])
    expect(page.get_by_role("row", name=re.compile(good["jid"]))).to_have_count(0)
    expect(page.get_by_role("row", name=re.compile(bad["jid"]))).to_contain_text("failed with exit code 3")
    expect(page).to_have_url(re.compile(f"q={bad['jid']}"))
    page.get_by_role("radio", name="succeeded").check(force=True)
    expect(page.get_by_text("No job is like that")).to_be_visible()
    expect(page).to_have_url(re.compile("status=finishedSuccessfully"))

    page.reload()
    expect(page.get_by_role("radio", name="succeeded")).to_be_checked()
    expect(page.get_by_label("Search by name or image")).to_have_value(bad["jid"])


def test_what_a_job_says_is_text_and_never_part_of_the_page(docker: Live, visit: Visits) -> None:
    attack = "<img src=x onerror=alert(1)></pre><script>alert(2)</script>"
    request = docker.request(entrypoint=["sh", "-c", 'echo "$1"; sleep 1000', attack], args=[attack])
    docker.submit(request)
    docker.started(request["jid"])
    page = visit(docker).go(f"/jobs/{request['jid']}")

    expect(page.get_by_role("region", name="Log")).to_contain_text(attack)
    expect(page.get_by_role("region", name="Command")).to_contain_text(attack)
    for part in ("Request", "Document", "Native"):
        page.get_by_text(part, exact=True).click()
        expect(page.locator(f"#part-{part.lower()} pre").first).to_contain_text("onerror")
    assert page.locator("img").count() == 0


def test_a_log_is_followed_to_its_end_and_the_page_tells_the_end(docker: Live, visit: Visits) -> None:
    request = docker.script(
        'i=0; until [ -e "$out/end" ]; do i=$((i+1)); echo line $i; sleep 0.1; done; echo over'
    )
    docker.submit(request)
    page = visit(docker).go(f"/jobs/{request['jid']}")
    log = page.get_by_role("region", name="Log")

    expect(log).to_contain_text("line 5\n")
    expect(page.locator("#log-state")).to_have_text("following")
    docker.output(request, "end").touch()

    expect(log).to_contain_text("over")
    expect(page.locator("#log-state")).to_have_text("complete")
    expect(page.locator("#job .outcome")).to_contain_text("succeeded")
    expect(page.get_by_role("link", name="Delete job")).to_be_visible()


def test_a_job_stays_in_sight_while_the_engine_is_away_and_goes_on_by_itself(
    docker: Live, visit: Visits, tmp_path: Path
) -> None:
    events = Hook("GET", "/events[?]")
    away = Hook("GET", "/", status=503, times=0)
    with (
        before(docker.engine.address, tmp_path / "p", events, away) as proxy,
        live(docker.engine, docker.storebase, DOCKER_HOST=proxy) as running,
    ):
        request = running.script('until [ -e "$out/end" ]; do sleep 0.1; done')
        running.submit(request)
        running.started(request["jid"])
        seen = visit(running)
        page = seen.go(f"/jobs/{request['jid']}")
        listing = visit(running)
        table = listing.go(f"/?q={request['jid']}")
        row = table.get_by_role("row", name=re.compile(request["jid"]))
        expect(row).to_contain_text("running")
        expect(page.locator("#log-state")).to_have_text("following")

        away.times, events.status = 1_000_000, 503
        events.cut()  # while they come, pman need not ask for what it knows
        expect(page.locator("#job-trouble")).to_contain_text("the proxy says no")
        expect(table.locator("#jobs-trouble")).to_contain_text("the proxy says no")
        page.get_by_text("Native", exact=True).click()
        expect(page.locator("#part-native")).to_contain_text("the proxy says no")
        expect(page.get_by_role("region", name="Command")).to_be_visible()
        expect(page.locator("#job .outcome")).to_contain_text("running")
        expect(row).to_contain_text("running")

        away.times, events.status = 0, 0
        expect(page.locator("#job-trouble")).to_be_empty()
        expect(table.locator("#jobs-trouble")).to_be_empty()
        running.output(request, "end").touch()
        expect(page.locator("#job .outcome")).to_contain_text("succeeded")
        expect(row).to_contain_text("succeeded")
        running.delete(request["jid"])
        for one in (seen, listing):
            one.forgive("Failed to load resource")


def test_a_log_that_cannot_be_followed_says_so_and_is_tried_again(
    docker: Live, visit: Visits, tmp_path: Path
) -> None:
    away = Hook("GET", "/logs[?].*follow=(1|true)", status=500)
    with (
        before(docker.engine.address, tmp_path / "p", away) as proxy,
        live(docker.engine, docker.storebase, DOCKER_HOST=proxy) as running,
    ):
        request = running.script(LINES)
        running.submit(request)
        running.started(request["jid"])
        seen = visit(running)
        page = seen.go(f"/jobs/{request['jid']}")

        expect(page.locator("#log-state")).to_contain_text("trying again")
        away.times = 0
        expect(page.get_by_role("region", name="Log")).to_contain_text("line 5\n")
        expect(page.locator("#log-state")).to_have_text("following")
        assert not [url for url in seen.requests if "/api/v1/" in url]
        running.delete(request["jid"])
        seen.forgive("Failed to load resource")
        seen.page.close()


def test_a_job_shows_its_document_its_native_state_and_the_rule_that_decided(
    docker: Live, visit: Visits
) -> None:
    request = docker.script("exit 3", env=["CHRIS_USER_TOKEN=sesame-open"])
    docker.run(request)
    page = visit(docker).go(f"/jobs/{request['jid']}")

    for part, text in (("Rule", "yes, decides"), ("Request", '"memory_limit": 200'),
                       ("Document", "Image"), ("Native", '"ExitCode": 3')):  # fmt: skip
        page.get_by_text(part, exact=True).click()
        expect(page.locator(f"#part-{part.lower()}")).to_contain_text(text)

    expect(page.locator("#part-native")).to_contain_text("CHRIS_USER_TOKEN=********")
    assert "sesame-open" not in page.content()


def test_cancelling_asks_first_and_keeps_the_job_where_the_answer_is_no(docker: Live, visit: Visits) -> None:
    request = docker.script(LINES)
    docker.submit(request)
    docker.started(request["jid"])
    page = visit(docker).go(f"/jobs/{request['jid']}")

    page.get_by_role("link", name="Cancel job").click()
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    expect(dialog).to_contain_text("cannot be undone")
    dialog.get_by_role("link", name="Keep it").click()
    expect(dialog).to_be_hidden()
    assert docker.status(request["jid"])["status"] == "started"

    page.get_by_role("link", name="Cancel job").click()
    dialog.get_by_role("button", name="Cancel job").click()

    expect(page.get_by_text(f"{request['jid']} was deleted.")).to_be_visible()
    assert docker.get(request["jid"]).status_code == 404


def test_with_a_token_the_page_asks_for_it_once_and_forgets_it(site: Live, visit: Visits) -> None:
    request = site.script(LINES)
    site.submit(request)
    site.started(request["jid"])
    opened = visit(site)
    page = opened.page
    page.get_by_role("button", name="Forget the token").click()
    (job, field) = (f"/jobs/{request['jid']}", page.get_by_label("The site's token"))

    opened.go(job)
    field.fill("another-token-of-nobody")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("this is not the site's token")).to_be_visible()
    field.fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("running").first).to_be_visible()  # the page that was asked for
    opened.forgive("Failed to load resource.* 401 ")

    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
    assert TOKEN not in cookie["value"]
    page.get_by_role("link", name="Cancel job").click()
    expect(field).to_have_count(0)
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text(f"{request['jid']} was deleted.")).to_be_visible()

    page.get_by_role("button", name="Forget the token").click()
    expect(field).to_be_visible()
    assert page.context.cookies() == []
    page.context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": opened.root}])
    opened.go("/")
    expect(field).to_be_visible()  # the cookie is worth nothing any more
    opened.forgive(r"Failed to load resource.* 401 |\[object Event\]")  # and its streams have ended


def test_a_page_of_another_site_can_cancel_nothing(docker: Live, visit: Visits) -> None:
    request = docker.script(LINES)
    docker.submit(request)
    docker.started(request["jid"])
    address = f"{docker.server.root}/jobs/{request['jid']}/cancel"
    page = visit(docker).go("/")

    other = page.context.browser.new_context()  # type: ignore[union-attr]  # it has one
    attacker = other.new_page()
    attacker.set_content(f'<form method="post" action="{address}"><button>win</button></form>')
    with attacker.expect_response(address) as answer:
        attacker.get_by_role("button").click()
    other.close()

    assert answer.value.status == 403
    assert requests.post(address, timeout=60).status_code == 403
    assert requests.post(address, headers={"Origin": "http://elsewhere"}, timeout=60).status_code == 403
    assert docker.status(request["jid"])["status"] == "started"


# --- Render


def test_a_request_is_rendered_and_nothing_is_submitted(docker: Live, visit: Visits) -> None:
    page = visit(docker).go("/render")
    page.get_by_label("Request, as JSON").fill(json.dumps(a_request(env=["TOKEN=sesame-open"])))

    page.get_by_role("button", name="Render").click()

    document = page.get_by_role("region", name="docker: container.yaml")
    expect(document).to_contain_text('Image: "docker.io/fnndsc/pl-simpledsapp:2.1.0"')
    expect(document).to_contain_text("TOKEN=********")
    expect(document).not_to_contain_text("sesame-open")
    assert docker.get("chris-jid-42").status_code == 404


def test_an_error_is_shown_at_the_line_of_the_request_that_it_belongs_to(docker: Live, visit: Visits) -> None:
    page = visit(docker).go("/render")
    page.get_by_label("Request, as JSON").fill(json.dumps(a_request(memory_limit="much"), indent=1))

    page.get_by_role("button", name="Render").click()

    wrong = page.locator("#result .row.bad")
    expect(wrong).to_have_count(1)
    expect(wrong).to_contain_text('"memory_limit": "much"')
    expect(page.locator("#result .row.bad + .fault")).to_contain_text("MiB")
    page.get_by_role("link", name=f"Line {wrong.get_attribute('data-n')}").click()
    expect(wrong).to_be_in_viewport()

    page.get_by_label("Request, as JSON").fill('{\n "jid": \n')
    page.get_by_role("button", name="Render").click()
    expect(page.locator("#result .row.bad")).to_have_attribute("data-n", "2")


def test_an_error_of_a_template_is_shown_at_its_line(site: Live, visit: Visits) -> None:
    file = Path(site.settings["PMAN_TEMPLATES"]) / "docker/container.yaml.j2"
    before = file.read_text()
    file.write_text(before.replace("  ReadonlyRootfs: true", "  ReadonlyRootfs: {{ job.netwrk }}"))
    try:
        page = visit(site).go("/render")
        page.get_by_role("button", name="Render").click()

        wrong = page.locator("#result .row.bad")
        expect(wrong).to_contain_text("job.netwrk")
        expect(wrong).to_have_attribute("data-n", "3")
        expect(page.locator("#result .fault")).to_contain_text("job.netwrk is not known")
    finally:
        file.write_text(before)


def test_what_a_sites_templates_change_is_a_diff(site: Live, visit: Visits) -> None:
    page = visit(site).go("/render")

    page.get_by_role("radio", name="what differs").check()
    page.get_by_role("button", name="Render").click()

    expect(page.locator("#result .row .gi").last).to_contain_text("+  ReadonlyRootfs: true")
    page.get_by_label("Engine").select_option("podman")
    expect(page.get_by_text("This site's templates change nothing here.")).to_be_visible()


def test_all_engines_stand_side_by_side(docker: Live, visit: Visits) -> None:
    page = visit(docker, viewport={"width": 1600, "height": 1000}).go("/render")

    page.get_by_label("Engine").select_option("all")

    names = ("cromwell", "docker", "kubernetes", "local", "podman", "slurm", "swarm")
    for name in names:
        expect(page.locator(f"section[aria-labelledby=panel-{name}]")).to_be_visible()
    docker_at, kubernetes_at = (
        page.locator(f"section[aria-labelledby=panel-{name}]").bounding_box()
        for name in ("cromwell", "docker")
    )
    assert docker_at and kubernetes_at
    assert docker_at["y"] == kubernetes_at["y"]


def test_a_link_carries_the_request_to_another_browser_and_no_server(docker: Live, visit: Visits) -> None:
    first = visit(docker)
    page = first.go("/render")
    text = json.dumps(
        a_request(jid="shared-é-1", env=['TOKEN=sesame, "open', "B=2"], args=["A=kept"]),
        indent=1,
        ensure_ascii=False,
    )
    page.get_by_label("Request, as JSON").fill(text)
    page.get_by_label("Engine").select_option("swarm")
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator("#shared")).not_to_be_empty()
    link = page.url

    second = visit(docker)
    page = second.page
    page.goto(link)

    shown = page.get_by_label("Request, as JSON")
    expect(shown).to_have_value(re.compile("shared-é-1"))
    request = json.loads(shown.input_value())
    assert request == {**json.loads(text), "env": ["TOKEN=********", "B=********"]}
    expect(page.get_by_label("Engine")).to_have_value("swarm")
    expect(page.locator("#result")).to_contain_text("wrong with the request")  # é is none of a name's
    assert all("#" not in url for url in first.requests)
    packed = link.partition("#")[2]
    assert len(packed) > 100
    assert not [url for url in second.requests if packed[:50] in url.partition("#")[0]]


def test_no_link_carries_a_value_of_env_whatever_its_shape(docker: Live, visit: Visits) -> None:
    page = visit(docker).go("/render")

    shared = [
        page.evaluate("text => import('/static/page.js').then(page => page.shareable(text))", text)
        for text in WITH_SECRETS
    ]

    assert all(text is not None and SECRET not in text for text in shared)
    for text in ('{"env": ["TOKEN=sesame-open"],}', json.dumps(WITH_SECRETS[0]), f"[{WITH_SECRETS[0]}]"):
        page.get_by_label("Request, as JSON").fill(text)
        page.get_by_role("button", name="Copy a link").click()
        expect(page.locator("#shared")).to_contain_text("No link")
        assert page.url.endswith("/render")


# --- Templates


def test_templates_show_what_overrides_what_and_the_source(site: Live, visit: Visits) -> None:
    page = visit(site).go("/templates")
    own = page.get_by_role("row", name=re.compile("this site's"))
    expect(own).to_contain_text("its own: extra")

    own.get_by_role("link", name="docker/container.yaml.j2").click()
    expect(page.get_by_role("region", name="Source of")).to_contain_text("ReadonlyRootfs: true")
    expect(page.get_by_role("row", name=re.compile("^resources"))).to_contain_text("job.memory_limit")
    page.get_by_role("link", name="builtin/docker/container.yaml.j2").click()
    expect(page.locator(".row.is")).to_contain_text("block extra")
    expect(page.get_by_role("row", name=re.compile("^extra"))).to_contain_text(
        site.settings["PMAN_TEMPLATES"]
    )


# --- For everybody


def test_the_keyboard_alone_reaches_and_does_everything(docker: Live, visit: Visits) -> None:
    request = docker.script(LINES)
    docker.submit(request)
    docker.started(request["jid"])
    page = visit(docker).go(f"/?q={request['jid']}")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    _tab_to(page, f"a[href='/jobs/{request['jid']}']")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=request["jid"])).to_be_visible()
    _tab_to(page, "a[data-dialog]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("a[data-dialog]")).to_be_focused()
    page.keyboard.press("Enter")
    _tab_to(page, "dialog button")
    page.keyboard.press("Enter")

    expect(page.get_by_text(f"{request['jid']} was deleted.")).to_be_visible()


def _tab_to(page: Page, selector: str) -> None:
    """Each stop must be seen: it has an outline, or its label has."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"the Tab key does not reach {selector}")


def test_the_focus_stays_where_it_is_while_the_table_changes(docker: Live, visit: Visits) -> None:
    prefix = f"pman-test-{uuid.uuid4().hex[:6]}"
    first, second = (docker.request(jid=f"{prefix}-{number}") for number in (1, 2))
    docker.run(first)
    page = visit(docker).go(f"/?q={prefix}")
    link = page.get_by_role("link", name=first["jid"])
    link.focus()

    docker.run(second)

    expect(page.get_by_role("row", name=re.compile(second["jid"]))).to_contain_text("succeeded")
    expect(link).to_be_focused()
    assert page.evaluate("document.activeElement.isConnected")


def test_the_browser_writes_a_duration_as_the_server_does(docker: Live, visit: Visits) -> None:
    page = visit(docker).go("/templates")
    seconds = [0, 0.9, 59, 60, 61, 3599, 3600, 3660, 86399, 86400, 90000, 90061, 10**7]

    told = page.evaluate(
        "seconds => import('/static/page.js').then(page => seconds.map(page.duration))", seconds
    )

    assert told == [duration(value) for value in seconds]


def test_without_javascript_jobs_are_found_read_rendered_and_cancelled(docker: Live, visit: Visits) -> None:
    request = docker.script(LINES)
    docker.submit(request)
    docker.started(request["jid"])
    page = visit(docker, java_script_enabled=False).go("/")

    page.get_by_label("Search by name or image").fill(request["jid"])
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name=request["jid"]).click()
    until(lambda: page.reload() and "line 1" in page.get_by_role("region", name="Log").inner_text())
    page.get_by_text("Native", exact=True).click()
    page.get_by_role("link", name="Show the native").click()
    expect(page.get_by_role("region", name="Native of")).to_contain_text('"Status": "running"')
    page.go_back()
    page.get_by_role("link", name="Cancel job").click()
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text(f"{request['jid']} was deleted.")).to_be_visible()

    page.get_by_role("link", name="Render").click()
    page.get_by_label("Begin with").select_option("mistakes")
    page.get_by_role("button", name="Take").click()
    page.get_by_role("button", name="Render").click()
    expect(page.locator("#result .row.bad").first).to_contain_text("Chris jid 42")


PAGES = [
    "jobs",
    "job",
    "failed",
    "rule",
    "cancel",
    "render",
    "mistakes",
    "engines",
    "diff",
    "templates",
    "template",
    "rules",
    "nothing",
]


@pytest.fixture(scope="module")
def shown(site: Live) -> dict[str, str]:
    """Jobs to look at: one that runs, one that failed."""
    prefix = "pman-page"
    running = site.script(
        "for i in 1 2 3 4 5 6 7 8; do echo reading slice $i of 192; done; sleep 1000",
        jid=f"{prefix}-freesurfer",
    )
    failed = site.script(
        "echo allocating; exec tail /dev/zero",
        jid=f"{prefix}-segmentation",
        memory_limit="20",
        env=["CHRIS_USER_TOKEN=sesame-open"],
    )
    good = site.request(jid=f"{prefix}-dcm2niix")
    for request in (good, failed, running):
        site.delete(request["jid"])
        site.submit(request)
    site.finished(good["jid"])
    site.finished(failed["jid"])
    site.started(running["jid"])
    return {"prefix": prefix, "running": running["jid"], "failed": failed["jid"]}


def _open(opened: Visit, name: str, shown: dict[str, str]) -> Page:
    """One of PAGES."""
    addresses = {
        "jobs": f"/?q={shown['prefix']}",
        "job": f"/jobs/{shown['running']}",
        "failed": f"/jobs/{shown['failed']}",
        "rule": f"/jobs/{shown['failed']}/rule",
        "cancel": f"/jobs/{shown['running']}",
        "templates": "/templates",
        "template": "/templates/docker/container.yaml.j2",
        "rules": "/templates/docker/state.yaml",
        "nothing": "/jobs/none-of-this-name",
    }
    page = opened.go(addresses.get(name, "/render"))
    if name == "job":
        expect(page.get_by_role("region", name="Log")).to_contain_text("slice 8")
    if name == "failed":
        page.get_by_text("Document", exact=True).click()
        expect(page.locator("#part-document pre")).to_be_visible()
    if name == "cancel":
        page.get_by_role("link", name="Cancel job").click()
    if name == "nothing":
        assert re.fullmatch("Failed to load resource.* 404 .*", opened.complaints.pop())
    if name == "mistakes":
        page.get_by_label("Begin with").select_option(name)
        expect(page.get_by_label("Request, as JSON")).to_have_value(re.compile("300 MB"))
    if name == "diff":
        page.get_by_role("radio", name="what differs").check()
    if name == "engines":
        page.get_by_label("Engine").select_option("all")
    if name in ("render", "mistakes", "diff"):
        page.get_by_role("button", name="Render").click()
    if name in ("render", "mistakes", "diff", "engines"):
        expect(page.locator("#result pre").first).to_be_visible()
    return page


WINDOWS: tuple[tuple[int, int, Literal["light", "dark"]], ...] = ((1280, 900, "light"), (390, 844, "dark"))
"""Width, height and colours: axe looks at each page in both, so at either width and at either scheme."""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window_and_axe_finds_no_fault(
    name: str, site: Live, shown: dict[str, str], visit: Visits
) -> None:
    page = _open(visit(site, reduced_motion="reduce"), name, shown)

    for width, height, scheme in WINDOWS:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{name}-{width}-{scheme}.png")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

        assert (width, wide) == (width, 0)
        assert _violations(page) == []


def test_what_axe_is_to_find_is_found(docker: Live, visit: Visits) -> None:
    page = visit(docker).go("/render")

    page.evaluate("document.querySelector('label[for=request]').remove()")
    page.evaluate("document.querySelector('.lead').style.setProperty('color', '#ccc')")

    assert {rule.partition(":")[0] for rule in _violations(page)} == {"color-contrast", "label"}


def _violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA: `rule: where`."""
    found: Any = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}})
    assert found.response["passes"]
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


def test_with_pman_page_off_there_is_the_api_alone(docker: Live, storebase: Path) -> None:
    with live(docker.engine, storebase, PMAN_PAGE="no") as alone:
        assert requests.get(f"{alone.server.root}/", timeout=60).status_code == 404
        assert requests.get(alone.server.url, timeout=60).status_code == 200
