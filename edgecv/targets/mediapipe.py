"""MediaPipe Tasks: metadata, input and outputs as its three vision tasks want them."""

from collections.abc import Sequence

from edgecv.targets.finding import Finder
from edgecv.targets.tables import load_table

__all__ = ["check_mediapipe"]


def check_mediapipe(finder: Finder) -> Sequence[str]:
    """Look for what MediaPipe's task for this network refuses."""
    table = load_table("mediapipe")
    document, graph = finder.metadata, finder.graph
    if not document:
        finder.file("it has no metadata", "export it with edgecv, which writes TFLite's standard metadata")
        return ()
    task = str(document.get("task"))
    if task not in table["tasks"]:
        finder.file(f"MediaPipe has no vision task for {task}", f"it has them for {', '.join(table['tasks'])} alone")
        return ()
    for operator in graph.operators:
        if operator.custom:
            finder.file(f"MediaPipe's engine has no operator {operator.name}", "export it with --to tflite again")
    if any(operator.inside for operator in graph.operators):
        finder.file("it has loops, and MediaPipe opens files of one graph", "export with --for mediapipe")
    if task == "detection" and not document.get("labels"):
        finder.file("it has no labels, and MediaPipe could not name a class", "export with --labels FILE")
    if len(graph.inputs) != 1:
        finder.file(f"it has {len(graph.inputs)} inputs, and MediaPipe feeds one", "export without optional inputs")
    for tensor in graph.inputs[:1]:
        shape = tensor.shape or ()
        if tensor.dtype not in table["input_types"]:
            finder.file(f"its input is {tensor.dtype}", "export with --input uint8")
        if len(shape) != 4 or shape[3] != 3:
            finder.file(f"its input {list(shape)} is no picture of three colours", "use a network of RGB pictures")
        elif shape[0] not in (1, None):
            finder.file(f"its batch is {shape[0]}", "export with --batch 1")
        elif None in shape[1:3]:
            finder.file("its size is not fixed", "export with a fixed --input-size, without --resize")
        if tensor.dtype == "float32" and _scales_by_channel(document.get("preprocess")):
            finder.file("its scaling differs by channel, and MediaPipe scales all alike", "export with --input uint8")
    _check_outputs(finder, task)
    return (f"for {table['tasks'][task]}",)


def _scales_by_channel(scaling: object) -> bool:
    """Say whether channels are scaled apart, or are in another order than red, green, blue."""
    if not isinstance(scaling, dict):
        return False
    numbers = [scaling.get(name) for name in ("mean", "scale")]
    return scaling.get("order") == "bgr" or any(isinstance(each, list) and len(set(each)) > 1 for each in numbers)


def _check_outputs(finder: Finder, task: str) -> None:
    names = [str(each.get("name")) for each in finder.metadata.get("outputs") or () if isinstance(each, dict)]
    outputs = finder.graph.outputs
    if task == "detection":
        if "count" not in names:
            finder.file(
                "it gives every anchor, and ObjectDetector wants boxes that are chosen", "export without --no-nms"
            )
        elif any(tensor.dtype != "float32" for tensor in outputs):
            other = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in outputs if tensor.dtype != "float32")
            finder.file(f"ObjectDetector takes float32 outputs alone, not {other}", "export with --for mediapipe")
    elif task == "classification" and "probabilities" not in names:
        finder.file(
            f"ImageClassifier wants one score a class, and it gives {', '.join(names)}", "export without --top-k"
        )
    elif task == "segmentation" and any(tensor.dtype != "float32" for tensor in outputs):
        finder.file("ImageSegmenter takes float32 scores of classes, not a mask", "export with --for mediapipe")
