"""SLURM by slurmrestd, with the newest version of its API that both sides speak."""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pman.errors import ConfigError, EngineRefused, EngineUnreachable
from pman.executors.shared.http import Http
from pman.executors.slurm.native import Entry, accounted, body, changes, entries, error_numbers, words

OLDEST, NEWEST = 36, 43
"""The versions of the API, 0.0.N, whose answers native.py reads."""

_GONE = frozenset([2017, 2021, 2056])
"""Numbers of errors: no such job, it has ended, it is ending (slurm_errno.h)."""

_NOTES = frozenset([2015, 2016, 2042])
"""Numbers of errors that only say why a job does not start at once."""

_AWAY = ("contact", "connect", "communicat", "Socket", "imed out", "authentic", "Unspecified error",
         "redential", "unable to load", "Zero Bytes", "Unexpected message", "controller", "standby",
         "rotocol")  # fmt: skip
"""In the words of errors that are no refusal: slurmrestd does not reach slurmctld, or may not."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the calls are, of one version."""

    version: int
    jobs: str
    submit: str
    accounting: str
    """'' where slurmrestd has no slurmdbd."""


class Rest:
    """See Transport for what each call means."""

    fields: Sequence[str] = ()

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Raises ConfigError where a token or a user is missing."""
        self._settings = settings
        address = str(settings["SLURMRESTD_URL"])
        if not (settings["SLURM_JWT"] or settings["SLURM_JWT_FILE"] or address.startswith("unix:")):
            raise ConfigError(
                "SLURM_JWT is not set: slurmrestd needs a token, or SLURM_JWT_FILE, a file with one"
            )
        self._user = settings["SLURM_USER"] or _own_name()
        self._http = Http("slurmrestd", address, settings["ENGINE_TIMEOUT"], hint="See SLURMRESTD_URL")
        self._paths: Paths | None = None

    async def submit(self, job: Mapping[str, Any], script: str) -> int:
        paths = await self._serving()
        status, answer = await self._call("POST", paths.submit, body(job, script, paths.version))
        if job_id := int(answer.get("job_id") or (answer.get("result") or {}).get("job_id") or 0):
            return job_id  # errors beside it are notes, such as why it does not begin
        raise self._refusal("submit", status, answer)

    async def release(self, job_id: int, begin: str) -> None:
        paths = await self._serving()
        await self._change("release", "POST", job_id, changes({"begin_time": begin}, paths.version))

    async def cancel(self, job_id: int) -> None:
        await self._change("end", "DELETE", job_id)

    async def jobs(self) -> Sequence[Entry]:
        paths = await self._serving()
        status, answer = await self._call("GET", paths.jobs)
        if status != 200 or (answer.get("errors") and not answer.get("jobs")):
            raise self._away("list jobs", status, answer)
        return await asyncio.to_thread(entries, answer)

    async def accounting(self, job_id: int) -> Entry | None:
        paths = await self._serving()
        if not paths.accounting:
            return None
        status, answer = await self._call("GET", paths.accounting.replace("{job_id}", str(job_id)))
        jobs = [job for job in answer.get("jobs") or () if int(job.get("job_id") or 0) == job_id]
        if (
            not jobs
            and status != 200
            and "disabled" not in words(answer)
            and not error_numbers(answer) & _GONE
        ):
            raise self._away("tell what slurmdbd has of a job", status, answer)
        return accounted(jobs[-1]) if jobs else None

    async def version(self) -> str:
        paths = await self._serving()
        status, answer = await self._call("GET", paths.jobs.replace("/jobs", "/ping"))
        if status != 200:
            raise self._away("reach slurmctld", status, answer)
        meta = answer.get("meta") or {}
        release = (meta.get("slurm") or meta.get("Slurm") or {}).get("release", "of an unknown version")
        return f"SLURM {release} (slurmrestd, API 0.0.{paths.version})"

    async def close(self) -> None:
        await self._http.close()

    async def _change(self, call: str, method: str, job_id: int, sent: object = None) -> None:
        paths = await self._serving()
        status, answer = await self._call(method, f"/slurm/v0.0.{paths.version}/job/{job_id}", sent)
        done = any(word in words(answer) for word in ("nvalid job id", "no longer pending"))
        fine = done or error_numbers(answer) & (_GONE | _NOTES)
        if not fine and (status != 200 or answer.get("errors")):
            raise self._refusal(call, status, answer)

    async def _serving(self) -> Paths:
        """Ask slurmrestd, once, which versions it serves. Raises ConfigError where pman speaks none."""
        if self._paths is None:
            for address in ("/openapi/v3", "/openapi"):
                status, answer = await self._call("GET", address)
                if status == 200:
                    self._paths = paths(list(answer.get("paths") or ()))
                    break
            else:
                raise self._away("tell which versions of its API it serves", status, answer)
        return self._paths

    async def _call(self, method: str, path: str, sent: object = None) -> tuple[int, Mapping[str, Any]]:
        """Status, and the answer as data."""
        text = await asyncio.to_thread(token, self._settings)
        headers = {"X-SLURM-USER-NAME": self._user}
        if text:
            headers["X-SLURM-USER-TOKEN"] = text
        status, answer = await self._http.call(method, path, headers=headers, json=sent)
        if status in (401, 403):
            raise self._away("let pman in", status, {})
        if status == 404 and self._paths:
            self._paths = None  # another release in its place; the next call asks again
        try:
            content = await asyncio.to_thread(json.loads, answer)
        except ValueError:
            content = {"errors": [{"description": answer.decode(errors="replace").strip()[:500]}]}
        return status, content if isinstance(content, Mapping) else {}

    def _refusal(self, call: str, status: int, answer: Mapping[str, Any]) -> Exception:
        message = words(answer)
        if "arsing" in message or "nknown key" in message:  # slurmrestd itself: what is submitted is no job
            return EngineRefused(call, status, message)
        if status in (404, 502, 503, 504) or not message or any(word in message for word in _AWAY):
            return self._away(f"{call} a job", status, answer)
        return EngineRefused(call, status, message)

    def _away(self, call: str, status: int, answer: Mapping[str, Any]) -> EngineUnreachable:
        message = words(answer) or f"HTTP status {status}"
        try:
            ended = expired(token(self._settings))
        except EngineUnreachable as error:
            return error
        if ended:
            return EngineUnreachable(
                f"slurmrestd does not let pman in: its token expired at {ended}",
                "renew SLURM_JWT, or the file that SLURM_JWT_FILE names (scontrol token)",
            )
        return EngineUnreachable(
            f"slurmrestd at {self._http.address} cannot {call}: {message}",
            f"is slurmctld up, and the token (SLURM_JWT) one for the user {self._user} (SLURM_USER)?",
        )


def paths(served: Sequence[str]) -> Paths:
    """The paths of the newest version that pman speaks. Raises ConfigError where it speaks none."""
    pattern = re.compile(r"/slurm/v0\.0\.([0-9]+)/job/submit/?")
    versions = {int(match[1]): match[0] for path in served if (match := pattern.fullmatch(path))}
    spoken = [number for number in versions if OLDEST <= number <= NEWEST]
    if not spoken:
        served_versions = ", ".join(f"0.0.{number}" for number in sorted(versions)) or "none"
        raise ConfigError(
            f"slurmrestd serves versions of its API that pman does not speak: {served_versions}; "
            f"pman speaks 0.0.{OLDEST} to 0.0.{NEWEST}"
        )
    newest = max(spoken)
    base = f"/slurm/v0.0.{newest}"
    jobs = next((path for path in served if path.rstrip("/") == f"{base}/jobs"), f"{base}/jobs")
    of_accounting = re.compile(rf"/slurmdb/v0\.0\.{newest}/job/\{{job_id\}}/?")
    accounting = next((path for path in served if of_accounting.fullmatch(path)), "")
    return Paths(newest, jobs, versions[newest], accounting)


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ConfigError("SLURM_USER is not set, and the user that pman runs as has no name") from error


def token(settings: Mapping[str, Any]) -> str:
    """The token for slurmrestd, given once, or in a file that somebody renews; '' where none is set.

    Raises EngineUnreachable for a file that cannot be read.
    """
    if not (file := settings["SLURM_JWT_FILE"]):
        return str(settings["SLURM_JWT"] or "")
    try:
        text = Path(file).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise EngineUnreachable(
            f"there is no token for slurmrestd: {error}", "SLURM_JWT_FILE names its file"
        ) from error
    return text.removeprefix("SLURM_JWT=")  # as `scontrol token` prints it


def expired(text: str) -> str:
    """When the token did; '' where it has not, or does not tell."""
    try:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        end = float(claims["exp"])
        return datetime.fromtimestamp(end, UTC).isoformat() if end < time.time() else ""
    except (ValueError, LookupError, TypeError, OverflowError):
        return ""
