"""A decoder's JSON form: it survives the round trip, every refusal is one line, and the published schema agrees."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.decoders import (
    DECODERS,
    AnchorFree,
    Decoder,
    SlidingWindow,
    Ssd,
    YoloGrid,
    YoloV3,
    decoder_from_json,
    decoder_to_json,
    read_decoder,
)
from edgecv.errors import OptionError

SCHEMA = json.loads(files("edgecv").joinpath("data/decoder.schema.json").read_text(encoding="utf-8"))

DECODER_EXAMPLES: list[Decoder] = [
    SlidingWindow(stride=(32, 16), window=(224, 192)),
    SlidingWindow(
        stride=(32, 32),
        window=(224, 224),
        offset=(-3, 5),
        box="relative",
        sqrt_sizes=True,
        scales=(1, 0.75, 0.5),
        outputs=("class", "object", "box"),
    ),
    Ssd(strides=(16, 32), reduce_lowest_layer=True, outputs=("box_encodings", "class_predictions")),
    Ssd(feature_maps=((19, 19), (10, 10)), scales=(0.2, 0.5, 0.9), aspect_ratios=((1, 2), (1, 2, 0.5))),
    Ssd(anchors=((0.5, 0.5, 0.2, 0.4),), order="xywh", activation="softmax", background=False, variances=(1, 1, 1, 1)),
    YoloGrid(anchors=((1.3221, 1.73145), (3.19275, 4.00944)), activation="sigmoid"),
    YoloV3(anchors=(((116, 90), (156, 198)), ((30, 61), (62, 45)))),
    AnchorFree(),
    AnchorFree(strides=(8,), bins=1, activation="none"),
]
EXAMPLES = [decoder_to_json(decoder) for decoder in DECODER_EXAMPLES]

SSD = {"decoder": "ssd", "strides": [16, 32]}
WINDOW = {"decoder": "sliding_window", "stride": [32, 32], "window": [224, 224]}
GRID = {"decoder": "yolo_grid", "anchors": [[1, 2]]}
V3 = {"decoder": "yolo_v3", "anchors": [[[10, 13]]]}
FREE = {"decoder": "anchor_free"}

REFUSED: list[tuple[Any, str]] = [
    ([], "decoder must be a JSON object, got list."),
    ({}, "decoder key 'decoder' is missing. It names the decoder, such as 'ssd'."),
    (
        {"decoder": "sdd"},
        "decoder key 'decoder' must be one of sliding_window, ssd, yolo_grid, yolo_v3, anchor_free, got 'sdd'. "
        "It names the decoder, such as 'ssd'.",
    ),
    (
        {"decoder": ["ssd"]},
        "decoder key 'decoder' must be one of sliding_window, ssd, yolo_grid, yolo_v3, anchor_free, got ['ssd']. "
        "It names the decoder, such as 'ssd'.",
    ),
    (
        FREE | {"reg_max": 16},
        "decoder 'anchor_free' has the unknown key 'reg_max'. Known: activation, bins, decoder, outputs, strides.",
    ),
    ({"decoder": "sliding_window", "stride": [32, 32]}, "decoder 'sliding_window' needs the key 'window'."),
    ({"decoder": "yolo_grid"}, "decoder 'yolo_grid' needs the key 'anchors'."),
    ({"decoder": "yolo_v3"}, "decoder 'yolo_v3' needs the key 'anchors'."),
    (
        WINDOW | {"stride": 32},
        "decoder 'sliding_window': stride must be a list of 2 whole numbers of at least 1, got 32.",
    ),
    (
        WINDOW | {"stride": [32, 0]},
        "decoder 'sliding_window': stride must be a list of 2 whole numbers of at least 1, got [32, 0].",
    ),
    (
        WINDOW | {"window": [224, 224, 3]},
        "decoder 'sliding_window': window must be a list of 2 whole numbers of at least 1, got [224, 224, 3].",
    ),
    (
        WINDOW | {"offset": [0.5, 0]},
        "decoder 'sliding_window': offset must be a list of 2 whole numbers, got [0.5, 0].",
    ),
    (WINDOW | {"box": "cell"}, "decoder 'sliding_window': box must be one of window, relative, got 'cell'."),
    (WINDOW | {"box": None}, "decoder 'sliding_window': box must be one of window, relative, got None."),
    (WINDOW | {"sqrt_sizes": 1}, "decoder 'sliding_window': sqrt_sizes must be true or false, got 1."),
    (
        WINDOW | {"scales": []},
        "decoder 'sliding_window': scales must be a list of one or more numbers above 0 and at most 16, got [].",
    ),
    (
        WINDOW | {"scales": [1, 0]},
        "decoder 'sliding_window': scales must be a list of one or more numbers above 0 and at most 16, got [1, 0].",
    ),
    (WINDOW | {"outputs": "boxes"}, "decoder 'sliding_window': outputs must be a list of texts, got 'boxes'."),
    (WINDOW | {"outputs": ["a", ""]}, "decoder 'sliding_window': outputs must be a list of texts, got ['a', '']."),
    (
        {"decoder": "ssd"},
        "decoder 'ssd' takes its anchors from one of the keys strides, feature_maps, anchors, got none of them. "
        "Give --decoder a FILE.json with one.",
    ),
    (
        SSD | {"feature_maps": [[19, 19], [10, 10]]},
        "decoder 'ssd' takes its anchors from one of the keys strides, feature_maps, anchors, got strides and "
        "feature_maps. Give --decoder a FILE.json with one.",
    ),
    (
        SSD | {"strides": [16, True]},
        "decoder 'ssd': strides must be a list of whole numbers of at least 1, got [16, True].",
    ),
    (
        SSD | {"variances": [0.1, 0.2]},
        "decoder 'ssd': variances must be a list of 4 numbers above 0, got [0.1, 0.2].",
    ),
    (
        SSD | {"variances": [0.1, 0.1, 0.2, 0]},
        "decoder 'ssd': variances must be a list of 4 numbers above 0, got [0.1, 0.1, 0.2, 0].",
    ),
    (SSD | {"order": "xyhw"}, "decoder 'ssd': order must be one of yxhw, xywh, got 'xyhw'."),
    (SSD | {"activation": "relu"}, "decoder 'ssd': activation must be one of none, sigmoid, softmax, got 'relu'."),
    (SSD | {"background": "yes"}, "decoder 'ssd': background must be true or false, got 'yes'."),
    (SSD | {"min_scale": "0.2"}, "decoder 'ssd': min_scale must be a number above 0 and at most 16, got '0.2'."),
    (
        SSD | {"aspect_ratios": [1, -2]},
        "decoder 'ssd': aspect_ratios must be a list of one or more numbers above 0 and at most 1000, got [1, -2].",
    ),
    (
        SSD | {"aspect_ratios": [[1], []]},
        "decoder 'ssd': aspect_ratios must be a list of one or more lists of one or more numbers above 0 and at most "
        "1000, got [[1], []].",
    ),
    (
        SSD | {"interpolated_aspect_ratio": -1},
        "decoder 'ssd': interpolated_aspect_ratio must be a number at least 0 and at most 1000, got -1.",
    ),
    (
        GRID | {"anchors": []},
        "decoder 'yolo_grid': anchors must be a list of one or more lists of 2 numbers above 0, got [].",
    ),
    (
        GRID | {"anchors": [[1, 0]]},
        "decoder 'yolo_grid': anchors must be a list of one or more lists of 2 numbers above 0, got [[1, 0]].",
    ),
    (
        V3 | {"anchors": [[10, 13]]},
        "decoder 'yolo_v3': anchors must be a list of one or more lists of one or more lists of 2 numbers above 0, "
        "got [[10, 13]].",
    ),
    (FREE | {"bins": 0}, "decoder 'anchor_free': bins must be a whole number of at least 1, got 0."),
    (
        FREE | {"bins": 10**400},
        f"decoder 'anchor_free': bins must be a whole number of at least 1, got 1{'0' * 76}....",
    ),
    (
        FREE | {"strides": {}},
        "decoder 'anchor_free': strides must be a list of one or more whole numbers of at least 1, got {}.",
    ),
]

# What only the decoder says: sums and comparisons of several keys, and not-a-number, which is not JSON.
REFUSED_BEYOND_SCHEMA: list[tuple[Any, str]] = [
    (
        WINDOW | {"scales": [float("nan")]},
        "decoder 'sliding_window': scales must be a list of one or more numbers above 0 and at most 16, got [nan].",
    ),
    (
        SSD | {"scales": [0.2]},
        "decoder 'ssd': 1 scales do not fit 2 layers. Give one a layer, or one more.",
    ),
    (
        SSD | {"aspect_ratios": [[1], [1], [1]]},
        "decoder 'ssd': 3 lists of aspect ratios do not fit 2 layers. Give one list a layer, or one of numbers for "
        "all.",
    ),
    (
        SSD | {"min_scale": 0.9, "max_scale": 0.2},
        "decoder 'ssd': min_scale must not be above max_scale, got 0.9 and 0.2.",
    ),
    (
        {"decoder": "ssd", "anchors": [[0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 0.1, 0]]},
        "decoder 'ssd': anchor 1 has no area, [0.5, 0.5, 0.1, 0].",
    ),
]


@pytest.mark.parametrize("decoder", DECODER_EXAMPLES, ids=lambda decoder: decoder.name)
def test_every_decoder_survives_json(decoder: Decoder) -> None:
    again = decoder_from_json(json.loads(json.dumps(decoder_to_json(decoder))))
    assert again == decoder
    assert type(again) is type(decoder)


def test_the_json_form_has_every_key_and_lists_for_tuples() -> None:
    assert decoder_to_json(SlidingWindow(stride=(32, 32), window=(224, 192), scales=(1.0, 0.5))) == {
        "decoder": "sliding_window",
        "stride": [32, 32],
        "window": [224, 192],
        "offset": [0, 0],
        "box": "window",
        "sqrt_sizes": False,
        "scales": [1.0, 0.5],
        "outputs": [],
    }


def test_missing_keys_take_their_defaults() -> None:
    assert decoder_from_json({"decoder": "anchor_free", "bins": 1}) == AnchorFree(strides=(8, 16, 32), bins=1)


def test_a_file_may_name_its_schema() -> None:
    document = {"$schema": "decoder.schema.json", "decoder": "anchor_free"}
    assert decoder_from_json(document) == AnchorFree()
    assert accepts(SCHEMA, document)


def test_lists_and_numpy_values_become_tuples_of_numbers() -> None:
    size: Any = [np.int64(224), 224]
    anchors: Any = np.array([[1, 2], [3, 4]], "float64")
    assert decoder_to_json(SlidingWindow(stride=size, window=size))["window"] == [224, 224]
    assert hash(SlidingWindow(stride=size, window=size)) == hash(SlidingWindow(stride=(224, 224), window=(224, 224)))
    assert json.dumps(decoder_to_json(YoloGrid(anchors=anchors))["anchors"]) == "[[1.0, 2.0], [3.0, 4.0]]"


@pytest.mark.parametrize(("document", "message"), REFUSED + REFUSED_BEYOND_SCHEMA, ids=lambda value: str(value)[:60])
def test_a_document_that_cannot_work_is_one_line(document: Any, message: str) -> None:
    with pytest.raises(OptionError) as error:
        decoder_from_json(document)
    assert str(error.value) == message


def test_a_decoder_is_read_by_name_or_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text(json.dumps(decoder_to_json(DECODER_EXAMPLES[1])))
    assert read_decoder(str(path)) == DECODER_EXAMPLES[1]
    assert read_decoder("anchor_free") == AnchorFree()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "sliding_window",
            "decoder 'sliding_window' cannot be used by its name alone: give --decoder a FILE.json with the keys "
            "decoder, stride, window.",
        ),
        (
            "ssd",
            "decoder 'ssd' takes its anchors from one of the keys strides, feature_maps, anchors, got none of them. "
            "Give --decoder a FILE.json with one.",
        ),
        (
            "yolo_grid",
            "decoder 'yolo_grid' cannot be used by its name alone: give --decoder a FILE.json with the keys "
            "decoder, anchors.",
        ),
        (
            "yolo_v3",
            "decoder 'yolo_v3' cannot be used by its name alone: give --decoder a FILE.json with the keys "
            "decoder, anchors.",
        ),
        (
            "yolov3",
            "Unknown decoder 'yolov3'. Did you mean 'yolo_v3'? "
            "Known: sliding_window, ssd, yolo_grid, yolo_v3, anchor_free, or a FILE.json.",
        ),
        ("", "Unknown decoder ''. Known: sliding_window, ssd, yolo_grid, yolo_v3, anchor_free, or a FILE.json."),
        ("none.json", "Decoder file 'none.json' cannot be read: No such file or directory."),
        ("a\0b.json", "Decoder file 'a\\x00b.json' cannot be read: embedded null byte."),
    ],
)
def test_a_name_that_does_not_do_is_one_line(name: str, message: str) -> None:
    with pytest.raises(OptionError) as error:
        read_decoder(name)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"decoder": "ssd",\n}', "Expecting property name enclosed in double quotes: line 2 column 1 (char 19)"),
        (b"\xff\xfe\x00", "'utf-16-le' codec can't decode byte 0x00 in position 2: truncated data"),
    ],
    ids=["empty", "comma", "binary"],
)
def test_a_file_that_is_no_json_is_one_line(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_bytes(content)
    with pytest.raises(OptionError) as error:
        read_decoder(str(path))
    assert str(error.value) == f"Decoder file {str(path)!r} is no JSON: {problem}."


def test_a_file_nested_too_deep_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_bytes(b"[" * 100_000)
    # How Python puts it depends on its version.
    with pytest.raises(OptionError, match=r"^Decoder file '.*my\.json' is no JSON: .*\.$"):
        read_decoder(str(path))


def test_a_folder_is_no_decoder_file(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.mkdir()
    with pytest.raises(OptionError) as error:
        read_decoder(str(path))
    assert str(error.value) == f"Decoder file {str(path)!r} cannot be read: Is a directory."


def test_importing_the_decoders_imports_neither_keras_nor_numpy() -> None:
    code = "import sys, edgecv.decoders; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"keras", "tensorflow", "numpy"} & set(loaded)


@pytest.mark.parametrize("name", DECODERS)
def test_the_schema_has_the_fields_and_defaults_of_the_decoder(name: str) -> None:
    fields = {field.name: field.default for field in dataclasses.fields(DECODERS[name])}
    part = SCHEMA["$defs"][name]
    assert set(part["properties"]) == {"$schema", "decoder", *fields}
    required = [key for key, default in fields.items() if default is dataclasses.MISSING]
    assert part["required"] == ["decoder", *required]
    assert part["additionalProperties"] is False
    for key, default in fields.items():
        value = part["properties"][key].get("default", dataclasses.MISSING)
        assert (tuple(value) if isinstance(value, list) else value) == default, key
        assert part["properties"][key]["description"].endswith(".")


def test_the_schema_knows_every_decoder() -> None:
    assert [choice["$ref"] for choice in SCHEMA["oneOf"]] == [f"#/$defs/{name}" for name in DECODERS]


@pytest.mark.parametrize("document", [*EXAMPLES, SSD, WINDOW, GRID, V3, FREE], ids=lambda document: document["decoder"])
def test_the_schema_accepts_what_the_decoders_accept(document: Any) -> None:
    decoder_from_json(document)
    assert accepts(SCHEMA, document)


@pytest.mark.parametrize("document", [document for document, _ in REFUSED], ids=lambda document: str(document)[:60])
def test_the_schema_refuses_what_the_decoders_refuse(document: Any) -> None:
    assert not accepts(SCHEMA, document)


def test_every_example_and_every_key_of_the_page_on_decoders_is_real() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "decoders.md").read_text(encoding="utf-8")
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    assert {example["decoder"] for example in examples} == set(DECODERS)
    for example in examples:
        decoder_from_json(example)
        assert accepts(SCHEMA, example)
    for name, kind in DECODERS.items():
        chapter = page.partition(f"\n## `{name}`")[2].partition("\n## ")[0]
        keys = re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE)
        assert keys == [field.name for field in dataclasses.fields(kind) if field.name != "outputs"]


# The part of JSON Schema 2020-12 that the published schema uses; another keyword in it raises KeyError.
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def _number(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda bound, value: not _TYPES["number"](value) or compare(value, bound)


_KEYWORDS: Mapping[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(
        ("$schema", "$id", "$defs", "title", "description", "default", "additionalProperties"), lambda *_: True
    ),
    "$ref": lambda name, value: accepts(SCHEMA["$defs"][name.removeprefix("#/$defs/")], value),
    "type": lambda name, value: _TYPES[name](value),
    "const": lambda known, value: bool(value == known),
    "enum": lambda known, value: value in known,
    "required": lambda keys, value: not isinstance(value, dict) or set(keys) <= set(value),
    "properties": lambda parts, value: (
        not isinstance(value, dict) or all(accepts(part, value[key]) for key, part in parts.items() if key in value)
    ),
    "items": lambda part, value: not isinstance(value, list) or all(accepts(part, item) for item in value),
    "minItems": lambda count, value: not isinstance(value, list) or len(value) >= count,
    "maxItems": lambda count, value: not isinstance(value, list) or len(value) <= count,
    "minLength": lambda count, value: not isinstance(value, str) or len(value) >= count,
    "minimum": _number(lambda value, bound: value >= bound),
    "exclusiveMinimum": _number(lambda value, bound: value > bound),
    "maximum": _number(lambda value, bound: value <= bound),
    "anyOf": lambda parts, value: any(accepts(part, value) for part in parts),
    "oneOf": lambda parts, value: sum(accepts(part, value) for part in parts) == 1,
}


def accepts(schema: Mapping[str, Any], value: Any) -> bool:
    if schema.get("additionalProperties") is False and set(value) - set(schema["properties"]):
        return False
    return all(_KEYWORDS[keyword](argument, value) for keyword, argument in schema.items())
