from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from tests import engines
from tests.live import Live, TimeLimited, live, unmeasured
from tests.schedule import ByEngine

hypothesis.settings.register_profile("pman", deadline=None)  # a busy machine must not fail a test
hypothesis.settings.load_profile("pman")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden documents anew")


def downloads(config: pytest.Config) -> bool:
    """Tell whether tests may ask a registry for packages."""
    return bool(os.environ.get("PMAN_TEST_PACKAGES")) or "packages" in config.getoption("markexpr")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not downloads(config):
        reason = pytest.mark.skip(reason="downloads packages; PMAN_TEST_PACKAGES is not set")
        for item in items:
            if item.get_closest_marker("packages"):
                item.add_marker(reason)


@pytest.fixture(scope="session")
def storebase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every engine's jobs can read and write, whatever their user."""
    root = tmp_path_factory.mktemp("storebase")
    for directory in (root, *root.parents[:2]):
        directory.chmod(0o755)
    base = root / "base"
    base.mkdir(mode=0o755)
    return base


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    return ByEngine(config, log)


@pytest.fixture(scope="session")
def pmans(storebase: Path) -> Iterator[Callable[[str], Live]]:
    """Give, by the name of an engine, the one pman as shipped that all tests of a worker share."""
    running: dict[str, Live] = {}
    with ExitStack() as stack:

        def shared_by_all(name: str) -> Live:
            if name not in running:
                running[name] = stack.enter_context(live(engines.need(name), storebase))
            return running[name]

        yield shared_by_all


@pytest.fixture(scope="session", params=[*engines.NAMES, *engines.VARIANTS])
def shared(request: pytest.FixtureRequest, pmans: Callable[[str], Live]) -> Live:
    """Each engine in turn, with one pman for all its tests."""
    return pmans(request.param)


@pytest.fixture(scope="session")
def local(pmans: Callable[[str], Live]) -> Live:
    """The engine that is everywhere, for what does not depend on the engine."""
    return pmans("local")


@pytest.fixture(scope="session")
def time_limited(request: pytest.FixtureRequest, storebase: Path) -> Iterator[TimeLimited]:
    """Jobs that would run on after their minute, begun on all engines at once."""
    chosen = [
        item.callspec.params.get("limited") for item in request.session.items if hasattr(item, "callspec")
    ]
    limited = TimeLimited(storebase)
    for name in dict.fromkeys(chosen):
        if name and not engines.absent(name):
            limited.begin(engines.need(name))
    yield limited
    limited.close()


@pytest.fixture(scope="session", params=["docker", "podman"])
def containers(request: pytest.FixtureRequest, pmans: Callable[[str], Live]) -> Live:
    """Each engine with containers."""
    return pmans(request.param)


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel made of it, by the tools of this environment: nothing is downloaded."""
    directory = tmp_path_factory.mktemp("package") / "dist"
    words = ["-m", "build", "--no-isolation", "--outdir", str(directory), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, *words], env=unmeasured(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def pytest_report_header() -> list[str]:
    """Say what runs, what is skipped and why, and about how long all tests take."""
    lines, total = [], 0
    for name, seconds in engines.SECONDS.items():
        reason = engines.absent(name) if name else ""
        total += 0 if reason else seconds
        what = f"engine {name}" if name else "no engine"
        lines.append(f"{what}: {f'skipped: {reason}' if reason else f'runs, about {seconds} s'}")
    return [*lines, f"all tests: about {total / 60:.0f} min on two idle processors"]


def pytest_sessionfinish() -> None:
    engines.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which engines the run speaks for."""
    for name in (*engines.NAMES, *engines.VARIANTS):
        reason = engines.absent(name)
        terminalreporter.write_line(f"engine {name}: {f'not tested: {reason}' if reason else 'tested'}")
