from __future__ import annotations

from pathlib import Path

import pytest

from pman.executors.shared.pathmap import seen


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/scratch/base/key-1/log", "/mnt/base/key-1/log"),
        ("/scratch/base", "/mnt/base"),
        ("/scratch/other/log", "/mnt/scratch/other/log"),
        ("/scratch/base-2/log", "/mnt/scratch/base-2/log"),
        ("/elsewhere/log", "/elsewhere/log"),
    ],
)
def test_a_path_of_the_cluster_is_found_by_the_longest_prefix_of_whole_names(
    path: str, expected: str
) -> None:
    assert seen(path, {"/scratch": "/mnt/scratch", "/scratch/base": "/mnt/base"}) == Path(expected)
