"""The commands: what each takes, and its help. Imports stay inside, so that `pman --help` answers at once."""

# ruff: noqa: PLC0415  (see above)
from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from pman import __version__
from pman.errors import BadRequest, ConfigError, PmanError

if TYPE_CHECKING:
    from pman.cli.client import Client
    from pman.settings import Settings

DOTENV = Path(".env")
WRONG_REQUEST = (400, 413, 415)
"""Answers of a server for which the caller has to change something: exit code 2, as for wrong usage."""

F = TypeVar("F", bound=Callable[..., Any])


def load_settings() -> Settings:
    """From the environment and ./.env, for the engines that are installed."""
    from pman import executors, settings

    return settings.load(os.environ, executors.names(), DOTENV)


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Our errors are one line each, not a traceback."""
        try:
            return super().invoke(ctx)
        except PmanError as error:
            tell(error)
            ctx.exit(_exit_code(error))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their use, not of the alphabet."""
        return list(self.commands)


def tell(error: PmanError) -> None:
    for fault in error.faults:
        at = f"{fault.path}: " if fault.path.startswith("$") else ""
        click.echo(f"pman: {at}{fault}", err=True)
    if not error.faults:
        click.echo(f"pman: {error}", err=True)
    if error.hint:
        click.echo(f"pman: {error.hint}", err=True)


def _exit_code(error: PmanError) -> int:
    return 2 if isinstance(error, ConfigError | BadRequest) or error.status in WRONG_REQUEST else 1


def _example(*lines: str) -> str:
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    cls=_Commands,
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


@main.command(epilog=_example("CONTAINER_ENV=podman STORAGE_TYPE=host STOREBASE=/srv/chris pman serve"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; default PORT, else 5010.")
def serve(host: str, port: int | None) -> None:
    """Serve the API, and the page for people, until interrupted."""
    from pman.settings import Settings
    from pman.web.server import serve as serve_api

    settings = load_settings()
    if port is not None:
        settings = Settings({**settings.values, "PORT": port}, {**settings.sources, "PORT": "--port"})
    serve_api(settings, host)


@main.command(epilog=_example("pman demo", "pman demo --engine local --keep"))
@click.option("--engine", help="This engine and no other; default: the first that answers and can.")
@click.option(
    "--image",
    help="Another build of pl-simpledsapp; its program: `simpledsapp`.",
)
@click.option("--keep", is_flag=True, help="Leave the job's files where they are, and say where.")
def demo(engine: str | None, image: str | None, keep: bool) -> None:
    """Watch a real job, from its request to its files.

    Takes Docker, else Podman, else this machine's own processes, starts a server of its own on a
    free port, and leaves nothing behind.
    """
    from pman.cli.demo.story import show

    sys.exit(show(os.environ, engine, image, keep=keep))


@main.command(
    epilog=_example(
        "pman render examples/simpledsapp.json --engine podman",
        "pman render - < request.json | less",
        "pman render --all golden --samples requests",
    )
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
        _render_all(into, samples, dry_settings(engine))
    else:
        assert request is not None  # noqa: S101  (for the type checker)
        _render(request.read(), dry_settings(engine), show_env=show_env)


def _render_all(into: Path, samples: Path | None, settings: Settings) -> None:
    from pman.cli import golden as rendered

    found = rendered.previews(rendered.requests(samples, settings.engine), settings)
    _note(*dict.fromkeys(note for preview in found.values() for note in preview.notes))
    for line in rendered.write(into, found):
        click.echo(line)


def _render(body: bytes, settings: Settings, *, show_env: bool) -> None:
    from pman.cli import render as dryrun
    from pman.translation.preview import preview

    facts, why = dryrun.facts(settings)
    found = preview(body, settings, facts=facts, unasked=why, show_env=show_env)
    _note(*found.notes)
    if found.faults:
        raise BadRequest.of(found.faults, found.hint)
    documents = found.documents
    text = dryrun.lines([(document.name, document.text) for document in documents])
    if sys.stdout.isatty():
        from pman.cli.terminal import highlighted

        highlighted(text, documents[0].name)
    else:
        click.echo(text, nl=not text.endswith("\n"))


def dry_settings(engine: str | None, templates: Sequence[Path] = ()) -> Settings:
    """As a server's, with stand-ins for what is missing, each told of. Raises ConfigError for the rest.

    `templates` take the place of PMAN_TEMPLATES.
    """
    from pman import executors
    from pman.translation import assumed

    environ = {**os.environ, "CONTAINER_ENV": engine} if engine else {**os.environ}
    if templates:
        environ["PMAN_TEMPLATES"] = ":".join(map(str, templates))
    settings, notes = assumed.settings(environ, executors.names(), DOTENV)
    _note(*notes)
    return settings


def _note(*texts: str) -> None:
    for text in texts:
        click.echo(f"pman: {text}", err=True)


@main.command(
    epilog=_example(
        "PMAN_TEMPLATES=site pman diff examples/simpledsapp.json",
        "pman diff request.json --against HEAD~1 --format json",
    )
)
@click.argument("request", type=click.File("rb"), metavar="REQUEST.json")
@click.option("--engine", help="Render for this engine; default CONTAINER_ENV.")
@click.option(
    "--against",
    default="builtin",
    show_default=True,
    metavar="builtin|DIR|REVISION",
    help="The shipped templates, a directory of templates, or PMAN_TEMPLATES as of a git revision.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(request: BinaryIO, engine: str | None, against: str, form: str) -> None:
    """Show what the site's templates change in the documents of a request.

    First by path in the data, then as text. Env values are masked. Ends with 0 where the same is
    sent, with 1 where not, with 2 in trouble.
    """
    from pman.cli import diff as difference
    from pman.cli import render as dryrun

    settings = dry_settings(engine)
    old, new = difference.previews(request.read(), settings, against, *dryrun.facts(settings))
    _note(*dict.fromkeys((*new.notes, *old.notes)))
    sys.exit(difference.show(old, new, against, form))


@main.group(
    cls=_Commands,
    epilog=_example(
        "pman templates list", "pman templates eject swarm/service.yaml.j2 --block limits --to site"
    ),
)
def templates() -> None:
    """Look at the templates, and make some your own.

    The shipped ones, and those of the directories in PMAN_TEMPLATES.
    """


def _site() -> list[Path]:
    from pman.cli.templates import directories

    return directories(os.environ, DOTENV)


_table_or_json = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@templates.command("list", epilog=_example("pman templates list", "PMAN_TEMPLATES=site pman templates list"))
@click.option("--engine", help="Of this engine only.")
@_table_or_json
def list_templates(engine: str | None, form: str) -> None:
    """List each engine's templates, blocks and rules.

    A block with a star is overridden, and by which file is said beside it. Ends with 1 when there is
    a file that cannot be read, which is listed with what is wrong.
    """
    from pman.cli.templates import show_list

    if not show_list(_site(), engine, form):
        sys.exit(1)


@templates.command(
    epilog=_example(
        "pman templates show kubernetes/job.yaml.j2", "pman templates show builtin/docker/state.yaml | less"
    )
)
@click.argument("name")
def show(name: str) -> None:
    """Print a template or state.yaml, as it is found: the site's own, else the shipped one.

    builtin/... is always the shipped one.
    """
    from pman.cli.templates import show_source

    show_source(name, _site())


@templates.command(
    epilog=_example(
        "pman templates eject docker/container.yaml.j2 --block resources --to site",
        "pman templates eject kubernetes/job.yaml.j2 --block tolerations --block gpu",
        "pman templates eject slurm/state.yaml",
    )
)
@click.argument("name")
@click.option("--block", "blocks", multiple=True, metavar="BLOCK", help="Only this one; may be repeated.")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The site's directory of templates; default: the first of PMAN_TEMPLATES.",
)
def eject(name: str, blocks: tuple[str, ...], to: Path | None) -> None:
    """Write a file of your own that renders the same, to be edited.

    With --block, it extends the shipped template and has the body of these blocks; a file that is
    there is added to, and nothing in it is overwritten. Without, it is a copy of the whole template.
    A state.yaml extends the shipped rules. What was shipped is kept beside it, in *.base, for
    `pman templates check`.
    """
    from pman.cli.templates import eject as write
    from pman.cli.templates import named

    write(name, blocks, to, named(os.environ, DOTENV))


@templates.command(
    epilog=_example(
        "pman templates docs kubernetes/job.yaml.j2",
        "pman templates docs slurm/job.sh.j2 --format markdown > blocks.md",
    )
)
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
)
def docs(name: str, form: str) -> None:
    """Show a template's blocks, and the variables it is given.

    With type, unit and example of each, and which of them each block reads.
    """
    from pman.cli.templates import show_docs

    show_docs(name, _site(), form)


@templates.command("check", epilog=_example("pman templates check", "pman templates check --accept"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--accept", is_flag=True, help="Record that what is shipped now has been looked at.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check_templates(names: tuple[str, ...], accept: bool, form: str) -> None:
    """Find what is shipped otherwise than when the site's own was made from it.

    After an upgrade: for each block that the site overrides, what pman has changed since, and what
    the site has changed, side by side. Ends with 1 when there is any, else with 0.
    """
    from pman.cli.templates import accepted
    from pman.cli.templates import check as drifted

    if accept:
        accepted(names, _site())
    else:
        sys.exit(1 if drifted(names, _site(), form) else 0)


@main.command(
    epilog=_example(
        "docker inspect chris-jid-42 | pman explain - --engine docker",
        "pman explain states/kubernetes/crash-loop.json --engine kubernetes",
    )
)
@click.argument("native", type=click.File("rb"), metavar="NATIVE.json")
@click.option("--engine", help="Whose state it is; default CONTAINER_ENV.")
@click.option("--jid", help="Name of the job; default: by its label.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain(native: BinaryIO, engine: str | None, jid: str | None, form: str) -> None:
    """Show which rule decides for a job's state, and what pman answers.

    NATIVE.json is what the engine says of the job ('-': stdin). Each rule of state.yaml that was tried
    is shown with its place and condition, to the one that holds, and the values that they name.
    """
    from pman.cli.explain import explained
    from pman.cli.explain import show as show_explanation
    from pman.cli.templates import setting
    from pman.settings import DECLARED

    default = DECLARED["CONTAINER_ENV"]["default"]
    chosen = engine or setting("CONTAINER_ENV", os.environ, DOTENV) or default
    show_explanation(explained(native.read(), chosen, jid, _site()), form)


@main.command(
    epilog=_example("pman lint", "pman lint site --format github", "pman lint site --strict --notes")
)
@click.argument("directories", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="github: annotations of its Actions; sarif: for code scanning.",
)
@click.option(
    "--kubernetes-version", "kubernetes", default="1.29", show_default=True, help="Whose API is taken."
)
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Compare what CONTAINER_ENV is sent with these files of `pman render --all`.",
)
@click.option(
    "--samples",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --golden: the site's own requests, the *.json of DIR.",
)
@click.option("--strict", is_flag=True, help="Warnings fail, too.")
@click.option("--notes", is_flag=True, help="Show also what is no mistake: what was not tried.")
def lint(
    directories: tuple[Path, ...],
    form: str,
    kubernetes: str,
    golden: Path | None,
    samples: Path | None,
    strict: bool,
    notes: bool,
) -> None:
    """Find mistakes in templates and rules, with file and line.

    DIR: a site's directories, over the shipped templates; default: those of PMAN_TEMPLATES, else the
    shipped ones. Nothing is sent, and no engine is needed: sample requests reach every branch, the
    documents are held against the engine's own API, and rules are tried on recorded states. Ends with
    1 where an error was found. docs/lint.md has every rule.
    """
    from pman.cli.lint import Golden, run

    if samples and not golden:
        raise click.UsageError("--samples goes with --golden")
    chosen = directories or _site()
    compared = Golden(golden, samples, dry_settings(None, chosen)) if golden else None
    sys.exit(run(chosen, form, kubernetes=kubernetes, strict=strict, notes=notes, compared=compared))


@main.command(epilog=_example("pman check", "CONTAINER_ENV=podman VOLUME_NAME=storebase pman check"))
def check() -> None:
    """Try all that a server needs here.

    Settings, templates and rules, engine, storebase, limits: each check is told with what to do.
    Ends with 0 when none has failed, else with 1.
    """
    import asyncio

    from pman.cli.check import checks
    from pman.cli.terminal import print_check

    async def failures() -> int:
        failed = 0
        async for found in checks(os.environ, DOTENV):
            print_check(found)
            failed += found.outcome == "failed"
        return failed

    sys.exit(1 if asyncio.run(failures()) else 0)


@main.command(epilog=_example("pman config", "pman config --matrix"))
@click.option("--matrix", is_flag=True, help="Which engine honours which option, read from the templates.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="markdown is for --matrix.",
)
def config(matrix: bool, form: str) -> None:
    """Show every setting, its value and its meaning.

    And where each came from: environment, .env or default. Secrets are masked. --matrix shows
    which engine honours which field of a request and which setting.
    """
    from pman.cli import terminal

    if matrix:
        from pman import executors
        from pman.translation.honoured import rows

        terminal.print_matrix(rows(load_settings()["PMAN_TEMPLATES"], executors.names()), form)
    elif form == "markdown":
        raise click.UsageError("--format markdown goes with --matrix")
    else:
        terminal.print_settings(load_settings(), form)


def _remote(command: F) -> F:
    """The option of every command that speaks to a server."""
    option = click.option(
        "--url",
        envvar="PMAN_URL",
        default=lambda: f"http://127.0.0.1:{os.environ.get('PORT') or 5010}/api/v1/",
        show_default="http://127.0.0.1:PORT/api/v1/, PORT being 5010 if not set",
        show_envvar=True,
        callback=_client,
        help="Where the server is.",
    )
    return option(command)


def _client(_: click.Context, __: click.Parameter, url: str) -> Client:
    from pman.cli.client import Client

    return Client(url)


@main.command(epilog=_example("pman run request.json --rm", "pman run - --jid try-2 < request.json > log"))
@click.argument("request", type=click.File("rb"), metavar="REQUEST.json")
@click.option("--rm", "remove", is_flag=True, help="Delete the job when it has ended.")
@click.option("--jid", help="Name of the job, in place of the request's.")
@_remote
def run(request: BinaryIO, remove: bool, jid: str | None, url: Client) -> None:
    """Submit a job to a server and follow it.

    Its log goes to stdout, its status to stderr. Ends with the job's exit code, or with 1 where a job
    that failed has none. Ctrl-C leaves the job running and says how to follow or delete it.
    """
    from pman.cli.run import run as follow

    body = request.read()
    sys.exit(follow(url, named(body, jid) if jid else body, remove=remove))


def named(body: bytes, jid: str) -> bytes:
    """The request with another job's name. Raises BadRequest."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the request is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadRequest("the request is no JSON object")
    return json.dumps({**data, "jid": jid}).encode()


@main.command(epilog=_example("pman ps", "pman ps --format json | jq '.[].jid'"))
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@_remote
def ps(form: str, url: Client) -> None:
    """List the server's jobs."""
    from pman.cli.terminal import print_jobs

    print_jobs(url.jobs(), form)


@main.command(epilog=_example("pman status chris-jid-42"))
@click.argument("jid")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@_remote
def status(jid: str, form: str, url: Client) -> None:
    """Show one job, without its log."""
    from pman.cli.terminal import print_job

    print_job(url.status(jid), form)


@main.command(epilog=_example("pman logs chris-jid-42 --tail 20", "pman logs -f chris-jid-42"))
@click.argument("jid")
@click.option("-f", "--follow", is_flag=True, help="Until the job ends.")
@click.option("--tail", type=click.IntRange(0), help="Only the last lines; default: the server's.")
@_remote
def logs(jid: str, follow: bool, tail: int | None, url: Client) -> None:
    """Print the log of a job."""
    for text in url.logs(jid, tail, follow=follow):
        sys.stdout.write(text)
        sys.stdout.flush()


@main.command(epilog=_example("pman rm chris-jid-42 chris-jid-43"))
@click.argument("jids", nargs=-1, required=True, metavar="JID...")
@_remote
def rm(jids: tuple[str, ...], url: Client) -> None:
    """End jobs that run, and delete them. Each that could not be is told; then the exit code is 1."""
    failed = False
    for jid in jids:
        try:
            url.remove(jid)
        except PmanError as error:
            failed = True
            tell(error)
        else:
            click.echo(jid)
    sys.exit(int(failed))
