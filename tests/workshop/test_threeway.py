"""A difference of three texts loses nothing of any of them, and says who changed what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pman.workshop.threeway import Line, near_changes, three_way

texts = st.lists(st.sampled_from("abcd"), max_size=12).map("\n".join)


@given(texts, texts, texts)
def test_each_of_the_three_texts_can_be_read_from_it(base: str, ours: str, theirs: str) -> None:
    lines = three_way(base, ours, theirs)

    of_base = [line for line in lines if "+" not in (line.ours, line.theirs)]
    assert [line.text for line in of_base] == base.splitlines()
    kept = [line for line in lines if line.ours == "+" or (line in of_base and line.ours == " ")]
    assert [line.text for line in kept if line.ours == "+" or line.theirs != "+"] == ours.splitlines()
    other = [line for line in lines if line.theirs == "+" or (line.ours != "+" and line.theirs == " ")]
    assert [line.text for line in other] == theirs.splitlines()


def test_what_one_has_changed_stands_in_its_column_and_what_both_have_in_both() -> None:
    lines = three_way("a\nb\nc\nd\n", "a\nB\nc\n", "a\nb\nc\nnew\n")

    assert [f"{line.ours}{line.theirs}{line.text}" for line in lines] == [
        "  a", "- b", "+ B", "  c", "--d", " +new",
    ]  # fmt: skip
    assert three_way("a", "b", "b") == (Line("-", "-", "a"), Line("+", "+", "b"))


def test_what_is_far_from_a_change_is_left_out() -> None:
    base = "\n".join(map(str, range(20)))
    lines = three_way(base, base.replace("10", "ten"), base)

    shown = [line.text if line else "…" for line in near_changes(lines, 1)]

    assert shown == ["…", "9", "10", "ten", "11"]
    assert list(near_changes(three_way(base, base, base))) == []
