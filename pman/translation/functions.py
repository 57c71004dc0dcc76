"""Functions and tests for expressions and messages of a state.yaml, besides Jinja's own."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

_QUANTITY = re.compile(
    r"\+?([0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:[eE]([+-]?[0-9]{1,2})|([a-zA-Z]{0,2}))"
)
"""A number and an exponent of ten or a unit, of bounded length: an engine may say anything."""

_UNITS: Mapping[str, Decimal] = {
    **{
        unit: Decimal(1000) ** power
        for unit, power in zip("numkMGTPE", (-3, -2, -1, *range(1, 7)), strict=True)
    },
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
    "": Decimal(1),
}


def _signal_name(number: int) -> str:
    """Names a signal: SIGKILL for 9, '' for what is none."""
    return signal.Signals(number).name if number in {item.value for item in signal.Signals} else ""


def moment(timestamp: object) -> datetime | None:
    """Reads ISO 8601, also with nanoseconds, or seconds since 1970; None for '', 0 and Go's zero time."""
    if isinstance(timestamp, int | float):
        return datetime.fromtimestamp(timestamp, UTC) if timestamp else None
    if not timestamp or str(timestamp).startswith("0001-"):
        return None
    time = datetime.fromisoformat(str(timestamp))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _seconds_between(earlier: object, later: object) -> float:
    """Counts the seconds from one timestamp to a later one; 0 where one of the two is not known."""
    begin, end = moment(earlier), moment(later)
    return (end - begin).total_seconds() if begin and end else 0


def _seconds_since(timestamp: object) -> float:
    """Counts the seconds from a timestamp to now, by pman's clock; 0 where it is not known."""
    return _seconds_between(timestamp, datetime.now(UTC).isoformat())


def _from_json(text: object) -> object:
    """Reads a text of JSON; none where there is none."""
    return json.loads(str(text)) if text else None


def _mebibytes(quantity: object) -> int:
    """Reads a quantity of Kubernetes, e.g. 1Gi of memory, as MiB, rounded down; 0 for what is none."""
    return int(_quantity(quantity) / 2**20)


def _millicores(quantity: object) -> int:
    """Reads a quantity of Kubernetes, e.g. 0.5 of cpu, as millicores, rounded down; 0 for what is none."""
    return int(_quantity(quantity) * 1000)


def _quantity(text: object) -> Decimal:
    """Follows apimachinery's quantity.go; what is negative is none."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None or (unit := match[3] or "") not in _UNITS:
        return Decimal(0)
    return Decimal(match[1]).scaleb(int(match[2] or 0)) * _UNITS[unit]


def _oldest(events: Iterable[Mapping[str, Any]]) -> str:
    """Tells when the first of some events of Kubernetes happened, a timestamp; '' for none."""
    times = [event.get(key) for event in events for key in ("eventTime", "firstTimestamp")]
    return min(filter(None, times), default="")


def _begun(events: Iterable[Mapping[str, Any]]) -> str:
    """Tells since when events happen to all their objects: the latest of the objects' oldest; '' for none."""

    def uid(event: Mapping[str, Any]) -> str:
        return str((event.get("involvedObject") or {}).get("uid"))

    return max((_oldest(group) for _, group in groupby(sorted(events, key=uid), uid)), default="")


def _startswith(value: object, text: str) -> bool:
    """Holds for a text that begins so; not where there is none."""
    return isinstance(value, str) and value.startswith(text)


def _contains(value: object, part: object) -> bool:
    """Holds for a text or list that has this in it; not where there is none."""
    return part in value if isinstance(value, str | list | tuple) else False


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "signal": _signal_name,
    "seconds_since": _seconds_since,
    "seconds_between": _seconds_between,
    "from_json": _from_json,
    "mebibytes": _mebibytes,
    "millicores": _millicores,
    "oldest": _oldest,
    "begun": _begun,
}
TESTS: Mapping[str, Callable[..., bool]] = {"startswith": _startswith, "contains": _contains}
"""Written `word is startswith('Out')`, and in filters `select('startswith', 'Out')`."""
