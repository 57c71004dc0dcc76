"""WDL as a language of templates: any value survives miniwdl, Cromwell's own reading, and a real shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pman.errors import ConfigError
from pman.translation.languages.wdl import Words
from pman.translation.languages.wdl import literal as wdl_literal
from tests.a_job import FACTS, a_job, a_translation, rendering
from tests.cromwell_reading import NotReadError, command_of, literal, runtime_of, script_of, task_of
from tests.translation.test_literals import HOSTILE

SHELLS = [shell for shell in ("bash", "dash", "busybox") if shutil.which(shell)]

OF_WDL = [
    "~{",
    "~",
    "{",
    "}",
    "${",
    "${x}",
    "~{x}",
    ">>>",
    ">>",
    ">",
    "<<<",
    "\\",
    "\\~{",
    "\\u0041",
    "\n",
    "\r",
    "\r\n",
    "\n\t",
    "\n  ",
    "\t",
    " ",
    "'",
    "$",
    "SCRIPT_EPILOGUE",
    "SCRIPT_CLOSURE",
    "DOCKER_OUTPUT_DIR_LINK",
    "_",
    "SCRIPT",
    "INSTANTIATED_COMMAND",
    "ENVIRONMENT_VARIABLES",
    "$__pman_nl",
    "-",
    "\x85",
    "\ufeff",
    "\x01",
]

texts = st.lists(
    st.sampled_from([text for text in (*HOSTILE, *OF_WDL) if "\0" not in text])
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5),
    max_size=6,
).map("".join)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,9}", fullmatch=True).map("T_".__add__)

MANY = settings(max_examples=100)

PRINTF = ["/usr/bin/printf", "%s\\0"]


def workflow(entrypoint: Sequence[str], args: Sequence[str] = (), env: Sequence[str] = ()) -> str:
    """As the shipped template writes it, without a look by pman itself."""
    job = a_job(entrypoint=tuple(entrypoint), args=tuple(args), env=tuple(env))
    *_, document = a_translation("cromwell", CROMWELL_URL="http://a").render(job, FACTS)
    return document.text


def run(shell: str, script: str) -> list[str]:
    command = ["busybox", "sh"] if shell == "busybox" else [shell]
    done = subprocess.run([*command, "-c", script], stdout=subprocess.PIPE, check=True, timeout=180)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@MANY
@given(argv=st.lists(texts, min_size=1, max_size=5))
@example(["~{}>>>\n\t\r\n  $HOME ${x} \\"])
@example(["a\n b", "\tc", "", "-n"])
def test_any_command_line_reaches_the_program_as_it_was(shell: str, argv: list[str]) -> None:
    text = workflow(PRINTF, argv)

    assert run(shell, script_of(text)) == argv
    assert script_of(text) == command_of(text)


@MANY
@given(env=st.dictionaries(names, texts, min_size=1, max_size=4))
def test_any_environment_reaches_the_program_as_it_was(env: dict[str, str]) -> None:
    show = " ".join(f'"${name}"' for name in env)
    given_env = [f"{name}={value}" for name, value in env.items()]

    text = workflow(["sh", "-c", f"printf '%s\\0' {show}"], env=given_env)

    assert run("bash", script_of(text)) == list(env.values())


@MANY
@given(value=texts)
@example("ends in a backslash\\")
@example("~{docker}${docker}")
def test_any_string_in_the_runtime_section_is_read_alike_by_miniwdl_and_cromwell(value: str) -> None:
    job = a_job(image=value, input_dir=value)

    *_, document = a_translation("cromwell", CROMWELL_URL="http://a").render(job, FACTS)

    found = runtime_of(document.text)
    assert (found["docker"], found["inputdir_source"]) == (value, f"/srv/storebase/{value}")


@MANY
@given(st.recursive(texts | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=3)))
def test_a_literal_stands_on_one_line_and_a_string_ends_where_it_should(value: object) -> None:
    written = wdl_literal(value)

    assert "\n" not in written
    assert not isinstance(value, str) or literal(written) == value


@pytest.mark.parametrize("value", [None, 1.5, {"a": "b"}, Words("a\0"), Words({"a": 1}), object()])
def test_what_has_no_literal_in_wdl_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        wdl_literal(value)


# --- where a literal stands ------------------------------------------------------------------------

DOCUMENT = """version 1.0
task t {{
  command <<<
{command}
  >>>
  runtime {{
{runtime}
  }}
}}
workflow w {{ call t }}
"""


def rendered(directory: Path, command: str = "true", runtime: str = 'a: "b"', value: str = "x") -> str:
    template = DOCUMENT.format(command=command, runtime=runtime)
    (document,) = rendering(
        directory, {"site/workflow.wdl.j2": template}, value=value, items=[value]
    ).documents
    return document.text


IN_COMMAND = [
    "echo {{ job.value | words }}",
    "export A={{ job.value | words }}",
    "echo '~' {{ job.value | words }}; echo",
    "echo {{ job.items | words }} x\necho {{ job.value | words }}",
    "# a comment\necho {{ job.value | words }}",
    "test {{ job.value | words }} && echo {{ (job.value ~ 'b') | words }}",
]


@pytest.mark.parametrize("command", IN_COMMAND)
def test_words_of_a_shell_stand_in_the_command(command: str, tmp_path: Path) -> None:
    for index, value in enumerate(("x", "~{>>>'\n")):
        assert task_of(rendered(tmp_path / str(index), command, value=value))


IN_RUNTIME = [
    "a: {{ job.value }}",
    "a: [{{ job.value }}, {{ job.value }}]",
    "a: 'b' + {{ job.value }}",
    "# command <<<\n    a: {{ job.value }}",
    "a: 'command <<<'\n    b: {{ job.value }}",
]


@pytest.mark.parametrize("runtime", IN_RUNTIME)
def test_a_string_of_wdl_stands_elsewhere(runtime: str, tmp_path: Path) -> None:
    for index, value in enumerate(("x", "~{>>>'\n")):
        assert task_of(rendered(tmp_path / str(index), runtime=runtime, value=value))


MISPLACED = [
    ("echo {{ job.value }}", None),
    ("echo '{{ job.value | words }}'", None),
    ('echo "{{ job.value | words }}"', None),
    ("echo x{{ job.value | words }}", None),
    ("echo {{ job.value | words }}x", None),
    ("echo ~~~{{ job.value | words }}", None),
    ("echo $(cat <<E\n{{ job.value | words }}\nE\n)", None),
    ("cat <<!\n{{ job.value | words }}\n!", None),
    ("echo $'\\' {{ job.value | words }} '", None),
    ("echo $'\\'' {{ job.value | words }}; echo '", None),
    ("a=`echo {{ job.value | words }}`", None),
    ("# {{ job.value | words }}", None),
    ("echo ~{{ '{' }}{{ job.value | words }}", None),
    ("echo ~{'\n'} {{ job.value | words }}".replace("~{", "{% raw %}~{{% endraw %}"), None),
    (None, "a: {{ job.value | words }}"),
    (None, 'a: "{{ job.value }}"'),
    (None, "a: '{{ job.value }}'"),
    (None, "a: x{{ job.value }}"),
    (None, "a: {{ job.value }}{{ job.value }}"),
    (None, 'a: "b"  # {{ job.value }}'),
    (None, "}\n  command {\n echo {{ job.value | words }}\n }\n  meta {"),
    (None, "}\n  command {\n echo {{ job.value }}\n }\n  meta {"),
]


@pytest.mark.parametrize(("command", "runtime"), MISPLACED)
def test_a_literal_in_the_others_place_is_refused_for_every_value(
    command: str | None, runtime: str | None, tmp_path: Path
) -> None:
    for index, value in enumerate(("x", "", "~{>>>'\n")):
        with pytest.raises(ConfigError, match=r"workflow\.wdl\.j2.*(line [0-9]+ of the document|<<< >>>)"):
            rendered(tmp_path / str(index), command or "true", runtime or 'a: "b"', value)


def test_an_authors_mistake_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"/site/workflow\.wdl\.j2, line 4: job\.argw is not known"):
        rendered(tmp_path / "a", "echo {{ job.argw | words }}")
    with pytest.raises(
        ConfigError, match=r"site/workflow\.wdl\.j2, line 7: what it renders is no WDL: line 7 of the"
    ):
        rendered(tmp_path / "b", runtime="a b")
    with pytest.raises(ConfigError, match="line 7 of the document: Unknown identifier"):
        rendered(tmp_path / "c", runtime="a: unknown")
    with pytest.raises(ConfigError, match="there is no workflow in it"):
        wdl_template(tmp_path / "d", "version 1.0\ntask t { command <<< >>> }\n")


def wdl_template(directory: Path, text: str) -> None:
    rendering(directory, {"site/workflow.wdl.j2": text})


LOADED = """
import sys
from tests.a_job import a_translation
a_translation(sys.argv[1], CROMWELL_URL="http://a")
print("WDL" in sys.modules)
"""


@pytest.mark.parametrize(("engine", "loaded"), [("local", "False"), ("cromwell", "True")])
def test_only_an_engine_that_is_sent_wdl_pays_for_its_parser(engine: str, loaded: str) -> None:
    told = subprocess.check_output(
        [sys.executable, "-c", LOADED, engine], text=True, cwd=Path(__file__).parents[2]
    )

    assert told.strip() == loaded


def test_words_are_no_filter_of_other_languages(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No filter named 'words'"):
        rendering(tmp_path, {"site/a.yaml.j2": "a: {{ job.a | words }}\n"}, a="x")


def test_words_that_pass_through_a_macro_or_a_set_are_still_what_they_were(tmp_path: Path) -> None:
    macro = "{% macro say(value) %}echo {{ value | words }}{% endmacro %}{{ say(job.value) }}"
    text = rendered(tmp_path, macro, value="~{\x01'")

    assert task_of(text)
    assert "~''{\x01" in command_of(text)


# --- why it takes such rules ------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["a~{b}", "x >>> y"])
def test_quotes_of_a_shell_alone_would_break_the_document(argument: str) -> None:
    with pytest.raises(Exception, match=r"(?i)unexpected|unknown|expected|placeholder"):
        command_of(DOCUMENT.format(command=f"echo '{argument}'", runtime=""))


def test_line_breaks_as_they_are_would_be_changed_or_refused() -> None:
    assert command_of(DOCUMENT.format(command="echo 'a\r\nb'", runtime="")) == "echo 'a\nb'"
    with pytest.raises(NotReadError, match="Cannot mix leading whitespace"):
        command_of(DOCUMENT.format(command="echo 'a\n\tb\n  c'", runtime=""))


@pytest.mark.parametrize("written", [r'"a\\"', r'"\~{b}"', '"\u2028"'])
def test_literals_that_miniwdl_takes_are_not_all_cromwells(written: str) -> None:
    assert literal(written) is None or literal(written) == "~{b}"
