"""The one node of a swarm, of which several tests change labels at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docker.errors import APIError

from tests.live import until


def relabel(native: Any, labels: Mapping[str, str | None]) -> None:
    """Sets labels of the node and takes away those that are None; its other labels are other tests'."""

    def update() -> bool:
        (node,) = native.nodes.list()
        spec = node.attrs["Spec"]
        wanted = {**spec.get("Labels", {}), **labels}
        try:
            node.update({**spec, "Labels": {name: text for name, text in wanted.items() if text is not None}})
        except APIError as error:
            if "out of sequence" in str(error):  # somebody else was quicker
                return False
            raise
        return True

    until(update)
