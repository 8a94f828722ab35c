"""Write OpenVINO IR in the same bytes in every process."""

import json
import re
from pathlib import Path
from typing import Any

from edgecv_openvino.convert import Turned
from edgecv_openvino.runtime import TURNED, engine

__all__ = ["name_operators", "write"]

# The engine's own names, also those of what was folded into a constant.
_OWN_NAME = re.compile(r"[A-Z][A-Za-z]*_\d+")


def write(model: Any, path: Path, *, name: str, turned: Turned) -> None:
    """Write ``NAME.xml`` and ``NAME.bin`` into a new folder; ``turned`` is for those who expose tensors."""
    name_operators(model)
    if turned:
        model.set_rt_info(json.dumps(turned, sort_keys=True), list(TURNED))
    path.mkdir()
    engine().save_model(model, path / f"{name}.xml", compress_to_fp16=False)


def name_operators(model: Any) -> None:
    """Name what has no name after what reads it: the engine's own names count up through the process."""
    operators = model.get_ordered_ops()
    places = {each.get_name(): place for place, each in enumerate(operators)}
    taken = {each.get_friendly_name() for each in operators if not _is_unnamed(each)}
    for operator in reversed(operators):  # each after what reads it
        if not _is_unnamed(operator):
            continue
        readers = [target.get_node() for port in operator.outputs() for target in port.get_target_inputs()]
        first = min(readers, key=lambda node: places.get(node.get_name(), 0), default=None)
        owner = first.get_friendly_name() if first is not None else "graph"
        name = base = f"{owner}/{operator.get_type_name()}"
        count = 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        operator.set_friendly_name(name)


def _is_unnamed(operator: Any) -> bool:
    borders = ("Parameter", "Result")
    return operator.get_type_name() not in borders and _OWN_NAME.fullmatch(operator.get_friendly_name()) is not None
