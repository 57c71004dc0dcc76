"""A site's templates as they were at a revision of its git repository."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from pman.errors import ConfigError


def templates_at(revision: str, directories: Sequence[str], into: Path) -> bool:
    """Writes what the directories of PMAN_TEMPLATES held then into one that stands for all of them.

    Whether there was anything. A directory that is searched before another one covers its files here,
    too. Raises ConfigError where one is in no repository, or that has no such revision.
    """
    if not directories:
        raise ConfigError(f"--against {revision!r}: PMAN_TEMPLATES is not set, so no templates are its own")
    for directory in reversed(directories):
        words = ("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        commit = _git(directory, revision, *words).decode().strip()
        if _git(directory, revision, "ls-tree", "--name-only", commit, "."):
            archive = _git(directory, revision, "archive", commit, ".")
            _unpack(archive, into, f"{directory} at {revision}")
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


def _unpack(archive: bytes, into: Path, what: str) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(into, filter="data")
    except tarfile.TarError as error:
        raise ConfigError(f"{what}: {error}") from error
