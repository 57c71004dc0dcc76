"""`pman ps`, `status`, `logs` and `rm`: the jobs of a server."""

from __future__ import annotations

import sys

import click
from rich.markup import escape
from rich.table import Table

from pman.cli import terminal
from pman.cli.client import Client, remote
from pman.cli.group import command, format_option, print_error
from pman.errors import PmanError


@command("pman ps", "pman ps --format json | jq '.[].jid'")
@format_option("table", "json")
@remote
def ps(form: str, url: Client) -> None:
    """List the server's jobs."""
    jobs = url.jobs()
    table = terminal.plain_table("jid", "status", "since", "image", "message")
    for column in table.columns[:3]:
        column.no_wrap = True
    for job in sorted(jobs, key=lambda job: str(job["timestamp"]), reverse=True):
        since = str(job["timestamp"])[:19].replace("T", " ")
        row = (job["jid"], job["status"], since, job["image"], job["message"])
        table.add_row(*(terminal.coloured(text) if text == job["status"] else escape(text) for text in row))
    terminal.show(form, jobs, [table])


@command("pman status chris-jid-42")
@click.argument("jid")
@format_option("table", "json")
@remote
def status(jid: str, form: str, url: Client) -> None:
    """Show one job, without its log."""
    shown = {name: value for name, value in url.status(jid).items() if name != "logs"}
    grid = Table.grid(padding=(0, 2))
    for name, value in shown.items():
        text = "" if value is None else str(value)
        grid.add_row(f"[dim]{name}[/]", terminal.coloured(text) if name == "status" else escape(text))
    terminal.show(form, shown, [grid])


@command("pman logs chris-jid-42 --tail 20", "pman logs -f chris-jid-42")
@click.argument("jid")
@click.option("-f", "--follow", is_flag=True, help="Until the job ends.")
@click.option("--tail", type=click.IntRange(0), help="Only the last lines; default: the server's.")
@remote
def logs(jid: str, follow: bool, tail: int | None, url: Client) -> None:
    """Print the log of a job."""
    for text in url.logs(jid, tail, follow=follow):
        print(text, end="", flush=True)


@command("pman rm chris-jid-42 chris-jid-43")
@click.argument("jids", nargs=-1, required=True, metavar="JID...")
@remote
def rm(jids: tuple[str, ...], url: Client) -> None:
    """End jobs that run, and delete them. Each that could not be is told; then the exit code is 1."""
    failed = False
    for jid in jids:
        try:
            url.remove(jid)
        except PmanError as error:
            failed = True
            print_error(error)
        else:
            click.echo(jid)
    sys.exit(int(failed))
