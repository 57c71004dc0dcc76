"""The examples of site templates: where they are, and each with one of its files of settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from pman import settings
from pman.settings import Settings
from tests.a_job import ENGINES

EXAMPLES = Path(__file__).parents[1] / "examples"
PATHS = ("PMAN_TEMPLATES", "PMAN_POLICY")
"""Settings that are relative to the example's own directory, where a person runs pman."""


@dataclass(frozen=True, slots=True)
class Example:
    directory: Path
    file: str
    """With its settings for one engine, e.g. `kubernetes.env`."""

    def __str__(self) -> str:
        return f"{self.directory.name}-{self.engine}"

    @property
    def engine(self) -> str:
        return self.file.removesuffix(".env")

    @property
    def environ(self) -> dict[str, str]:
        given = {name: text or "" for name, text in dotenv_values(self.directory / self.file).items()}
        return {name: str(self.directory / text) if name in PATHS else text for name, text in given.items()}

    def settings(self, **changes: str) -> Settings:
        """Whole: nothing is assumed."""
        return settings.load({**self.environ, **changes}, ENGINES)


FOUND = [Example(file.parent, file.name) for file in sorted(EXAMPLES.glob("*/*.env"))]


def example(name: str, engine: str) -> Example:
    return Example(EXAMPLES / name, f"{engine}.env")
