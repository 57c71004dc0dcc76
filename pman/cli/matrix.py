"""The option × engine table as text; what it says is read from the templates (translation/honoured.py)."""

from __future__ import annotations

from collections.abc import Sequence

from pman.translation.honoured import Row


def markdown(table: Sequence[Row]) -> str:
    """For the docs: one table for requests, one for settings, the engines' own limits below each."""
    parts = []
    for title, part in (("Fields of a request", "request"), ("Settings", "settings")):
        chosen = [row for row in table if row.part == part]
        engines = list(chosen[0].honoured)
        lines = [
            f"### {title}",
            "",
            f"| | {' | '.join(engines)} | meaning |",
            f"|---|{':-:|' * len(engines)}---|",
        ]
        for row in chosen:
            marks = " | ".join(mark(row, engine) for engine in engines)
            lines.append(f"| `{row.option}` | {marks} | {row.meaning.replace('|', chr(92) + '|')} |")
        notes = [
            f"- `{row.option}` on {engine}: {row.limits[engine]}" for row in chosen for engine in row.limits
        ]
        parts.append("\n".join([*lines, *(["", "\\* with limits:", "", *notes] if notes else [])]))
    return "\n\n".join(parts) + "\n"


def mark(row: Row, engine: str) -> str:
    if not row.honoured[engine]:
        return "–"
    return "✓*" if engine in row.limits else "✓"
