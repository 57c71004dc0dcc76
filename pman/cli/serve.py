"""`pman serve`: the server, with the settings of the environment."""

from __future__ import annotations

import click

from pman.cli.environment import load_settings
from pman.cli.group import command
from pman.settings import Settings
from pman.web import server


@command("CONTAINER_ENV=podman STORAGE_TYPE=host STOREBASE=/srv/chris pman serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; default PORT, else 5010.")
def serve(host: str, port: int | None) -> None:
    """Serve the API, and the page for people, until interrupted."""
    settings = load_settings()
    if port is not None:
        settings = Settings({**settings.values, "PORT": port}, {**settings.sources, "PORT": "--port"})
    server.serve(settings, host)
