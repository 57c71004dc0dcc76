"""`pman diff`: what a site's templates make of a request that other templates do not."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import click
import yaml
from rich.text import Text

from pman.cli import terminal
from pman.cli.environment import dry_settings, note
from pman.cli.group import command, format_option
from pman.cli.render import ask_facts
from pman.errors import BadRequest, ConfigError, Fault
from pman.settings import Settings
from pman.translation.diff import Change, changes, unified
from pman.translation.preview import Preview, Previews, TemplateSet

MARKS = {"added": "+", "removed": "-", "changed": "~"}
COLOURS = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}


@command(
    "PMAN_TEMPLATES=site pman diff examples/simpledsapp.json",
    "pman diff request.json --against HEAD~1 --format json",
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
@format_option("text", "json")
def diff(request: BinaryIO, engine: str | None, against: str, form: str) -> None:
    """Show what the site's templates change in the documents of a request.

    First by path in the data, then as text. Env values are masked. Ends with 0 where the same is
    sent, with 1 where not, with 2 in trouble.
    """
    settings, body = dry_settings(engine), request.read()
    facts, unasked = ask_facts(settings)
    both = Previews(settings, [settings.engine])
    new = both.preview(body, facts=facts, unasked=unasked)
    with tempfile.TemporaryDirectory() as scratch:
        templates = _template_set(against, settings, Path(scratch))
        old = both.preview(body, templates=templates, facts=facts, unasked=unasked)
    _raise(new)
    if not all(fault.path.startswith("$") for fault in old.faults):
        _raise(old)  # else its templates work and refuse this request: a difference, and a large one
    note(*dict.fromkeys((*new.notes, *old.notes)))
    sys.exit(show(old, new, against, form))


def _template_set(against: str, settings: Settings, scratch: Path) -> TemplateSet:
    if against == "builtin":
        return "builtin"
    if against and Path(against).is_dir():
        return Path(against)
    return scratch if _templates_at(against, settings["PMAN_TEMPLATES"], scratch) else "builtin"


def _templates_at(revision: str, directories: Sequence[str], into: Path) -> bool:
    """Writes what the directories of PMAN_TEMPLATES held at a git revision into one that stands for all.

    Says whether there was anything. A directory that is searched before another one covers its files here,
    too. Raises ConfigError where one is in no repository, or that has no such revision.
    """
    if not directories:
        raise ConfigError(f"--against {revision!r}: PMAN_TEMPLATES is not set, so no templates are its own")
    for directory in reversed(directories):
        words = ("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        commit = _git(directory, revision, *words).decode().strip()
        if _git(directory, revision, "ls-tree", "--name-only", commit, "."):
            archive = io.BytesIO(_git(directory, revision, "archive", commit, "."))
            try:
                with tarfile.open(fileobj=archive) as files:
                    files.extractall(into, filter="data")
            except tarfile.TarError as error:
                raise ConfigError(f"{directory} at {revision}: {error}") from error
    return any(into.iterdir())


def _git(directory: str, revision: str, *words: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise ConfigError(
            f"--against {revision!r}: neither builtin nor a directory, and git is not installed"
        )
    done = subprocess.run([git, "-C", directory, *words], capture_output=True, check=False)  # noqa: S603  (no shell)
    if done.returncode:
        message = done.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ").splitlines()
        raise ConfigError(
            f"--against {revision!r}: neither builtin, nor a directory, nor a revision of the repository of "
            f"{directory}: {message[0] if message else f'git {words[0]} failed'}"
        )
    return done.stdout


def _raise(side: Preview) -> None:
    if side.faults:
        raise BadRequest.of(side.faults, side.hint)


def show(old: Preview, new: Preview, against: str, form: str) -> int:
    """Prints the differences; the exit code, as diff has it: 0 none, 1 some."""
    differences = changes(old.documents, new.documents)
    text = unified(old.documents, new.documents, (against, "site"))
    if form == "json":
        answer = {
            "engine": new.engine,
            "against": against,
            "refused": [_sentence(fault) for fault in old.faults],
            "changes": differences,
            "text": text,
        }
        terminal.print_json(answer)
    else:
        for fault in old.faults:
            _print(f"- {against} refuses the request: {_sentence(fault)}")
        for line in _lines(differences, text):
            _print(line)
    return 1 if differences else 0


def _sentence(fault: Fault) -> str:
    return f"{fault.path}: {fault.message}"


def _lines(differences: tuple[Change, ...], text: str) -> Iterator[str]:
    document = ""
    for change in differences:
        if change.document != document:
            document = change.document
            yield f"{document}:"
        yield from _change(change)
    if differences and text:
        yield ""
    elif text:
        yield "# the same is sent: only comments or layout differ"
    yield from text.splitlines()


def _change(change: Change) -> Iterator[str]:
    mark = MARKS[change.kind]
    if change.kind == "changed" and not (_long(change.old) or _long(change.new)):
        yield f"{mark} {change.path}: {_inline(change.old)} -> {_inline(change.new)}"
        return
    if change.kind == "changed" and isinstance(change.old, str) and isinstance(change.new, str):
        yield f"{mark} {change.path}: see the text"
        return
    if change.kind != "added":
        yield from _value("-", change.path, change.old)
    if change.kind != "removed":
        yield from _value("+", change.path, change.new)


def _value(mark: str, path: str, value: object) -> Iterator[str]:
    if not _long(value):
        yield f"{mark} {path}: {_inline(value)}"
    elif isinstance(value, str):
        yield f"{mark} {path}: see the text"
    else:
        yield f"{mark} {path}:"
        dumped = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
        yield from (f"{mark}     {line}" for line in dumped.splitlines())


def _inline(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _long(value: object) -> bool:
    return "\n" in value if isinstance(value, str) else len(_inline(value)) > 80


def _print(line: str) -> None:
    if not sys.stdout.isatty():
        click.echo(line)
        return
    bold = line.startswith(("---", "+++")) or (line.endswith(":") and line[:1] not in (" ", *COLOURS))
    style = "bold" if bold else COLOURS.get(line[:1], "default")
    terminal.console().print(Text(line, style), soft_wrap=True)
