"""`pman run`: a job from its submission to its end, its status on stderr, its log on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pman.cli.client import Answer, Client, ServerRefused, has_ended, remote
from pman.cli.group import command
from pman.errors import BadRequest

INTERRUPTED = 130
"""128 + SIGINT, as a shell has it."""


@command("pman run request.json --rm", "pman run - --jid try-2 < request.json > log")
@click.argument("request", type=click.File("rb"), metavar="REQUEST.json")
@click.option("--rm", "remove", is_flag=True, help="Delete the job when it has ended.")
@click.option("--jid", help="Name of the job, in place of the request's.")
@remote
def run(request: BinaryIO, remove: bool, jid: str | None, url: Client) -> None:
    """Submit a job to a server and follow it.

    Its log goes to stdout, its status to stderr. Ends with the job's exit code, or with 1 where a job
    that failed has none. Ctrl-C leaves the job running and says how to follow or delete it.
    """
    body = request.read()
    sys.exit(follow(url, with_jid(body, jid) if jid else body, remove=remove))


def with_jid(body: bytes, jid: str) -> bytes:
    """The request with another job's name. Raises BadRequest."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the request is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadRequest("the request is no JSON object")
    return json.dumps({**data, "jid": jid}).encode()


def follow(client: Client, body: bytes, *, remove: bool) -> int:
    """Submit a job and follow it to its end; the exit code. Ctrl-C leaves it running.

    Raises ServerRefused, ServerUnreachable.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    jid, shown = "", ("", "")
    try:
        with _progress(console) as progress:
            task = progress.add_task("submitting", total=None)
            submitted = client.submit(body)
            jid = str(submitted["jid"])
            if has_ended(submitted) and (ended := submitted["timestamp"]):
                console.print(f"pman: {jid} ran before, until {ended}; nothing was started")
                console.print(f"  run it anew: pman rm {jid}, or another --jid")
            for job in _until_its_end(client, submitted):
                progress.update(task, description=f"{jid} {job['status']}")
                if (news := (job["status"], job["message"])) != shown:
                    shown = news
                    console.print(f"pman: {jid} {job['status']}: {job['message']}")
                    if job.get("hint"):
                        console.print(f"  {job['hint']}")
    except KeyboardInterrupt:
        _say_what_goes_on(console, jid)
        return INTERRUPTED
    if remove:
        client.remove(jid)
    # 1: of a job that failed without an exit code, such as one whose image could not be pulled.
    return 0 if job["status"] == "finishedSuccessfully" else job.get("exit_code") or 1


def _until_its_end(client: Client, job: Answer) -> Iterator[Answer]:
    """The job, again and again until it has ended; its log is printed as it comes."""
    yield job
    while job["status"] == "notstarted":
        job = _next(client, job)
        yield job
    for text in client.logs(job["jid"], follow=True):
        print(text, end="", flush=True)
    while not has_ended(job):
        job = _next(client, job)
        yield job


def _next(client: Client, job: Answer) -> Answer:
    """The job a little later; an engine that is away for now is waited for."""
    time.sleep(0.2)
    try:
        return client.status(job["jid"])
    except ServerRefused as error:
        if error.status != 503:
            raise
        return {**job, "message": str(error)}


def _progress(console: Console) -> Progress:
    # On a terminal the log's lines must pass through the spinner's console; in a pipe they must not.
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=False,
        disable=not console.is_terminal,
    )


def _say_what_goes_on(console: Console, jid: str) -> None:
    if not jid:
        console.print("pman: interrupted before the server answered; `pman ps` tells whether it has the job")
        return
    console.print(f"pman: {jid} goes on without you")
    console.print(f"  follow it:  pman logs -f {jid}")
    console.print(f"  delete it:  pman rm {jid}")
