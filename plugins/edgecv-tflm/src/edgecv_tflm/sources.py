"""The C and C++ sources of an artifact: the model as an array with its header, and a main that runs it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgecv.runtimes.container import MOST_BYTES, readable, unreadable

from edgecv_tflm.description import Description, Tensor
from edgecv_tflm.identifiers import c_float, c_string
from edgecv_tflm.operators import METHODS
from edgecv_tflm.postprocess import header_text, source_text
from edgecv_tflm.templates import fill

__all__ = ["FORM", "find_prefix", "read_arena", "read_model", "texts"]

FORM = "sources for TensorFlow Lite Micro"
_BYTES_A_LINE = 16
_MODEL = "_model.cc"
_ARRAY = re.compile(r"\[\w+_MODEL_BYTES\] = \{\n((?: +(?:0x[0-9a-f]{2}, ?)+\n)+)\};")
_ARENA = re.compile(r"^#define \w+_ARENA_BYTES (\d{1,10})$", re.MULTILINE)
# A text takes some six times the bytes that it says.
_MOST_TEXT = 8 * MOST_BYTES


def texts(
    description: Description, model: bytes, *, arena: int, operators: Iterable[str], labels: Sequence[str]
) -> dict[str, str]:
    """Return the sources by their file's name."""
    prefix = description.prefix
    found = {
        f"{prefix}_model.h": _header(description, len(model), arena, labels),
        f"{prefix}{_MODEL}": _array(prefix, model, labels),
        "main.cc": _main(description, sorted(operators), labels=bool(labels)),
    }
    if description.postprocesses:
        found[f"{prefix}_postprocess.h"] = header_text(description)
        found[f"{prefix}_postprocess.c"] = source_text(description)
    return found


def find_prefix(folder: Path) -> str | None:
    """Return what the names of the sources in a folder begin with; None where it has none, or several models."""
    models = sorted(folder.glob(f"*{_MODEL}")) if folder.is_dir() else []
    return models[0].name.removesuffix(_MODEL) if len(models) == 1 else None


def read_model(folder: Path, prefix: str) -> bytes:
    """Return the model that the C array of an artifact holds.

    Raises:
        ArtifactError: There is no such array.
    """
    found = _ARRAY.search(_text(folder, f"{prefix}{_MODEL}"))
    if found is None:
        raise unreadable(folder, FORM, f"{prefix}{_MODEL} holds no array of bytes")
    return bytes.fromhex(re.sub(r"0x|, ?|\n| ", "", found[1]))


def read_arena(folder: Path, prefix: str) -> int:
    """Return the bytes of the arena that the header of an artifact states.

    Raises:
        ArtifactError: It states none.
    """
    found = _ARENA.search(_text(folder, f"{prefix}_model.h"))
    if found is None:
        raise unreadable(folder, FORM, f"{prefix}_model.h states no arena")
    return int(found[1])


def _text(folder: Path, name: str) -> str:
    with readable(folder / name) as file:
        content = file.read(_MOST_TEXT + 1)
    if len(content) > _MOST_TEXT:
        raise unreadable(folder, FORM, f"{name} is too large")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise unreadable(folder, FORM, f"{name} is no text") from error


def _header(description: Description, size: int, arena: int, labels: Sequence[str]) -> str:
    upper = description.prefix.upper()
    outputs = []
    for place, head in enumerate(description.heads):
        outputs.append(f"/* Output {place}: {_said(description, place)}. */")
        outputs.append(_tensor_macros(f"{upper}_OUTPUT_{place}", head))
    count = f"#define {upper}_LABELS {len(labels)}\n"
    names = f"extern const char *const {description.prefix}_labels[{upper}_LABELS];\n"
    return fill(
        "model.h",
        description.prefix,
        model_bytes=size,
        arena_bytes=arena,
        input="/* The input: a picture, its rows from the top, its channels beside each other. */\n"
        + _tensor_macros(f"{upper}_INPUT", description.input),
        outputs=f"#define {upper}_OUTPUTS {len(description.heads)}\n" + "\n".join(outputs),
        labels=f"/* Names of the classes, in UTF-8. */\n{count}{names}" if labels else "",
    )


def _said(description: Description, place: int) -> str:
    """Return what an output is, in words that hold no name of others."""
    prefix, detection = description.prefix, description.detection
    if detection is not None:
        return f"read by {prefix}_{'decode' if detection.nms is None else 'detect'}()"
    read = {at: output.symbol for at, output, _ in description.read}
    return f"read by {prefix}_read_{read[place]}()" if place in read else description.outputs[place].symbol


def _tensor_macros(name: str, tensor: Tensor) -> str:
    """Return the macros of a tensor: a value of a quantised one is scale * (number - zero point)."""
    sides = ", ".join(map(str, tensor.shape))
    lines = [
        f"#define {name}_TYPE_{tensor.dtype.upper()}",
        f"#define {name}_SHAPE {{{sides}}}",
        f"#define {name}_SIZE {tensor.size}",
    ]
    if len(tensor.shape) == 4:
        sides_named = zip(("HEIGHT", "WIDTH", "CHANNELS"), tensor.shape[1:], strict=True)
        lines += [f"#define {name}_{side} {count}" for side, count in sides_named]
    if tensor.scale:
        lines.append(f"#define {name}_SCALE {c_float(tensor.scale)}")
        lines.append(f"#define {name}_ZERO_POINT ({tensor.zero_point})")
    return "\n".join(lines) + "\n"


def _array(prefix: str, model: bytes, labels: Sequence[str]) -> str:
    rows = [
        "  " + "".join(f"0x{byte:02x}, " for byte in model[begin : begin + _BYTES_A_LINE]).rstrip(" ")
        for begin in range(0, len(model), _BYTES_A_LINE)
    ]
    names = "".join(f"  {c_string(label)},\n" for label in labels)
    declared = f"\nextern const char *const {prefix}_labels[{prefix.upper()}_LABELS] = {{\n{names}}};\n"
    return fill("model.cc", prefix, bytes="\n".join(rows), labels=declared if labels else "")


def _main(description: Description, operators: Sequence[str], *, labels: bool) -> str:
    added = [f"  if (resolver.{METHODS[name]}() != kTfLiteOk) return kTfLiteError;" for name in operators]
    return fill(
        "main.cc",
        description.prefix,
        includes=f'#include "{description.prefix}_postprocess.h"\n' if description.postprocesses else "",
        memory=_memory(description),
        count=len(operators),
        operators="\n".join(added),
        input=_input(description),
        answers=_answers(description, labels=labels),
    )


def _memory(description: Description) -> str:
    prefix, upper = description.prefix, description.prefix.upper()
    detection = description.detection
    if detection is None:
        return "".join(f"float values_{place}[{upper}_OUTPUT_{place}_SIZE];\n" for place, _, _ in description.read)
    if detection.nms is None:
        return f"float boxes[{upper}_ANCHORS * 4];\nfloat scores[{upper}_ANCHORS * {upper}_CLASSES];\n"
    return f"{prefix}_workspace workspace;\n{prefix}_detection found[{upper}_MAX_DETECTIONS];\n"


def _input(description: Description) -> str:
    upper = description.prefix.upper()
    if description.input.dtype == "uint8":
        return (
            "/* The camera's pixels go here, as they are; grey stands in for them. */\n"
            f"  memset(interpreter.input(0)->data.uint8, 128, {upper}_INPUT_SIZE);"
        )
    return (
        "/* The picture goes here, scaled as the network was trained. */\n"
        f"  memset(interpreter.input(0)->data.f, 0, {upper}_INPUT_SIZE * sizeof(float));"
    )


_FIELDS = {"int8": "int8", "float32": "f", "int32": "i32", "int64": "i64", "bool": "b", "uint8": "uint8"}


def _answers(description: Description, *, labels: bool) -> str:
    if description.detection is not None:
        return _found(description, labels=labels)
    read = {place for place, _, _ in description.read}
    lines = []
    for place, (output, head) in enumerate(zip(description.outputs, description.heads, strict=True)):
        data = f"interpreter.output({place})->data.{_FIELDS[head.dtype]}"
        if place in read:
            lines.append(f"  {description.prefix}_read_{output.symbol}({data}, values_{place});")
        else:
            lines.append(f"  const auto* values_{place} = {data};")
        lines.append(_best(description, place, output.symbol, labels=labels and output.name == "probabilities"))
    return "\n".join(lines)


def _best(description: Description, place: int, symbol: str, *, labels: bool) -> str:
    size = f"{description.prefix.upper()}_OUTPUT_{place}_SIZE"
    name = f"{description.prefix}_labels[best]" if labels else f'"{symbol}"'
    words = "%s: %d thousandths" if labels else "%s: the largest number is at %d"
    values = f"values_{place}"
    value = f"static_cast<int>(1000.0f * {values}[best])" if labels else "best"
    return (
        "  {\n    int best = 0;\n"
        f"    for (int at = 1; at < {size}; ++at) {{\n      if ({values}[at] > {values}[best]) best = at;\n    }}\n"
        f'    MicroPrintf("{words}", {name}, {value});\n  }}'
    )


def _found(description: Description, *, labels: bool) -> str:
    prefix, upper = description.prefix, description.prefix.upper()
    fields = ", ".join(
        f"interpreter.output({place})->data.{_FIELDS[head.dtype]}" for place, head in enumerate(description.heads)
    )
    heads = f"  const {prefix}_heads heads = {{{fields}}};\n"
    detection = description.detection
    if detection is None or detection.nms is None:
        return (
            heads
            + f"  {prefix}_decode(&heads, boxes, scores);\n"
            + (f'  MicroPrintf("%d anchors are decoded.", {upper}_ANCHORS);')
        )
    name = f"{prefix}_labels[found[at].class_id]" if labels else "static_cast<int>(found[at].class_id)"
    return heads + (
        f"  const int count = static_cast<int>({prefix}_detect(&heads, &workspace, found));\n"
        "  for (int at = 0; at < count; ++at) {\n"
        "    const float* box = found[at].box;\n"
        f'    MicroPrintf("{"%s" if labels else "class %d"}: %d thousandths, at %d %d %d %d pixels", {name},\n'
        "                static_cast<int>(1000.0f * found[at].score),\n"
        f"                static_cast<int>(box[0] * {upper}_INPUT_WIDTH),\n"
        f"                static_cast<int>(box[1] * {upper}_INPUT_HEIGHT),\n"
        f"                static_cast<int>(box[2] * {upper}_INPUT_WIDTH),\n"
        f"                static_cast<int>(box[3] * {upper}_INPUT_HEIGHT));\n"
        "  }\n"
        '  MicroPrintf("%d found.", count);'
    )
