"""What rules may call: quantities and events of Kubernetes, texts, and times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from pman.translation.functions import FUNCTIONS, TESTS
from pman.translation.rules import environment

mebibytes, millicores = FUNCTIONS["mebibytes"], FUNCTIONS["millicores"]
UNITS = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
NUMBERS = st.from_regex(r"[0-9]{1,9}(\.[0-9]{0,6})?|\.[0-9]{1,6}", fullmatch=True)
EXPONENTS = st.sampled_from(["e3", "E3", "e-3", "e+6", "E0"])


@given(NUMBERS, st.one_of(st.sampled_from(UNITS), EXPONENTS))
@example("128974848", "")
@example("1", "k")
@example("5", "E")
def test_a_quantity_is_read_as_kubernetes_reads_it(number: str, unit: str) -> None:
    value = parse_quantity(number + unit)  # type: ignore[no-untyped-call]  # it has no types

    assert mebibytes(number + unit) == int(value / 2**20)
    assert millicores(number + unit) == int(value * 1000)


@pytest.mark.parametrize(
    ("quantity", "cores"), [("500m", 500), ("1", 1000), ("1k", 10**6), (2, 2000), (0.5, 500), ("1.5", 1500)]
)
def test_cores_are_told_in_millicores(quantity: object, cores: int) -> None:
    assert millicores(quantity) == cores


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.text(),
        st.from_regex(r"[0-9.eEkMGi+-]{0,40}", fullmatch=True),
        st.lists(st.integers()),
    )
)
@example("1e999999999")
@example("9" * 10**6)
@example("1" + "0" * 10**6 + "Mi")
@example("-5Mi")
@example("5ki")
def test_what_is_no_quantity_is_0_and_nothing_that_an_engine_says_takes_long(quantity: object) -> None:
    for function in (mebibytes, millicores):
        value = function(quantity)
        assert isinstance(value, int)
        assert value >= 0
        assert value.bit_length() < 600


def test_a_field_that_is_not_there_is_no_quantity_no_event_and_no_text() -> None:
    for text, value in (
        ("mebibytes(native.a.b)", 0),
        ("millicores(native.a.b)", 0),
        ("oldest(native.a.b)", ""),
        ("begun(native.a.b)", ""),
        ("native.a.b is startswith('a')", False),
        ("native.a.b is contains('a')", False),
        ("native.n is contains(1)", False),
    ):
        assert environment().compile_expression(text)(native={"n": None}) == value


def an_event(uid: str, first: str | None, time: str | None = None) -> dict[str, Any]:
    return {"involvedObject": {"uid": uid}, "firstTimestamp": first, "eventTime": time}


TIMES = [f"2026-01-01T00:00:0{second}Z" for second in range(10)]
EVENTS = st.lists(
    st.builds(
        an_event, st.sampled_from("abc"), st.sampled_from([None, *TIMES]), st.sampled_from([None, *TIMES])
    )
)


@given(EVENTS)
def test_the_oldest_event_and_since_when_all_objects_have_some(events: list[dict[str, Any]]) -> None:
    oldest, begun = FUNCTIONS["oldest"], FUNCTIONS["begun"]
    times = [time for event in events for time in (event["firstTimestamp"], event["eventTime"]) if time]
    objects = {event["involvedObject"]["uid"] for event in events}
    each = [oldest([event for event in events if event["involvedObject"]["uid"] == uid]) for uid in objects]

    assert oldest(events) == min(times, default="")
    assert begun(events) == max(map(str, each), default="")
    assert begun(reversed(events)) == begun(events)


@given(st.text(), st.text(), st.text())
def test_texts_begin_and_contain_as_python_has_it(before: str, part: str, after: str) -> None:
    text = before + part + after

    assert TESTS["startswith"](text, part) == text.startswith(part)
    assert TESTS["contains"](text, part)
    assert TESTS["contains"]([before, part], part)
