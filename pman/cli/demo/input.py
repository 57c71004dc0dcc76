"""The demo's input: slices of the Shepp-Logan head phantom, the usual stand-in for a scan of a patient."""

from __future__ import annotations

import json
import math
from pathlib import Path

SIZE = 96
SLICES = 3

_ELLIPSES = (
    # grey, half axes, centre, degrees: L. Shepp, B. Logan, IEEE Trans. Nucl. Sci. 21 (1974); the
    # contrasts are those of P. Toft, The Radon Transform (1996), which one can see.
    (1.0, 0.69, 0.92, 0.0, 0.0, 0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)


def write(directory: Path) -> None:
    """A series of PGM images, and what is known of it as JSON."""
    for index in range(1, SLICES + 1):
        (directory / f"slice-{index}.pgm").write_bytes(_slice(1 + 0.15 * (index - 1)))
    series = {"patient": "phantom", "modality": "CT", "slices": SLICES, "rows": SIZE, "columns": SIZE}
    (directory / "series.json").write_text(json.dumps(series, indent=2) + "\n")


def _slice(narrower: float) -> bytes:
    """`narrower`: the head as it is cut nearer to its top."""
    steps = [(2 * step + 1 - SIZE) / SIZE * narrower for step in range(SIZE)]
    pixels = bytes(_grey(x, -y) for y in steps for x in steps)
    return f"P5\n{SIZE} {SIZE}\n255\n".encode() + pixels


def _grey(x: float, y: float) -> int:
    total = 0.0
    for grey, a, b, x0, y0, degrees in _ELLIPSES:
        angle = math.radians(degrees)
        along = (x - x0) * math.cos(angle) + (y - y0) * math.sin(angle)
        across = (y - y0) * math.cos(angle) - (x - x0) * math.sin(angle)
        if (along / a) ** 2 + (across / b) ** 2 <= 1:
            total += grey
    return round(255 * min(max(total, 0.0), 1.0))
