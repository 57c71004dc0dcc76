from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pman.errors import ConfigError
from pman.resources import TEMPLATES
from pman.translation import taint
from pman.translation.render import Templates, loader
from pman.translation.variables import job_variables, site_variables
from tests.a_job import FACTS, a_job, rendering, settings_of, site_templates
from tests.translation.test_literals import HOSTILE, shell_texts, texts, words_of

SHIPPED = sorted(file.parent.name for file in TEMPLATES.glob("*/state.yaml"))


@cache
def compiled(engine: str) -> Templates:
    """Compile them when a test needs them: each worker reads this module, and one runs it."""
    return Templates(engine, loader())


HOSTILE_TEXT = 'x", evil: true, "y": ["'
"""Ends a string of YAML or JSON early, and adds a key, wherever it is not escaped."""


def paths(value: object, at: str = "") -> Iterator[tuple[str, object]]:
    """Every leaf of a document with its path."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from paths(item, f"{at}.{name}")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from paths(item, f"{at}[{index}]")
    else:
        yield at, value


# --- the shipped templates -------------------------------------------------------------------------

MARKS = {
    name: f"mark-{name}"
    for name in ("jid", "image", "entrypoint", "args", "env", "label", "input_dir", "output_dir")
}


def variables(given: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    """Of a job that asks for everything, each text field being what is given, unvalidated."""
    return {
        "jid": given["jid"],
        "image": given["image"],
        "entrypoint": [given["entrypoint"]],
        "args": [given["args"], "plain"],
        "argv": [given["entrypoint"], given["args"], "plain"],
        "env": [f"NAME={given['env']}"],
        "env_names": ["NAME"],
        "cpu_limit": 1000,
        "memory_limit": 100,
        "gpu_limit": 2,
        "number_of_workers": 1,
        "input_dir": given["input_dir"],
        "output_dir": given["output_dir"],
        "directories": {name: given[name] for name in ("input_dir", "output_dir")},
        "uid": 1001,
        "gid": 1002,
        "labels": {"label": given["label"]},
        **changes,
    }


def documents(engine: str, job: Mapping[str, Any], storebase: str = "/srv") -> list[Any]:
    site = site_variables(settings_of(engine), {"storebase": storebase})
    return [document.content or document.text for document in compiled(engine).render(job, site).documents]


# Swarm's and Kubernetes' have tests of their own: their nodes expand some texts, which are escaped once more.
@pytest.mark.parametrize("engine", ["docker", "podman"])
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(given=st.fixed_dictionaries(dict.fromkeys(MARKS, texts)))
def test_any_text_in_any_field_reaches_the_document_as_itself_and_changes_nothing_else(
    engine: str, given: dict[str, str]
) -> None:
    tame = dict(paths(documents(engine, variables(MARKS))))

    found = dict(paths(documents(engine, variables(given))))

    for path, marked in tame.items():
        expected = marked
        if isinstance(marked, str):
            for name, mark in MARKS.items():
                expected = marked.replace(mark, given[name]) if mark in marked else expected
        assert found[path] == expected
    assert found.keys() == tame.keys()


@pytest.mark.parametrize("engine", ["docker", "podman"])
@given(key=texts, value=texts, storebase=texts.filter(lambda text: not text.endswith("/")))
def test_any_label_and_any_storebase_reach_the_document_as_they_are(
    engine: str, key: str, value: str, storebase: str
) -> None:
    job = variables(MARKS, labels={key: value})

    (found,) = documents(engine, job, storebase)

    assert (found.get("Labels") or found["labels"])[key] == value
    if engine == "podman":
        assert found["mounts"][0]["source"] == (storebase or "/")
        assert found.keys() == documents(engine, variables(MARKS))[0].keys()
    else:
        assert found["HostConfig"]["Mounts"][0]["Source"] == f"{storebase}/{MARKS['input_dir']}"
        assert set(found) == {"Image", "Entrypoint", "Cmd", "Env", "User", "Labels", "HostConfig"}


@pytest.mark.parametrize("text", HOSTILE)
def test_every_hostile_text_reaches_docker_as_the_argument_it_was(text: str) -> None:
    (found,) = documents("docker", variables(MARKS, args=[text, f"--a={text}"]))

    assert found["Cmd"] == [text, f"--a={text}"]


@pytest.mark.skipif("local" not in SHIPPED, reason="the local engine's templates are not there")
@settings(max_examples=40)
@given(st.lists(shell_texts.filter(lambda word: "/share" not in word)))
def test_any_argument_reaches_the_local_engines_shell_as_the_word_it_was(words: list[str]) -> None:
    job = variables(MARKS, env=["A=b"], argv=["a-program", *words])

    (script,) = (found for found in documents("local", job) if isinstance(found, str))

    _, _, command = script.partition("exec a-program")
    assert words_of([command.strip("\n")]) == [words]


# --- what a template may try -----------------------------------------------------------------------

SET = "{% set x %}{{ job.text }}{% endset %}"
MACRO = "{% macro m(value) %}{{ value }}{% endmacro %}"

ESCAPES = [
    "{{ job.text }}",
    "{{ job['text'] }}",
    "{{ job|attr('text') }}",
    "{{ job.text ~ '' }}",
    "{{ '' ~ job.text }}",
    "{{ job.text + '' }}",
    "{{ '' + job.text }}",
    "{{ '%s' % job.text }}",
    "{{ '{}'.format(job.text) }}",
    "{{ '%s'|format(job.text) }}",
    "{{ job.text * 1 }}",
    "{{ [job.text]|join }}",
    "{{ [job.text]|first }}",
    "{{ [job.text]|map('string')|first }}",
    "{{ job.text|string }}",
    "{{ job.text|default('') }}",
    "{{ job.text|replace('zzz', '') }}",
    "{{ job.text[:] }}",
    "{{ (job.text if true) }}",
    "{{ job.text or '' }}",
    "{{ namespace(a=job.text).a }}",
    "{{ cycler(job.text).next() }}",
    "{{ dict(a=job.text).a }}",
    "{{ job.text.strip('zzz') }}",
    "{{ ''.join([job.text]) }}",
    SET + "{{ x }}",
    SET + "{{ x|indent(2) }}",
    "{% set ns = namespace() %}{% set ns.x %}{{ job.text }}{% endset %}{{ ns.x }}",
    "{% set x = job.text %}{{ x }}",
    "{% with x = job.text %}{{ x }}{% endwith %}",
    "{% for x in [job.text] %}{{ x }}{% endfor %}",
    "{% for x in [job.text] recursive %}{{ loop([]) }}{{ x }}{% endfor %}",
    "{% block b %}{{ job.text }}{% endblock %}",
    MACRO + "{{ m(job.text) }}",
    MACRO + "{% set y %}{{ m(job.text) }}{% endset %}{{ y }}",
    "{% macro w() %}{{ caller() }}{% endmacro %}{% call w() %}{{ job.text }}{% endcall %}",
    "{% autoescape false %}{{ job.text }}{% endautoescape %}",
    "{% autoescape true %}{{ job.text }}{% endautoescape %}",
    "{% include 'site/_part.yaml.j2' %}",
    "{% include 'site/_part.sh.j2' %}",
    "{% include 'site/_part.txt' %}",
    "{% import 'site/_macro.sh.j2' as lib %}{{ lib.m(job.text) }}",
    "{% from 'site/_macro.sh.j2' import m %}{{ m(job.text) }}",
]

PARTS = {
    "site/_part.yaml.j2": "{{ job.text }}",
    "site/_part.sh.j2": "{{ job.text }}",
    "site/_part.txt": "{{ job.text }}",
    "site/_macro.sh.j2": MACRO,
}


@pytest.mark.parametrize("ending", ["yaml", "json"])
@pytest.mark.parametrize("expression", ESCAPES)
def test_whatever_way_a_template_takes_the_value_comes_out_as_itself(
    tmp_path: Path, expression: str, ending: str
) -> None:
    text = '{"a": [1, ' + expression + '], "b": 2}\n'

    (document,) = rendering(tmp_path, {**PARTS, f"site/body.{ending}.j2": text}, text=HOSTILE_TEXT).documents

    assert document.content == {"a": [1, HOSTILE_TEXT], "b": 2}


RESHAPED = [
    "{{ x[1:-1] }}",
    "{{ x[::-1] }}",
    "{{ x[0] }}",
    "{{ x|trim('\"') }}",
    "{{ x|replace('\"', '') }}",
    "{{ x|upper }}",
    "{{ x|title }}",
    "{{ x|capitalize }}",
    "{{ x|truncate(5) }}",
    "{{ x|wordwrap(3) }}",
    "{{ x|center(99) }}",
    "{{ x|reverse }}",
    "{{ x|first }}",
    "{{ x|last }}",
    "{{ x|random }}",
    "{{ x|max }}",
    "{{ x|format }}",
    "{{ x|urlencode }}",
    "{{ x|list|join }}",
    "{{ x|string }}",
    "{{ x ~ x }}",
    "{{ x + x }}",
    "{{ x * 2 }}",
    "{{ '%s' % x }}",
    "{{ '%s'|format(x) }}",
    "{{ [x, x]|join(x) }}",
    "{{ [x]|map('trim', '\"')|first }}",
    "{{ [x]|map('upper')|join }}",
    "{{ ''.join(x) }}",
    "{{ '{}'.format(x) }}",
    "{{ namespace(a=x).a[1:-1] }}",
    "{{ x.strip('\"') }}",
    "{{ x.format() }}",
    "{% set y %}{}{% endset %}{{ y.format(job.text) }}",
    "{% set y %}%s{% endset %}{{ y % job.text }}",
    "{{ x|attr('strip')('\"') }}",
    "{{ x['strip']('\"') }}",
    "{{ self.b()[1:-1] }}",
    "{{ self.b()|trim('\"') }}",
    "{{ m(job.text)|trim('\"') }}",
    "{{ caller is defined }}",
]


@pytest.mark.parametrize("expression", RESHAPED)
def test_what_is_escaped_and_then_taken_apart_is_escaped_again(tmp_path: Path, expression: str) -> None:
    block = "{% if false %}{% block b %}{{ job.text }}{% endblock %}{% endif %}"
    text = MACRO + SET + block + "a: [1, " + expression + "]\nb: 2\n"

    (document,) = rendering(tmp_path, {"site/body.yaml.j2": text}, text=HOSTILE_TEXT).documents

    content: Any = document.content
    assert content.keys() == {"a", "b"}
    assert len(content["a"]) == 2
    assert isinstance(content["a"][1], str | bool)


@pytest.mark.parametrize(
    "expression",
    [
        "{{ x.__html__() }}",
        "{{ x|indent(job.text, true) }}",
        "{{ x|safe }}",
        "{{ job.text|safe }}",
        "{{ job.text|escape }}",
        "{{ job.text|e }}",
        "{{ job.text|forceescape }}",
        "{{ {'a': job.text}|xmlattr }}",
        "{{ job.text|urlize }}",
        "{{ job.text|tojson }}",
        "{{ lipsum() }}",
        "{{ self }}",
        "{{ self.__init__ }}",
        "{{ job.__class__ }}",
        "{{ job._values }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ job }}",
        "{{ range }}",
        "{% filter replace('\"', '') %}{{ job.text }}{% endfilter %}",
        "{% filter upper %}{{ job.text }}{% endfilter %}",
        "{% set y | replace('\"', '') %}{{ job.text }}{% endset %}{{ y }}",
        "{% import 'site/_macro.sh.j2' as lib %}{{ lib }}",
        "{% do 1 %}",
        "{% trans %}a{% endtrans %}",
    ],
)
def test_what_would_pass_a_value_on_unescaped_or_means_nothing_is_refused(
    tmp_path: Path, expression: str
) -> None:
    text = SET + "a: [1, " + expression + "]\n"

    with pytest.raises(ConfigError, match=r"/site/body\.yaml\.j2"):
        rendering(tmp_path, {**PARTS, "site/body.yaml.j2": text}, text=HOSTILE_TEXT)


@pytest.mark.parametrize(
    "line",
    [
        '{a: "{{ job.text }}"}',
        "{a: '{{ job.text }}'}",
        'a: "prefix {{ job.text }}"',
        '- "{{ job.text }}"',
        "a: prefix-{{ job.text }}",
        "a: {{ job.text }}-suffix",
        "a: {{ job.text }}{{ job.text }}",
        "a: {{ job.text }} {{ job.text }}",
        "a: [x{{ job.text }}]",
        "a: can't be {{ job.text }}",
        "a: |\n  echo {{ job.text }}",
        "a: >-\n  a {{ job.text }} b",
        "&{{ job.text }} a",
        "!{{ job.text }} a",
        '{a: "{% if true %}{{ job.text }}{% endif %}"}',
        'a: "{% include "site/_part.yaml.j2" %}"',
    ],
)
@pytest.mark.parametrize("text", ["tame", HOSTILE_TEXT])
def test_a_literal_in_quotes_or_glued_to_other_text_is_refused_for_tame_values_too(
    tmp_path: Path, line: str, text: str
) -> None:
    with pytest.raises(ConfigError, match=r"site/\w+\.yaml\.j2, line \d+: after .*stands alone"):
        rendering(tmp_path, {**PARTS, "site/body.yaml.j2": line + "\n"}, text=text)


@pytest.mark.parametrize(
    "text",
    [
        "a: {{ job.text }}",
        "a: {{ job.text }}  # with a comment",
        "a: [{{ job.text }}, {{ job.text }}]",
        "a: {b: {{ job.text }}, c: 1}",
        "{{ job.text }}: 1",
        "- {{ job.text }}",
        "- {{ job.text }}: 1",
        "? {{ job.text }}\n: 1",
        "a:\n  {{ job.text }}",
        '"quoted": {{ job.text }}',
        '{"a": {{ job.text }},"b": {{ job.text }} }',
        "# the job's {{ job.text }}\na: 1",
        'a: 1  # called "{{ job.text }}"',
        "a: it's\nb: {{ job.text }}",
        "{{ job.text }}",
    ],
)
def test_a_literal_stands_wherever_yaml_takes_a_value(tmp_path: Path, text: str) -> None:
    (tame,) = rendering(tmp_path, {"site/body.yaml.j2": text + "\n"}, text="tame").documents
    (hostile,) = rendering(tmp_path, {}, text=HOSTILE_TEXT).documents

    assert json.dumps(hostile.content) == json.dumps(tame.content).replace('"tame"', json.dumps(HOSTILE_TEXT))


@pytest.mark.parametrize(
    "script",
    [
        'echo "{{ job.text }}"',
        "echo '{{ job.text }}'",
        'echo "a\nb {{ job.text }}"',
        "# {{ job.text }}",
        "true # {{ job.text }}",
        "cat <<EOF\n{{ job.text }}\nEOF",
        "cat <<!\n{{ job.text }}\n!",
        "cat <<EOF\na\n  EOF\n{{ job.text }}\nEOF",
        "cat <<'E O'\n{{ job.text }}\nE O",
        "echo $'\\' {{ job.text }} '",
        "echo $'\\'' {{ job.text }}; echo '",
        "cat <<'EOF'\n{{ job.text }}\nEOF",
        "echo ${{ job.text }}",
        "echo \\{{ job.text }}",
        "echo `{{ job.text }}`",
        "echo `echo a {{ job.text }}`",
        'echo "`echo a`" `echo {{ job.text }}',
        'echo "$(echo {{ job.text }})"',
    ],
)
def test_a_shell_word_in_quotes_or_a_comment_or_a_here_document_is_refused(
    tmp_path: Path, script: str
) -> None:
    with pytest.raises(ConfigError, match=r"run\.sh\.j2, line \d+: after"):
        rendering(tmp_path, {"site/run.sh.j2": script + "\n"}, text="$(id)")


@pytest.mark.parametrize(
    "script",
    [
        "{{ job.words }}",
        "exec {{ job.words }}",
        "# it's a comment\n{{ job.words }}",
        'echo "it\'s" ; {{ job.words }}',
        "cat <<EOF\nit's\nEOF\n{{ job.words }}",
        "cat <<-EOF\nit's\n\tEOF\n{{ job.words }}",
        "cat <<!\nit's\n!\n{{ job.words }}",
        "echo $((1<<2)) $'a' {{ job.words }}",
        "echo `date` '`' \\` {{ job.words }}",
        "a=$(echo {{ job.words }})",
        "echo a#{{ job.words }}",
    ],
)
def test_a_shell_word_stands_wherever_a_shell_takes_words(tmp_path: Path, script: str) -> None:
    words = ["a b", "it's", "$(id)", 'x"; `id` #']

    (document,) = rendering(tmp_path, {"site/run.sh.j2": script + "\n"}, words=words).documents

    assert shlex.join(words) in document.text
    assert document.content is None


def test_a_template_that_holds_nul_cannot_pass_for_the_marks_of_literals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NUL"):
        rendering(tmp_path, {"site/body.yaml.j2": "a: {{ job.text }}\0, \0b: 1\n"}, text="a")


@given(text=texts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_super_and_overridden_blocks_keep_every_text_whole(tmp_path: Path, text: str) -> None:
    files = {
        "site/_base.yaml.j2": "{% block a %}\na: {{ job.text }}\n{% endblock %}\nb: {{ job.text }}\n",
        "site/body.yaml.j2": "{% extends 'site/_base.yaml.j2' %}\n"
        "{% block a %}{{ super() }}c: {{ [job.text] }}\n{% endblock %}",
    }

    (document,) = rendering(tmp_path, files, text=text).documents

    assert document.content == {"a": text, "c": [text], "b": text}


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a: 1\nb: {{ job.memroy }}\n",
            r", line 2: job\.memroy is not known; did you mean job\.memory\?",
        ),
        ("{% if job.memroy %}{% endif %}", r"line 1: job\.memroy is not known; did you mean job\.memory"),
        ("a: {{ job.memroy ~ 1 }}", r"job\.memroy is not known"),
        ("a: {{ [job.memroy] }}", r"job\.memroy is not known"),
        ("a: {{ job.zzz }}", r"job\.zzz is not known; use memory, text"),
        ("a: {{ jbo.memory }}", r"line 1: 'jbo' is undefined"),
        ("\n\na: {{ job.memory / 0 }}", r"line 3: ZeroDivisionError: division by zero"),
        ("a: {{ job.memory.b.c }}", r"line 1: .*no attribute 'b'"),
        ("a: {{ job.text + 1 }}", r"line 1: TypeError"),
        ("a: {{ job.text|int + none }}", r"line 1: TypeError"),
        ("a:\n  {% if %}\n", r", line 2: Expected an expression"),
        ("a: {{ job.text|nosuch }}", r"line 1: No filter named 'nosuch'"),
        (
            "{% extends 'site/_none.yaml.j2' %}",
            r"extends( or includes)? 'site/_none\.yaml\.j2', which does not exist",
        ),
        (
            "{% include 'site/_none.yaml.j2' %}",
            r"extends( or includes)? 'site/_none\.yaml\.j2', which does not exist",
        ),
        ("a: [1\n", r"what it renders is no YAML: line 2 of the document"),
        ("a: {{ job.text }}\n\tb: 1\n", r"what it renders is no YAML: line \d of the document"),
        (
            "a: !!python/object/apply:os.getcwd []",
            r"no YAML: line 1 of the document: could not determine a constructor",
        ),
    ],
)
def test_an_error_names_the_template_the_line_and_the_variable(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"/site/body\.yaml\.j2.*" + told):
        rendering(tmp_path, {"site/body.yaml.j2": text}, memory=1, text="a")


def test_an_error_in_an_extended_template_names_that_one(tmp_path: Path) -> None:
    files = {
        "site/_base.yaml.j2": "a: 1\n{% block b %}\nb: {{ job.memroy }}\n{% endblock %}\n",
        "site/body.yaml.j2": "{% extends 'site/_base.yaml.j2' %}",
    }

    with pytest.raises(ConfigError, match=r"site/_base\.yaml\.j2, line 3: job\.memroy"):
        rendering(tmp_path, files, memory=1)


def test_what_a_json_template_renders_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"body\.json\.j2, line 1: what it renders is no JSON: .*line 1 column 6"
    ):
        rendering(tmp_path, {"site/body.json.j2": '{"a" 1}'})


def test_an_ending_without_a_known_escaping_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"site/body\.toml\.j2: no escaping is known.*\.json\.j2, \.yaml\.j2"
    ):
        Templates("site", loader(site_templates(tmp_path, {"site/body.toml.j2": ""}), shipped=()))


def test_an_engine_without_templates_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"templates/nowhere: no templates \(\*\.j2\)"):
        Templates("nowhere", loader(tmp_path, shipped=()))


def test_every_template_is_compiled_at_start_before_any_job(tmp_path: Path) -> None:
    files = {"site/a.yaml.j2": "a: 1", "site/b.yaml.j2": "\n{% endif %}"}

    with pytest.raises(ConfigError, match=r"site/b\.yaml\.j2, line 2"):
        Templates("site", loader(site_templates(tmp_path, files), shipped=()))


def test_a_dry_run_and_a_source_map_are_of_the_texts_that_were_read_at_start(tmp_path: Path) -> None:
    files = {"site/body.yaml.j2": '{% extends "site/_base.yaml.j2" %}', "site/_base.yaml.j2": "a: 1"}
    templates = Templates("site", loader(site_templates(tmp_path, files), shipped=()))
    before = templates.render({}, {}).documents

    site_templates(tmp_path, {"site/body.yaml.j2": "a: 2", "site/_base.yaml.j2": "a: {{ nothing }}"})

    assert before == templates.show({}, {}).shown == templates.traced({}, {}).documents
    assert before == templates.render({}, {}).documents


def test_an_error_that_does_not_come_again_is_still_one_of_the_template_and_holds_no_value(
    tmp_path: Path,
) -> None:
    class Changing(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            return taint.variable(next(values))

    values = iter(["T=open sesame", "T=open sesame", "T=one", "T=two"])
    body = "{{ job.a }}: 1\n{{ job.b }}: 2\n"
    templates = Templates("site", loader(site_templates(tmp_path, {"site/body.yaml.j2": body}), shipped=()))

    with pytest.raises(ConfigError, match=r"site/body\.yaml\.j2: ") as raised:
        templates.show(Changing(a=1, b=2), {})

    assert "sesame" not in str(raised.value)


# --- the search path -------------------------------------------------------------------------------


def test_documents_come_in_the_order_of_their_names_and_parts_make_none(tmp_path: Path) -> None:
    files = {
        "site/2.yaml.j2": "a: 2",
        "site/1.json.j2": "1",
        "site/_part.yaml.j2": "a: 0",
        "site/notes.txt": "no template",
        "other/0.yaml.j2": "a: 0",
    }

    found = rendering(tmp_path, files).documents

    assert [(document.name, document.content) for document in found] == [("1.json", 1), ("2.yaml", {"a": 2})]


def test_a_sites_three_lines_change_one_block_and_keep_the_rest(tmp_path: Path) -> None:
    override = (
        '{% extends "builtin/docker/container.yaml.j2" %}\n'
        "{% block extra %}{{ super() }}  OomScoreAdj: 512\n{% endblock %}\n"
    )
    site_templates(tmp_path, {"docker/container.yaml.j2": override})
    job = job_variables(a_job(), settings_of())
    site = site_variables(settings_of(), FACTS)

    (own,) = Templates("docker", loader(tmp_path)).render(job, site).documents
    (shipped,) = compiled("docker").render(job, site).documents

    expected: Any = shipped.content
    expected["HostConfig"]["OomScoreAdj"] = 512
    assert own.content == expected


def test_super_keeps_the_shipped_lines_of_a_block(tmp_path: Path) -> None:
    override = (
        '{% extends "builtin/docker/container.yaml.j2" %}\n'
        "{% block resources %}{{ super() }}  OomScoreAdj: 512\n{% endblock %}\n"
    )
    site_templates(tmp_path, {"docker/container.yaml.j2": override})
    templates = Templates("docker", loader(tmp_path))

    rendered = templates.render(job_variables(a_job(), settings_of()), site_variables(settings_of(), FACTS))

    content: Any = rendered.documents[0].content
    assert content["HostConfig"]["OomScoreAdj"] == 512
    assert content["HostConfig"]["Memory"] == 200 * 2**20


def test_the_first_directory_that_has_a_template_wins(tmp_path: Path) -> None:
    first = site_templates(tmp_path / "first", {"site/body.yaml.j2": "from: first"})
    second = site_templates(
        tmp_path / "second", {"site/body.yaml.j2": "from: second", "site/other.yaml.j2": "from: second"}
    )

    found = Templates("site", loader(first, second, shipped=())).render({}, {}).documents

    assert [document.content for document in found] == [{"from": "first"}, {"from": "second"}]


def test_rendering_says_which_variables_were_read(tmp_path: Path) -> None:
    text = "a: {{ job.text }}\n{% if job.flag %}\nb: {{ job.other }}\n{% endif %}\n"

    found = rendering(tmp_path, {"site/body.yaml.j2": text}, text="a", flag=False, other=1, never=2)

    assert found.read == {"job.text", "job.flag"}


def test_a_key_that_stands_twice_in_a_document_stops_the_start(tmp_path: Path) -> None:
    files = {"site/a.yaml.j2": "a: {b: 1, c: {b: 2}}\nd:\n  b: 3\n  b: 4\n"}

    with pytest.raises(ConfigError, match=r"site/a\.yaml\.j2.*line 4 of the document: 'b' stands twice"):
        Templates("site", loader(site_templates(tmp_path, files), shipped=())).render({}, {})


# --- several documents -----------------------------------------------------------------------------


def test_a_file_of_yaml_may_hold_several_documents_each_with_its_text(tmp_path: Path) -> None:
    files = {
        "site/a.yaml.j2": "# first\nimage: {{ job.image }}\n---\n# second\nnumber: 2\n---\nlast: true\n",
        "site/b.json.j2": '{"image": {{ job.image }}}',
    }

    found = rendering(tmp_path, files, image="\n---\nü😀").documents

    image = "\n---\nü😀"
    assert [(document.name, document.content) for document in found] == [
        ("a.yaml", {"image": image}),
        ("a.yaml", {"number": 2}),
        ("a.yaml", {"last": True}),
        ("b.json", {"image": image}),
    ]
    assert [yaml.safe_load(document.text) for document in found[:3]] == [item.content for item in found[:3]]
    assert found[1].text == "# second\nnumber: 2\n"


def test_a_document_that_is_empty_for_a_job_is_none(tmp_path: Path) -> None:
    files = {
        "site/a.yaml.j2": "a: 1\n---\n{% if job.x %}\nb: 2\n{% endif %}\n",
        "site/b.yaml.j2": "# {{ 1 }}\n",
    }

    assert [document.content for document in rendering(tmp_path, files, x=False).documents] == [{"a": 1}]


def test_templates_that_make_no_document_at_all_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"site/a\.yaml\.j2.* make no document"):
        rendering(tmp_path, {"site/a.yaml.j2": "# nothing\n"})
