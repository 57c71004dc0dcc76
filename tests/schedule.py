"""Which worker runs which tests: those of an engine side by side, as many as it bears, longest first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]  # as above

from tests import engines

TESTS_OF_A_UNIT = 12

WHOLE = re.compile(
    r"/(test_api_v2|test_options|test_memory|test_slurm|test_containers|test_registries|test_page|test_package)\.py"
)
"""Modules whose tests of one engine share what is dear to make, or wait for each other."""

ALONE = re.compile(r"/test_(pulls|races|ends)\.py|test_containers\.py::test_a_job_created_and_never_started")
"""Tests that leave a container unstarted on purpose: every pman that starts there would take it up."""

WAITING = "::test_a_job_that_does_not_end_in_time_is_ended["
"""Waits a minute for the end of one job, which all engines pass together."""

ON_DOCKER = ("tests/cli/test_demo.py", "tests/browser/", *(f"tests/behaviour/test_{name}.py" for name in (
    "addresses", "overdue", "package", "pulls", "races",
)))  # fmt: skip
"""Tests on Docker whose names do not say so."""

_ENGINE = re.compile(rf"(?:/test_|[\[-])({'|'.join([*engines.VARIANTS, *engines.NAMES])})(?:\.py|[-\]])")
"""In the name of a test: of its module, or its parameter."""

_ON_ENGINES = ("tests/behaviour/", "tests/cli/", "tests/browser/")


@dataclass(frozen=True)
class Unit:
    """Tests that one worker runs one after the other."""

    name: str
    engine: str
    """The one whose limit counts; '' for those that share nothing."""

    is_alone: bool = False
    """No other tests of the engine run meanwhile."""


def unit(nodeid: str) -> Unit:
    """Where a test belongs, before large units are cut."""
    file = nodeid.partition("::")[0]
    if WAITING in nodeid:
        return Unit(WAITING, "")
    engine = _engine(nodeid, file)
    if engine and ALONE.search(nodeid):
        return Unit(f"{engine} alone", engine, is_alone=True)
    return Unit(f"{engine} {file}", engine)


def _engine(nodeid: str, file: str) -> str:
    if not file.startswith(_ON_ENGINES):
        return ""
    if found := _ENGINE.search(nodeid):
        return found[1]
    return "docker" if file.startswith(ON_DOCKER) else ""


def units(nodeids: Sequence[str]) -> Mapping[str, Unit]:
    """By test; modules with many tests of one engine are cut, so that several workers share them."""
    counted: Counter[Unit] = Counter()
    placed = {}
    for nodeid in nodeids:
        whole = unit(nodeid)
        placed[nodeid] = whole
        if whole.engine and not whole.is_alone and not WHOLE.search(whole.name):
            part = counted[whole] // TESTS_OF_A_UNIT
            placed[nodeid] = Unit(f"{whole.name} {part}", whole.engine)
        counted[whole] += 1
    return placed


class ByEngine(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """With several workers, each engine has as many of them as it bears, and nobody waits for one engine.

    By the names of the tests, since pytest 9.2 does not show pytest-xdist 3.8 its own groups.
    """

    _units: Mapping[str, Unit]
    _by_name: Mapping[str, Unit]
    _seconds: Mapping[str, float]
    """Of each unit, about."""

    def schedule(self) -> None:
        if self.collection is None:
            self._units = units(next(iter(self.registered_collections.values())))
            self._by_name = {each.name: each for each in self._units.values()}
            tests = Counter(each.name for each in self._units.values())
            of_engine = Counter(each.engine for each in self._units.values())
            self._seconds = {
                name: engines.SECONDS[each.engine] * tests[name] / of_engine[each.engine]
                for name, each in self._by_name.items()
            }
        super().schedule()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """It may let others begin what they had to wait for."""
        super().mark_test_complete(node, item_index, duration)
        for other in self.nodes:
            self._reschedule(other)

    def _split_scope(self, nodeid: str) -> str:
        return self._units[nodeid].name

    def _reschedule(self, node: WorkerController) -> None:
        if node.shutting_down:
            return
        if not self.workqueue:
            node.shutdown()
        elif self._pending_of(self.assigned_work[node]) <= 1:  # the last test runs when the next one is there
            self._assign_work_unit(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if chosen := self._choice(node):
            self.workqueue.move_to_end(chosen, last=False)
            super()._assign_work_unit(node)

    def _choice(self, node: WorkerController) -> str | None:
        """The unit for this worker, None where each has to wait.

        A worker stays with its engine, since its pman is there; else it goes where most is left for each.
        """
        busy = Counter(
            each.engine for other in self.nodes if other is not node for each in self._unfinished(other)
        )
        waiting = [self._by_name[name] for name in self.workqueue]
        reserved = {each.engine for each in waiting if each.is_alone}
        for other in self.nodes:
            if other is not node:
                reserved |= {each.engine for each in self._unfinished(other) if each.is_alone}
        left = Counter[str]()
        for each in waiting:
            left[each.engine] += self._seconds[each.name]  # type: ignore[assignment]  # seconds with a fraction
        last = next(reversed(self.assigned_work[node]), None)
        mine = self._by_name[last].engine if last else None

        def may(each: Unit) -> bool:
            if each.is_alone:
                return not busy[each.engine]
            if each.name == WAITING:  # it has a pman on every engine
                return not reserved
            return each.engine not in reserved and busy[each.engine] < engines.AT_ONCE[each.engine]

        def urgency(each: Unit) -> tuple[bool, bool, float, float]:
            share = left[each.engine] / (1 + busy[each.engine])
            return each.engine == mine, each.is_alone or each.name == WAITING, share, self._seconds[each.name]

        return max(filter(may, waiting), key=urgency).name if any(map(may, waiting)) else None

    def _unfinished(self, node: WorkerController) -> list[Unit]:
        work = self.assigned_work[node]
        return [self._by_name[name] for name, tests in work.items() if not all(tests.values())]
