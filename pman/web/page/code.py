"""Text as lines of HTML: coloured by pygments, with what is wrong below the line that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import DelegatingLexer, Lexer, RegexLexer, bygroups, using, words
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.shell import BashLexer
from pygments.lexers.special import TextLexer
from pygments.lexers.templates import DjangoLexer, YamlJinjaLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text, Whitespace
from pygments.util import ClassNotFound

from pman.errors import Fault

LARGE = 64_000
"""Characters; with more of them, colours take longer than they help."""


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    html: Markup
    faults: tuple[str, ...] = ()
    marked: bool = False


def rows(
    text: str, name: str, *, faults: Iterable[Fault] = (), marked: Iterable[int] = (), first: int = 1
) -> Sequence[Row]:
    """Coloured by the ending of `name`, a file with this text; `first` is the number of its first line.

    A fault belongs to a line by its `line`; one without is not shown here.
    """
    lines, marks = _coloured(text, name), frozenset(marked)
    wrong: dict[int, list[str]] = {}
    for fault in faults:
        line = min(fault.line, first + len(lines) - 1)  # what is missing at the end is told at the end
        wrong.setdefault(line, []).append(fault.message)
    return [
        Row(number, Markup(line), tuple(wrong.get(number, ())), number in marks)  # noqa: S704  (escaped)
        for number, line in enumerate(lines, first)
    ]


def _coloured(text: str, name: str) -> list[str]:
    lexer = _lexer(name) if len(text) < LARGE else TextLexer()
    if isinstance(lexer, TextLexer):
        return [str(escape(line)) for line in text.rstrip("\n").split("\n")]
    # Every token is closed at the end of its line, so that a line is HTML by itself.
    return str(highlight(text, lexer, _FORMATTER)).rstrip("\n").split("\n")


_FORMATTER = HtmlFormatter(nowrap=True)
_PLAIN: Mapping[str, Any] = {"stripnl": False, "ensurenl": False}


_WORDS = (
    "version", "import", "as", "alias", "struct", "task", "workflow", "input", "output", "call", "scatter",
    "if", "then", "else", "in", "meta", "parameter_meta", "runtime", "object",
)  # fmt: skip
_TYPES = ("Array", "Map", "Pair", "Object", "Boolean", "Int", "Float", "String", "File")


class WdlLexer(RegexLexer):
    """The colours of WDL 1.0, which pygments does not know; a task's command has those of a shell script.

    https://github.com/openwdl/wdl/blob/main/versions/1.0/SPEC.md
    """

    name = "WDL"
    tokens = {  # noqa: RUF012  (as pygments declares it)
        "root": [
            (r"\s+", Whitespace),
            (r"#.*", Comment.Single),
            (
                r"(command)(\s*)(<<<)((?s:.*?))(>>>)",
                bygroups(Keyword, Whitespace, Punctuation, using(BashLexer), Punctuation),  # type: ignore[no-untyped-call]  # it has no types
            ),
            (r"(version)(\s+)(\S+)", bygroups(Keyword, Whitespace, Number)),  # type: ignore[no-untyped-call]
            (r"([a-z_]\w*)(\s*)(:)", bygroups(Name.Attribute, Whitespace, Punctuation)),  # type: ignore[no-untyped-call]
            (words(_WORDS, suffix=r"\b"), Keyword),
            (words(_TYPES, suffix=r"\b"), Keyword.Type),
            (words(("true", "false"), suffix=r"\b"), Keyword.Constant),
            (r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', String),
            (r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", Number),
            (r"[A-Za-z_]\w*", Name),
            (r"[-+*/%<>=!&|?~$]+", Operator),
            (r"[\[\](){},.:;]", Punctuation),
            (r".", Text),
        ]
    }


def _lexer(name: str) -> Lexer:
    """Finds the colours for a document, a template of one, or a diff."""
    if name.endswith((".yaml.j2", ".json.j2")):
        return YamlJinjaLexer(**_PLAIN)  # type: ignore[no-untyped-call]  # it has no types
    if name.endswith(".wdl"):
        return WdlLexer(**_PLAIN)
    if name.endswith(".wdl.j2"):
        return DelegatingLexer(WdlLexer, DjangoLexer, **_PLAIN)
    if name.endswith(".j2"):
        return DjangoLexer(**_PLAIN)
    try:
        return get_lexer_for_filename(name, **_PLAIN)
    except ClassNotFound:
        return TextLexer(**_PLAIN)
