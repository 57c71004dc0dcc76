"""No request stops the service: what is too large, too slow or too much is ended, and others are served.

Bounded here; PMAN_ATTACK_MIB=300 makes the large ones as large as they were when they succeeded, and
`python -m bench.attacks` shows what they cost.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import requests

from tests import engines
from tests.live import Live, live, until

MIB = 2**20
ATTACK = int(os.environ.get("PMAN_ATTACK_MIB", "30")) * MIB
GROWTH = 20 * MIB


@pytest.fixture(scope="module")
def pman(storebase: Path) -> Iterator[Live]:
    """With the limits as shipped."""
    with live(engines.need("local"), storebase) as running:
        requests.get(running.server.url, timeout=60)
        yield running


@pytest.fixture(scope="module")
def impatient(storebase: Path) -> Iterator[Live]:
    """With the least of each limit."""
    seconds = {f"HTTP_{name}_SECONDS": "1" for name in ("HEADER", "STALL")}
    few = {"HTTP_CONNECTIONS": "50", "HTTP_CONNECTIONS_PER_ADDRESS": "20", "HTTP_UNFINISHED_BYTES": str(MIB)}
    few["HTTP_BODY_BYTES"] = str(MIB // 2)
    with live(engines.need("local"), storebase, **seconds, **few, HTTP_REQUEST_SECONDS="3") as running:
        yield running


def connected(pman: Live) -> socket.socket:
    host, port = pman.server.root.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def rest(connection: socket.socket) -> bytes:
    """All that comes until pman closes the connection; waits for that."""
    text = b""
    try:
        while chunk := connection.recv(65536):
            text += chunk
    except ConnectionResetError:
        pass
    return text


def first(connection: socket.socket) -> bytes:
    """The beginning of the answer; nothing where it was lost, as when more is sent than pman reads."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def poured(connection: socket.socket, chunk: bytes, most: int = ATTACK) -> None:
    """So much is sent, or what pman takes of it."""
    try:
        for _ in range(most // len(chunk)):
            connection.sendall(chunk)
    except OSError:
        pass


def memory(pman: Live) -> int:
    return int(psutil.Process(pman.server.process.pid).memory_info().rss)


def is_well(pman: Live) -> bool:
    return requests.get(f"{pman.server.root}/healthz", timeout=60).status_code == 200


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(65536) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.settimeout(60)


START = b"POST /api/v1/ HTTP/1.1\r\nHost: localhost\r\n"
SOME = START + b"Content-Type: application/json\r\nContent-Length: "
CHUNKED = START + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "chunk", "status"),
    [
        pytest.param(b"GET /", b"a" * 65536, b"414", id="an address"),
        pytest.param(START + b"A: ", b"a" * 65536, b"431", id="a field"),
        pytest.param(
            START, b"".join(b"A%05d: a\r\n" % number for number in range(6000)), b"431", id="fields"
        ),
        pytest.param(START, b"A:\r\n" * 16_000, b"431", id="fields without a value"),
        pytest.param(CHUNKED + b"0\r\nA: ", b"a" * 65536, b"431", id="a field after the body"),
        pytest.param(CHUNKED + b"0\r\n", b"A: a\r\n" * 10_000, b"431", id="fields after the body"),
        pytest.param(CHUNKED, b"1;a=" + b"a" * 65536, b"431", id="what stands beside a chunk"),
        pytest.param(CHUNKED, b"10000\r\n" + b"a" * 65536 + b"\r\n", b"413", id="a body"),
        pytest.param(SOME + b"1000000000\r\n\r\n", b" " * 65536, b"413", id="a body that says its size"),
    ],
)
def test_what_grows_without_an_end_is_refused_and_costs_no_memory(
    pman: Live, begin: bytes, chunk: bytes, status: bytes
) -> None:
    before = memory(pman)

    for _ in range(6):
        with connected(pman) as connection:
            connection.sendall(begin)
            poured(connection, chunk)
            assert memory(pman) < before + GROWTH
            assert first(connection)[9:12] in (status, b"")
    assert is_well(pman)


def test_a_body_that_is_too_large_is_answered_so(pman: Live) -> None:
    answer = requests.post(
        pman.server.url, b" " * (8 * MIB + 1), headers={"Content-Type": "application/json"}, timeout=60
    )

    assert answer.status_code == 413
    assert "8388608 bytes" in answer.json()["message"]


def test_a_long_address_is_taken_that_is_no_attack(pman: Live) -> None:
    answer = requests.get(f"{pman.server.root}/api/v2/jobs", params={"q": "a" * 15_000}, timeout=60)

    assert answer.json() == {"jobs": [], "next": None}


def test_one_that_says_nothing_or_half_a_header_is_closed(impatient: Live) -> None:
    with connected(impatient) as silent, connected(impatient) as half, connected(impatient) as ends:
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        ends.sendall(b"\r\n")

        assert rest(half).startswith(b"HTTP/1.1 408")
        assert rest(silent) == rest(ends) == b""


def test_one_that_was_answered_and_says_nothing_more_but_ends_of_lines_is_closed(impatient: Live) -> None:
    with connected(impatient) as connection:
        connection.sendall(head("HEAD", "/healthz"))
        assert connection.recv(65536)
        connection.sendall(b"\r\n")

        assert rest(connection) == b""


def test_a_body_that_stops_coming_is_given_up(impatient: Live) -> None:
    with connected(impatient) as connection:
        connection.sendall(
            head("POST", "/api/v1/", "Content-Type: application/json", "Content-Length: 100") + b"{"
        )

        assert rest(connection).startswith(b"HTTP/1.1 408")


def test_a_request_must_be_complete_however_steadily_it_comes(impatient: Live) -> None:
    def sends_on() -> bool:
        try:
            connection.sendall(b"1\r\n \r\n")
        except OSError:
            return False
        return is_open(connection)

    with connected(impatient) as connection:
        connection.sendall(CHUNKED)

        until(lambda: not sends_on())


def test_a_connection_is_there_for_the_next_poll(pman: Live) -> None:
    """The platform polls each 5.00 s, when servers like to close theirs."""
    with connected(pman) as connection:
        for _ in range(2):
            connection.sendall(head("HEAD", "/healthz"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(5.5)  # what is shown is that nothing happens

        assert is_open(connection)


def test_those_that_say_nothing_keep_nobody_out(impatient: Live) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(impatient)) for _ in range(50)]
        for connection in silent[::2]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost:")

        assert all(is_well(impatient) for _ in range(20))


def test_one_too_many_is_told_so_where_all_others_are_being_answered(impatient: Live) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            follower = stack.enter_context(connected(impatient))
            follower.sendall(head("GET", "/api/v2/events"))
            assert follower.recv(65536).startswith(b"HTTP/1.1 200")

        assert requests.get(f"{impatient.server.root}/healthz", timeout=60).status_code == 503

    until(lambda: requests.get(f"{impatient.server.root}/healthz", timeout=60).status_code == 200)


def test_of_many_unfinished_bodies_the_largest_make_room(impatient: Live) -> None:
    before = memory(impatient)
    with ExitStack() as stack:
        for _ in range(15):
            connection = stack.enter_context(connected(impatient))
            connection.sendall(CHUNKED + b"ffffff\r\n" + b" " * 200_000)

        assert memory(impatient) < before + GROWTH
        assert impatient.submit(impatient.request())["jid"]


def test_a_client_that_takes_no_answer_is_let_go(impatient: Live) -> None:
    request = impatient.script("head -c 20000000 /dev/zero | tr '\\0' x")
    impatient.run(request)
    with connected(impatient) as connection:
        connection.sendall(head("GET", f"/api/v1/{request['jid']}/logs/"))

        server = psutil.Process(impatient.server.process.pid)
        address = connection.getsockname()
        until(lambda: all(one.raddr != address for one in server.net_connections("tcp")))


def test_requests_sent_before_the_answer_are_not_kept(pman: Live) -> None:
    """The connection ends with the first answer, so that a client asks again for the others."""
    before = memory(pman)
    with connected(pman) as connection:
        poured(connection, head("GET", "/healthz") * 1000)

        assert rest(connection).count(b"HTTP/1.1") == 1
    assert memory(pman) < before + GROWTH


def test_a_body_of_very_many_values_is_refused_for_their_number(pman: Live) -> None:
    words = ["a"] * (1_000_000 if ATTACK > 100 * MIB else 300_000)
    before = memory(pman)

    answer = pman.post(pman.request(args=words))

    assert answer.status_code == 400
    assert memory(pman) < before + 10 * GROWTH


@pytest.mark.parametrize(
    "path", ["static", "templates", "templates/docker", "templates/builtin", "templates/.."]
)
@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000, "%00", "..%2f..%2fetc%2fpasswd", "%ff"])
def test_a_name_that_no_file_can_have_is_not_there(pman: Live, path: str, name: str) -> None:
    assert requests.get(f"{pman.server.root}/{path}/{name}", timeout=60).status_code == 404


@pytest.mark.parametrize("path", ["//", "//evil.example", "/api//v1/", "/templates//docker"])
def test_no_address_is_answered_with_another_that_the_client_made_up(pman: Live, path: str) -> None:
    with connected(pman) as connection:
        connection.sendall(head("GET", path, "X-Forwarded-Host: evil.example", "Connection: close"))

        answer = rest(connection)

    assert b"location:" not in answer.lower()
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 200"))


def test_a_job_of_thousands_of_variables_is_shown(pman: Live) -> None:
    number = 12_000 if ATTACK > 100 * MIB else 3000
    request = pman.request(
        env=[f"VARIABLE_{index}=value-of-{index:06d}" for index in range(number)],
        args=[f"--option-{index}=of-{index:06d}" for index in range(number)],
    )
    pman.submit(request)

    native = requests.get(f"{pman.server.root}/api/v2/jobs/{request['jid']}/native", timeout=60)

    assert native.status_code == 200
    assert "value-of-" not in native.text
    assert json.loads(native.text)["jid"] == request["jid"]
