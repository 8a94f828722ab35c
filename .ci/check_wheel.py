"""Check, inside a clean environment, that the wheel is whole and light."""

import json
import sys
from importlib.metadata import distributions, entry_points
from pathlib import Path

names = {entry.name for entry in entry_points(group="edgecv.exporters")}
assert {"onnx", "tflite"} <= names, f"the wheel lost exporters: {sorted(names)}"
listed = json.loads(Path(sys.argv[1]).read_text())["architectures"]
assert len(listed) == len(entry_points(group="edgecv.architectures")), "not all architectures are listed"
heavy = {"tensorflow", "keras", "onnx", "onnxruntime", "ai-edge-litert"}
installed = {dist.name.lower() for dist in distributions()}
assert not heavy & installed, f"the plain install brings {sorted(heavy & installed)}"
import edgecv  # noqa: E402

data = Path(edgecv.__file__).parent / "data"
assert list(data.glob("photos/*.png")), "the wheel lost its photos"
templates = Path(edgecv.__file__).parent / "html_report" / "templates"
assert {"page.html.j2", "style.css"} <= {file.name for file in templates.iterdir()}, "the wheel lost its templates"
tables = Path(edgecv.__file__).parent / "targets" / "tables"
held = {file.stem for file in tables.iterdir()}
assert {"tflm", "ethos-u", "onnxruntime", "tflite-gpu", "mediapipe", "browser"} <= held, "the wheel lost its tables"
print(f"wheel: {len(names)} exporters, {len(listed)} architectures, {len(installed)} distributions installed")
