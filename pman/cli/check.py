"""`pman check`: what an installation needs, tried one after the other, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Column, Table

from pman import __version__, executors
from pman import settings as configuration
from pman.cli import terminal
from pman.cli.environment import DOTENV
from pman.cli.group import command
from pman.errors import ConfigError, PmanError
from pman.executors import Executor
from pman.settings import Settings
from pman.translation.translation import PROBE, Translation
from pman.translation.variables import job_variables
from pman.web.loopback import left_open, loopback_only

Outcome = Literal["ok", "failed", "skipped", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    subject: str
    outcome: Outcome
    message: str
    advice: str = ""


@command("pman check", "CONTAINER_ENV=podman VOLUME_NAME=storebase pman check")
def check() -> None:
    """Try all that a server needs here.

    Settings, login, templates and rules, engine, storebase, limits: each check is told with what to do.
    Ends with 0 when none has failed, else with 1.
    """

    async def failures() -> int:
        failed = 0
        async for outcome in checks(os.environ, DOTENV):
            print_check(outcome)
            failed += outcome.outcome == "failed"
        return failed

    sys.exit(1 if asyncio.run(failures()) else 0)


def print_check(check: Check) -> None:
    grid = Table.grid(Column(width=1), Column(width=9), Column(width=7), Column(), padding=(0, 1))
    grid.add_row(terminal.MARKS[check.outcome], check.subject, check.outcome, escape(check.message))
    if check.advice and check.outcome != "ok":
        grid.add_row("", "", "", f"[bold]→[/] {escape(check.advice)}")
    terminal.console().print(grid)


async def checks(environ: Mapping[str, str], dotenv: Path | None) -> AsyncIterator[Check]:
    """Each as soon as it is known; what depends on a failed one is skipped."""
    yield Check("version", "ok", f"pman {__version__}, Python {platform.python_version()}")
    try:
        settings = configuration.load(environ, executors.names(), dotenv)
    except ConfigError as error:
        advice = "docs/options.md has every setting, and `pman config` the effective values"
        for fault in error.faults:
            yield Check("settings", "failed", fault.message, advice)
        return
    yield Check("settings", "ok", _settings(settings))
    yield _login(settings)
    subject = "templates"
    try:
        translation = Translation(settings)
        yield Check(subject, "ok", _templates(settings))
        subject = "engine"
        executor = executors.connect(settings.engine, settings.values)
    except PmanError as error:
        yield _failed(subject, error)
        return
    try:
        async for check in _of_engine(translation, executor):
            yield check
    finally:
        await executors.close(executor)


async def _of_engine(translation: Translation, executor: Executor) -> AsyncIterator[Check]:
    try:
        yield Check("engine", "ok", f"{await executor.ping()} answers")
    except PmanError as error:
        yield _failed("engine", error)
        for subject in ("storebase", "limits", "jobs"):
            yield Check(subject, "skipped", "the engine does not answer")
        return
    try:
        facts = await executor.facts()
    except PmanError as error:
        yield _failed("storebase", error)
        yield Check("limits", "skipped", "needs the storebase")
    else:
        yield _storebase(facts, translation.settings)
        for warning in facts.get("warnings", ()):
            yield Check("mounts", "warning", warning, "docs/security.md says what closes it")
        yield _limits(translation, facts)
    try:
        yield Check("jobs", "ok", f"{len(await executor.list())} on the engine")
    except PmanError as error:
        yield _failed("jobs", error)


def _failed(subject: str, error: PmanError) -> Check:
    return Check(subject, "failed", str(error), error.hint)


def _settings(settings: Settings) -> str:
    given = [name for name, source in settings.sources.items() if source != "default"]
    names = f"{', '.join(given)} set" if given else "all at their defaults"
    return f"CONTAINER_ENV={settings.engine}; {names}"


def _login(settings: Settings) -> Check:
    if loopback_only(settings.engine):
        return Check("login", "ok", f"{settings.engine} serves this machine only")
    if found := left_open(settings):
        message, lines = found
        return Check("login", "skipped", f"{message}; right on loopback only", "\n".join(lines))
    if settings["AUTH_TOKEN"] and settings["AUTH_V1"]:
        return Check("login", "ok", "AUTH_TOKEN: API v1, v2 and the page ask for it")
    return Check("login", "ok", "TLS_CLIENT_CA: every client has a certificate")


def _templates(settings: Settings) -> str:
    site = ", ".join(settings["PMAN_TEMPLATES"])
    policy = f", policy {settings['PMAN_POLICY']}" if settings["PMAN_POLICY"] else ""
    shipped = f"{site}, then the shipped ones" if site else "the shipped ones"
    return f"templates and rules of {settings.engine} compile ({shipped}){policy}"


def _storebase(facts: Mapping[str, Any], settings: Settings) -> Check:
    if not facts["storebase"]:
        message = f"jobs mount {settings['VOLUME_NAME']}; pman does not look into it"
        advice = "it is left to the engine to find that input_dir and output_dir exist"
        return Check("storebase", "skipped", message, advice)
    path = Path(facts.get("seen", facts["storebase"]))
    if not path.exists():
        advice = (
            "right where pman has no mount of the storebase; it then leaves it to the engine to find "
            "that input_dir and output_dir exist"
        )
        if settings["STORAGE_TYPE"] == "host":
            advice = f"on the host that runs the jobs: mkdir -p {path}; elsewhere it is {advice}"
        return Check("storebase", "skipped", f"{path} is not visible from here", advice)
    if not path.is_dir():
        return Check("storebase", "failed", f"{path} is not a directory", "set STOREBASE to one")
    if not os.access(path, os.R_OK | os.X_OK):
        advice = "pman looks whether a job's directories exist: let its user read and enter the storebase"
        return Check("storebase", "failed", f"{path} is closed to {_me()}", advice)
    return Check("storebase", "ok", f"{path}, {_writable(path, settings)}")


def _writable(path: Path, settings: Settings) -> str:
    uid = job_variables(PROBE, settings)["uid"]
    writable = "writable" if os.access(path, os.W_OK) else "not writable"
    user = "the image's user, or the engine's" if uid is None else settings["CONTAINER_USER"]
    return (
        f"visible; {writable} for {_me()} (jobs run as {user} and must be able to write to their output_dir)"
    )


def _me() -> str:
    return f"uid {os.geteuid()}"


def _limits(translation: Translation, facts: Mapping[str, Any]) -> Check:
    try:
        translation.check(facts)
    except ConfigError as error:
        return _failed("limits", error)
    if translation.settings["IGNORE_LIMITS"]:
        return Check("limits", "skipped", "IGNORE_LIMITS=yes: jobs run without cpu and memory limits")
    return Check("limits", "ok", "the engine can do what the settings ask of it")
