"""Where in the text of a document of YAML or JSON a value stands."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


def composed(text: str) -> yaml.Node | None:
    """The first document of a text that is known to be readable; JSON is YAML here."""
    return yaml.compose(text, Loader=yaml.CSafeLoader)


def place(root: yaml.Node | None, path: Sequence[str | int]) -> yaml.Mark | None:
    """The begin of the value at a path, or of its key; of what is around it, where it is not there."""
    node, mark = root, root.start_mark if root else None
    for step in path:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(step)), None)
            if pair is None:
                break
            mark, node = pair[0].start_mark, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            mark = node.start_mark
        else:
            break
    return mark
