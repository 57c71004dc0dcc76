"""Golden files: what samples become, held in a site's repository, where a change shows as a diff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pman.errors import ConfigError
from pman.settings import Settings
from pman.translation.diff import alike
from pman.translation.preview import Preview, Previews
from pman.workshop.samples import samples

LIST = ".rendered"
"""A file of the directory that lists those written there, so that those of no use any more can go."""

REFUSED = "refused.txt"
"""Takes the place of the documents where the engine cannot do what a sample asks for."""

Files = Mapping[str, str]
"""The texts by their paths in the directory, `<engine>/<sample>/<document>`."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A golden file that is not what is rendered."""

    file: str
    """The path in the directory."""

    line: int
    """The first line that differs; 0 where the file is missing or left over."""

    message: str


def requests(directory: Path | None, engine: str) -> Mapping[str, bytes]:
    """The `*.json` of a directory, by their names. Raises ConfigError where there are none.

    Without a directory the samples of the engine that differ in their requests: the settings are the site's.
    """
    if directory is None:
        by_body = {sample.body: sample.name for sample in reversed(samples(engine))}
        return {name: body for body, name in reversed(by_body.items())}
    bodies = {file.stem: file.read_bytes() for file in sorted(directory.glob("*.json")) if file.is_file()}
    if not bodies:
        raise ConfigError(f"{directory}: no request (*.json) in it")
    return bodies


def previews(bodies: Mapping[str, bytes], settings: Settings) -> Mapping[str, Preview]:
    """Renders each sample; no engine is asked, so that every machine renders the same."""
    by_site = Previews(settings, [settings.engine])
    return {name: by_site.preview(body) for name, body in bodies.items()}


def files(previews: Mapping[str, Preview]) -> Files:
    """Makes the files of previews, by the names of their samples. Raises ConfigError for their templates."""
    texts: dict[str, str] = {}
    for sample, preview in sorted(previews.items()):
        faults = [fault for fault in preview.faults if not fault.path.startswith("$")]
        if faults:
            raise ConfigError.of(faults, preview.hint)
        folder = f"{preview.engine}/{sample}"
        if preview.faults:
            texts[f"{folder}/{REFUSED}"] = "".join(
                f"{fault.path}: {fault.message}\n" for fault in preview.faults
            )
        for document in preview.documents:
            file = f"{folder}/{document.name}"
            texts[file] = f"{texts[file]}---\n{document.text}" if file in texts else document.text
    return texts


def compare(directory: Path, rendered: Files) -> tuple[Mismatch, ...]:
    """Lists the files that are missing, differ or are left over, of the engines that were rendered."""
    mismatches = []
    for file, text in sorted(rendered.items()):
        golden = _read(directory / file)
        if golden is None:
            mismatches.append(Mismatch(file, 0, "missing: it was never rendered to here"))
        elif golden != text:
            line = alike(golden.splitlines(), text.splitlines()) + 1
            mismatches.append(Mismatch(file, line, "differs from what is rendered"))
    for file in _stale(directory, rendered):
        if (directory / file).exists():
            mismatches.append(Mismatch(file, 0, "left over: nothing renders it any more"))
    return tuple(mismatches)


def write(directory: Path, rendered: Files) -> tuple[Mismatch, ...]:
    """Brings the directory to what is rendered, and returns what had to be changed.

    Files of other engines stay, and so does all that no earlier call wrote. Raises ConfigError where
    the directory cannot be written to.
    """
    changed, stale = compare(directory, rendered), _stale(directory, rendered)
    try:
        for mismatch in changed:
            file = directory / mismatch.file
            if mismatch.file in rendered:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(rendered[mismatch.file].encode())
            else:
                file.unlink()
                _remove_empty(file.parent, directory)
        listed = sorted({*_listed(directory), *rendered} - set(stale))
        text = "".join(f"{file}\n" for file in listed)
        if _read(directory / LIST) != text:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / LIST).write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    return changed


def _read(file: Path) -> str | None:
    """Reads a file with its line ends as they are; None where there is no such file."""
    try:
        return file.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None


def _stale(directory: Path, rendered: Files) -> list[str]:
    """Lists what an earlier call wrote for these engines, and this one would not."""
    engines = {file.partition("/")[0] for file in rendered}
    return [
        file
        for file in _listed(directory)
        if file not in rendered
        and file.partition("/")[0] in engines
        and ".." not in PurePosixPath(file).parts
    ]


def _listed(directory: Path) -> list[str]:
    return (_read(directory / LIST) or "").splitlines()


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
