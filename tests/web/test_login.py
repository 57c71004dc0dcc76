"""Whom pman answers, by the whole of its HTTP: each test is something that went through before."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.engine.engine import Engine
from pman.errors import TooManyWrong
from pman.translation.translation import Translation
from pman.web.api.openapi import document
from pman.web.asgi import served
from pman.web.audit import Call, call_of, record
from pman.web.login import MOST_SESSIONS, Sessions, Tokens, token_of
from pman.web.slowdown import ALLOWED, MOST_ADDRESSES, MOST_WAITING, MOST_WAITING_OF_ONE, SlowDown
from tests.a_job import a_request, settings_of, site_templates
from tests.web.test_asgi import STATE, Remembering

TOKEN = "a-token-of-the-site"  # noqa: S105  (of no site)
READING = "another-one-to-look"
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept-Language": "en"}
"""What every browser sends by plain HTTP, where Sec-Fetch-* is not sent, with a GET of a page's own."""

Answer = tuple[int, Mapping[str, str], str]


def bearer(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, token: str) -> Mapping[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"}


class Caller:
    """Requests as a server hands them to pman."""

    def __init__(self, engine: Engine) -> None:
        self._app = served(engine)
        self.streams = asyncio.Semaphore(0)
        """Released by answers that go on, once they have begun."""

    async def __call__(
        self,
        path: str,
        headers: Mapping[str, str] = {},
        method: str = "GET",
        *,
        host: str = "pman:5010",
        body: bytes = b"",
        address: str = "10.0.0.1",
        stay: bool = False,
    ) -> Answer:
        """The status, the headers and the body; of one that goes on, its beginning, or with `stay` all."""
        answers: list[Any] = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        began = asyncio.Event()

        async def receive() -> Mapping[str, Any]:
            if messages:
                return messages.pop()
            await began.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            answers.append(message)
            if message["type"] == "http.response.body" and not path.startswith("/api/v1"):
                if stay:
                    self.streams.release()
                else:
                    began.set()

        path, _, query = path.partition("?")
        given = {"Host": host, "Content-Length": str(len(body)), **headers}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "root_path": "", "client": (address, 1), "server": ("127.0.0.1", 5010),
            "headers": [(name.lower().encode(), value.encode("latin1")) for name, value in given.items()],
        }  # fmt: skip
        await self._app(scope, receive, send)
        start, *rest = answers
        shown = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return start["status"], shown, b"".join(part.get("body", b"") for part in rest).decode()


@pytest.fixture
async def engine_with(tmp_path: Path) -> AsyncIterator[Any]:
    """Gives an engine that holds job-1, with these settings."""
    site = site_templates(tmp_path, {"docker/state.yaml": STATE})
    engines: list[Engine] = []

    def engine(**environ: str) -> Engine:
        settings = settings_of(PMAN_TEMPLATES=str(site), **environ)
        engines.append(Engine(Translation(settings), Remembering()))
        return engines[-1]

    yield engine
    for each in engines:
        await each.close()


@pytest.fixture
def closed(engine_with: Any) -> Caller:
    """A pman that asks for a token."""
    return Caller(engine_with(AUTH_TOKEN=TOKEN, AUTH_READ_TOKEN=READING))


@pytest.fixture
def open_to_all(engine_with: Any) -> Caller:
    return Caller(engine_with())


OPERATIONS = [
    (method.upper(), path.replace("{jid}", "job-1"))
    for path, item in document()["paths"].items()
    for method in sorted(item.keys() & {"get", "post", "delete"})
]
PAGES = [
    ("GET", path) for path in ("/", "/jobs/job-1", "/jobs/job-1/native", "/render", "/templates", "/events")
]
OPEN = ("/healthz", "/readyz")


@pytest.mark.parametrize(
    ("method", "path"), [*OPERATIONS, *PAGES, ("GET", "/no-such"), ("HEAD", "/api/v1/job-1/")]
)
async def test_with_a_token_nothing_but_health_is_answered_without_it(
    closed: Caller, method: str, path: str
) -> None:
    for headers in (
        {},
        bearer("wrong"),
        basic(TOKEN, "x"),
        {"Authorization": TOKEN},
        {"Cookie": "pman-session=x"},
    ):
        status, answer, text = await closed(path, headers, method, address=str(headers))
        if path in OPEN:
            assert status != 401
            continue
        assert status == 401
        assert answer["www-authenticate"] == "Bearer"
        assert answer["cache-control"] == "no-store"
        assert "job-1" not in text.replace(path, "")
        assert TOKEN not in text


@pytest.mark.parametrize(
    "path", ["/api/v1/job-1/", "/api/v1/", "/api/v2/jobs", "/api/v2/jobs/job-1", "/", "/events"]
)
@pytest.mark.parametrize("user", ["pman", "", "pfcon", "ü"])
async def test_the_token_is_taken_as_bearer_and_as_a_password_of_any_user(
    closed: Caller, path: str, user: str
) -> None:
    for token in (TOKEN, READING):
        assert (await closed(path, bearer(token)))[0] == 200
        assert (await closed(path, basic(user, token)))[0] == 200


async def test_a_poll_from_memory_needs_the_token_too(closed: Caller) -> None:
    assert (await closed("/api/v1/job-1/", bearer(TOKEN)))[0] == 200  # from now on it is in memory

    assert (await closed("/api/v1/job-1/"))[0] == 401
    assert (await closed("/api/v1/job-1/", basic("pman", "wrong")))[0] == 401


async def test_v1_may_be_left_open_and_nothing_else_is(engine_with: Any) -> None:
    caller = Caller(engine_with(AUTH_TOKEN=TOKEN, AUTH_V1="no"))

    assert (await caller("/api/v1/job-1/"))[0] == 200
    assert (await caller("/api/v1/job-1/", method="DELETE"))[0] == 204
    for path in ("/api/v2/jobs", "/", "/api/v2/jobs/job-1/logs"):
        assert (await caller(path))[0] == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/v1/job-1/"),
        ("POST", "/api/v1/"),
        ("DELETE", "/api/v2/jobs/job-1"),
        ("POST", "/api/v1/?dry_run=true"),
    ],
)
async def test_the_token_that_may_read_changes_nothing(closed: Caller, method: str, path: str) -> None:
    body = json.dumps(a_request()).encode()
    headers = {"Content-Type": "application/json", **bearer(READING)}

    status, _, text = await closed(path, headers, method, body=body)

    assert (status, json.loads(text)["message"]) == (403, "this token may only read")


async def test_the_token_that_may_read_makes_dry_runs_by_v2(closed: Caller) -> None:
    body = json.dumps({"request": a_request()}).encode()
    headers = {"Content-Type": "application/json", **bearer(READING)}

    assert (await closed("/api/v2/render", headers, "POST", body=body))[0] == 200


@given(st.binary(max_size=60))
def test_whatever_stands_in_authorization_is_no_token_but_the_token(value: bytes) -> None:
    tokens = Tokens(settings_of(AUTH_TOKEN=TOKEN))

    assert tokens.name_of(token_of(value)) == ""
    assert tokens.name_of(token_of(b"Basic " + base64.b64encode(value))) == ""
    assert tokens.name_of(value) == ""


# --- browsers -------------------------------------------------------------------------------------


REBOUND = ("evil.example", "evil.example:5010", "10.0.0.7:5010", "localhost.evil.example", "pman:5010")


@pytest.mark.parametrize("host", REBOUND)
@pytest.mark.parametrize(
    "path", ["/api/v1/job-1/", "/api/v2/jobs", "/", "/events", "/healthz", "/openapi.json"]
)
async def test_without_a_token_a_browser_is_answered_by_names_of_the_site_only(
    open_to_all: Caller, host: str, path: str
) -> None:
    await open_to_all("/api/v1/job-1/")
    signs: list[Mapping[str, str]] = [
        BROWSER,
        {"Accept-Language": ""},
        {"User-Agent": "Mozilla/5.0"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": f"http://{host}"},
        {"Referer": f"http://{host}/"},
    ]
    for headers in signs:
        assert (await open_to_all(path, headers, host=host))[0] == 403
    assert (await open_to_all(path, BROWSER, host="localhost:5010"))[0] == 200
    assert (await open_to_all(path, {"User-Agent": "python-requests/2.32"}, host=host))[0] == 200  # pfcon


async def test_a_site_names_the_hosts_by_which_browsers_may_come(engine_with: Any) -> None:
    caller = Caller(engine_with(ALLOWED_HOSTS="pman.example.org,[2001:DB8:0::7],a.example."))

    for host in ("pman.example.org", "PMAN.example.org.:5010", "[2001:db8::7]:5010", "a.example"):
        assert (await caller("/", BROWSER, host=host))[0] == 200
    assert (await caller("/", BROWSER, host="evil.example"))[0] == 403


async def test_with_a_token_a_browser_may_come_by_any_name_and_is_asked_for_it(closed: Caller) -> None:
    status, _, text = await closed("/", BROWSER, host="pman.example.org")

    assert status == 401
    assert 'action="/login"' in text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", "Content-Type": "application/json"},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
        {"Origin": "null", "Content-Type": "text/plain"},
    ],
)
@pytest.mark.parametrize("authorization", [{}, basic("pman", TOKEN)])
async def test_no_page_of_another_site_submits_or_deletes_by_v1(
    engine_with: Any, headers: Mapping[str, str], authorization: Mapping[str, str]
) -> None:
    """Not even with the token, which a browser that knows it sends along with what any page asks."""
    caller = Caller(engine_with(AUTH_TOKEN=TOKEN) if authorization else engine_with())
    body = json.dumps(a_request()).encode()

    for method, path in (("POST", "/api/v1/"), ("DELETE", "/api/v1/job-1/")):
        given = {**headers, **authorization}
        assert (await caller(path, given, method, host="localhost:5010", body=body))[0] == 403


# --- the page's session ---------------------------------------------------------------------------

OWN = {**BROWSER, "Origin": "http://pman:5010", "Content-Type": "application/x-www-form-urlencoded"}


async def logged_in(caller: Caller, token: str = TOKEN) -> Mapping[str, str]:
    status, headers, _ = await caller("/login", OWN, "POST", body=f"token={token}&to=/jobs/job-1".encode())
    assert (status, headers["location"]) == (303, "/jobs/job-1")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]
    assert token not in headers["set-cookie"]
    return {**BROWSER, "Cookie": headers["set-cookie"].partition(";")[0]}


async def test_a_browser_that_has_brought_the_token_sees_the_page_and_its_streams(closed: Caller) -> None:
    session = await logged_in(closed)

    for path in (
        "/",
        "/jobs/job-1",
        "/events",
        "/jobs/job-1/events",
        "/api/v2/events",
        "/api/v2/jobs/job-1/logs",
    ):
        assert (await closed(path, session))[0] == 200


async def test_a_session_that_is_forgotten_is_over_whoever_has_its_cookie(closed: Caller) -> None:
    session = await logged_in(closed)

    assert (await closed("/forget", {**OWN, **session}, "POST"))[0] == 303

    for path in ("/", "/events", "/api/v2/jobs"):
        assert (await closed(path, session))[0] == 401


async def test_streams_of_a_session_end_when_it_is_forgotten(closed: Caller) -> None:
    session = await logged_in(closed)
    stream = asyncio.create_task(closed("/events", session, stay=True))
    other = asyncio.create_task(closed("/events", await logged_in(closed), stay=True))
    for _ in (stream, other):
        await closed.streams.acquire()

    await closed("/forget", {**OWN, **session}, "POST")

    assert (await stream)[0] == 200
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_a_session_changes_nothing_by_the_api_which_takes_tokens(closed: Caller) -> None:
    session = await logged_in(closed)

    assert (await closed("/api/v1/job-1/", session, "DELETE"))[0] == 401
    assert (await closed("/api/v2/jobs/job-1", session, "DELETE"))[0] == 401


async def test_a_session_of_the_token_that_may_read_is_asked_for_the_other_one(closed: Caller) -> None:
    session = {**OWN, **await logged_in(closed, READING)}

    assert 'name="token"' in (await closed("/jobs/job-1/cancel", session))[2]
    for form in (b"", f"token={READING}".encode(), b"token=wrong"):
        assert (await closed("/jobs/job-1/cancel", session, "POST", body=form))[0] in (401, 403)
    assert (await closed("/jobs/job-1/cancel", session, "POST", body=f"token={TOKEN}".encode()))[0] == 303


@pytest.mark.parametrize(
    "to", ["//evil.example", "/\\evil.example", "http://evil.example", "", "/a\r\nSet-Cookie: b"]
)
async def test_after_the_login_a_browser_stays_here(closed: Caller, to: str) -> None:
    body = f"token={TOKEN}&to={to}".encode()

    assert (await closed("/login", OWN, "POST", body=body))[1]["location"] == "/"


async def test_a_login_from_a_page_of_another_site_is_none(closed: Caller) -> None:
    for headers in ({**OWN, "Origin": "http://evil.example"}, {"Content-Type": OWN["Content-Type"]}):
        status, answer, _ = await closed("/login", headers, "POST", body=f"token={TOKEN}".encode())
        assert status == 403
        assert "set-cookie" not in answer


async def test_sessions_are_bounded_and_the_first_ends_with_its_streams() -> None:
    sessions = Sessions()
    first = sessions.begin("AUTH_TOKEN")
    stream = asyncio.create_task(streaming(sessions, first))
    await asyncio.sleep(0)
    sessions.name_of(first)

    last = [sessions.begin("AUTH_TOKEN") for _ in range(MOST_SESSIONS)][-1]

    await asyncio.wait([stream])
    assert stream.cancelled()
    assert (sessions.name_of(first), sessions.name_of(last)) == ("", "AUTH_TOKEN")


async def test_streams_of_a_session_end_when_its_time_is_over() -> None:
    sessions = Sessions(seconds=0)
    cookie = sessions.begin("AUTH_TOKEN")
    stream = asyncio.create_task(streaming(sessions, cookie))

    await asyncio.wait([stream])

    assert stream.cancelled()
    assert sessions.name_of(cookie) == ""


async def streaming(sessions: Sessions, cookie: str) -> None:
    assert sessions.answers(cookie)
    await asyncio.Event().wait()


@pytest.mark.parametrize("goes_on", [False, True])
async def test_what_is_answered_while_its_session_ends_is_answered(
    engine_with: Any, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(AUTH_TOKEN=TOKEN)
    caller = Caller(engine)
    session = await logged_in(caller)
    asked, ended = asyncio.Event(), asyncio.Event()

    async def late(*_: Any, **__: Any) -> tuple[()]:
        asked.set()
        await ended.wait()
        return ()

    monkeypatch.setattr(engine, "applied", late)
    monkeypatch.setattr(engine, "logs", late)
    path = "/api/v2/jobs/job-1/logs" if goes_on else "/jobs/job-1/document"
    answer = asyncio.create_task(caller(path, session))
    await asked.wait()
    await caller("/forget", {**OWN, **session}, "POST")
    ended.set()

    assert (await answer)[0] == (401 if goes_on else 200)


async def test_a_login_of_a_proxy_is_nothing_beside_a_session_and_no_wrong_token_of_the_page(
    closed: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []

    async def wrong(_: SlowDown, address: str) -> None:
        counted.append(address)

    monkeypatch.setattr(SlowDown, "wrong", wrong)
    own = basic("alice", "password-of-the-proxy")
    assert (await closed("/", {**BROWSER, **own}))[0] == 401
    session = await logged_in(closed)

    for path in ("/", "/events", "/api/v2/events"):
        assert (await closed(path, {**session, **own}))[0] == 200
    assert not counted
    assert (await closed("/api/v2/jobs/job-1", {**session, **own}, "DELETE"))[0] == 401
    assert counted


# --- wrong tokens ---------------------------------------------------------------------------------


async def test_wrong_tokens_of_an_address_wait_and_too_many_at_once_do_not() -> None:
    slow = SlowDown(first=3600)
    for _ in range(ALLOWED):
        await slow.wrong("10.0.0.1")

    waiting = [asyncio.create_task(slow.wrong("10.0.0.1")) for _ in range(MOST_WAITING_OF_ONE)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWrong, match="from this address"):
        await slow.wrong("10.0.0.1")
    await slow.wrong("10.0.0.2")  # another address is answered at once

    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not slow._waiting


async def test_an_address_is_not_said_to_do_what_all_do_together() -> None:
    slow = SlowDown(first=3600)
    addresses = [f"10.0.0.{number}" for number in range(MOST_WAITING + 1)]
    for address in addresses:
        for _ in range(ALLOWED):
            await slow.wrong(address)

    waiting = [asyncio.create_task(slow.wrong(address)) for address in addresses[1:]]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWrong, match="all addresses"):
        await slow.wrong(addresses[0])

    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_right_token_does_not_wait_for_wrong_ones_of_its_own_address(closed: Caller) -> None:
    """Behind a proxy, that is the address of all."""
    guesses = [
        asyncio.create_task(closed("/api/v1/job-1/", bearer(f"wrong-{n}"))) for n in range(ALLOWED + 20)
    ]
    await asyncio.sleep(0)

    assert (await closed("/api/v1/job-1/", bearer(TOKEN)))[0] == 200

    assert not all(task.done() for task in guesses)
    statuses = [answer[0] for answer in await asyncio.gather(*guesses)]
    assert statuses.count(401) == ALLOWED + MOST_WAITING_OF_ONE
    assert statuses.count(429) == 20 - MOST_WAITING_OF_ONE


async def test_what_is_known_of_addresses_is_bounded_and_a_network_of_ipv6_is_one() -> None:
    slow = SlowDown()
    for number in range(MOST_ADDRESSES + 100):
        await slow.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    for number in range(1, ALLOWED + 1):
        await slow.wrong(f"2001:db8::{number}")
    await slow.wrong("::ffff:192.0.2.1")

    assert len(slow._wrong) == MOST_ADDRESSES
    assert slow._wrong["2001:db8::/64"] == ALLOWED
    assert slow._wrong["192.0.2.1"] == 1


# --- the audit ------------------------------------------------------------------------------------


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(one.getMessage()) for one in caplog.records if one.name == "pman.audit"]


async def test_submissions_deletions_and_refusals_are_audited_and_nothing_else(
    closed: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wrong = json.dumps(a_request(jid="job-7", auid="rudolph", image="", env=["TOKEN=sesame-open"])).encode()
    kind = {"Content-Type": "application/json"}

    for headers in (bearer(TOKEN), {}, bearer(READING)):
        await closed("/api/v1/job-1/", headers)
        await closed("/api/v1/job-1/", headers, "DELETE")
    await closed("/api/v1/", {**kind, **basic("pfcon", TOKEN)}, "POST", body=wrong, address="10.0.0.9")
    await closed("/healthz")

    lines = audited(caplog)
    assert [
        (line["action"], line["method"], line["who"], line["jid"], line["outcome"]) for line in lines
    ] == [
        ("deletion", "DELETE", "AUTH_TOKEN", "job-1", 204),
        ("refusal", "GET", "none", "job-1", 401),
        ("refusal", "DELETE", "none", "job-1", 401),
        ("refusal", "DELETE", "AUTH_READ_TOKEN", "job-1", 403),
        ("refusal", "POST", "AUTH_TOKEN", "job-7", 400),
    ]
    assert (lines[-1]["auid"], lines[-1]["address"]) == ("rudolph", "10.0.0.9")
    assert "sesame-open" not in caplog.text
    assert TOKEN not in caplog.text


async def test_a_request_is_called_as_its_caller_says_if_that_is_harmless(
    closed: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name, taken in (
        ("cube-42.a_B", True),
        ("a b", False),
        ("x" * 65, False),
        ("a\tb", False),
        ("", False),
    ):
        _, headers, _ = await closed("/api/v1/job-1/", {"X-Request-ID": name})
        assert (headers["x-request-id"] == name) is taken
        assert audited(caplog)[-1]["request"] == headers["x-request-id"]
    assert (await closed("/healthz"))[1]["x-request-id"]


@given(st.text(max_size=400), st.text(max_size=400))
def test_whatever_a_request_is_called_its_line_is_one(jid: str, auid: str) -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    call = Call("a", "10.0.0.1", action="submission")
    call.names(jid=jid, auid=auid)
    logger, handler = logging.getLogger("pman.audit"), Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        record(call, "POST", "/api/v1/", 201)
    finally:
        logger.removeHandler(handler)

    assert len(lines) == 1
    assert lines[0].isascii()
    assert lines[0].isprintable()
    assert json.loads(lines[0])["auid"] == auid[:256]


def test_a_call_of_a_socket_file_has_no_address() -> None:
    assert call_of({"client": None, "headers": []}).address == ""
