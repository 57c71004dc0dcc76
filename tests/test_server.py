"""What `pman serve` refuses before it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import refused_start


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_the_local_engine_never_listens_beyond_loopback(host: str, tmp_path: Path) -> None:
    environment = {
        "CONTAINER_ENV": "local",
        "STOREBASE": str(tmp_path),
        "LOCAL_STATE": str(tmp_path / "state"),
    }

    assert f"--host='{host}'" in refused_start(environment, "--host", host)
