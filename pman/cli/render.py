"""`pman render`: the documents that a request becomes."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from pman import executors
from pman.cli import terminal
from pman.cli.environment import dry_settings, note
from pman.cli.group import command
from pman.errors import BadRequest, ConfigError, EngineUnreachable
from pman.job import Document
from pman.settings import Settings
from pman.translation.preview import Previews
from pman.workshop import golden

FACTS_TIMEOUT_SECONDS = 3
"""A dry run waits so long for an engine, which it can do without."""


@command(
    "pman render examples/simpledsapp.json --engine podman",
    "pman render - < request.json | less",
    "pman render --all golden --samples requests",
)
@click.argument("request", type=click.File("rb"), metavar="REQUEST.json", required=False)
@click.option("--engine", help="Render for this engine; default CONTAINER_ENV.")
@click.option("--show-env", is_flag=True, help="Show the values of env, which hold a user's token.")
@click.option(
    "--all",
    "into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write what every sample becomes to DIR/<engine>/<sample>/, in place of what was written there.",
)
@click.option(
    "--samples",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --all: the site's own requests, the *.json of DIR; default: pman's samples.",
)
def render(
    request: BinaryIO | None, engine: str | None, show_env: bool, into: Path | None, samples: Path | None
) -> None:
    """Show the documents that a request becomes.

    As they would be sent; nothing is sent. '-' reads the request from stdin. Every error of the
    request is told, with its path. What is not configured, or only an absent engine could tell,
    is assumed, and stderr says so.

    --all writes golden files, for a site's own repository: no engine is asked, and the values of
    env are masked, so they are the same everywhere. `pman lint --golden DIR` compares them.
    """
    if (request is None) == (into is None):
        raise click.UsageError("either REQUEST.json or --all DIR")
    if samples and not into:
        raise click.UsageError("--samples goes with --all DIR")
    if into:
        if show_env:
            raise click.UsageError("--show-env does not go with --all: a token has no place in golden files")
        _write_golden(into, samples, dry_settings(engine))
    else:
        assert request is not None  # noqa: S101  (for the type checker)
        _render(request.read(), dry_settings(engine), show_env=show_env)


def _write_golden(directory: Path, samples: Path | None, settings: Settings) -> None:
    """Writes the files; says each that had to be changed, and how many there are."""
    previews = golden.previews(golden.requests(samples, settings.engine), settings)
    note(*dict.fromkeys(text for preview in previews.values() for text in preview.notes))
    rendered = golden.files(previews)
    changed = golden.write(directory, rendered)
    for mismatch in changed:
        click.echo(f"{'wrote' if mismatch.file in rendered else 'removed'} {directory / mismatch.file}")
    click.echo(f"{directory}: {len(rendered)} files, {len(changed)} changed")


def _render(body: bytes, settings: Settings, *, show_env: bool) -> None:
    facts, why = ask_facts(settings)
    previews = Previews(settings, [settings.engine])
    shown = previews.preview(body, facts=facts, unasked=why, show_env=show_env)
    note(*shown.notes)
    if shown.faults:
        raise BadRequest.of(shown.faults, shown.hint)
    documents = shown.documents
    text = _as_one_text(documents)
    if sys.stdout.isatty():
        terminal.highlighted(text, documents[0].name)
    else:
        click.echo(text, nl=not text.endswith("\n"))


def ask_facts(settings: Settings) -> tuple[Mapping[str, Any] | None, str]:
    """Ask what the engine says of itself; else None, and why not."""
    try:
        return asyncio.run(_ask(settings)), ""
    except (EngineUnreachable, ConfigError) as error:
        return None, str(error)


async def _ask(settings: Settings) -> Mapping[str, Any]:
    logging.getLogger("pman").addHandler(logging.NullHandler())  # a server's log; here the answer says it all
    timeout = min(FACTS_TIMEOUT_SECONDS, settings["ENGINE_TIMEOUT"])
    # Without a network of the jobs, which would be made: a dry run changes nothing.
    asked = {**settings.values, "ENGINE_TIMEOUT": timeout, "JOB_NETWORK": None}
    executor = executors.connect(settings.engine, asked)
    try:
        return await executor.facts()
    finally:
        await executors.close(executor)


def _as_one_text(documents: Sequence[Document]) -> str:
    """The documents as one text: one alone as it is, several each under its name."""
    if len(documents) == 1:
        return documents[0].text
    return "\n".join(f"# --- {document.name}\n{document.text}" for document in documents)
