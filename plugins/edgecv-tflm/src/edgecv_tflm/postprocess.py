"""The C99 sources of what follows the graph: dequantising and activations, or decoding and suppression.

They are a function of the `Description` alone, so that a host can write them again and see whether a folder has these.
"""

from typing import Any

from edgecv.decoders import Ssd
from edgecv.decoders.anchors import Layer
from edgecv.nms import Nms

from edgecv_tflm.description import Description, Detection, Tensor
from edgecv_tflm.identifiers import c_float
from edgecv_tflm.templates import fill

__all__ = ["candidates_of", "header_text", "source_text"]

_LOGISTIC = """static float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }
"""
_SOFTMAX = """static void softmax(float *values, int32_t count) {
  int32_t at;
  float largest = values[0], sum = 0.0f;
  for (at = 1; at < count; ++at) {
    if (values[at] > largest) largest = values[at];
  }
  for (at = 0; at < count; ++at) {
    values[at] = expf(values[at] - largest);
    sum += values[at];
  }
  for (at = 0; at < count; ++at) values[at] /= sum;
}
"""
_SET_BOX = """static float clipped(float x) { return x < 0.0f ? 0.0f : (x > 1.0f ? 1.0f : x); }

static void set_box(float *box, float x, float y, float half_width, float half_height) {
  box[0] = clipped(x - half_width);
  box[1] = clipped(y - half_height);
  box[2] = clipped(x + half_width);
  box[3] = clipped(y + half_height);
}
"""
_C_TYPES = {"int8": "int8_t", "float32": "float"}


def header_text(description: Description) -> str:
    """Return the text of ``PREFIX_postprocess.h``."""
    prefix = description.prefix
    guard = f"{prefix.upper()}_POSTPROCESS_H_"
    body = _detector_header(description) if description.detection is not None else _readers_header(description)
    return (
        "/* What follows the network, in C99 without memory of its own; written by edgecv-tflm. */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        f"{body}\n"
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
    )


def source_text(description: Description) -> str:
    """Return the text of ``PREFIX_postprocess.c``."""
    detection = description.detection
    body = _readers(description) if detection is None else _detector(description, detection)
    helpers = [(_LOGISTIC, "logistic("), (_SOFTMAX, "softmax("), (_SET_BOX, "set_box(")]
    needed = [text for text, call in helpers if call in body]
    return "\n".join(
        [
            "/* Written by edgecv-tflm; answers change where the compiler may reorder floats (-ffast-math). */",
            f'#include "{description.prefix}_postprocess.h"\n',
            "#include <math.h>\n#include <string.h>\n",
            *needed,
            body,
        ]
    )


def candidates_of(detection: Detection, nms: Nms) -> int:
    """Return how many pairs of box and class suppression looks at."""
    return min(nms.pre_nms_top_k, detection.anchors * (detection.classes if nms.multi_label else 1))


def _readers_header(description: Description) -> str:
    lines = []
    for place, output, head in description.read:
        words = "dequantised" if output.activation == "none" else f"dequantised, then a {output.activation}"
        lines.append(f"/* Turn the graph's output {place} into floats: {words}. */")
        lines.append(f"{_reader(description.prefix, output.symbol, head)};\n")
    return "\n".join(lines)


def _readers(description: Description) -> str:
    functions = []
    for _, output, head in description.read:
        last = head.shape[-1] if head.shape else 1
        after = {
            "none": "",
            "sigmoid": f"  for (at = 0; at < {head.size}; ++at) values[at] = logistic(values[at]);\n",
            "softmax": f"  for (at = 0; at < {head.size}; at += {last}) softmax(values + at, {last});\n",
        }[output.activation]
        functions.append(
            f"{_reader(description.prefix, output.symbol, head)} {{\n"
            f"  int32_t at;\n"
            f"  for (at = 0; at < {head.size}; ++at) values[at] = {_number(head, 'numbers[at]')};\n"
            f"{after}}}\n"
        )
    return "\n".join(functions)


def _reader(prefix: str, symbol: str, head: Tensor) -> str:
    return f"void {prefix}_read_{symbol}(const {_C_TYPES[head.dtype]} *numbers, float *values)"


def _number(head: Tensor, value: str) -> str:
    if head.dtype == "float32":
        return value
    return f"(float)({value} - ({head.zero_point})) * {c_float(head.scale)}"


def _detector_header(description: Description) -> str:
    detection = description.detection
    assert detection is not None
    fields = [f"  const {_C_TYPES[head.dtype]} *output_{place};" for place, head in enumerate(description.heads)]
    text = fill(
        "decode.h",
        description.prefix,
        anchors=detection.anchors,
        classes=detection.classes,
        fields="\n".join(fields),
    )
    nms = detection.nms
    if nms is None:
        return text
    return f"{text}\n" + fill(
        "detection.h",
        description.prefix,
        most=nms.max_detections,
        candidates=candidates_of(detection, nms),
        score_threshold=c_float(nms.score_threshold),
        iou_threshold=c_float(nms.iou_threshold),
    )


def _detector(description: Description, detection: Detection) -> str:
    prefix = description.prefix
    parts = [_numbers(description), _geometry(prefix, detection), fill("decode.c", prefix)]
    if detection.nms is not None:
        parts.append(_suppression(prefix, detection.nms))
    return "\n".join(parts)


def _numbers(description: Description) -> str:
    """Return the function that reads one of the graph's numbers as a float."""
    cases = []
    for place, head in enumerate(description.heads):
        label = "default" if place == len(description.heads) - 1 else f"case {place}"
        cases.append(f"    {label}: return {_number(head, f'heads->output_{place}[at]')};\n")
    return (
        f"static float number(const {description.prefix}_heads *heads, int32_t output, int32_t at) {{\n"
        f"  switch (output) {{\n{''.join(cases)}  }}\n}}\n"
    )


def _geometry(prefix: str, detection: Detection) -> str:
    if detection.form == "decoded":
        return fill("decoded.c", prefix)
    return _ssd(prefix, detection) if detection.form == "ssd" else _yolo(prefix, detection)


def _ssd(prefix: str, detection: Detection) -> str:
    decoder: Any = detection.decoder
    swapped = decoder.order == "yxhw"
    # The encoding's own order; in it, where x, y, width and height stand.
    places = (1, 0, 3, 2) if swapped else (0, 1, 2, 3)
    variances = [decoder.variances[place] for place in places]
    layers = _ssd_layers(decoder, detection.input_size, variances)
    rows, starts, begin = [], [], 0
    for grid, shapes in layers:
        starts.append(f"  {{{grid[0]}, {grid[1]}, {len(shapes)}, shapes + {begin}}},")
        rows += [f"  {{{', '.join(map(c_float, shape))}}}," for shape in shapes]
        begin += len(shapes)
    names = ("x", "y", "width", "height")
    return fill(
        "ssd.c",
        prefix,
        shapes="\n".join(rows),
        layers="\n".join(starts),
        variance_width=c_float(variances[2]),
        variance_height=c_float(variances[3]),
        scores=_ssd_scores(prefix, decoder),
        **{f"at_{name}": place for name, place in zip(names, places, strict=True)},
    )


def _ssd_layers(
    decoder: Ssd, input_size: tuple[int, int], variances: list[float]
) -> list[tuple[tuple[int, int], list[tuple[float, ...]]]]:
    """Return grid and anchors of each layer; anchors that are listed are those of one cell as large as the picture."""

    def shape(x: float, y: float, width: float, height: float) -> tuple[float, ...]:
        return x, y, width * variances[0], height * variances[1], width / 2, height / 2

    if decoder.anchors:
        return [((1, 1), [shape(*anchor) for anchor in decoder.anchors])]
    found = []
    for layer in decoder.layers(input_size):
        sizes = _cell_sizes(layer, input_size)
        found.append((layer.grid, [shape(0.5, 0.5, float(width), float(height)) for width, height in sizes]))
    return found


def _cell_sizes(layer: Layer, input_size: tuple[int, int]) -> Any:
    """Return width and height of a cell's anchors, of a layer with one cell: those of all its cells are the same."""
    from edgecv.decoders.anchors import grid_anchors

    return grid_anchors([Layer((1, 1), layer.shapes)], input_size)[:, 2:]


def _ssd_scores(prefix: str, decoder: Ssd) -> str:
    classes = f"{prefix.upper()}_CLASSES"
    first = int(decoder.background)
    if decoder.activation == "softmax":
        count = f"{classes} + {first}" if first else classes
        return (
            f"  float all[{count}];\n  int32_t kind;\n"
            f"  for (kind = 0; kind < {count}; ++kind) {{\n"
            f"    all[kind] = number(heads, 1, ({count}) * anchor + kind);\n  }}\n"
            f"  softmax(all, {count});\n"
            f"  for (kind = 0; kind < {classes}; ++kind) scores[kind] = all[kind + {first}];"
        )
    value = f"number(heads, 1, ({classes} + {first}) * anchor + kind + {first})"
    value = f"logistic({value})" if decoder.activation == "sigmoid" else value
    return f"  int32_t kind;\n  for (kind = 0; kind < {classes}; ++kind) {{\n    scores[kind] = {value};\n  }}"


def _yolo(prefix: str, detection: Detection) -> str:
    decoder: Any = detection.decoder
    classes = f"{prefix.upper()}_CLASSES"
    joint = detection.form == "yolo_grid"
    scales = [decoder.anchors] if joint else decoder.anchors
    halves, layers, begin = [], [], 0
    for (rows, columns), anchors in zip(detection.grids, scales, strict=True):
        layers.append(f"  {{{rows}, {columns}, {len(anchors)}, halves + {begin}}},")
        for width, height in anchors:
            whole = (columns, rows) if joint else (detection.input_size[1], detection.input_size[0])
            halves.append(f"  {{{c_float(width / whole[0] / 2)}, {c_float(height / whole[1] / 2)}}},")
        begin += len(anchors)
    if joint:
        at = f"cell * (5 * layer->count + {classes}) + 5 * place"
        first = f"cell * (5 * layer->count + {classes}) + 5 * layer->count"
    else:
        at = f"(cell * layer->count + place) * (5 + {classes})"
        first = "at + 5"
    return fill(
        "yolo.c",
        prefix,
        halves="\n".join(halves),
        layers="\n".join(layers),
        at=at,
        first=first,
        scores=_yolo_scores(classes, "sigmoid" if not joint else decoder.activation, detection.classes),
    )


def _yolo_scores(classes: str, activation: str, count: int) -> str:
    loop = f"  for (kind = 0; kind < {classes}; ++kind)"
    number = "number(heads, grid, first + kind)"
    if activation == "softmax" and count == 1:  # is 1
        return f"  (void)first;\n{loop} scores[kind] = objectness;"
    if activation == "softmax":
        return f"{loop} scores[kind] = {number};\n  softmax(scores, {classes});\n{loop} scores[kind] *= objectness;"
    return f"{loop} scores[kind] = objectness * {f'logistic({number})' if activation == 'sigmoid' else number};"


def _suppression(prefix: str, nms: Nms) -> str:
    upper = prefix.upper()
    classes = f"{upper}_CLASSES"
    if nms.multi_label:
        offer = (
            f"  for (kind = 0; kind < {classes}; ++kind) {{\n"
            "    if (!is_usable(scores[kind])) continue;\n"
            f"    count = offer(work, count, scores[kind], anchor * {classes} + kind);\n"
            "  }"
        )
    else:
        offer = (
            f"  for (kind = 0, found = -1; kind < {classes}; ++kind) {{ /* the best class alone */\n"
            "    if (is_usable(scores[kind]) && (found < 0 || scores[kind] > scores[found])) found = kind;\n"
            f"  }}\n  count = offer(work, count, scores[found], anchor * {classes} + found);"
        )
    if nms.soft_sigma is None:
        suppress = f"      if (common > {upper}_IOU_THRESHOLD) scores[each] = 0.0f;"
    else:
        suppress = f"      scores[each] *= expf(-(common * common) / {c_float(nms.soft_sigma)});"
    rivals = (
        ""
        if nms.class_agnostic
        else (f"      if (workspace->pairs[each] % {upper}_CLASSES != found[chosen].class_id) continue;\n")
    )
    return fill("detection.c", prefix, offer=offer, suppress=suppress, rivals=rivals)
