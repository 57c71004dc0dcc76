"""WDL 1.0: literals are expressions; in a command section `<<< >>>` they are words of a shell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from pman.translation.languages import shell
from pman.translation.languages.marks import ALONE, WORDS, UnreadableError, checked

WHY = f"{ALONE}; in a command section <<< >>> it must be {{{{ ... | words }}}}, and nowhere else"


class Words:
    """A value that is to become words of a shell where another language is the file's."""

    def __init__(self, value: object) -> None:
        self.value = value


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
        return shell.literal(value)
    if "\0" in value:
        raise TypeError("a word of a shell cannot hold NUL")
    if _BARE.fullmatch(checked(value)) and not _REPLACED.search(value):
        return str.__str__(value)
    text = value.replace("'", "'\"'\"'").replace("~{", "~''{").replace(">>", ">''>")
    text = _REPLACED.sub(r"\1''", text)
    return f"'{text}'".replace("\n", _NEWLINE).replace("\r", _RETURN)


def literal(value: object) -> str:
    r"""A WDL 1.0 expression on one line, as both miniwdl and Cromwell read it.

    Cromwell's lexer takes no literal that ends in `\\`, opens placeholders after a backslash too, and
    reads escapes as Java does: so what is not plain ASCII is \uXXXX, and characters beyond U+FFFF
    stay raw, of which \u would be a half to the one and a whole to the other.
    """
    if isinstance(value, Words):
        return WORDS + command_words(value.value)
    if isinstance(value, str):
        return '"' + "".join(map(_wdl_character, checked(value))) + '"'
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    raise TypeError(f"{type(value).__name__} has no literal in WDL")


def _wdl_character(character: str) -> str:
    plain = " " <= character <= "}" and character not in "\"'\\$"
    return character if plain or ord(character) > 0xFFFF else f"\\u{ord(character):04x}"


_WDL_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<command>\bcommand\s*(?:<<<|\{))|(?P<open>["'])""",
    re.VERBOSE,
)
_WDL_BEFORE = re.compile(r"(?:^|[\s:=\[,({+])$")
_WDL_AFTER = re.compile(r"[\s,\])}+]|$")
_WORD_BEFORE = re.compile(r"(?:^|[\s=;])$")
_WORD_AFTER = re.compile(r"[\s;)]|$")


class _Command:
    """A WDL command section, as far as it is read: what a shell makes of it."""

    def __init__(self) -> None:
        self._text = ""
        self._holes = False
        self._read: list[str] = []
        self._states = shell.after(iter(self._read.pop, None))

    def add(self, text: str) -> None:
        self._text += text

    def takes_words(self, after: str) -> bool:
        """Says whether words of a shell may follow here, before this text."""
        text, self._text = self._text, ""
        self._holes = self._holes or "~{" in text  # a placeholder is WDL again, of any depth
        self._read.append(text)
        alone = _WORD_BEFORE.search(text) and _WORD_AFTER.match(after)
        return next(self._states) and bool(alone) and not self._holes


def takes(texts: Sequence[str], literals: Sequence[str]) -> Iterator[bool]:
    """Says whether each literal may stand between its texts: words of a shell in command sections, as a shell
    reads them; expressions elsewhere."""
    code, command = "", None
    for text, literal, after in zip(texts, literals, texts[1:], strict=False):
        rest = text
        while True:
            if command is None:
                sides = _at_command(code + rest)
                if sides is None:
                    code += rest
                    break
                (code, rest), command = sides, _Command()
            inside, ended, rest = rest.partition(">>>")
            command.add(inside)
            if not ended:
                break
            code, command = "", None
        words = literal.startswith(WORDS)
        if command:
            yield command.takes_words(after) and words
        else:
            yield _takes_literal(code, after) and not words
            code += "x"


def _at_command(code: str) -> tuple[str, str] | None:
    """Splits code at its next command section: what stands before it, and what follows its `<<<`."""
    for token in _WDL_TOKEN.finditer(code):
        if (token["command"] or "").endswith("<"):
            return code[: token.start()], code[token.end() :]
    return None


def _takes_literal(code: str, after: str) -> bool:
    """Says whether WDL reads a literal between the two: not in a string, a comment, a command of braces."""
    tokens = list(_WDL_TOKEN.finditer(code))
    if any(token["open"] or token["command"] for token in tokens):
        return False
    comment = bool(tokens and tokens[-1]["comment"] and tokens[-1].end() == len(code))
    return not comment and bool(_WDL_BEFORE.search(code) and _WDL_AFTER.match(after))


def documents(text: str) -> list[tuple[str, object, int]]:
    """The text alone. Raises UnreadableError: Cromwell looks at a workflow only after it has taken it."""
    import WDL  # noqa: PLC0415  (half a second, which other engines are spared)

    try:
        document = WDL.parse_document(text)
        document.typecheck()
    except WDL.Error.MultipleValidationErrors as errors:
        raise _unreadable(text, errors.exceptions) from errors
    except (WDL.Error.SyntaxError, WDL.Error.ValidationError, WDL.Error.ImportError) as error:
        raise _unreadable(text, [error]) from error
    if document.workflow is None:
        raise UnreadableError("what it renders is no WDL: there is no workflow in it", 0)
    return [(text, None, 0)]


def _unreadable(text: str, errors: Sequence[Exception]) -> UnreadableError:
    """Makes one error of all that miniwdl says, at the first line that it names."""
    message = "; ".join(map(_message, errors))
    before = text.splitlines(keepends=True)[: min(_line(error) or 1 for error in errors) - 1]
    return UnreadableError(f"what it renders is no WDL: {message}", sum(map(len, before)))


def _message(error: Exception) -> str:
    return f"line {_line(error)} of the document: {error}" if _line(error) else str(error)


def _line(error: Exception) -> int:
    """From 1; 0 where miniwdl names none."""
    position = getattr(error, "pos", None)
    return position.line if position else 0
