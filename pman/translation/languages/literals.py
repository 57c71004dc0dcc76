"""A value as a literal of the language of a file, so that no value can change a document's structure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping

# What a YAML reader may take raw inside double quotes: not DEL, C1, NEL, the line and paragraph
# separators, a byte order mark or noncharacters (YAML 1.1 c-printable, and what
# PyYAML and libyaml refuse). The rest is escaped as \uXXXX, which JSON and YAML both read;
# characters beyond U+FFFF stay raw, since YAML does not read JSON's surrogate pairs.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

# A YAML parser gives up on a key that has not ended after 1,024 characters unless '?' announces it.
_LONG_KEY = 1000

_SURROGATE = re.compile("[\ud800-\udfff]")


def _checked(text: str) -> str:
    """As a plain str: subclasses (Markup) have ideas of their own of what joining means."""
    if _SURROGATE.search(text):
        raise ValueError("half a surrogate pair is no Unicode text")
    return str.__str__(text)


def _string(text: str) -> str:
    _checked(text)
    quoted = json.dumps(text, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def json_literal(value: object) -> str:
    """A JSON value on one line. Raises TypeError, ValueError for what JSON has no word for."""
    return _flow(value, "")


def yaml_literal(value: object) -> str:
    """A flow value of YAML 1.1 and 1.2 on one line: JSON, but for very long keys."""
    return _flow(value, "? ")


def _flow(value: object, long_key: str) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_pair(key, item, long_key) for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item, long_key) for item in value) + "]"
    if isinstance(value, float):
        # YAML 1.1 takes 1e+16 for a string and 1.0e+16 for a number; JSON takes both.
        mantissa, e, exponent = json.dumps(value, allow_nan=False).partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else f"{mantissa}{e}{exponent}"
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    raise TypeError(f"{type(value).__name__} has no literal in JSON or YAML")


def _pair(key: object, item: object, long_key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a string, not {key!r}")
    quoted = _string(key)
    return f"{long_key if len(quoted) > _LONG_KEY else ''}{quoted}: {_flow(item, long_key)}"


def shell_literal(value: object) -> str:
    """Words of a POSIX shell: a string is one word, a list its words side by side."""
    if isinstance(value, str):
        if "\0" in value:
            raise TypeError("a word of a shell cannot hold NUL")
        return shlex.quote(_checked(value))
    if isinstance(value, list | tuple):
        return " ".join(shell_literal(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no literal in a shell")


class Words:
    """A value that is to become words of a shell where another language is the file's."""

    def __init__(self, value: object) -> None:
        self.value = value


WORDS = "\1"
"""Begins a literal of Words while a template renders; see placement.py."""

# Outside of quotes, of no meaning to a shell, to WDL or to Cromwell.
_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")

# Cromwell replaces these names wherever they stand in the script that a command has become part of
# (StandardAsyncExecutionActor.commandScriptContents): SCRIPT_EPILOGUE, DOCKER_OUTPUT_DIR_LINK, ...
_REPLACED = re.compile(r"(SCRIPT|ENVIRONMENT|INSTANTIATED|DOCKER)(?=_)")

_NEWLINE, _RETURN = "'\"$__pman_nl\"'", "'\"$__pman_cr\"'"


def command_words(value: object) -> str:
    """Words of a POSIX shell on one line of a WDL command section, `<<< >>>`.

    Nothing in them opens a placeholder (~{), ends the section (>>>) or is taken by Cromwell for one
    of its own names. A line break would be changed by it (CR LF becomes LF, lines are dedented): the
    command must begin with `__pman_nl=$(printf '\\012x'); __pman_nl=${__pman_nl%x}` and
    `__pman_cr=$(printf '\\015')`.
    """
    if isinstance(value, list | tuple):
        return " ".join(command_words(item) for item in value)
    if not isinstance(value, str):
        return shell_literal(value)
    if "\0" in value:
        raise TypeError("a word of a shell cannot hold NUL")
    if _BARE.fullmatch(_checked(value)) and not _REPLACED.search(value):
        return str.__str__(value)
    text = value.replace("'", "'\"'\"'").replace("~{", "~''{").replace(">>", ">''>")
    text = _REPLACED.sub(r"\1''", text)
    return f"'{text}'".replace("\n", _NEWLINE).replace("\r", _RETURN)


def wdl_literal(value: object) -> str:
    r"""A WDL 1.0 expression on one line, as both miniwdl and Cromwell read it.

    Cromwell's lexer takes no literal that ends in `\\`, opens placeholders after a backslash too, and
    reads escapes as Java does: so what is not plain ASCII is \uXXXX, and characters beyond U+FFFF
    stay raw, of which \u would be a half to the one and a whole to the other.
    """
    if isinstance(value, Words):
        return WORDS + command_words(value.value)
    if isinstance(value, str):
        return '"' + "".join(map(_wdl_character, _checked(value))) + '"'
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(wdl_literal(item) for item in value) + "]"
    raise TypeError(f"{type(value).__name__} has no literal in WDL")


def _wdl_character(character: str) -> str:
    plain = " " <= character <= "}" and character not in "\"'\\$"
    return character if plain or ord(character) > 0xFFFF else f"\\u{ord(character):04x}"


LANGUAGES: Mapping[str, Callable[[object], str]] = {
    "json": json_literal,
    "yaml": yaml_literal,
    "sh": shell_literal,
    "wdl": wdl_literal,
}
"""By the ending before `.j2`."""
