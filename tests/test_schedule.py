"""The order of a run on several workers, played with workers that take one second for each test."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from tests import engines
from tests.schedule import WAITING, ByEngine, units

TESTS = [
    *(f"tests/behaviour/test_jobs.py::test_{n}[{name}]" for name in engines.NAMES for n in range(40)),
    *(f"tests/behaviour/test_jobs.py{WAITING}{name}]" for name in engines.NAMES),
    *(f"tests/behaviour/test_options.py::test_{n}[{name}-jid]" for name in engines.NAMES for n in range(30)),
    *(f"tests/behaviour/test_races.py::test_{n}" for n in range(8)),
    *(f"tests/behaviour/test_ends.py::test_{n}[{name}]" for name in ("docker", "podman") for n in range(8)),
    *(f"tests/translation/test_{module}.py::test_{n}" for module in "abcdef" for n in range(50)),
]  # fmt: skip


class Worker:
    """As pytest-xdist's: a test begins when the one after it is there, or the end is."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.shutting_down = False
        self.queue: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    def running(self) -> int | None:
        return self.queue[0] if len(self.queue) > 1 or (self.queue and self.shutting_down) else None


def scheduler(workers: list[Worker]) -> Any:
    config: Any = SimpleNamespace(
        getvalue=lambda _: [f"{len(workers)}*popen"], option=SimpleNamespace(loadscopereorder=False)
    )
    schedule = ByEngine(config)
    for worker in workers:
        schedule.add_node(worker)
        schedule.add_node_collection(worker, TESTS)
    return schedule


def played(count: int) -> list[list[str]]:
    """The tests that run at the same time, second by second."""
    workers = [Worker(f"gw{number}") for number in range(count)]
    schedule = scheduler(workers)
    schedule.schedule()
    seconds = []
    while any(worker.queue for worker in workers):
        now = [(worker, index) for worker in workers if (index := worker.running()) is not None]
        assert now, "every worker waits"
        seconds.append([TESTS[index] for _, index in now])
        for worker, index in now:
            worker.queue.pop(0)
            schedule.mark_test_complete(worker, index)
        if schedule.tests_finished:
            for worker in workers:
                worker.shutdown()
    return seconds


@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_every_test_runs_once(count: int) -> None:
    assert Counter(each for second in played(count) for each in second) == Counter(TESTS)


@pytest.mark.parametrize("count", [2, 6, 12])
def test_an_engine_has_no_more_tests_at_once_than_it_bears_and_some_have_it_alone(count: int) -> None:
    placed = units(TESTS)
    for second in played(count):
        running = [placed[each] for each in second]
        for engine, most in engines.AT_ONCE.items():
            here = [each for each in running if each.engine == engine]
            assert len(here) <= most, second
            assert len(here) == 1 or not any(each.is_alone for each in here), second


def test_workers_are_busy_to_the_end() -> None:
    assert len(played(6)) < 1.15 * len(TESTS) / 6
