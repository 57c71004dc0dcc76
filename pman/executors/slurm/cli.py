"""SLURM by its own programs: sbatch, squeue, scontrol, scancel and sacct on the PATH, of 21.08 or newer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from typing import IO, Any

from pman.errors import EngineRefused, EngineUnreachable
from pman.executors.slurm import options
from pman.executors.slurm.native import Entry, entries

_AWAY = ("contact", "connect", "ommunication", "Socket", "imed out", "uthentication", "munge", "redential",
         "Zero Bytes", "slurm_load", "configuration source", "slurm.conf", "standby", "rotocol")  # fmt: skip
"""In the words of errors that are no refusal: the program does not reach slurmctld, or may not."""

_FINE = ("nvalid job id", "already", "no longer pending", "not available now")
"""In the words of errors that say that nothing is left to do."""

_MAX_PROGRAMS = 8
"""Programs that run at the same time: each is a process, and a connection of slurmctld's."""


class Cli:
    """See Transport for what each call means."""

    fields: Sequence[str] = options.FIELDS

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._timeout = float(settings["ENGINE_TIMEOUT"])
        # None of pman's own variables: those that begin with SLURM_ would reach the jobs, a token among them.
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")}
        if settings["SLURM_CONF"]:
            self._environment["SLURM_CONF"] = settings["SLURM_CONF"]
        self._turns = asyncio.Semaphore(_MAX_PROGRAMS)

    async def submit(self, job: Mapping[str, Any], script: str) -> int:
        words = ["--parsable", *options.options(job)]
        code, output, errors = await self._run("sbatch", words, script, job.get("environment"))
        if code:
            raise self._refusal("submit", "sbatch", code, errors)
        return int(output.split()[-1].partition(";")[0])

    async def release(self, job_id: int, begin: str) -> None:
        await self._change("release", "scontrol", "update", f"JobId={job_id}", f"StartTime={begin}")

    async def cancel(self, job_id: int) -> None:
        await self._change("end", "scancel", str(job_id))

    async def jobs(self) -> Sequence[Entry]:
        """Return all users' jobs with squeue 22.05, whatever its options."""
        code, output, errors = await self._run("squeue", ["--me", "--states=all", "--json"])
        try:
            answer = await asyncio.to_thread(json.loads, output) if not code else {}
        except ValueError as error:
            raise EngineUnreachable(f"squeue --json says what is no JSON: {errors or error}") from error
        if code or (answer.get("errors") and not answer.get("jobs")):
            raise self._away("squeue", errors or json.dumps(answer.get("errors")))
        return await asyncio.to_thread(entries, answer)

    async def accounting(self, job_id: int) -> Entry | None:
        if not self._which("sacct"):  # where there is no slurmdbd, it is often not installed
            return None
        fields = "JobIDRaw,JobName,State,ExitCode,Start,End,NodeList"
        words = ["--allocations", "--parsable2", "--noheader", f"--jobs={job_id}", f"--format={fields}"]
        code, output, errors = await self._run("sacct", words, environment={"TZ": "UTC"})
        if "disabled" in errors:
            return None
        if code:
            raise self._away("sacct", errors)
        rows = [line.split("|") for line in output.splitlines() if line.startswith(f"{job_id}|")]
        return _accounted(rows[-1]) if rows else None

    async def version(self) -> str:
        code, output, errors = await self._run("scontrol", ["ping"])
        if code or "UP" not in output:
            raise self._away("scontrol ping", errors or output)
        _, version, _ = await self._run("sbatch", ["--version"])
        release = version.split()[-1] if version.split() else "of unknown version"
        return f"SLURM {release} (sbatch, squeue, scancel)"

    async def _change(self, call: str, program: str, *words: str) -> None:
        code, _, errors = await self._run(program, words)
        fine = any(word in errors for word in _FINE)
        if code and not fine:
            raise self._refusal(call, program, code, errors)

    def _which(self, program: str) -> str | None:
        """On pman's own PATH; a program that is given an environment would be looked for on that one's."""
        return shutil.which(program, path=self._environment["PATH"])

    async def _run(
        self,
        program: str,
        words: Sequence[str],
        given: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, str, str]:
        """Exit code, and what it wrote; `environment`: more than it has anyway. Raises EngineUnreachable."""
        variables = {**self._environment, **(environment or {})}
        if (path := self._which(program)) is None:
            raise EngineUnreachable(
                f"{program} is not on pman's PATH", "install SLURM's client programs, or use SLURM_MODE=rest"
            )
        async with self._turns:
            try:
                with await asyncio.to_thread(_file, given) as stdin:
                    process = await asyncio.create_subprocess_exec(
                        path, *words, env=variables, cwd="/", stdin=stdin, stdout=PIPE, stderr=PIPE
                    )
            except OSError as error:
                raise EngineUnreachable(f"{program} cannot be run: {error}") from error
            try:
                output, errors = await asyncio.wait_for(process.communicate(), self._timeout)
            except TimeoutError as error:
                raise EngineUnreachable(
                    f"{program} did not end within {self._timeout:.0f} s",
                    "slurmctld hangs or is away; ENGINE_TIMEOUT sets how long pman waits",
                ) from error
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        return (
            process.returncode or 0,
            output.decode(errors="replace"),
            errors.decode(errors="replace").strip(),
        )

    def _refusal(self, call: str, program: str, code: int, errors: str) -> Exception:
        if any(word in errors for word in _AWAY):
            return self._away(program, errors)
        return EngineRefused(call, code, errors.removeprefix(f"{program}: ").removeprefix("error: "))

    def _away(self, program: str, errors: str) -> EngineUnreachable:
        return EngineUnreachable(
            f"{program} does not reach SLURM: {errors.removeprefix(f'{program}: ')}",
            "is slurmctld up, and munge on pman's machine? SLURM_CONF names another slurm.conf",
        )


def _file(text: str) -> IO[bytes]:
    """Without a name, to be read from its beginning. A pipe would break where a program does not read it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    file.write(text.encode())
    file.seek(0)
    return file


def _accounted(fields: Sequence[str]) -> Entry:
    job_id, name, state, exit_code, start, end, nodes = fields
    code, _, signal = exit_code.partition(":")
    word = state.split()[0].rstrip("+")  # CANCELLED by 1000
    return {
        "id": int(job_id), "name": name, "comment": "", "states": [word],
        "reason": "", "exit_code": int(code or 0), "signal": int(signal or 0), "submitted": 0, "eligible": 0,
        "start": _utc(start), "end": _utc(end), "nodes": nodes, "restarts": 0,
    }  # fmt: skip


def _utc(text: str) -> str:
    return f"{text}Z" if text[:1].isdigit() else ""
