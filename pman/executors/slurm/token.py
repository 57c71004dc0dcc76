"""The token for slurmrestd: given once, or in a file that somebody renews."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pman.errors import EngineUnreachable


def token(settings: Mapping[str, Any]) -> str:
    """'' where none is set. Raises EngineUnreachable for a file that cannot be read."""
    if not (file := settings["SLURM_JWT_FILE"]):
        return str(settings["SLURM_JWT"] or "")
    try:
        text = Path(file).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise EngineUnreachable(
            f"there is no token for slurmrestd: {error}", "SLURM_JWT_FILE names its file"
        ) from error
    return text.removeprefix("SLURM_JWT=")  # as `scontrol token` prints it


def expired(text: str) -> str:
    """When it did; '' where it has not, or does not tell."""
    try:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        end = float(claims["exp"])
        return datetime.fromtimestamp(end, UTC).isoformat() if end < time.time() else ""
    except (ValueError, LookupError, TypeError, OverflowError):
        return ""
