from __future__ import annotations

import json
import posixpath
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pman.errors import BadRequest
from pman.job import INCOMING, OUTGOING, Job
from pman.settings import engine_schema
from pman.translation.request import REQUEST, RequestParser
from tests.a_job import ENGINES, a_body, a_job, a_request
from tests.translation.test_literals import HOSTILE

ANY = RequestParser({})
"""Without what an engine narrows."""

DOCKER, PODMAN, LOCAL = (
    RequestParser(engine_schema(name, "request")) for name in ("docker", "podman", "local")
)


def faults(body: bytes | str, parser: RequestParser = ANY) -> dict[str, str]:
    """What is wrong with a body, by JSON path."""
    with pytest.raises(BadRequest) as caught:
        parser.parse(body)
    assert caught.value.status == 400
    for fault in caught.value.faults:
        assert fault.path.removeprefix("$.") in str(caught.value)
    return {fault.path: fault.message for fault in caught.value.faults}


def message(body: bytes | str) -> str:
    with pytest.raises(BadRequest) as caught:
        ANY.parse(body)
    return str(caught.value)


# --- requests that are right -----------------------------------------------------------------------


def test_a_request_as_pfcon_sends_it_becomes_a_job() -> None:
    assert ANY.parse(a_body()) == a_job()


def test_a_body_may_be_text_already() -> None:
    assert ANY.parse(a_body().decode()) == ANY.parse(a_body())


@pytest.mark.parametrize("field", ["env", "args_path_flags"])
def test_env_and_path_flags_may_be_missing_or_null(field: str) -> None:
    request = a_request()
    del request[field]

    assert (
        ANY.parse(json.dumps(request))
        == ANY.parse(a_body(**{field: None}))
        == ANY.parse(a_body(**{field: []}))
    )


def test_fields_that_are_not_known_are_ignored() -> None:
    assert ANY.parse(a_body(extra={"a": ["\ud800"]}, compute="host")) == a_job()


@pytest.mark.parametrize("field", ["number_of_workers", "cpu_limit", "memory_limit", "gpu_limit"])
@pytest.mark.parametrize(("given", "number"), [("7", 7), (7, 7), (7.0, 7), ("007", 7)])
def test_limits_come_as_numbers_or_as_their_digits(field: str, given: object, number: int) -> None:
    assert getattr(ANY.parse(a_body(**{field: given})), field) == number


def test_a_leading_slash_of_the_jid_is_stripped() -> None:
    assert ANY.parse(a_body(jid="/chris-jid-42")).jid == "chris-jid-42"


@pytest.mark.parametrize("jid", ["ab", "A.b_c-9", "0x", "bl-C-UPPER", "a" * 128])
def test_a_jid_is_a_name_that_every_container_engine_takes(jid: str) -> None:
    assert ANY.parse(a_body(jid=jid)).jid == jid


@pytest.mark.parametrize(
    "text", [*(text for text in HOSTILE if "\0" not in text), "x" * 131_071, "é" * 65_535]
)
def test_an_argument_is_kept_to_the_letter(text: str) -> None:
    assert ANY.parse(a_body(args=[text, ""])).args[:2] == (text, "")


def test_ten_thousand_arguments_are_a_request_like_any_other() -> None:
    args = [str(number) for number in range(10_000)]

    assert ANY.parse(a_body(args=args, args_path_flags=["7"], type="fs")).args[:9] == (
        *("0", "1", "2", "3", "4", "5", "6", "7"),
        INCOMING,
    )


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "localhost/pman-test:1",
        "localhost:5000/a/b/c",
        "docker.io/fnndsc/pl-simpledsapp:2.1.0",
        "ghcr.io/fnndsc/pl_x__y-z.w:v1.0_rc-1",
        "[::1]:5000/a",
        "a@sha256:" + "0" * 64,
        "Registry.Example.ORG/a:LATEST",
    ],
)
def test_every_kind_of_image_reference_is_taken(image: str) -> None:
    assert ANY.parse(a_body(image=image)).image == image


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("key-1/incoming", "key-1/incoming"),
        ("a//b/./c/", "a/b/c"),
        ("./a", "a"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("with space/ünï/🧠", "with space/ünï/🧠"),
        ("a:b,c", "a:b,c"),
        ("home/user/feeds/feed_42/pl-dircopy_85/data", "home/user/feeds/feed_42/pl-dircopy_85/data"),
    ],
)
def test_a_directory_is_any_relative_path_below_the_storebase(given: str, kept: str) -> None:
    job = ANY.parse(a_body(input_dir=given, output_dir=given))

    assert (job.input_dir, job.output_dir) == (kept, kept)


names = st.sampled_from(
    ["a", "b c", "ü", "..", "...", ".pman", ".PMan", ".pman ", "jobs", "x,y", "x:y", 'q"', "\0"]
)


@st.composite
def two_spellings(draw: st.DrawFn) -> tuple[str, str]:
    """A path of names, and the same with parts that lead nowhere and a slash at the end."""
    parts = draw(st.lists(names, max_size=4))
    begin, end = draw(st.sampled_from(["", "./", ".///"])), draw(st.sampled_from(["", "."]))
    nothing = st.sampled_from(["", "/", "./", "/.//"])
    return "/".join(parts), begin + "".join(f"{part}/{draw(nothing)}" for part in parts) + end


@pytest.mark.parametrize("engine", ENGINES)
@given(two_spellings())
@example(("a/b", "./a//b/"))
@example((".pman/jobs", "./.pman/jobs"))
@example((".pman", ".//.pman/."))
@example(("a", "./" * 3000 + "a"))
def test_two_spellings_of_a_directory_are_allowed_or_refused_alike(
    engine: str, spellings: tuple[str, str]
) -> None:
    parser = RequestParser(engine_schema(engine, "request"))

    first, second = (outcome(parser, input_dir=path, output_dir=path) for path in spellings)

    assert first == second


def outcome(parser: RequestParser, **fields: str) -> Job | list[str]:
    """The job, or what is wrong."""
    try:
        return parser.parse(a_body(**fields))
    except BadRequest as refused:
        return [fault.path for fault in refused.faults]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "path", [".pman", ".pman/jobs", "./.pman/jobs", ".//.pman", ".pman/", ".PMAN/jobs/a"]
)
def test_no_engine_hands_out_pmans_own_directory(engine: str, path: str) -> None:
    parser = RequestParser(engine_schema(engine, "request"))

    found = faults(a_body(input_dir=path, output_dir=path), parser)

    assert list(found) == ["$.input_dir", "$.output_dir"]
    assert "not pman's own .pman" in found["$.output_dir"]


@pytest.mark.parametrize("path", [".pmanager", "a/.pman", "pman", ".pman-2/a"])
def test_a_directory_with_a_name_like_pmans_is_like_any_other(path: str) -> None:
    assert ANY.parse(a_body(input_dir=path)).input_dir == path


# --- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "directories"), [("ds", (INCOMING, OUTGOING)), ("fs", (OUTGOING,)), ("ts", (OUTGOING,))]
)
def test_only_a_ds_plugin_is_told_the_incoming_directory(kind: str, directories: tuple[str, ...]) -> None:
    assert ANY.parse(a_body(type=kind, args=["--a"])).args == ("--a", *directories)


@pytest.mark.parametrize(
    ("args", "flags", "expected"),
    [
        (["--dir", "cube/foo", "--n", "3"], ["--dir"], ["--dir", INCOMING, "--n", "3"]),
        (["--n", "3", "--dir"], ["--dir"], ["--n", "3", "--dir", INCOMING]),
        (["--dir=cube/foo"], ["--dir"], ["--dir=cube/foo"]),
        (["--dir", "a", "--dir", "b"], ["--dir"], ["--dir", INCOMING, "--dir", INCOMING]),
        (["--dir", "--dir", "a"], ["--dir"], ["--dir", INCOMING, "a"]),
        (["-a", "x", "-b", "y"], ["-a", "-b"], ["-a", INCOMING, "-b", INCOMING]),
        (["a"], ["--dir"], ["a"]),
        ([], ["--dir"], []),
        (["--dir", "a"], [], ["--dir", "a"]),
        (["", "a"], [""], ["", INCOMING]),
    ],
)
def test_the_value_after_each_path_flag_becomes_the_incoming_directory(
    args: list[str], flags: list[str], expected: list[str]
) -> None:
    job = ANY.parse(a_body(type="ts", args=args, args_path_flags=flags))

    assert list(job.args) == [*expected, OUTGOING]


def test_the_digest_is_of_the_job_so_that_two_spellings_of_a_request_are_the_same() -> None:
    spelt = a_body(jid="/chris-jid-42", cpu_limit="1000", input_dir="./key-chris-jid-42//incoming", extra=1)

    assert ANY.parse(spelt).digest == ANY.parse(a_body()).digest


@pytest.mark.parametrize(
    "change",
    [
        {"args": ["x"]},
        {"env": ["A=b"]},
        {"memory_limit": 7},
        {"auid": "x"},
        {"type": "fs"},
        {"input_dir": "x"},
    ],
)
def test_the_digest_tells_another_request_from_the_first(change: dict[str, Any]) -> None:
    assert ANY.parse(a_body(**change)).digest != ANY.parse(a_body()).digest


# --- requests that are not right -------------------------------------------------------------------


@pytest.mark.parametrize("field", REQUEST["required"])
def test_a_missing_field_is_named_with_what_it_is(field: str) -> None:
    request = a_request()
    del request[field]

    found = faults(json.dumps(request))

    assert list(found) == [f"$.{field}"]
    assert found[f"$.{field}"].startswith("missing; ")
    assert len(found[f"$.{field}"]) > len("missing; required")


def test_all_missing_fields_are_named_at_once() -> None:
    assert set(faults("{}")) == {f"$.{field}" for field in REQUEST["required"]}


@pytest.mark.parametrize(
    ("body", "kind"),
    [("[]", "array"), ("null", "null"), ('"x"', "string"), ("3", "number"), ("true", "boolean")],
)
def test_a_body_that_is_no_object_is_told_what_it_is(body: str, kind: str) -> None:
    assert "a JSON object is needed, not" in message(body)
    assert kind in message(body)


@pytest.mark.parametrize("field", ["number_of_workers", "cpu_limit", "memory_limit", "gpu_limit"])
@pytest.mark.parametrize(
    "value",
    ["abc", "1000m", "", " 7", "-5", "1e3", "٣", 1000.7, None, -5, True, [], {}, 10**30, "9" * 19, 1e308],
)
def test_a_limit_that_is_no_whole_number_from_zero_is_refused_by_name(field: str, value: object) -> None:
    found = faults(a_body(**{field: value}))

    assert list(found) == [f"$.{field}"]
    assert "integer of at least" in found[f"$.{field}"]


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("number_of_workers", 0, "$.number_of_workers"),
        ("args", "--x y", "$.args"),
        ("args", None, "$.args"),
        ("args", [1, "a"], "$.args[0]"),
        ("args", ["a", 2.5], "$.args[1]"),
        ("args", [True], "$.args[0]"),
        ("args", [{"a": "b"}], "$.args[0]"),
        ("args", ["", None], "$.args[1]"),
        ("args", ["a\0b"], "$.args[0]"),
        ("args", ["x" * 131_072], "$.args[0]"),
        ("args", ["é" * 65_536], "$.args[0]"),
        ("args", ["\ud800"], "$.args[0]"),
        ("args", [""] * 65_537, "$.args"),
        ("args_path_flags", "-d", "$.args_path_flags"),
        ("args_path_flags", [1], "$.args_path_flags[0]"),
        ("entrypoint", [], "$.entrypoint"),
        ("entrypoint", [""], "$.entrypoint[0]"),
        ("entrypoint", [1], "$.entrypoint[0]"),
        ("entrypoint", ["a\0"], "$.entrypoint[0]"),
        ("entrypoint", ["x" * 131_072], "$.entrypoint[0]"),
        ("entrypoint", "echo", "$.entrypoint"),
        ("entrypoint", None, "$.entrypoint"),
        ("entrypoint", ["a", 1], "$.entrypoint[1]"),
        ("env", ["A"], "$.env[0]"),
        ("env", "A=b", "$.env"),
        ("env", {"A": "b"}, "$.env"),
        ("env", {"A=1": "b"}, "$.env"),
        ("env", [1], "$.env[0]"),
        ("env", ["=x"], "$.env[0]"),
        ("env", ["A=b\0"], "$.env[0]"),
        ("type", "zz", "$.type"),
        ("type", None, "$.type"),
        ("type", ["ds"], "$.type"),
        ("image", "", "$.image"),
        ("image", "UPPER", "$.image"),
        ("image", "a b", "$.image"),
        ("image", "a:", "$.image"),
        ("image", "busybox\n", "$.image"),
        ("image", "../../etc", "$.image"),
        ("image", "a?fromSrc=-", "$.image"),
        ("image", "x" * 513, "$.image"),
        ("image", None, "$.image"),
        ("auid", None, "$.auid"),
        ("auid", 7, "$.auid"),
        ("auid", "a\0", "$.auid"),
        ("auid", "a" * 257, "$.auid"),
        ("auid", "\udfff", "$.auid"),
        *(
            ("jid", jid, "$.jid")
            for jid in (
                *("", "/", "a", "bl-c a b", "bl-c/a", "bl-c-ünï", "bl-c:x", "_blc", "..", "a\nb", "ab\n"),
                *("bl-c-%41", "a" * 129, "a" * 300, "ab\0", "-ab", ".ab", 123456, None, ["ab"], "../../etc"),
            )
        ),
        *(
            (field, directory, f"$.{field}")
            for field in ("input_dir", "output_dir")
            for directory in (
                *("", ".", "./", "./.", "..", "../", "../../../etc", "../outside", "a/..", "a/../b"),
                *("/", "a/../../b", "/etc", "//etc", "a\0b", "./..", "..\0", "a/..\n/.."),
                *("x" * 4097, None, 7, "\ud800"),
            )
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_path(field: str, value: object, path: str) -> None:
    assert list(faults(a_body(**{field: value}))) == [path]


def test_every_error_is_told_at_once_in_the_order_of_the_fields_with_items_by_number() -> None:
    found = faults(
        a_body(jid="", args=["a", 1, *["x"] * 8, 2], cpu_limit=-1, type="dz", env=["secret"], image="")
    )

    assert list(found) == ["$.args[1]", "$.args[10]", "$.cpu_limit", "$.env[0]", "$.image", "$.jid", "$.type"]
    assert found["$.type"].startswith('"dz": kind of ChRIS plugin: ds reads')
    assert found["$.type"].endswith("use ds, fs, ts")


def test_what_the_engine_cannot_do_is_told_together_with_all_else() -> None:
    found = faults(a_body(jid="", number_of_workers=2, memory_limit=5, cpu_limit=-1), DOCKER)

    assert list(found) == ["$.cpu_limit", "$.jid", "$.memory_limit", "$.number_of_workers"]
    assert "only number_of_workers=1 is supported" in found["$.number_of_workers"]


@pytest.mark.parametrize(
    ("parser", "change", "path"),
    [
        (DOCKER, {"number_of_workers": "2"}, "$.number_of_workers"),
        (DOCKER, {"memory_limit": 1}, "$.memory_limit"),
        (DOCKER, {"cpu_limit": 9}, "$.cpu_limit"),
        (PODMAN, {"number_of_workers": 2}, "$.number_of_workers"),
        (PODMAN, {"gpu_limit": 1}, "$.gpu_limit"),
        (PODMAN, {"input_dir": "a=b"}, "$.input_dir"),
        (PODMAN, {"output_dir": "a/b=c"}, "$.output_dir"),
        (LOCAL, {"gpu_limit": 1}, "$.gpu_limit"),
        (LOCAL, {"env": ["A-B=c"]}, "$.env[0]"),
    ],
)
def test_an_engine_refuses_by_name_what_it_cannot_honour(
    parser: RequestParser, change: dict[str, Any], path: str
) -> None:
    assert list(faults(a_body(**change), parser)) == [path]
    ANY.parse(a_body(**change))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_wrong_is_wrong_on_every_engine(engine: str) -> None:
    wrong: dict[str, object] = {
        "jid": "a b",
        "image": "Not A Reference",
        "entrypoint": [],
        "args": ["a", None],
        "args_path_flags": "-d",
        "env": {"A": "b"},
        "auid": None,
        "type": "zz",
        "cpu_limit": "1000m",
        "memory_limit": -1,
        "gpu_limit": -1,
        "number_of_workers": 0,
        "input_dir": "../../../etc",
        "output_dir": "a/../../b",
    }
    parser = RequestParser(engine_schema(engine, "request"))

    paths = list(faults(a_body(**wrong), parser))

    assert {path.partition("[")[0] for path in paths} == {f"$.{field}" for field in wrong}
    for field, value in wrong.items():
        assert [path.partition("[")[0] for path in faults(a_body(**{field: value}), parser)] == [f"$.{field}"]


@pytest.mark.parametrize("parser", [DOCKER, PODMAN])
def test_no_limit_at_all_is_an_engines_to_give(parser: RequestParser) -> None:
    assert parser.parse(a_body(cpu_limit=0, memory_limit=0)).memory_limit == 0


# --- bodies that are no JSON -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not JSON: Expecting value at line 1 column 1"),
        (b'{"a": 1,}', "not JSON: .* at line 1 column"),
        (b'{"a":\n tru}', "not JSON: Expecting value at line 2 column 2"),
        (b"\xff\xfe", "not UTF-8: invalid start byte at byte 0"),
        (b'{"cpu_limit": NaN}', "NaN is no JSON number"),
        (b'{"cpu_limit": -Infinity}', "-Infinity is no JSON number"),
        (b'{"jid": "a", "jid": "b"}', "key 'jid' is given more than once"),
        (b'{"a": {"b": 1, "b": 2}}', "key 'b' is given more than once"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"cpu_limit": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
        ("\ufeff{}".encode(), "BOM"),
        (b"{} {}", "Extra data at line 1 column 4"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_told_where_and_why(body: bytes, told: str) -> None:
    assert re.search(told, message(body))


# --- hostile ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        ["hidden"],
        {"CHRIS_USER_TOKEN": "hidden"},
        "CHRIS_USER_TOKEN=hidden",
        [["CHRIS_USER_TOKEN=hidden"]],
        [{"CHRIS_USER_TOKEN": "hidden"}],
        ["=hidden"],
        ["A=hidden\0"],
        ["A=hid'\"\\den\0"],
        [{"a": [["=hidden"]]}],
    ],
)
def test_no_message_ever_shows_the_value_of_a_variable(env: object) -> None:
    told = message(a_body(env=env))

    assert "hid" not in told


def test_a_value_of_the_environment_is_not_shown_where_another_field_holds_it() -> None:
    told = message(a_body(env=["TOKEN=hidden"], jid="a hidden b", type="hidden"))

    assert "hidden" not in told


@pytest.mark.parametrize(
    "change",
    [
        {"args": [1] * 60_000},
        {"env": ["x"] * 60_000},
        {"args": [1] * 1_000_000},
        {"entrypoint": [None] * 60_000},
        {"args_path_flags": [[]] * 60_000},
        {"image": "a" * 1_000_000},
        {"jid": "a" * 1_000_000},
        {"input_dir": "a/" * 500_000},
        {"type": "x" * 1_000_000},
    ],
)
def test_the_answer_to_an_enormous_request_is_small(change: dict[str, Any]) -> None:
    assert len(message(a_body(**change))) < 10_000


@pytest.mark.parametrize(
    "unit", ["a", "a.", "a-", "a_", "a__", "-", "a/", "aa.", "a:1/", "[:", "A", "a@", "a@b:0", "0.0-0_"]
)
@pytest.mark.parametrize("end", ["", "!", "/", "\n"])
def test_no_image_makes_the_pattern_search_for_long(unit: str, end: str) -> None:
    with pytest.raises(BadRequest):
        ANY.parse(a_body(image=unit * (100_000 // len(unit)) + end))


@pytest.mark.parametrize("unit", ["../", "./", "a/", "/", ".", "a/../", "\n", "..a/", " "])
@pytest.mark.parametrize("end", ["", "..", "/..", "\0", "."])
def test_no_directory_makes_the_pattern_search_for_long(unit: str, end: str) -> None:
    with pytest.raises(BadRequest):
        ANY.parse(a_body(input_dir=unit * (100_000 // len(unit)) + end))


def test_many_path_flags_and_many_keys_cost_no_more_than_their_number() -> None:
    words = [f"-{number}" for number in range(20_000)]

    assert len(ANY.parse(a_body(args=["x"] * 20_000, args_path_flags=words)).args) == 20_002
    keys = ",".join(f'"{number}": 1' for number in range(100_000))
    assert "'7' is given more than once" in message(f'{{{keys}, "7": 2}}')


any_json = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(alphabet=st.characters(codec=None)),
        st.sampled_from([*HOSTILE, "7", "ds", "A=b", "../a"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)


def only_bad_requests(body: bytes | str) -> Job | None:
    try:
        return DOCKER.parse(body)
    except BadRequest as refused:
        assert str(refused)
        str(refused).encode()  # no half surrogates: it must go out as UTF-8
        return None


@given(st.dictionaries(st.sampled_from(list(REQUEST["properties"])), any_json))
def test_whatever_the_fields_hold_the_answer_is_a_job_or_a_bad_request(changes: dict[str, Any]) -> None:
    job = only_bad_requests(json.dumps(a_request(**changes)))

    if job:
        for directory in (job.input_dir, job.output_dir):
            assert not directory.startswith("/")
            assert posixpath.normpath(f"/base/{directory}").startswith("/base/")
        assert not any("\0" in text for text in (*job.args, *job.entrypoint, *job.env, job.auid))


@given(any_json)
def test_whatever_json_a_body_is_it_never_breaks_the_parser(value: object) -> None:
    only_bad_requests(json.dumps(value))


@given(st.binary())
@example(b"\xed\xa0\x80")
@example(b'{"jid": "\\ud800"}')
def test_whatever_bytes_a_body_is_it_never_breaks_the_parser(body: bytes) -> None:
    only_bad_requests(body)


@given(st.integers(0, len(a_body()) - 1), st.binary(max_size=3))
def test_a_damaged_request_never_breaks_the_parser(at: int, bytes_: bytes) -> None:
    body = a_body()

    only_bad_requests(body[:at] + bytes_ + body[at + 1 :])


@given(st.text())
def test_a_directory_that_is_taken_stays_in_the_storebase(directory: str) -> None:
    job = only_bad_requests(a_body(input_dir=directory))

    if job:
        assert posixpath.normpath(f"/base/{directory}").startswith("/base/")


@pytest.mark.parametrize("depth", [100, 500, 900, 960, 990])
@pytest.mark.parametrize("field", ["args", "env", "jid", "cpu_limit", "unknown"])
def test_however_deep_a_field_is_nested_it_never_breaks_the_parser(field: str, depth: int) -> None:
    body = a_body(**{field: "deep"}).replace(b'"deep"', b"[" * depth + b'"A=hidden"' + b"]" * depth)

    try:
        ANY.parse(body)
    except BadRequest as refused:
        assert field != "env" or "hidden" not in str(refused)


@pytest.mark.parametrize(
    "values", [["a"] * 300_000, [1] * 300_000, [[]] * 300_000, [{"a": 1, "b": 2}] * 200_000]
)
def test_more_values_than_a_request_can_have_are_refused_for_their_number(values: list[object]) -> None:
    with pytest.raises(BadRequest, match=r"more than \d+ values"):
        ANY.parse(json.dumps({**a_request(), "other": values}))


def test_commas_within_texts_are_no_values() -> None:
    assert ANY.parse(json.dumps({**a_request(), "args": ['",\\",' * 10_000] * 3 + ["," * 100_000] * 3})).args


def test_of_faults_that_are_alike_the_first_are_named() -> None:
    with pytest.raises(BadRequest) as refused:
        ANY.parse(json.dumps({**a_request(), "args": ["\ud800"] * 60_000}))

    assert len(refused.value.faults) < 100
