"""Whether a document is WDL, which Cromwell looks at only after it has taken it; by miniwdl."""

from __future__ import annotations


def check(text: str) -> None:
    """Raises ValueError with the line of the document, and what is wrong there."""
    import WDL  # noqa: PLC0415  (half a second, which other engines are spared)

    try:
        document = WDL.parse_document(text)
        document.typecheck()
    except WDL.Error.MultipleValidationErrors as errors:
        raise ValueError("; ".join(map(_told, errors.exceptions))) from errors
    except (WDL.Error.SyntaxError, WDL.Error.ValidationError, WDL.Error.ImportError) as error:
        raise ValueError(_told(error)) from error
    if document.workflow is None:
        raise ValueError("there is no workflow in it")


def _told(error: Exception) -> str:
    position = getattr(error, "pos", None)
    return f"line {position.line} of the document: {error}" if position else str(error)
