"""`pman render --all`: every sample to a directory, the golden files of a site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pman.errors import ConfigError
from pman.settings import Settings
from pman.translation.preview import Preview, Previews
from pman.workshop import golden
from pman.workshop.samples import samples


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
    """Render each sample; no engine is asked, so that every machine renders the same."""
    by_site = Previews(settings, [settings.engine])
    return {name: by_site.preview(body) for name, body in bodies.items()}


def write(directory: Path, previews: Mapping[str, Preview]) -> Iterator[str]:
    """Writes the files; a line for each that had to be changed, and one for all."""
    rendered = golden.files(previews)
    changed = golden.write(directory, rendered)
    for mismatch in changed:
        yield f"{'wrote' if mismatch.file in rendered else 'removed'} {directory / mismatch.file}"
    yield f"{directory}: {len(rendered)} files, {len(changed)} changed"
