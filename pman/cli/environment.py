"""The command line's settings: the environment and ./.env, with stand-ins where a dry run lacks something."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
from dotenv import dotenv_values

from pman import executors, settings
from pman.errors import ConfigError
from pman.settings import Settings, listed
from pman.translation import assumed

DOTENV = Path(".env")


def load_settings() -> Settings:
    """Read the settings as a server here would, for the engines that are installed. Raises ConfigError."""
    return settings.load(os.environ, executors.names(), DOTENV)


def dry_settings(engine: str | None, templates: Sequence[Path] = ()) -> Settings:
    """Read them with stand-ins for what is missing, which stderr names. Raises ConfigError for the rest.

    `templates` take the place of PMAN_TEMPLATES.
    """
    environ = {**os.environ, "CONTAINER_ENV": engine} if engine else {**os.environ}
    if templates:
        environ["PMAN_TEMPLATES"] = ":".join(map(str, templates))
    chosen, notes = assumed.settings(environ, executors.names(), DOTENV)
    note(*notes)
    return chosen


def note(*texts: str) -> None:
    """Lines of stderr."""
    for text in texts:
        click.echo(f"pman: {text}", err=True)


def site_directories() -> list[Path]:
    """PMAN_TEMPLATES, whatever the other settings are. Raises ConfigError for a directory that is missing."""
    for directory in (directories := named_directories()):
        if not directory.is_dir():
            raise ConfigError(f"PMAN_TEMPLATES={str(directory)!r}: no such directory")
    return directories


def named_directories() -> list[Path]:
    """PMAN_TEMPLATES, there or not."""
    return [Path(directory) for directory in listed("PMAN_TEMPLATES", setting("PMAN_TEMPLATES"))]


def setting(name: str) -> str:
    """One setting as it is written, '' where it is not."""
    file = dotenv_values(DOTENV) if DOTENV.is_file() else {}
    return os.environ.get(name) or file.get(name) or ""
