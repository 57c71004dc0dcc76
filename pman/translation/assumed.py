"""Settings for a dry run, where not all is configured or another engine is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dotenv import dotenv_values

from pman import settings as configuration
from pman.errors import ConfigError
from pman.settings import DECLARED, Settings, written
from pman.translation.translation import ASSUMED_FACTS, Translation

STAND_INS = {
    "STOREBASE": ASSUMED_FACTS["storebase"],
    "VOLUME_NAME": "storebase",
    "CROMWELL_URL": "http://cromwell:8000",
    "TIMELIMIT_MINUTES": "60",
    "SLURMRESTD_URL": "http://slurmrestd:6820",
}
"""For what an engine cannot do without, and what a reviewer of documents need not have."""

Notes = tuple[str, ...]
"""A sentence for each thing that was assumed or left out."""


def settings(
    environ: Mapping[str, str],
    engines: Sequence[str],
    dotenv: Path | None = None,
    stand_ins: Mapping[str, str] = STAND_INS,
) -> tuple[Settings, Notes]:
    """Loads settings as a server does; `stand_ins` take the place of what is missing. Raises ConfigError."""
    file = dotenv_values(dotenv) if dotenv and dotenv.is_file() else {}
    given = {name for name, text in (*file.items(), *environ.items()) if text}
    try:
        return configuration.load(environ, engines, dotenv), ()
    except ConfigError as error:
        missing = [fault.path for fault in error.faults if fault.path in stand_ins.keys() - given]
        assumed = {name: stand_ins[name] for name in missing}
        try:
            loaded = configuration.load({**environ, **assumed}, engines, dotenv)
        except ConfigError:
            raise error from None
    return loaded, tuple(f"{name} is not set; assuming {value}" for name, value in assumed.items())


def of_engine(site: Settings, engine: str, engines: Sequence[str]) -> tuple[Settings, Notes]:
    """A site's settings as far as another engine takes them. Raises ConfigError for an unknown engine."""
    if engine == site.engine:
        return site, ()
    given = {
        name: written(name, site[name])
        for name, source in site.sources.items()
        if source != "default" and site[name] is not None
    }
    given["CONTAINER_ENV"] = engine
    left_out: Notes = ()
    while True:
        try:
            loaded, notes = settings(given, engines)
        except ConfigError as error:
            wrong = {f.path: f.message for f in error.faults if f.path in given.keys() - {"CONTAINER_ENV"}}
            if not wrong:
                raise
            left_out += tuple(f"{message}; left out" for message in wrong.values())
            given = {name: text for name, text in given.items() if name not in wrong}
        else:
            return loaded, (*left_out, *notes)


def translation(site: Settings) -> tuple[Translation, Notes]:
    """Compiled without the settings that the templates do not honour. Raises ConfigError for the rest."""
    try:
        return Translation(site), ()
    except ConfigError as error:
        unread = [fault for fault in error.faults if fault.path in DECLARED]
        if not unread or len(unread) < len(error.faults):
            raise
    unset = {fault.path: DECLARED[fault.path].get("default") for fault in unread}
    notes = tuple(f"{fault.message.removesuffix('; unset it')}; left out" for fault in unread)
    return Translation(Settings({**site.values, **unset}, site.sources)), notes
