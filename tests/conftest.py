from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture(scope="session", params=[*engines.NAMES, *engines.VARIANTS])
def shared(request: pytest.FixtureRequest, storebase: Path) -> Iterator[Live]:
    """Each engine in turn, with one pman for all its tests."""
    with live(engines.need(request.param), storebase) as running:
        yield running


@pytest.fixture(scope="session")
def time_limited(storebase: Path) -> Iterator[TimeLimited]:
    """On all engines that are there, at once: a job that would run on after its minute."""
    there = [name for name in engines.NAMES if not engines.absent(name)]

    def begin(name: str) -> tuple[Live, str]:
        running = Live(engines.need(name), storebase, {"TIMELIMIT_MINUTES": "1"})
        request = running.script("while true; do date +%s >> $out/alive; sleep 1; done")
        running.submit(request)
        return running, request["jid"]

    with ThreadPoolExecutor(len(there)) as pool:
        begun = {name: pool.submit(begin, name) for name in there}
    yield begun
    for future in begun.values():
        if not future.exception():
            future.result()[0].close()


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
