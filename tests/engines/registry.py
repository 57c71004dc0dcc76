"""An image registry on this machine that serves one image, so that real engines really pull."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from docker.models.images import Image

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Registry:
    """`open` lets the manifest through; until it is set, a pull takes its time."""

    address: str
    blobs: dict[str, bytes]
    manifest: bytes
    login: str = ""
    """USER:PASSWORD that every request must carry; '' lets everyone in."""

    open: threading.Event = field(default_factory=threading.Event)

    def credentials(self) -> dict[str, Any]:
        """As Docker's config.json has them, and a secret for Kubernetes."""
        return {"auths": {self.address: {"auth": base64.b64encode(self.login.encode()).decode()}}}

    def reference(self, name: str) -> str:
        """Each name is an image of its own, so that no engine has it yet."""
        return f"{self.address}/{name}:1"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _parts(image: Image) -> tuple[dict[str, bytes], bytes]:
    archive = tarfile.open(fileobj=io.BytesIO(b"".join(image.save())))  # noqa: SIM115  (in memory)

    def read(name: str) -> bytes:
        member = archive.extractfile(name)
        assert member is not None
        return member.read()

    (entry,) = json.loads(read("manifest.json"))
    config = read(entry["Config"])
    layers = [gzip.compress(read(name), mtime=0) for name in entry["Layers"]]
    described = [
        {
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "size": len(layer),
            "digest": _digest(layer),
        }
        for layer in layers
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(config),
            "digest": _digest(config),
        },
        "layers": described,
    }
    blobs = {_digest(blob): blob for blob in (config, *layers)}
    return blobs, json.dumps(manifest).encode()


@contextmanager
def serving(image: Image, login: str = "") -> Iterator[Registry]:
    """The registry's part of the Docker Registry HTTP API V2 that a pull needs."""
    blobs, manifest = _parts(image)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self._may():
                denied = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
                self._answer(json.dumps(denied).encode(), "application/json", 401)
            elif self.path == "/v2/":
                self._answer(b"{}", "application/json")
            elif "/private" in self.path:
                denied = {"errors": [{"code": "DENIED", "message": "requested access is denied"}]}
                self._answer(json.dumps(denied).encode(), "application/json", 403)
            elif "/manifests/" in self.path and "/missing" not in self.path:
                registry.open.wait(60)
                self._answer(registry.manifest, MANIFEST)
            elif (blob := registry.blobs.get(self.path.rpartition("/")[2])) is not None:
                self._answer(blob, "application/octet-stream")
            else:
                unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                self._answer(json.dumps(unknown).encode(), "application/json", 404)

        do_HEAD = do_GET  # noqa: N815  (the standard library's name)

        def _may(self) -> bool:
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            return not registry.login or base64.b64decode(given).decode() == registry.login

        def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Docker-Content-Digest", _digest(body))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the engine's own log tells."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(f"127.0.0.1:{server.server_port}", blobs, manifest, login)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
