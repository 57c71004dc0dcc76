"""The commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pman import __version__, executors
from pman import settings as configuration
from pman.errors import PmanError
from pman.settings import Settings


def load_settings() -> Settings:
    """From the environment and ./.env, for the engines that are installed."""
    return configuration.load(os.environ, executors.names(), Path(".env"))


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Our errors are one line each, not a traceback."""
        try:
            return super().invoke(ctx)
        except PmanError as error:
            for fault in error.faults or ():
                click.echo(f"pman: {fault.message}", err=True)
            if not error.faults:
                click.echo(f"pman: {error}", err=True)
            if error.hint:
                click.echo(f"pman: {error.hint}", err=True)
            sys.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pman")
def main() -> None:
    """Run containerised jobs on the engine this site has, through templates it can read and edit."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, help="TCP port; default PORT, else 5010.")
def serve(host: str, port: int | None) -> None:
    """Serve the API until interrupted."""
    from pman.server import serve as serve_api  # noqa: PLC0415  (other commands do without its imports)

    settings = load_settings()
    if port is not None:
        settings = Settings({**settings.values, "PORT": port}, {**settings.sources, "PORT": "--port"})
    serve_api(settings, host)
