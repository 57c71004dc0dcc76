"""`pman`: its commands, and where each of them is."""

from __future__ import annotations

import click

from pman import __version__
from pman.cli.group import Commands, Table

COMMANDS: Table = {
    "serve": ("serve:serve", "Serve the API, and the page for people, until interrupted."),
    "demo": ("demo.story:demo", "Watch a real job, from its request to its files."),
    "render": ("render:render", "Show the documents that a request becomes."),
    "diff": ("diff:diff", "Show what the site's templates change in the documents of a request."),
    "templates": ("templates:templates", "Look at the templates, and make some your own."),
    "explain": ("explain:explain_state", "Show which rule decides for a job's state, and what pman answers."),
    "lint": ("lint:lint", "Find mistakes in templates and rules, with file and line."),
    "check": ("check:check", "Try all that a server needs here."),
    "config": ("config:config", "Show every setting, its value and its meaning."),
    "run": ("run:run", "Submit a job to a server and follow it."),
    "ps": ("jobs:ps", "List the server's jobs."),
    "status": ("jobs:status", "Show one job, without its log."),
    "logs": ("jobs:logs", "Print the log of a job."),
    "rm": (
        "jobs:rm",
        "End jobs that run, and delete them. Each that could not be is told; then the exit code is 1.",
    ),
}


@click.group(
    cls=Commands,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
First steps:
  pman demo                    run a real job on the engine of this machine, and watch it
  pman check                   what is missing for a server, and what to do
  pman serve                   the API, and a page for people at http://127.0.0.1:5010/
  pman run request.json        submit a job to it, and follow it to its end

Settings are environment variables or lines of ./.env; `pman config` lists them.
Exit codes: 0 done; 1 it failed, or nobody answers; 2 wrong usage, request or settings.
`pman run` ends with the outcome of its job.""",
)
@click.version_option(__version__, prog_name="pman")
def main() -> None:
    """Run containerised jobs on the engine this site has, through templates it can read and edit."""
