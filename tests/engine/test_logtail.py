from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.engine.logtail import SHOWN, Tail, with_cause
from pman.job import JobInfo, JobStatus

chunks = st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)), max_size=30)


def tail_of(given: list[bytes], limit: int) -> Tail:
    tail = Tail(limit)
    for chunk in given:
        tail.add(chunk)
    return tail


@given(chunks, st.integers(1, 100))
def test_a_tail_is_the_end_of_the_log_within_its_limit_however_it_was_cut(
    given: list[bytes], limit: int
) -> None:
    whole = b"".join(given)

    text = tail_of(given, limit).text()

    assert len(text) <= limit
    if len(whole) <= limit:
        assert text == whole.decode("utf-8", "replace")


@given(chunks, st.integers(1, 100))
def test_what_a_tail_keeps_is_bounded_however_the_log_is_cut(given: list[bytes], limit: int) -> None:
    assert len(tail_of(given, limit)._end) <= limit


@given(st.text(max_size=200), st.integers(1, 300), st.lists(st.integers(0, 800), max_size=5))
def test_text_is_cut_at_whole_characters(text: str, limit: int, cuts: list[int]) -> None:
    log = text.encode()
    marks = sorted({0, len(log), *(cut for cut in cuts if cut < len(log))})

    found = tail_of([log[start:end] for start, end in pairwise(marks)], limit).text()

    assert text.endswith(found)


def test_a_cut_goes_to_the_start_of_a_line_where_one_is_near() -> None:
    assert tail_of([b"first line\nsecond line\nthird\n"], 22).text() == "second line\nthird\n"


def test_a_line_longer_than_the_limit_shows_its_end() -> None:
    assert tail_of([b"a" * 100, b"b" * 5 + b"\n"], 10).text() == "aaaabbbbb\n"


def test_binary_output_is_replaced_and_control_characters_pass() -> None:
    assert tail_of([b"ok\xff\xfe\xff\x01\x00\x1b[1mend\n"], 100).text() == "ok���\x01\x00\x1b[1mend\n"


def test_a_character_that_came_in_two_chunks_is_whole() -> None:
    assert tail_of(["é".encode()[:1], "é".encode()[1:]], 100).text() == "é"


def info(status: JobStatus = "finishedWithError", **changes: Any) -> JobInfo:
    given: dict[str, Any] = {
        "message": "out of memory",
        "hint": "ask for more",
        "jid": "a",
        "image": "b",
        "cmd": "c",
    }
    return JobInfo(**{**given, "timestamp": "", "digest": "", "exit_code": 1, **changes}, status=status)


def test_the_cause_and_the_hint_of_a_failure_are_the_last_line_of_its_log() -> None:
    assert with_cause("up\n", info()) == "up\npman: out of memory - ask for more\n"
    assert with_cause("no newline", info(hint="")) == "no newline\npman: out of memory\n"
    assert with_cause("", info()) == "pman: out of memory - ask for more\n"


@pytest.mark.parametrize("status", ["notstarted", "started", "finishedSuccessfully", "undefined"])
def test_the_log_of_a_job_that_has_not_failed_is_its_own(status: JobStatus) -> None:
    assert with_cause("up\n", info(status)) == "up\n"


@given(st.text(max_size=50), st.text(), st.text(), st.integers(1, 100))
def test_the_cause_always_fits_what_the_platform_shows_and_starts_a_line(
    log: str, message: str, hint: str, times: int
) -> None:
    logs = with_cause(log, info(message=message * times, hint=hint * times))

    line = logs[logs.rindex("pman: ") :]
    assert logs.startswith(log)
    assert logs.endswith("\n")
    assert len(line) < SHOWN
