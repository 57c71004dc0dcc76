"""Whether a document is WDL, which Cromwell looks at only after it has taken it; by miniwdl."""

from __future__ import annotations


class NoWdlError(ValueError):
    def __init__(self, told: str, line: int) -> None:
        """`line` of the document, from 1."""
        super().__init__(told)
        self.line = line


def check(text: str) -> None:
    """Raises NoWdlError with the line of the document, and what is wrong there."""
    import WDL  # noqa: PLC0415  (half a second, which other engines are spared)

    try:
        document = WDL.parse_document(text)
        document.typecheck()
    except WDL.Error.MultipleValidationErrors as errors:
        told = "; ".join(map(_told, errors.exceptions))
        raise NoWdlError(told, min(map(_line, errors.exceptions))) from errors
    except (WDL.Error.SyntaxError, WDL.Error.ValidationError, WDL.Error.ImportError) as error:
        raise NoWdlError(_told(error), _line(error)) from error
    if document.workflow is None:
        raise NoWdlError("there is no workflow in it", 1)


def _line(error: Exception) -> int:
    position = getattr(error, "pos", None)
    return position.line if position else 1


def _told(error: Exception) -> str:
    return f"line {_line(error)} of the document: {error}" if getattr(error, "pos", None) else str(error)
