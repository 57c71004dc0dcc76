"""`pman explain`: the state of a job as its engine tells it, and the rule that decides what pman answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import click
from rich.markup import escape

from pman.cli import terminal
from pman.cli.environment import setting, site_directories
from pman.cli.group import command, format_option
from pman.errors import BadRequest, ConfigError
from pman.settings import DECLARED
from pman.suggest import one_of
from pman.translation.explain import Explanation, Tried, explain, jid_of
from pman.translation.inventory.inventory import names
from pman.translation.render import loader
from pman.translation.rules import compiled


@command(
    "docker inspect chris-jid-42 | pman explain - --engine docker",
    "pman explain states/kubernetes/crash-loop.json --engine kubernetes",
)
@click.argument("native", type=click.File("rb"), metavar="NATIVE.json")
@click.option("--engine", help="Whose state it is; default CONTAINER_ENV.")
@click.option("--jid", help="Name of the job; default: by its label.")
@format_option("text", "json")
def explain_state(native: BinaryIO, engine: str | None, jid: str | None, form: str) -> None:
    """Show which rule decides for a job's state, and what pman answers.

    NATIVE.json is what the engine says of the job ('-': stdin). Each rule of state.yaml that was tried
    is shown with its place and condition, to the one that holds, and the values that they name.
    """
    default = DECLARED["CONTAINER_ENV"]["default"]
    chosen = engine or setting("CONTAINER_ENV") or default
    site_dirs = site_directories()
    engines = names(site_dirs)
    if chosen not in engines:
        raise ConfigError(f"there are no rules for {chosen}; {one_of(chosen, engines)}")
    state = _native(native.read())
    explanation = explain(compiled(chosen, loader(*site_dirs)), jid or jid_of(state) or "a-job", state)
    fields = ("status", "answer", "decided", "tried", "values")
    terminal.show(form, {name: getattr(explanation, name) for name in fields}, _lines(explanation))


def _native(text: bytes) -> Mapping[str, Any]:
    """A state; also the one of a list, as `docker inspect` has it, or under `native`, as pman's records.

    Raises BadRequest for what is none.
    """
    try:
        state = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"the state is not JSON: {error}") from error
    if isinstance(state, list) and len(state) == 1:
        state = state[0]
    if isinstance(state, dict) and isinstance(state.get("native"), dict):
        state = state["native"]
    if not isinstance(state, dict):
        raise BadRequest("the state is no JSON object: what the engine says of one job")
    return state


def _lines(explanation: Explanation) -> Iterator[str]:
    for name, value in explanation.values.items():
        yield f"[dim]{name}[/] = {escape(_short(value))}"
    if explanation.values:
        yield ""
    for rule in explanation.tried:
        yield _line(rule)
    if not explanation.decided:
        yield "[yellow]no rule holds[/]"
    yield ""
    yield f"[bold]{explanation.status}[/]"
    for name, value in explanation.answer.items():
        if name != "logs":
            text = "" if value is None else str(value)
            yield f"  [dim]{name:9}[/] {terminal.coloured(text) if name == 'status' else escape(text)}"


def _line(rule: Tried) -> str:
    mark = terminal.MARKS["ok"] if rule.holds else "[dim]·[/]"
    when = " ".join(rule.when.split()) or "always"
    at = f"[dim]{escape(terminal.path(rule.file))}:{rule.line}[/]"
    decided = f" → {terminal.coloured(rule.status)}" if rule.decided else ""
    return f"{mark} {at} {escape(when) if rule.holds else f'[dim]{escape(when)}[/]'}{decided}"


def _short(value: object) -> str:
    """On one line, a long one cut: JSON has it all."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"
