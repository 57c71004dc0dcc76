from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.job import Document
from pman.translation.diff import LONG, Change, changes, unified


def a_document(content: object, name: str = "container.yaml", text: str | None = None) -> Document:
    return Document(name, json.dumps(content, indent=1) + "\n" if text is None else text, content)


def between(old: object, new: object) -> list[tuple[str, str, object, object]]:
    found = changes([a_document(old)], [a_document(new)])
    assert {change.document for change in found} <= {"container.yaml"}
    return [(change.path, change.kind, change.old, change.new) for change in found]


# --- by path -----------------------------------------------------------------------------------------


def test_a_change_tells_its_path_and_both_values() -> None:
    old = {"Image": "a", "HostConfig": {"Memory": 1, "CapAdd": ["KILL"]}}
    new = {"Image": "a", "HostConfig": {"Memory": 2, "OomScoreAdj": 512}}

    assert between(old, new) == [
        ("$.HostConfig.Memory", "changed", 1, 2),
        ("$.HostConfig.CapAdd", "removed", ["KILL"], None),
        ("$.HostConfig.OomScoreAdj", "added", None, 512),
    ]


def test_comments_and_layout_of_data_are_no_change() -> None:
    old, new = (a_document({"a": 1}, text=text) for text in ("a: 1\n", "# why\n{a: 1}\n"))

    assert changes([old], [new]) == ()
    assert unified([old], [new]) != ""


def test_the_order_of_keys_is_no_change() -> None:
    assert between({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), ("1", 1), (None, ""), ([], {}), (1, 1.0)])
def test_values_of_different_types_differ(old: object, new: object) -> None:
    assert between({"a": old}, {"a": new}) == [("$.a", "changed", old, new)]


def test_a_value_that_becomes_null_is_changed_and_not_removed() -> None:
    assert between({"a": 1}, {"a": None}) == [("$.a", "changed", 1, None)]


def test_a_name_with_dots_stands_in_brackets() -> None:
    found = between({"nvidia.com/gpu": 1}, {'a"b': 1})

    assert [path for path, *_ in found] == ['$["nvidia.com/gpu"]', '$["a\\"b"]']


# --- lists -------------------------------------------------------------------------------------------


def test_a_word_put_into_a_list_leaves_the_others_as_they_are() -> None:
    assert between(["a", "b", "c"], ["a", "x", "b", "c"]) == [("$[1]", "added", None, "x")]


def test_a_word_replaced_in_a_list_is_changed() -> None:
    assert between(["--n", "1", "--v"], ["--n", "2", "--v"]) == [("$[1]", "changed", "1", "2")]


def test_words_taken_from_a_list_are_told_by_their_old_places() -> None:
    assert between(["a", "b", "c"], ["c"]) == [("$[0]", "removed", "a", None), ("$[1]", "removed", "b", None)]


def test_containers_belong_together_by_their_names() -> None:
    plugin = {"name": "plugin", "image": "a", "args": ["x"]}
    proxy = {"name": "proxy", "image": "b"}

    assert between([plugin], [proxy, {**plugin, "image": "c", "args": ["y"]}]) == [
        ("$[0]", "added", None, proxy),
        ("$[1].image", "changed", "a", "c"),
        ("$[1].args[0]", "changed", "x", "y"),
    ]


def test_mounts_of_one_volume_belong_together_by_their_paths() -> None:
    incoming = {"name": "storebase", "mountPath": "/share/incoming", "readOnly": True}
    outgoing = {"name": "storebase", "mountPath": "/share/outgoing"}

    assert between([incoming, outgoing], [{**incoming, "readOnly": False}, outgoing]) == [
        ("$[0].readOnly", "changed", True, False)
    ]


def test_an_item_that_moves_is_added_and_removed_since_order_counts() -> None:
    one, two = {"name": "one"}, {"name": "two"}

    assert between([one, two], [two, one]) == [
        ("$[0]", "added", None, two),
        ("$[1]", "removed", two, None),
    ]


def test_items_that_no_field_tells_apart_are_compared_by_their_places() -> None:
    assert between([{"a": [1]}, {"a": [2]}], [{"a": [1]}, {"a": [3]}]) == [("$[1].a[0]", "changed", 2, 3)]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b", "x y", "d.o.t"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "c.d", "name", 'q"', "é"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def steps(path: str) -> list[Any]:
    found = re.findall(r"\.(\w+)|\[(\d+)\]|\[(\"(?:[^\"\\]|\\.)*\")\]", path.removeprefix("$"))
    return [name or (int(index) if index else json.loads(quoted)) for name, index, quoted in found]


def patched(old: object, found: Sequence[Change]) -> object:
    """The old value with the changes made: what was removed from its end on, then the rest in order."""
    root = {"$": copy.deepcopy(old)}

    def place(change: Change) -> tuple[Any, Any]:
        way = ["$", *steps(change.path)]
        at: Any = root
        for step in way[:-1]:
            at = at[step]
        return at, way[-1]

    # A path leads through the new lists: so the outer ones are brought to their new state first.
    for depth in range(20):
        level = [change for change in found if len(steps(change.path)) == depth]
        for change in [change for change in level if change.kind == "removed"][::-1]:
            at, step = place(change)
            assert at[step] == change.old
            del at[step]
        for change in [change for change in level if change.kind == "added"]:
            at, step = place(change)
            if isinstance(at, list):
                at.insert(step, change.new)
            else:
                assert step not in at
                at[step] = change.new
        for change in [change for change in level if change.kind == "changed"]:
            at, step = place(change)
            assert at[step] == change.old
            at[step] = change.new
    return root["$"]


def same(one: object, other: object) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(values, values)
def test_the_changes_made_to_the_old_document_give_the_new_one(old: object, new: object) -> None:
    found = changes([a_document({"a": old})], [a_document({"a": new})])

    assert same(patched({"a": old}, found), {"a": new})
    assert (not found) == same(old, new)


def test_long_lists_of_equal_items_are_no_work() -> None:
    """The square of their length would be hours."""
    alike = ["a"] * 200_000

    assert between(alike, alike) == []
    assert between([*alike, "b", *alike], [*alike, "c", *alike]) == [("$[200000]", "changed", "b", "c")]


@given(st.integers(0, 3 * LONG), st.integers(0, 3 * LONG), st.integers(0, 3))
def test_lists_that_differ_in_very_many_items_are_compared_by_places(old: int, new: int, more: int) -> None:
    ends = ["same"] * more
    before, after = ([*ends, *(f"{side}{i}" for i in range(length)), *ends]
                     for side, length in (("a", old), ("b", new)))  # fmt: skip

    found = changes([a_document({"a": before})], [a_document({"a": after})])

    assert patched({"a": before}, found) == {"a": after}
    assert sum(change.kind == "changed" for change in found) == min(old, new) or max(old, new) <= LONG


# --- documents ---------------------------------------------------------------------------------------


def test_a_document_more_or_less_is_a_change_of_its_own() -> None:
    script = Document("job.sh", "true\n", None)
    old, new = [a_document({"a": 1}), script], [a_document({"a": 1}), a_document({"b": 1}, "network.yaml")]

    assert changes(old, new) == (
        Change("network.yaml", "$", "added", None, {"b": 1}),
        Change("job.sh", "$", "removed", "true\n", None),
    )


def test_a_script_is_compared_as_text() -> None:
    old, new = Document("job.sh", "true\n", None), Document("job.sh", "false\n", None)

    assert changes([old], [new]) == (Change("job.sh", "$", "changed", "true\n", "false\n"),)


def test_documents_of_one_file_belong_together_by_kind_and_name() -> None:
    def an_object(kind: str, **spec: object) -> Document:
        return a_document({"kind": kind, "metadata": {"name": "chris-1"}, "spec": spec}, "job.yaml")

    found = changes([an_object("Job", a=1)], [an_object("ConfigMap"), an_object("Job", a=2)])

    assert [(change.document, change.path, change.kind) for change in found] == [
        ("job.yaml ConfigMap/chris-1", "$", "added"),
        ("job.yaml Job/chris-1", "$.spec.a", "changed"),
    ]


def test_documents_that_nothing_tells_apart_belong_together_in_their_order() -> None:
    old, new = [a_document({"a": 1}), a_document({"a": 2})], [a_document({"a": 1}), a_document({"a": 3})]

    assert [(change.path, change.new) for change in changes(old, new)] == [("$.a", 3)]


# --- as text -----------------------------------------------------------------------------------------

texts = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "é\n"]), max_size=12).map("".join)


@given(texts, texts, st.booleans(), st.booleans())
def test_patch_makes_the_new_text_of_the_old_one(
    tmp_path_factory: pytest.TempPathFactory, old: str, new: str, cut_old: bool, cut_new: bool
) -> None:
    old, new = (text.removesuffix("\n") if cut else text for text, cut in ((old, cut_old), (new, cut_new)))
    found = unified([Document("job.sh", old, None)], [Document("job.sh", new, None)])
    file = tmp_path_factory.mktemp("patch") / "job.sh"
    file.write_text(old, "utf-8")

    if found:
        subprocess.run(["patch", "-s", str(file)], input=found.encode(), check=True)

    assert file.read_text("utf-8") == new


def test_the_texts_stand_under_the_names_of_their_sides() -> None:
    found = unified([], [Document("job.sh", "true\n", None)], ("HEAD~1", "site"))

    assert found == "--- /dev/null\n+++ site/job.sh\n@@ -0,0 +1 @@\n+true\n"


def test_nothing_is_told_of_documents_that_are_the_same() -> None:
    document = a_document({"a": [1, {"b": 2}]})

    assert (changes([document], [document]), unified([document], [document])) == ((), "")
