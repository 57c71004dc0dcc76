"""A table that forgets what was used longest ago."""

from __future__ import annotations

from pman.executors.shared.bounded import Bounded


def test_what_was_used_longest_ago_goes_first() -> None:
    table = Bounded[str, int](2)
    table["a"], table["b"] = 1, 2

    assert table["a"] == 1
    table["c"] = 3

    assert dict(table) == {"a": 1, "c": 3}


def test_a_look_whether_something_is_there_is_no_use_of_it() -> None:
    table = Bounded[str, int](2)
    table["a"], table["b"] = 1, 2

    assert "a" in table
    table["c"] = 3

    assert "a" not in table


def test_sizes_are_summed_and_a_new_value_takes_the_place_of_the_old_one() -> None:
    table = Bounded[str, bytes](10, getsizeof=len)

    table["a"], table["b"], table["a"] = b"12345", b"1234", b"123456"
    assert (set(table), table.currsize) == ({"a", "b"}, 10)

    table["c"] = b"1"
    assert set(table) == {"a", "c"}


def test_a_value_larger_than_the_table_is_not_taken_and_neither_is_the_one_before_it_kept() -> None:
    table = Bounded[str, bytes](10, getsizeof=len)
    table["a"], table["b"] = b"old", b"other"

    table["a"] = b"larger than ten"

    assert dict(table) == {"b": b"other"}
