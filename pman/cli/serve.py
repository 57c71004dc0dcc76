"""`pman serve`: the server, with the settings of the environment."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pman.cli.environment import load_settings
from pman.cli.group import command
from pman.settings import Settings
from pman.web import server


@command("CONTAINER_ENV=podman STORAGE_TYPE=host STOREBASE=/srv/chris pman serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--uds",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Socket file to listen on, in place of host and port.",
)
@click.option(
    "--uds-mode",
    default="660",
    show_default=True,
    callback=lambda _, __, text: _permissions(text),
    help="Permissions of the socket file: who may write to it may use pman.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; default PORT, else 5010.")
def serve(host: str, uds: Path | None, uds_mode: int, port: int | None) -> None:
    """Serve the API, and the page for people, until interrupted."""
    settings = load_settings()
    if port is not None:
        settings = Settings({**settings.values, "PORT": port}, {**settings.sources, "PORT": "--port"})
    server.serve(settings, host, uds, uds_mode)


def _permissions(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise click.BadParameter(f"{text!r}: use three digits from 0 to 7, as chmod takes them")
    return int(text, 8)
