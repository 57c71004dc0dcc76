"""The templates and rules of every engine: what is shipped, what is a site's, which overrides which."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import BaseLoader

from pman.errors import ConfigError, Fault
from pman.resources import TEMPLATES
from pman.suggest import one_of
from pman.translation import statefile
from pman.translation.inventory.header import header
from pman.translation.overrides import RULES
from pman.translation.render import loader
from pman.translation.sources import Mistake, Source, body, digest, lineage, parsed
from pman.translation.statefile import Rule

BUILTIN = "builtin/"

_UNREADABLE = (ConfigError, ValueError, OSError, RecursionError)
"""What reading a site's files raises; ValueError: of what is not UTF-8, and of YAML's dates that are none."""


@dataclass(frozen=True, slots=True)
class Block:
    name: str
    line: int
    doc: str
    """What it is for, by the comment at the top of the shipped template."""

    source: str
    """From `{% block %}` to `{% endblock %}`."""

    digest: str
    """Of what is between the two: what a site's block that is made from it records."""

    written_in: str
    """The name of its template, e.g. `builtin/docker/container.yaml.j2`; `line` is a line of it."""

    overridden_by: str | None
    """Path of the file whose block, or which as a whole, stands in its place."""

    overrides: Block | None
    """The one in whose place it stands, of the nearest template that has it."""

    @property
    def body(self) -> str:
        return body(self.source)

    @property
    def shipped(self) -> bool:
        return self.written_in.startswith(BUILTIN)


@dataclass(frozen=True, slots=True)
class TemplateFile:
    name: str
    """`docker/container.yaml.j2` or `docker/state.yaml`, shipped or not."""

    path: Path
    shipped: bool
    overrides: str | None
    """Of a site's file: the shipped one that it stands in for, extending it or not."""

    overridden_by: str | None
    """Path of the file that is found in its place."""

    extends: str | None
    ancestors: tuple[Path, ...]
    """What it extends, and what that extends."""

    doc: str
    text: str
    blocks: tuple[Block, ...]
    """Those that are written in it."""

    inherited: tuple[Block, ...]
    """Those of what it extends, where it has none of the name: a site may override them, too."""

    fault: Fault | None = None
    """Why it, or what it extends, cannot be read; its text is there nevertheless."""


@dataclass(frozen=True, slots=True)
class EngineTemplates:
    engine: str
    files: tuple[TemplateFile, ...]
    """A site's before the shipped ones."""

    rules: tuple[Rule, ...]
    """As they are tried: a site's own first; none where they cannot be read."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(file.fault for file in self.files if file.fault)


def engines(site_dirs: Sequence[Path], only: Container[str] | None = None) -> tuple[EngineTemplates, ...]:
    """Lists every folder that has rules, shipped or a site's, or `only` those of some engines.

    What cannot be read is a fault of its file.
    """
    search = loader(site_dirs)
    return tuple(
        EngineTemplates(
            engine=engine,
            rules=_rules_of(engine, search),
            files=tuple(_files(engine, [*site_dirs, TEMPLATES], search)),
        )
        for engine in names(site_dirs)
        if only is None or engine in only
    )


def _rules_of(engine: str, search: BaseLoader) -> tuple[Rule, ...]:
    try:
        return statefile.read(search, f"{engine}/{RULES}").rules
    except ConfigError:
        return ()  # the file has the fault


def names(site_dirs: Sequence[Path]) -> list[str]:
    """Of the engines that have rules."""
    found = (path for directory in (*site_dirs, TEMPLATES) for path in directory.glob(f"*/{RULES}"))
    return sorted({path.parent.name for path in found})


def find(name: str, site_dirs: Sequence[Path]) -> TemplateFile:
    """The file of a name as it is found, a site's first; `builtin/...` is shipped.

    Raises ConfigError for a name that there is not.
    """
    folder = name.removeprefix(BUILTIN).partition("/")[0]
    known = {} if folder in ("", ".", "..") else _known(folder, site_dirs)
    if name not in known:
        everything = [other for engine in names(site_dirs) for other in _known(engine, site_dirs)]
        raise ConfigError(f"templates/{name} does not exist; {one_of(name, everything)}")
    return known[name]


def _known(engine: str, site_dirs: Sequence[Path]) -> dict[str, TemplateFile]:
    """Each file of an engine by the names that lead to it."""
    known = {}
    for file in reversed(list(_files(engine, [*site_dirs, TEMPLATES], loader(site_dirs)))):
        known[file.name] = file
        if file.shipped:
            known[f"{BUILTIN}{file.name}"] = file
    return known


def _files(engine: str, directories: Sequence[Path], search: BaseLoader) -> Iterator[TemplateFile]:
    first: dict[str, Path] = {}
    for directory in directories:
        folder = directory / engine
        for path in sorted([*folder.rglob("*.j2"), *folder.glob(RULES)]):
            name = path.relative_to(directory).as_posix()
            first.setdefault(name, path)
            instead = None if first[name] == path else str(first[name])
            shipped = directory == TEMPLATES
            yield (_rules if path.name == RULES else _template)(name, path, shipped, instead, search)


def _overrides(name: str, *, shipped: bool) -> str | None:
    return f"{BUILTIN}{name}" if not shipped and (TEMPLATES / name).is_file() else None


def _text(name: str, path: Path) -> tuple[str, Fault | None]:
    """With U+FFFD for what is not UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        return "", Fault(name, str(error.strerror), str(path))
    try:
        raw.decode()
        fault = None
    except UnicodeDecodeError as error:
        told = f"this is not UTF-8: byte 0x{raw[error.start]:02x}"
        fault = Fault(name, told, str(path), raw[: error.start].count(b"\n") + 1)
    return path.read_text("utf-8", "replace"), fault


def _rules(name: str, path: Path, shipped: bool, instead: str | None, search: BaseLoader) -> TemplateFile:
    text, fault = _text(name, path)
    doc = "\n".join(line[2:] for line in text.split("\n\n", 1)[0].splitlines() if line.startswith("# "))
    own = statefile.parsed(name, str(path), text)
    above = statefile.lineage(search, own.extends) if own.extends else ()
    if not (fault or instead):  # another one is read in its place
        fault = next((found.fault for found in _mistakes(search, name)), None)
    return TemplateFile(
        name=name,
        path=path,
        shipped=shipped,
        overrides=_overrides(name, shipped=shipped),
        overridden_by=instead,
        extends=own.extends,
        ancestors=tuple(Path(ancestor.path) for ancestor in above if ancestor.path),
        doc=doc,
        text=text,
        blocks=(),
        inherited=(),
        fault=fault,
    )


def _mistakes(search: BaseLoader, name: str) -> Iterator[Mistake]:
    """Lists what is wrong with a state.yaml and what it extends."""
    for source in statefile.lineage(search, name):
        yield from source.mistakes


def _fault(name: str, path: Path, error: Exception) -> Fault:
    """Of a file, by what reading it raised."""
    if isinstance(error, ConfigError) and error.faults:
        return error.faults[0]
    if isinstance(error, UnicodeDecodeError):
        return Fault(name, "what it extends is not UTF-8", str(path))
    return Fault(name, str(error), str(path))


def _template(name: str, path: Path, shipped: bool, instead: str | None, search: BaseLoader) -> TemplateFile:
    full = f"{BUILTIN}{name}" if shipped else name
    text, fault = _text(name, path)
    own = Source(full, path, text, None, (), ())
    above: tuple[Source, ...] = ()
    try:
        own = own if fault else parsed(full, path, text)
        above = lineage(search, own.extends) if own.extends else ()
    except _UNREADABLE as error:
        fault = _fault(name, path, error)
    ancestors = (own, *above)
    docs = [header(ancestor).blocks for ancestor in ancestors]
    effective = _effective(search, name)

    def block(name: str, ancestors: Sequence[Source]) -> Block | None:
        """The nearest of a name, with those in whose place it stands."""
        for index, ancestor in enumerate(ancestors):
            if span := ancestor.block(name):
                return Block(
                    name=name,
                    line=span.line,
                    doc=next((found[name] for found in docs if name in found), ""),
                    source=span.text,
                    digest=digest(span.body),
                    written_in=_name(ancestor),
                    overridden_by=_overridden(name, path, effective),
                    overrides=block(name, ancestors[index + 1 :]),
                )
        return None

    names = list(dict.fromkeys(span.name for ancestor in ancestors for span in ancestor.blocks))
    blocks = [found for name in names if (found := block(name, ancestors))]
    return TemplateFile(
        name=name,
        path=path,
        shipped=shipped,
        overrides=_overrides(name, shipped=shipped),
        overridden_by=instead,
        extends=own.extends,
        ancestors=tuple(ancestor.path for ancestor in ancestors[1:]),
        doc=header(own).text,
        text=own.text,
        blocks=tuple(found for found in blocks if found.written_in == full),
        inherited=tuple(found for found in blocks if found.written_in != full),
        fault=fault,
    )


def _effective(search: BaseLoader, name: str) -> tuple[Source, ...]:
    """What is rendered for a name: nothing where a file of it cannot be read."""
    try:
        return lineage(search, name)
    except _UNREADABLE:
        return ()


def _name(source: Source) -> str:
    """By which a site can extend it for certain."""
    shipped = source.path.is_relative_to(TEMPLATES)
    return f"{BUILTIN}{source.path.relative_to(TEMPLATES).as_posix()}" if shipped else source.name


def _overridden(block: str, path: Path, effective: Sequence[Source]) -> str | None:
    """By which file of those that are read, the nearest first."""
    for source in effective:
        if source.path == path:
            return None
        if source.block(block):
            return str(source.path)
    return str(effective[0].path) if effective else None
