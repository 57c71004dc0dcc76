"""Lists the templates and rules of every engine: what is shipped, what is a site's, which overrides which."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import BaseLoader

from pman.errors import ConfigError, Fault
from pman.resources import TEMPLATES
from pman.suggest import one_of
from pman.translation import statefile
from pman.translation.inventory.blocks import Block, blocks_of, header
from pman.translation.overrides import RULES
from pman.translation.render import loader
from pman.translation.sources import BUILTIN, Source, lineage, parsed
from pman.translation.statefile import Rule

_UNREADABLE = (ConfigError, ValueError, OSError, RecursionError)
"""Raised by reading a site's templates; ValueError for what is not UTF-8."""


@dataclass(frozen=True, slots=True)
class TemplateFile:
    name: str
    """`docker/container.yaml.j2` or `docker/state.yaml`, shipped or not."""

    path: Path
    shipped: bool
    overrides: str | None
    """The shipped file that a site's file stands in for, extending it or not."""

    overridden_by: str | None
    """Path of the file that is read in its place."""

    text: str
    extends: str | None = None
    ancestors: tuple[Path, ...] = ()
    """The template that it extends, and the one that this extends."""

    doc: str = ""
    blocks: tuple[Block, ...] = ()
    """The blocks that are written in it."""

    inherited: tuple[Block, ...] = ()
    """The blocks of what it extends, where it has none of the name: a site may override them, too."""

    fault: Fault | None = None
    """Why it, or what it extends, cannot be read; its text is there nevertheless."""


@dataclass(frozen=True, slots=True)
class EngineTemplates:
    engine: str
    files: tuple[TemplateFile, ...]
    """A site's before the shipped ones."""

    rules: tuple[Rule, ...]
    """The rules in the order in which they are tried: a site's own first; none where they cannot be read."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(file.fault for file in self.files if file.fault)


def engines(site_dirs: Sequence[Path], only: Container[str] | None = None) -> tuple[EngineTemplates, ...]:
    """Lists every folder that has rules, shipped or a site's, or `only` those of some engines.

    What cannot be read is a fault of its file.
    """
    return tuple(
        EngineTemplates(engine, tuple(_files(engine, site_dirs)), _rules_of(engine, site_dirs))
        for engine in names(site_dirs)
        if only is None or engine in only
    )


def _rules_of(engine: str, site_dirs: Sequence[Path]) -> tuple[Rule, ...]:
    try:
        return statefile.read(loader(*site_dirs), f"{engine}/{RULES}").rules()
    except ConfigError:
        return ()  # the file has the fault


def names(site_dirs: Sequence[Path]) -> list[str]:
    """Lists the engines that have rules."""
    paths = (path for directory in (*site_dirs, TEMPLATES) for path in directory.glob(f"*/{RULES}"))
    return sorted({path.parent.name for path in paths})


def find(name: str, site_dirs: Sequence[Path]) -> TemplateFile:
    """Finds the file of a name, a site's first; `builtin/...` is shipped.

    Raises ConfigError for a name that there is not.
    """
    folder = name.removeprefix(BUILTIN).partition("/")[0]
    known = names(site_dirs)
    files = _by_name(folder, site_dirs) if folder in known else {}
    if name not in files:
        everything = [other for engine in known for other in _by_name(engine, site_dirs)]
        raise ConfigError(f"templates/{name} does not exist; {one_of(name, everything)}")
    return files[name]


def _by_name(engine: str, site_dirs: Sequence[Path]) -> dict[str, TemplateFile]:
    """Finds each file of an engine by the names that lead to it."""
    files = {}
    for file in reversed(list(_files(engine, site_dirs))):
        files[file.name] = file
        if file.shipped:
            files[f"{BUILTIN}{file.name}"] = file
    return files


def _files(engine: str, site_dirs: Sequence[Path]) -> Iterator[TemplateFile]:
    search, first = loader(*site_dirs), dict[str, Path]()
    for directory in (*site_dirs, TEMPLATES):
        folder = directory / engine
        for path in sorted([*folder.rglob("*.j2"), *folder.glob(RULES)]):
            name = path.relative_to(directory).as_posix()
            first.setdefault(name, path)
            text, fault = _text(name, path)
            shipped = directory == TEMPLATES
            file = TemplateFile(
                name=name,
                path=path,
                shipped=shipped,
                overrides=f"{BUILTIN}{name}" if not shipped and (TEMPLATES / name).is_file() else None,
                overridden_by=None if first[name] == path else str(first[name]),
                text=text,
                fault=fault,
            )
            yield (_with_rules if path.name == RULES else _with_blocks)(file, search)


def _text(name: str, path: Path) -> tuple[str, Fault | None]:
    """Reads a file, with U+FFFD for what is not UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        return "", Fault(name, str(error.strerror), str(path))
    try:
        raw.decode()
        fault = None
    except UnicodeDecodeError as error:
        message = f"this is not UTF-8: byte 0x{raw[error.start]:02x}"
        fault = Fault(name, message, str(path), raw[: error.start].count(b"\n") + 1)
    return path.read_text("utf-8", "replace"), fault


def _with_rules(file: TemplateFile, search: BaseLoader) -> TemplateFile:
    own = statefile.parsed(file.name, str(file.path), file.text)
    above = statefile.lineage(search, own.extends) if own.extends else ()
    fault = file.fault
    if not (fault or file.overridden_by):  # another one is read in its place
        lineage = statefile.lineage(search, file.name)
        fault = next((mistake.fault for source in lineage for mistake in source.mistakes), None)
    top = file.text.split("\n\n", 1)[0].splitlines()
    return replace(
        file,
        extends=own.extends,
        ancestors=tuple(Path(ancestor.path) for ancestor in above if ancestor.path),
        doc="\n".join(line[2:] for line in top if line.startswith("# ")),
        fault=fault,
    )


def _with_blocks(file: TemplateFile, search: BaseLoader) -> TemplateFile:
    name = f"{BUILTIN}{file.name}" if file.shipped else file.name
    own, fault = Source(name, file.path, file.text, None, (), ()), file.fault
    above: tuple[Source, ...] = ()
    try:
        own = own if fault else parsed(name, file.path, file.text)
        above = lineage(search, own.extends) if own.extends else ()
    except _UNREADABLE as error:
        fault = _fault(file, error)
    blocks = blocks_of((own, *above), _effective(search, file.name))
    return replace(
        file,
        extends=own.extends,
        ancestors=tuple(ancestor.path for ancestor in above),
        doc=header(own).text,
        blocks=tuple(block for block in blocks if block.written_in == name),
        inherited=tuple(block for block in blocks if block.written_in != name),
        fault=fault,
    )


def _fault(file: TemplateFile, error: Exception) -> Fault:
    """Says why a file cannot be read, by what reading it raised."""
    if isinstance(error, ConfigError) and error.faults:
        return error.faults[0]
    message = "what it extends is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    return Fault(file.name, message, str(file.path))


def _effective(search: BaseLoader, name: str) -> tuple[Source, ...]:
    """Reads what is rendered for a name: nothing where a file of it cannot be read."""
    try:
        return lineage(search, name)
    except _UNREADABLE:
        return ()
