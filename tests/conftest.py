from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

from tests import engines
from tests.live import Live, TimeLimited, live

hypothesis.settings.register_profile("pman", deadline=None)  # a busy machine must not fail a test
hypothesis.settings.load_profile("pman")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden documents anew")


@pytest.fixture(scope="session")
def storebase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every engine's jobs can read and write, whatever their user."""
    root = tmp_path_factory.mktemp("storebase")
    for directory in (root, *root.parents[:2]):
        directory.chmod(0o755)
    base = root / "base"
    base.mkdir(mode=0o755)
    return base


class _ByEngine(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """With several workers, the tests of an engine go to one of them: they share its pman, and its node.

    By the names of the tests, since pytest 9.2 does not show pytest-xdist 3.8 its own groups.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith("tests/behaviour/"):
            found = _ENGINE.search(nodeid)
            return found[1] if found else "docker"
        return "docker" if file.startswith(_ON_DOCKER) else file


_ENGINE = re.compile(rf"(?:/test_|[\[-])({'|'.join([*engines.VARIANTS, *engines.NAMES])})(?:\.py|[-\]])")
"""In the name of a test: of its module, or its parameter."""

_ON_DOCKER = ("tests/cli/test_main.py", "tests/cli/test_demo.py", "tests/browser/")
"""Tests whose pmans are on Docker too: each takes up what it finds unstarted there, also another test's."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    return _ByEngine(config, log)


@pytest.fixture(scope="session", params=[*engines.NAMES, *engines.VARIANTS])
def shared(request: pytest.FixtureRequest, storebase: Path, time_limited: TimeLimited) -> Iterator[Live]:
    """Each engine in turn, with one pman for all its tests."""
    with live(engines.need(request.param), storebase) as running:
        time_limited.begin(running.engine)
        yield running


@pytest.fixture(scope="session")
def time_limited(storebase: Path) -> Iterator[TimeLimited]:
    """Jobs that would run on after their minute; begun early, so that nobody waits for it to pass."""
    limited = TimeLimited(storebase)
    yield limited
    limited.close()


@pytest.fixture(scope="session", params=["docker", "podman"])
def containers(request: pytest.FixtureRequest, storebase: Path) -> Iterator[Live]:
    """Each engine with containers."""
    with live(engines.need(request.param), storebase) as running:
        yield running


def pytest_sessionfinish() -> None:
    engines.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which engines the run speaks for."""
    for name in (*engines.NAMES, *engines.VARIANTS):
        reason = engines.absent(name)
        terminalreporter.write_line(f"engine {name}: {f'not tested: {reason}' if reason else 'tested'}")
