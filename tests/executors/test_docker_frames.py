"""Logs by Docker's API, of an engine that says what a real one says for an instant only."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from pman.executors.docker.api import Api
from pman.executors.docker.frames import NoLogError, read_log


async def test_a_container_that_is_being_deleted_has_no_log_and_is_no_failure_of_the_engine(
    tmp_path: Path,
) -> None:
    """Docker 20.10 answers so for some milliseconds; a page that was open was a 503."""

    async def answer(request: web.Request) -> web.Response:
        if "/logs" not in request.path:
            return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"})
        message = "can not get logs from container which is dead or marked for removal"
        return web.json_response({"message": message}, status=409)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    api = Api("Docker", f"unix://{tmp_path}/s", None, 30)
    try:
        with pytest.raises(NoLogError):
            async for _ in read_log(api, "/containers/a-job/logs", "no log", 10):
                pass
    finally:
        await api.close()
        await runner.cleanup()
