"""A port of this machine that is the cluster's API server, and counts what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from bench.wire import Connection

KEPT = ("Accept", "Content-Type")


@dataclass(frozen=True, slots=True)
class Access:
    """An API server, and who asks it."""

    server: str
    namespace: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None

    def connection(self) -> Connection:
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return Connection(self.server, tls=self.tls, more=more)


def access(kubeconfig: str) -> Access:
    """By the file's current context. Raises OSError for a file that leads nowhere."""
    found = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]  # its package has no types for it
            config_file=kubeconfig, client_configuration=found
        )
        _, current = config.list_kube_config_contexts(kubeconfig)  # type: ignore[no-untyped-call]  # as above
    except ConfigException as error:
        raise OSError(str(error)) from error
    context = None
    if found.host.startswith("https:"):
        context = ssl.create_default_context(cafile=found.ssl_ca_cert or None)
        if found.cert_file:
            context.load_cert_chain(found.cert_file, found.key_file or None)
    token = found.get_api_key_with_prefix("authorization")
    headers = {"Authorization": token} if token else {}
    return Access(found.host, current["context"].get("namespace", "default"), headers, context)


@dataclass(slots=True)
class Counted:
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    """How often, by kind: `logs`, and `other` for all else, unless told otherwise."""

    def kubeconfig(self, directory: Path, namespace: str) -> Path:
        """What leads a program through here; who asks is added on the way."""
        file = directory / "kubeconfig"
        name = "bench"
        data: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        }
        file.write_text(json.dumps(data))  # JSON is YAML
        return file


def _log_or_other(_: str, path: str) -> str:
    return "logs" if path.endswith("/log") else "other"


@contextmanager
def counting(to: Access, kind: Callable[[str, str], str] = _log_or_other) -> Iterator[Counted]:
    """For the time of the block, in a thread; `kind` of a method and a path is what is counted."""
    counted, ready = Counted(), threading.Event()
    loop, done = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=to.tls or True)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

            async def relay(request: web.Request) -> web.StreamResponse:
                counted.asked[kind(request.method, request.path)] += 1
                kept = {name: request.headers[name] for name in KEPT if name in request.headers}
                async with session.request(
                    request.method,
                    to.server + request.raw_path,
                    data=await request.read() or None,
                    headers={**kept, **to.headers},
                ) as answer:
                    media = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
                    response = web.StreamResponse(status=answer.status, headers=media)
                    with contextlib.suppress(OSError):  # nobody listens to a watch any more
                        await response.prepare(request)
                        async for chunk in answer.content.iter_any():
                            await response.write(chunk)
                    return response

            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", "/{address:.*}", relay)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            counted.port = runner.addresses[0][1]
            ready.set()
            await done.wait()
            await runner.cleanup()
            watches = asyncio.all_tasks() - {asyncio.current_task()}
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    if not ready.wait(20):
        raise RuntimeError("the counting proxy does not start")
    try:
        yield counted
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(20)
