"""Files of ONNX with one operator each, for all operators, opsets and types: what the table of releases is held to."""

from collections.abc import Iterator
from typing import Any

# Of the type constraint of an operator's first input.
TYPES = {
    "tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(uint16)": "uint16",
    "tensor(int16)": "int16", "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool",
    "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64",
}  # fmt: skip
_ELEMENTS = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13,
}  # fmt: skip
_RATHER = ("tensor(float)", "tensor(int64)", "tensor(int32)", "tensor(uint8)", "tensor(bool)")
_WINDOWS = ("Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "LpPool")
_BODIES = ("If", "Loop", "Scan", "SequenceMap", "Constant")


def operators() -> Iterator[tuple[str, int, str, bytes]]:
    """Yield name, opset since when it is so, type, and a file with that operator alone; shapes are left open."""
    from onnx import defs

    for schema in defs.get_all_schemas_with_history():
        attributes = _attributes(schema)
        if schema.domain or schema.deprecated or schema.name in _BODIES or not schema.inputs or attributes is None:
            continue
        constraints = {each.type_param_str: each.allowed_type_strs for each in schema.type_constraints}
        first = schema.inputs[0].type_str
        for kind in constraints.get(first, [first]):
            content = _file(schema, attributes, constraints, {first: kind}) if kind in TYPES else None
            if content is not None:
                yield schema.name, schema.since_version, TYPES[kind], content


def _attributes(schema: Any) -> dict[str, Any] | None:
    kinds = type(schema).AttrType
    defaults = {kinds.INT: 1, kinds.FLOAT: 1.0, kinds.STRING: "x", kinds.INTS: [1, 1], kinds.FLOATS: [1.0]}
    found = {name: defaults.get(each.type) for name, each in schema.attributes.items() if each.required}
    if schema.name in _WINDOWS:
        found["kernel_shape"] = [1, 1]
    if schema.name in ("MaxPool", "AveragePool"):
        found["kernel_shape"] = [2, 2]
    return None if None in found.values() else found


def _file(
    schema: Any, attributes: dict[str, Any], constraints: dict[str, list[str]], chosen: dict[str, str]
) -> bytes | None:
    from onnx import ValueInfoProto, helper

    values = []
    for place, each in enumerate(schema.inputs):
        if "Optional" in str(each.option):
            break
        allowed = constraints.get(each.type_str, [each.type_str])
        kind = chosen.setdefault(each.type_str, next((rather for rather in _RATHER if rather in allowed), allowed[0]))
        if kind not in TYPES:
            return None
        values.append(helper.make_tensor_value_info(f"i{place}", _ELEMENTS[TYPES[kind]], None))
    outputs = [ValueInfoProto(name=f"o{place}") for place in range(max(1, schema.min_output))]
    names = [value.name for value in values], [value.name for value in outputs]
    graph = helper.make_graph([helper.make_node(schema.name, *names, **attributes)], "one", values, outputs)
    opset = helper.make_opsetid("", max(schema.since_version, 7))
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=7).SerializeToString())
