"""A dry run is the submission cut short: but for the values of env, which it never shows, byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jinja2 import DictLoader

from pman.job import Document
from pman.settings import DECLARED, MASK
from pman.translation.environment import Escaping, Fields
from pman.translation.languages import shell, wdl, yaml
from pman.translation.languages.marks import sent, shown, without_marks
from pman.translation.rules import FAILURES
from pman.translation.taint import UNSHOWN, TaintTracking, variable
from tests.a_job import ENGINES, FACTS, a_job, a_translation
from tests.translation.test_literals import shell_texts
from tests.translation.test_render import ESCAPES, PARTS, RESHAPED

TARGETS = [
    *((engine, "") for engine in ENGINES if engine != "slurm"),
    *(("slurm", runtime) for runtime in DECLARED["SLURM_RUNTIME"]["enum"]),
]
NEEDED = {"cromwell": {"CROMWELL_URL": "http://c"}, "slurm": {"SLURM_MODE": "cli"}}
NAMES = ["HOME", "CHRIS_USER_TOKEN", "A"]

values_of = st.lists(shell_texts, min_size=len(NAMES), max_size=len(NAMES))


def documents(engine: str, runtime: str, env: list[str]) -> tuple[list[Document], list[Document]]:
    """Return the text that is sent, and the one that is shown."""
    environ = {**NEEDED.get(engine, {}), **({"SLURM_RUNTIME": runtime} if runtime else {})}
    translation, job = a_translation(engine, **environ), a_job(env=tuple(env))
    return list(translation.render(job, FACTS)), list(translation.show(job, FACTS))


def literal(engine: str, name: str, value: str) -> str:
    """How the shipped templates write the value of a variable that is masked after `name`."""
    verbatim = value.replace("{{", '{{"{{"}}')
    writes: dict[str, Callable[[], str]] = {
        "kubernetes": lambda: yaml.literal(value.replace("$", "$$")),
        "swarm": lambda: yaml.literal(name + verbatim),
        "cromwell": lambda: wdl.literal(wdl.Words(name + value)).removeprefix("\1"),
        "local": lambda: shell.literal(name + value),
        "slurm": lambda: shell.literal(name + value),
    }
    return writes.get(engine, lambda: yaml.literal(name + value))()


@pytest.mark.parametrize(("engine", "runtime"), TARGETS)
@given(values=values_of)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@example(values=["one\ntwo", "", "it's $HOME {{ x }}"])
@example(values=["ends in a carriage return\r", "true", "x" * 16_000])
@example(values=[MASK, f"A={MASK}", '"\\'])
def test_what_is_shown_becomes_what_is_sent_once_the_true_values_stand_in_it(
    engine: str, runtime: str, values: list[str]
) -> None:
    env = dict(zip(NAMES, values, strict=True))

    sent, shown = documents(engine, runtime, [f"{name}={value}" for name, value in env.items()])

    in_order = iter(values)

    def true(masked: re.Match[str]) -> str:
        name = masked["name"]
        value = env[name.removeprefix("APPTAINERENV_")[:-1]] if name else next(in_order)
        return literal(engine, name, value)

    quoted = re.compile(rf"""(?P<quote>["'])(?P<name>(?:\w+=)?){re.escape(MASK)}(?P=quote)""")
    assert [quoted.sub(true, document.text) for document in shown] == [document.text for document in sent]
    assert sum(document.text.count(MASK) for document in shown) == len(NAMES)


@pytest.mark.parametrize(("engine", "runtime"), TARGETS)
@given(values=values_of, other=st.sampled_from("aZ0 '\"$\\{é\U0001f9e0"))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_is_shown_says_no_more_of_the_values_than_their_lines_and_lengths(
    engine: str, runtime: str, values: list[str], other: str
) -> None:
    def shown(values: list[str]) -> str:
        _, documents_ = documents(engine, runtime, [f"{n}={v}" for n, v in zip(NAMES, values, strict=True)])
        text = json.dumps([(document.name, document.text, document.content) for document in documents_])
        return re.sub(r"[0-9a-f]{64}", "a digest", text)

    others = [re.sub(r"[^\r\n]", lambda _: other, value) for value in values]

    assert shown(values) == shown(others)


def test_a_dry_run_takes_the_way_through_a_template_that_the_submission_takes() -> None:
    sent, shown = documents("slurm", "docker", ["A=one\ntwo"])

    assert "--env 'A=one\ntwo'" in sent[1].text
    assert f"--env 'A={MASK}'" in shown[1].text


# --- whatever a template does with a value ---------------------------------------------------------

SECRETS = ["T=open sesame, 17", "T=iket hehibe, 29"]
"""With the same lengths, and the same characters where a template looks for one."""

TAINTED_PARTS = {**PARTS, "site/_whole.yaml.j2": "{{ job.text }}"}
MACRO_AND_SET = "{% macro m(value) %}{{ value }}{% endmacro %}{% set x %}{{ job.text }}{% endset %}"

FORMS_OF_A_FILTER = (
    "{{{{ job.text | {} }}}}",
    "{{{{ [job.text] | {} }}}}",
    "{{{{ {{'a': job.text}} | {} }}}}",
    "{{{{ [job.text] | {} | list }}}}",
    "{{{{ 'T=op' | {}(job.text) }}}}",
    "{{{{ job.text | {}('T=') }}}}",
    "{{{{ ['T=', 'a'] | {}(job.text) | list }}}}",
    "{{{{ [job.text] | map('{}') | list }}}}",
)
FORMS_OF_A_METHOD = (
    "{{{{ job.text.{}() }}}}",
    "{{{{ job.text.{}('e') }}}}",
    "{{{{ job.text.{}('e', 'f') }}}}",
    "{{{{ job.text.{}(9) }}}}",
    "{{{{ 'T=op T=cl'.{}(job.text) }}}}",
    "{{{{ '{{}}{{0}}'.{}(job.text) }}}}",
    "{{{{ 'a'.{}([job.text, 'b']) }}}}",
    "{{{{ (job.text | attr('{}'))() }}}}",
    "{{{{ job.text['{}']() }}}}",
)
FILTERS = sorted(Escaping(DictLoader({}), "yaml").filters.keys() - {"random"})
METHODS = sorted(name for name in dir(str) if not name.startswith("_"))
WAYS = [
    "{{ job.text | length + 1 }}",
    "{{ -(job.text[-2:] | int) }}",
    "{{ (job.text[-2:] | int) ** 2 // 3 - 1 }}",
    "{{ 100 / (job.text[-2:] | float) }}",
    "{{ 'abcdefghijklmnopqrstuvwxyz0123456789'[job.text[-2:] | int] }}",
    "{{ 'abcdefghijklmnopqrstuvwxyz0123456789'[job.text[-2:] | int:] }}",
    "{{ job.text.encode().hex() }}",
    "{{ job.text.encode() | list }}",
    "{{ job.text | list | map('upper') | join('-') }}",
    "{{ job.text[0] ~ job.text[1] ~ job.text[5] }}",
    "{% for letter in job.text %}{{ letter }}, {% endfor %}1",
    "{% set a, b = job.text.split(',') %}{{ a }}, {{ b }}",
    "{{ namespace(a=job.text) ~ '' }}",
    "{{ {'a': job.text} ~ '' }}",
    "{{ {'a': job.text}.values() ~ '' }}",
    "{{ {'a': job.text}.get('a') }}",
    "{% for number in range(job.text[-2:] | int) %}{{ number }}, {% endfor %}1",
    "{{ {job.text: 1}.keys() | list | first }}",
    "{{ {job.text: 1} }}",
    "{{ {'T=open sesame, 17': 'a', 'T=iket hehibe, 29': 'b'}[job.text] }}",
    "{{ {}[job.text] }}",
    "{{ job[job.text] }}",
    "{{ job.text.nothing }}",
    "{{ job.text | nothing }}",
    "{{ [1] | map(job.text) | list }}",
    "{{ [1] | select(job.text) | list }}",
    "{% include job.text %}",
    "{{ job.text | int(base='x') }}",
    "{{ job.text < 5 }}",
    "{{ job.text + 5 }}",
    "{{ (job.text, 5) | sort }}",
    "{{ [job.text, 'a', 'b'] | sort | join }}",
    "{{ [job.text, 'a'] | groupby(0) | list | string }}",
    "{{ '%c%c' % (job.text[-2:] | int, 65) }}",
    "{{ cycler(job.text, 'b').next() }}",
    "{{ x == job.text }}",
    "{{ x ~ m(x) }}",
    "{{ m(x ~ job.text)[3:] }}",
    "{{ m(job.text).upper() }}",
    "{{ ''.join([x]) }}",
    "{% import 'site/_whole.yaml.j2' as whole with context %}{{ whole ~ '' }}",
    "{% import 'site/_whole.yaml.j2' as whole with context %}{{ whole | string | upper }}",
    "{{ x | indent(2) }}",
    "{{ job.text | indent(2) }}",
    "{{ [x, x] | join(x) | json }}",
    "{{ job.text is upper }}",
    "{{ 4 is divisibleby(job.text) }}",
    "{{ [x, 'a'][(job.text | length) - 17] }}",
    "{{ [m(x)] * (job.text | length) }}",
    "{{ [m(x), 'a'][: job.text | length] }}",
    "{{ range(job.text | length) }}",
    "{{ range(job.text | length) ~ '' }}",
    "{% autoescape false %}{% set b %}{{ job.text }}{% endset %}{{ b }}{% endautoescape %}",
    "{% autoescape false %}{% set b %}{{ job.text }}{% endset %}{{ b | upper }}{% endautoescape %}",
    "{% for letter in x %}{{ letter }}, {% endfor %}1",
    "{% for letter in m(x) if letter != 'e' %}{{ letter }}, {% endfor %}1",
    "{% set g = job.text | list | map('upper') %}{% if g is not string %}{{ g | list }}{% endif %}",
    "{% set g = job.text | map('upper') %}{% if g is iterable %}{{ g | join('-') }}{% endif %}",
    "{% set g = ['a', 'b'] | map('upper') %}{% if g is not string %}{{ g | list }}{% endif %}",
    "{{ 'a' is in(['a', 'b'] | map('upper')) }}",
    "{{ job.text | truncate((job.text | length) - 6, true, '0123456789') }}",
]


ENVIRONMENTS = {
    (kind, language): kind(DictLoader(TAINTED_PARTS), language)
    for kind in (Escaping, TaintTracking)
    for language in ("yaml", "sh")
}


HANDED_ON = [
    "{% set ns = namespace(p=[]) %}{% for e in ['a'] %}{% set ns.p = ns.p + [m(x)] %}{% endfor %}{{ ns.p }}",
    "{{ ['a'] + [m(job.text)] }}",
    "{{ 2 * [m(job.text)] }}",
    "{{ [x] | join(' ') }}",
    "{{ ['a', m(job.text)] | join }}",
    "{{ [x, 'a'][0:1] }}",
    "{{ (m(job.text), x)[1:] | join(',') }}",
]
"""A dry run refuses none of them: they only hand on what is tainted, or escaped already."""


def outcomes(environment: Escaping, text: str, values: list[str]) -> list[tuple[str, str]]:
    """What an environment makes of a template for each value: its text, or the message of its failure."""
    try:
        template = environment.from_string(MACRO_AND_SET + text)
    except FAILURES as error:
        return [("", message(error)) for _ in values]
    made = []
    for value in values:
        try:
            made.append((template.render(job=Fields("job", {"text": value})), ""))
        except FAILURES as error:
            made.append(("", message(error)))
    return made


def message(error: Exception) -> str:
    return re.sub("0x[0-9a-f]+", "0x", f"{type(error).__name__}: {error}")


def sends_the_same_and_shows_nothing(language: str, way: str) -> bool:
    submissions = outcomes(ENVIRONMENTS[Escaping, language], way, SECRETS)
    dry_runs = outcomes(ENVIRONMENTS[TaintTracking, language], way, list(map(variable, SECRETS)))
    said = [without_marks(shown(marked)) + refusal for marked, refusal in dry_runs]
    return (
        all(map(is_the_same, submissions, dry_runs))
        and said[0] == said[1]
        and not any(
            part in text
            for secret, text in zip(SECRETS, said, strict=True)
            for part in (secret[2:7], secret[-4:], secret[2:7].upper())
        )
    )


def is_the_same(submission: tuple[str, str], dry_run: tuple[str, str]) -> bool:
    """Says whether a dry run makes what is submitted, fails with it, or says that it cannot show it."""
    (plain, failure), (marked, refusal) = submission, dry_run
    if not refusal:
        return (sent(marked), failure) == (plain, "")
    return bool(failure) or "dry run cannot show" in refusal or UNSHOWN in refusal


def assert_all_send_the_same_and_show_nothing(language: str, ways: Iterable[str]) -> None:
    assert not [way for way in ways if not sends_the_same_and_shows_nothing(language, way)]


@pytest.mark.parametrize("name", FILTERS)
def test_whatever_a_filter_does_with_a_value_it_sends_the_same_and_shows_nothing_of_it(name: str) -> None:
    assert_all_send_the_same_and_show_nothing("yaml", (form.format(name) for form in FORMS_OF_A_FILTER))


@pytest.mark.parametrize("form", FORMS_OF_A_METHOD)
def test_whatever_a_method_does_with_a_value_it_sends_the_same_and_shows_nothing_of_it(form: str) -> None:
    assert_all_send_the_same_and_show_nothing("yaml", map(form.format, METHODS))


@pytest.mark.parametrize("language", ["yaml", "sh"])
@pytest.mark.parametrize(
    "ways", [ESCAPES, RESHAPED, WAYS, HANDED_ON], ids=["escapes", "reshaped", "ways", "handed on"]
)
def test_whatever_a_template_does_with_a_value_it_sends_the_same_and_shows_nothing_of_it(
    language: str, ways: list[str]
) -> None:
    assert_all_send_the_same_and_show_nothing(language, (way for way in ways if "random" not in way))


@pytest.mark.parametrize("language", ["yaml", "sh"])
def test_a_dry_run_refuses_no_template_that_only_hands_values_on(language: str) -> None:
    environment, secrets = ENVIRONMENTS[TaintTracking, language], list(map(variable, SECRETS))

    assert not [way for way in HANDED_ON for _, refusal in outcomes(environment, way, secrets) if refusal]


def test_a_dry_runs_message_names_the_types_of_values_as_a_template_knows_them() -> None:
    (_, refusal), *_ = outcomes(ENVIRONMENTS[TaintTracking, "yaml"], "{{ job.text < 5 }}", [variable("A=b")])

    assert refusal == "TypeError: '<' not supported between instances of 'str' and 'int'"
