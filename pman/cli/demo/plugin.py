"""A small ChRIS plugin for machines without containers: masks the bright tissue of PGM images.

    plugin.py [--threshold N] [--sleepLength S] INPUTDIR OUTPUTDIR

Writes a mask beside each image's name, and summary.json with a histogram of each. Needs nothing but
Python, since it is run as a file, by whatever Python the job's machine has.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

BINS = 8


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Mask the bright tissue of PGM images.")
    parser.add_argument("--threshold", type=int, default=128, help="the least grey of the mask, 0 to 255")
    parser.add_argument(
        "--sleepLength", type=float, default=0, help="seconds to take longer, so that one can watch"
    )
    parser.add_argument("inputdir", type=Path)
    parser.add_argument("outputdir", type=Path)
    options = parser.parse_args(argv)

    images = sorted(options.inputdir.glob("*.pgm"))
    print(f"{len(images)} images in {options.inputdir}, threshold {options.threshold}", flush=True)
    time.sleep(options.sleepLength)
    summary = {}
    for image in images:
        columns, rows, pixels = read_pgm(image.read_bytes())
        mask = bytes(255 if grey >= options.threshold else 0 for grey in pixels)
        (options.outputdir / f"mask-{image.name}").write_bytes(b"P5\n%d %d\n255\n" % (columns, rows) + mask)
        share = mask.count(255) / len(mask)
        summary[image.name] = {"masked": round(share, 4), "histogram": histogram(pixels)}
        print(f"{image.name}: {columns} x {rows}, {share:.1%} masked", flush=True)
    (options.outputdir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    if not images:
        parser.exit(1, f"no *.pgm in {options.inputdir}\n")


def read_pgm(data: bytes) -> tuple[int, int, bytes]:
    """Columns, rows and greys of a binary PGM of 8 bits without comments."""
    magic, *sizes, greatest = data.split(maxsplit=4)[:4]
    if magic != b"P5" or greatest != b"255":
        raise ValueError("not a binary PGM of 8 bits")
    columns, rows = map(int, sizes)
    return columns, rows, data[len(data) - columns * rows :]


def histogram(pixels: bytes) -> list[int]:
    counts = Counter(grey * BINS // 256 for grey in pixels)
    return [counts[index] for index in range(BINS)]


if __name__ == "__main__":
    main()
