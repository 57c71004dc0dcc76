from __future__ import annotations

import re
import time
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.settings import MASK
from pman.translation.languages import shell, wdl
from pman.translation.masking import HEAD, TELLING, Masking, Values
from pman.translation.translation import Translation
from tests.a_job import a_job, settings_of

TOKEN = "a-users-token-4711"  # noqa: S105  (of no user)

names = st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
values = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=TELLING, max_size=60
).filter(lambda value: value not in "export '********' ********" and len(value.strip()) >= TELLING)


@pytest.mark.parametrize(
    ("env", "native"),
    [
        ([f"TOKEN={TOKEN}"], {"Config": {"Env": [f"TOKEN={TOKEN}"]}}),
        ([{"name": "TOKEN", "value": TOKEN}], {"env": [{"name": "TOKEN", "value": TOKEN}]}),
        ([], {"environment": {"TOKEN": TOKEN}}),
        ([], {"spec": [{"Env": [f"TOKEN={TOKEN}"]}]}),
        ([f"TOKEN={TOKEN}"], {"labels": {"document": f'{{"Env": ["TOKEN={TOKEN}"]}}'}}),
        ([f"TOKEN={TOKEN}"], {"State": {"Error": f"no such user {TOKEN}"}}),
        ([f"TOKEN={TOKEN}"], {"State": {"Error": f"no such user {TOKEN}, nor a group {TOKEN}"}}),
        ([], {"registry": {"password": TOKEN}}),
        ([], {"authToken": TOKEN}),
    ],
)
def test_a_value_is_hidden_wherever_an_engine_has_it(env: object, native: Any) -> None:
    assert TOKEN not in str(Masking(env).masked(native))


def test_the_names_remain_and_what_is_no_value_too() -> None:
    masking = Masking(["A=b", "TOKEN=", "C"])
    native = {"Env": ["A=b", "TOKEN=", "C"], "Cmd": ["b", "A"], "automountServiceAccountToken": False}

    assert masking.names == ("A", "TOKEN", "C")
    assert masking.masked(native) == {
        "Env": [f"A={MASK}", f"TOKEN={MASK}", "C"],
        "Cmd": ["b", "A"],
        "automountServiceAccountToken": False,
    }


def test_a_path_that_a_variable_names_is_told_where_it_stands_besides() -> None:
    native = {"Env": ["DATA=/share/incoming"], "Target": "/share/incoming"}

    assert Masking(native["Env"]).masked(native) == {"Env": [f"DATA={MASK}"], "Target": "/share/incoming"}


def test_a_reference_to_a_secret_is_none_itself() -> None:
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "mine"}}}]

    assert Masking(env).masked({"env": env}) == {"env": env}


@given(name=names, value=values)
def test_a_script_keeps_the_name_and_loses_the_value(name: str, value: str) -> None:
    text = f"export {shell.literal(f'{name}={value}')}\nexec sh -c 'A=b'\n"

    for masking in (Masking([name]), Masking([f"{name}={value}"]), Masking([])):
        masked = masking.text(text)

        assert f"{name}={MASK}" in masked
        assert value not in masked
        assert masked.endswith("'\n") and "exec sh -c" in masked


@given(name=names, value=values)
def test_a_workflow_keeps_the_name_and_loses_the_value(name: str, value: str) -> None:
    words = wdl.literal(wdl.Words(f"{name}={value}")).removeprefix("\1")

    masked = Masking([name]).text(f"export {words}\nexec true\n")

    assert masked in (f"export {name}={MASK}\nexec true\n", f"export '{name}={MASK}'\nexec true\n")


SETTINGS: dict[str, dict[str, str]] = {
    "slurm": {"SLURM_MODE": "cli"},
    "local": {},
    "cromwell": {"CROMWELL_URL": "http://cromwell"},
}


@pytest.mark.parametrize("engine", list(SETTINGS))
def test_the_shipped_scripts_hide_a_token_whatever_its_form(engine: str) -> None:
    hostile = ["it's", 'a "b"', "a\nb", "$(x) `y`", "~{a} >>> \\"]
    env = tuple(f"V{index}={text} {TOKEN}" for index, text in enumerate(hostile))
    translation = Translation(settings_of(engine, **SETTINGS[engine]))

    for document in translation.render(a_job(env=env), translation.assumed_facts()):
        assert TOKEN not in Masking([item.partition("=")[0] for item in env]).text(document.text)


def test_no_value_is_kept_where_regular_expressions_are() -> None:
    masking = Masking([f"TOKEN={TOKEN}"])

    assert masking.text(f"{TOKEN} TOKEN={TOKEN}") == f"{MASK} TOKEN={MASK}"
    assert TOKEN not in str(vars(re)["_cache"].keys())


def test_the_longest_value_is_hidden_first() -> None:
    assert Masking(["A=secret", "B=secret-of-b"]).text("secret-of-b secret") == f"{MASK} {MASK}"


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY", "accessKey", "secret_access_key", "RABBIT_AUTH", "DB_PWD"]
)
def test_what_is_named_as_a_secret_is_taken_for_one(name: str) -> None:
    assert Masking([]).masked({name: TOKEN}) == {name: MASK}


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "author"])
def test_what_only_looks_so_is_none(name: str) -> None:
    assert Masking([f"{name}=/share/work"]).masked({name: "/share/work"}) == {name: "/share/work"}


ab = st.text("ab", min_size=TELLING, max_size=HEAD + 20)


@given(values=st.lists(ab, max_size=6), pieces=st.lists(ab | st.sampled_from(["a", "b", "-"])))
def test_all_that_any_value_covers_is_hidden_and_nothing_else(values: list[str], pieces: list[str]) -> None:
    text = "".join(pieces)
    covered = [False] * len(text)
    for at in range(len(text)):
        for value in values:
            if text.startswith(value, at):
                covered[at : at + len(value)] = [True] * len(value)

    hidden = Values(values).hidden(text)

    runs = (
        "".join(text[at] for at in run) if not key else ""
        for key, run in groupby(range(len(text)), covered.__getitem__)
    )
    assert re.sub(re.escape(MASK) + "(?:" + re.escape(MASK) + ")*", MASK, hidden) == "".join(
        run or MASK for run in runs
    )


def test_where_long_values_are_too_many_to_compare_more_is_hidden_and_not_less() -> None:
    values = Values(["x" * 100_000 + str(number) for number in range(10)])

    hidden = values.hidden("x" * 200_000 + "3")

    assert hidden.endswith(MASK) and len(hidden) < 1000


def spent(variables: int) -> float:
    """Seconds of this processor for a job of so many variables and arguments."""
    env = [f"V{number}=value-of-{number:08d}" for number in range(variables)]
    native = {"Env": env, "Cmd": [f"--option-{number}=of-{number:08d}" for number in range(variables)]}
    began = time.process_time()
    Masking(env).masked(native)
    return time.process_time() - began


def test_the_time_grows_with_the_variables_and_arguments_and_not_with_their_square() -> None:
    spent(100)

    assert spent(16_000) < 32 * spent(2_000)


@pytest.mark.parametrize("text", ["a" * 20_000, "-a" * 10_000, "a=" * 10_000, "'a" * 10_000, '"a=' * 7_000])
def test_neither_names_nor_values_that_are_alike_make_it_slow(text: str) -> None:
    """With the quadratic ways that were here before, this takes minutes."""
    env = [f"{'a' * (number + 1)}={'a' * (number + TELLING)}b" for number in range(500)]

    assert Masking(env).text(f"{text} a=secret").endswith(MASK)
