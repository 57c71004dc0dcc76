from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, the tests of an engine go to one of them: they share its pman, and its node."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    parameters = (
        item.callspec.params.values()
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ()
    )
    named = [
        name
        for name in (*engines.NAMES, *engines.VARIANTS)
        if name in parameters or item.path.stem == f"test_{name}"
    ]
    return named[0] if named else item.path.stem


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
