"""The option of every command that speaks to a server."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pman.cli.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def remote(command: F) -> F:
    """Hands the command a client, as `url`."""
    option = click.option(
        "--url",
        envvar="PMAN_URL",
        default=lambda: f"http://127.0.0.1:{os.environ.get('PORT') or 5010}/api/v1/",
        show_default="http://127.0.0.1:PORT/api/v1/, PORT being 5010 if not set",
        show_envvar=True,
        callback=lambda _, __, url: Client(url),
        help="Where the server is.",
    )
    return option(command)
