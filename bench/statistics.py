"""Medians, percentiles, and ratios of pairs with the interval in which they can be trusted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a number of measurements, in ms."""

    count: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Paired:
    """pman and the floor, measured in turn."""

    pman: Spread
    floor: Spread
    ratio: float
    """Median of the ratios pair by pair, so that what slows both of a pair down cancels."""

    low: float
    high: float
    """The ratio's 95 % interval, by the bootstrap."""

    extra: float
    """Median of the differences pair by pair, in ms."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values; nan when there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def spread(seconds: Sequence[float]) -> Spread:
    return Spread(len(seconds), median(seconds) * 1e3, quantile(sorted(seconds), 0.95) * 1e3)


def paired(count: int, pman: Callable[[int], float], floor: Callable[[int], float]) -> Paired:
    """Each is called with 0, 1, 2 ... and returns seconds; who goes first alternates."""
    pairs = []
    for index in range(count):
        if index % 2:
            below = floor(index)
            pairs.append((pman(index), below))
        else:
            above = pman(index)
            pairs.append((above, floor(index)))
    ratios = [above / below for above, below in pairs]
    draw = random.Random(0)  # noqa: S311  (no secret)
    medians = sorted(median(draw.choices(ratios, k=count)) for _ in range(1000))
    return Paired(
        pman=spread([above for above, _ in pairs]),
        floor=spread([below for _, below in pairs]),
        ratio=median(ratios),
        low=quantile(medians, 0.025),
        high=quantile(medians, 0.975),
        extra=median(above - below for above, below in pairs) * 1e3,
    )
