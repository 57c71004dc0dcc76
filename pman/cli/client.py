"""A small client of a pman server: API v1 over `requests`, the server's errors as ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import click
import requests

from pman.errors import ConfigError, Fault, PmanError
from pman.web.loopback import is_loopback

CONNECT_TIMEOUT_SECONDS = 5.0
ANSWER_TIMEOUT_SECONDS = 100.0
"""Seconds, as pfcon's."""

Answer = Mapping[str, Any]
"""A job as the server answers it: jid, image, cmd, status, message, timestamp, logs."""

_ENDED = ("finishedSuccessfully", "finishedWithError", "undefined")


class ServerUnreachable(PmanError):
    """The server does not answer at its address, or not in time."""

    status = 503


class ServerRefused(PmanError):
    """The server's own message, hint, errors and HTTP status."""

    def __init__(self, status: int, message: str, hint: str = "", faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, hint, faults)
        self.status = status


def has_ended(job: Answer) -> bool:
    return job["status"] in _ENDED


class Client:
    """One server, one kept-alive connection. Every call raises ServerUnreachable or ServerRefused."""

    def __init__(self, url: str, environ: Mapping[str, str] = {}) -> None:
        """`url`: of the server, or of its API v1, or of its socket file; a password in it is the token.

        `environ`: PMAN_TOKEN, and for https PMAN_CA, PMAN_CERT and PMAN_KEY. Raises ConfigError for what is
        no address or no file.
        """
        self._session = requests.Session()
        if url.startswith("unix:///"):
            root = self._by_socket(url.removeprefix("unix://").removesuffix("/api/v1/"))
            token = environ.get("PMAN_TOKEN")
        else:
            root, password = _without_password(url)
            token = environ.get("PMAN_TOKEN") or password
        self.root = root.rstrip("/").removesuffix("/api/v1")
        self.url = f"{self.root}/api/v1/"
        self._shown = url if url.startswith("unix:") else self.url
        if token:
            self._session.auth = ("pman", token)  # not a header, which a ~/.netrc would take the place of
        self._session.cert = _certificate(environ)
        self._authority = _file("PMAN_CA", environ)
        # A proxy of the environment cannot reach this machine's own loopback.
        self._session.trust_env = not is_loopback(urlsplit(root).hostname or "")

    def close(self) -> None:
        self._session.close()

    def _by_socket(self, path: str) -> str:
        from docker.transport import UnixHTTPAdapter  # noqa: PLC0415  (only who has a socket waits for it)

        if not os.path.exists(path):  # noqa: PTH110  (False where it may not be looked at)
            raise _away(f"unix://{path}")
        root = "http+docker://localhost"  # as the adapter has it; the name in it is the Host that pman sees
        self._session.mount(root, UnixHTTPAdapter(f"http+unix://{path}"))
        return root

    def about(self) -> Mapping[str, Any]:
        """server_version, container_env, storage_type and engine: reachable, version or message."""
        return self._json("GET", self.url)

    def submit(self, body: bytes) -> Answer:
        """The job as the server has it; an identical repeat answers the same."""
        return self._json("POST", self.url, data=body, headers={"Content-Type": "application/json"})

    def dry_run(self, body: bytes) -> Sequence[Mapping[str, Any]]:
        """The documents that submit would send: name, text and content of each."""
        headers = {"Content-Type": "application/json"}
        answer = self._json("POST", self.url, params={"dry_run": "true"}, data=body, headers=headers)
        documents: Sequence[Mapping[str, Any]] = answer["documents"]
        return documents

    def status(self, jid: str) -> Answer:
        return self._json("GET", self._job(jid))

    def jobs(self) -> Sequence[Answer]:
        """List all of the server's jobs, without their logs."""
        jobs: list[Answer] = []
        params = {"limit": "1000"}
        while True:
            page = self._json("GET", f"{self.root}/api/v2/jobs", params=params)
            jobs += page["jobs"]
            if not page["next"]:
                return jobs
            params["cursor"] = page["next"]

    def logs(self, jid: str, tail: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """The log as it comes; with follow, until the job ends."""
        params = {"follow": str(follow).lower()} | ({} if tail is None else {"tail": str(tail)})
        timeout = (CONNECT_TIMEOUT_SECONDS, None if follow else ANSWER_TIMEOUT_SECONDS)
        response = self._call("GET", f"{self._job(jid)}logs/", params=params, stream=True, timeout=timeout)
        response.encoding = "utf-8"
        try:
            with response:
                yield from response.iter_content(chunk_size=None, decode_unicode=True)
        except requests.RequestException as error:
            raise ServerUnreachable(
                f"the pman at {self._shown} went away in the middle of the log of {jid}",
                f"the job goes on without it; once it is back: pman logs -f {jid}",
            ) from error

    def remove(self, jid: str) -> None:
        """End and forget the job."""
        self._call("DELETE", self._job(jid))

    def _job(self, jid: str) -> str:
        return f"{self.url}{quote(jid, safe='')}/"

    def _json(self, method: str, url: str, **options: Any) -> Mapping[str, Any]:
        response = self._call(method, url, **options)
        answer = _object(response)
        if answer is None:
            raise ServerRefused(response.status_code, f"{url} does not answer as a pman does")
        return answer

    def _call(
        self,
        method: str,
        url: str,
        timeout: tuple[float, float | None] = (CONNECT_TIMEOUT_SECONDS, ANSWER_TIMEOUT_SECONDS),
        **options: Any,
    ) -> requests.Response:
        try:
            response = self._session.request(
                method, url, timeout=timeout, allow_redirects=False, verify=self._authority, **options
            )
        except requests.Timeout as error:
            raise ServerUnreachable(f"the pman at {self._shown} does not answer in time") from error
        except requests.exceptions.SSLError as error:
            raise ServerUnreachable(
                f"no trust between this client and the pman at {self._shown}: {error}",
                "PMAN_CA: the certificate of who signed the server's; PMAN_CERT, PMAN_KEY: the client's own",
            ) from error
        except (requests.RequestException, UnicodeError) as error:
            raise _away(self._shown) from error
        if response.status_code >= 300:
            raise _refused(response)
        return response


remote = click.option(
    "--url",
    envvar="PMAN_URL",
    default=lambda: f"http://127.0.0.1:{os.environ.get('PORT') or 5010}/api/v1/",
    show_default="http://127.0.0.1:PORT/api/v1/, PORT being 5010 if not set",
    show_envvar=True,
    callback=lambda context, _, url: _client(context, url),
    help="Where the server is: http://, https://, or unix:///path of its socket file. PMAN_TOKEN is the "
    "site's token; PMAN_CA the certificate of who signed the server's; PMAN_CERT, PMAN_KEY the client's own.",
)
"""Adds the option --url to a command, which is handed a client of it, as `url`."""


def _away(url: str) -> ServerUnreachable:
    hint = "start one with `pman serve`, or say where it is with --url or PMAN_URL"
    return ServerUnreachable(f"no pman answers at {url}", hint)


def _client(context: click.Context, url: str) -> Client:
    client = Client(url, os.environ)
    context.call_on_close(client.close)
    return client


def _without_password(url: str) -> tuple[str, str | None]:
    """An address as messages may show it, and the password that was in it."""
    parts = urlsplit(url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--url={shown!r}: use http://host:port/api/v1/, https://... or unix:///path")
    return shown, unquote(parts.password) if parts.password else None


def _certificate(environ: Mapping[str, str]) -> tuple[str, str] | str | None:
    certificate, key = _file("PMAN_CERT", environ), _file("PMAN_KEY", environ)
    if key and not certificate:
        raise ConfigError("PMAN_KEY goes with PMAN_CERT, the certificate of the client")
    return (certificate, key) if certificate and key else certificate


def _file(name: str, environ: Mapping[str, str]) -> str | None:
    path = environ.get(name) or None
    if path and not os.path.isfile(path):  # noqa: PTH113  (False where it may not be looked at)
        raise ConfigError(f"{name}={path!r}: no such file")
    return path


def _refused(response: requests.Response) -> ServerRefused:
    answer = _object(response) or {}
    faults = [Fault(str(fault["path"]), str(fault["message"])) for fault in answer.get("errors", ())]
    default = f"{response.url} answers {response.status_code} {response.reason}; is it a pman?"
    return ServerRefused(
        response.status_code, str(answer.get("message", default)), str(answer.get("hint", "")), faults
    )


def _object(response: requests.Response) -> Mapping[str, Any] | None:
    try:
        value = json.loads(response.content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
