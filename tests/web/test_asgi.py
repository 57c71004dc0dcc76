"""What is answered before the app: the same as the app would say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pman.engine.engine import Engine
from pman.translation.translation import Translation
from pman.web.app import create_app
from pman.web.asgi import served
from tests.a_job import settings_of, site_templates
from tests.engine.test_engine import Held

STATE = """
fields: {digest: native.digest}
rules:
  - status: finishedSuccessfully
    message: finished
"""


class Remembering(Held):
    """Counts what it is asked, and says that nothing has changed until a test says otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.current: Hashable | None = 1
        self.jobs = {"job-1": {}}

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        self.asked += 1
        return await super().inspect(jid, fresh=fresh)

    def revision(self, jid: str) -> Hashable | None:
        return self.current

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        self.asked += 1
        yield "said ü\n".encode()


Answer = tuple[int, Mapping[bytes, bytes], bytes]


async def asked(app: Callable[..., Any], path: str, method: str = "GET", query: bytes = b"") -> Answer:
    """One request by ASGI, as a server makes it."""
    sent: list[Mapping[str, Any]] = []
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Mapping[str, Any]:
        if not messages:
            await asyncio.Event().wait()  # the caller stays
        return messages.pop()

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query, "root_path": "",
        "headers": [(b"host", b"pman:5010")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 5010),
    }  # fmt: skip
    await app(scope, receive, send)
    start, *bodies = sent
    return start["status"], dict(start["headers"]), b"".join(part.get("body", b"") for part in bodies)


@pytest.fixture
def executor() -> Remembering:
    return Remembering()


@pytest.fixture
async def engine(executor: Remembering, tmp_path: Path) -> AsyncIterator[Engine]:
    site = site_templates(tmp_path, {"docker/state.yaml": STATE})
    engine = Engine(Translation(settings_of(PMAN_TEMPLATES=str(site))), executor)
    yield engine
    await engine.close()


@pytest.mark.parametrize("path", ["/api/v1/job-1/", "/api/v1/job-1"])
async def test_a_poll_from_memory_says_what_the_app_says_and_asks_nothing(
    engine: Engine, executor: Remembering, path: str
) -> None:
    by_app = await asked(create_app(engine), path)
    executor.asked = 0

    from_memory = await asked(served(engine), path)

    assert executor.asked == 0
    assert (from_memory[0], from_memory[2]) == (by_app[0], by_app[2])
    assert {**from_memory[1], b"x-request-id": b""} == {**by_app[1], b"x-request-id": b""}
    assert from_memory[1][b"x-content-type-options"] == b"nosniff"
    assert int(from_memory[1][b"content-length"]) == len(from_memory[2])


async def test_what_may_have_changed_is_asked_for(engine: Engine, executor: Remembering) -> None:
    await asked(served(engine), "/api/v1/job-1/")
    executor.asked, executor.current = 0, None

    status, _, _ = await asked(served(engine), "/api/v1/job-1/")

    assert (status, executor.asked) == (200, 1)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/api/v1/job-1/", 200),
        ("DELETE", "/api/v1/job-1/", 204),
        ("POST", "/api/v1/job-1/", 405),
        ("GET", "/api/v1/job-1/logs/", 200),
        ("GET", "/api/v1/job-1\n", 404),
        ("GET", "/api/v1/job-2/", 404),
        ("GET", "/api/v1/", 200),
    ],
)
async def test_everything_else_is_the_apps(engine: Engine, method: str, path: str, status: int) -> None:
    await engine.status("job-1")

    answer = await asked(served(engine), path, method)

    assert answer[0] == status
