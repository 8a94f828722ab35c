"""Where the time goes in a ``.tflite`` file: the events of LiteRT's own profiler, brought back to its operators.

The Python interpreter of ai-edge-litert cannot profile. The library that comes with it can, through its C interface,
which runs the file by the same XNNPACK kernels. An operator that runs outside XNNPACK is reported by its place in
the file; those inside by their kernels, in their order, and are matched to the file's operators in theirs.
"""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from edgecv.runtime import NodeTime
from edgecv.runtimes.tflite_graph import TfliteOperator, read_operators

__all__ = ["matched", "profile"]

# The interface, as ai-edge-litert 2.3.0 has it.
_VERSIONS = ((2, 3), (3, 0))
_WORDS_OF_EVENT = 13  # of 8 bytes: tag, type, start, duration, twice three of memory, two numbers, source
_OPERATOR, _DELEGATED, _OF_DELEGATE = 2, 4, 8
_TYPES = frozenset(1 << bit for bit in range(9))
_CPU, _WRITE = 1, 1
_TYPE_BYTES = 512  # more than a description of a tensor's type takes
_MAIN = 0

# The beginning of a kernel's name → the file's operators that it may do the work of.
_KERNELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"Convolution .*DWConv", ("DEPTHWISE_CONV_2D",)),
    (r"Convolution", ("CONV_2D",)),
    (r"Fully Connected", ("CONV_2D", "FULLY_CONNECTED")),
    (r"Deconvolution", ("TRANSPOSE_CONV",)),
    (r"Batch Matrix Multiply", ("BATCH_MATMUL", "FULLY_CONNECTED")),
    (r"Multiply", ("MUL",)),
    (r"Subtract", ("SUB",)),
    (r"Add", ("ADD",)),
    (r"Divide", ("DIV",)),
    (r"Convert", ("QUANTIZE", "DEQUANTIZE", "CAST")),
    (r"Sigmoid", ("LOGISTIC",)),
    (r"Softmax", ("SOFTMAX",)),
    (r"Hard ?Swish", ("HARD_SWISH",)),
    (r"(Leaky|P)", ("LEAKY_RELU", "PRELU")),
    (r"Clamp", ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")),
    (r"Max ?Pooling", ("MAX_POOL_2D",)),
    (r"(Global )?Average Pooling", ("AVERAGE_POOL_2D", "MEAN")),
    (r"(Mean|Sum|Reduce)", ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")),
    (r"Constant Pad", ("PAD", "PADV2")),
    (r"Resize Bilinear", ("RESIZE_BILINEAR",)),
    (r"Transpose", ("TRANSPOSE",)),
    (r"Static Reshape", ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")),
    (r"Slice", ("STRIDED_SLICE", "SLICE")),
    (r"(Copy|Concatenate)", ("CONCATENATION",)),
    (r"Maximum", ("MAXIMUM",)),
    (r"Minimum", ("MINIMUM",)),
    (r"Exp", ("EXP",)),
    (r"Tanh", ("TANH",)),
)


class _Event(NamedTuple):
    """What the engine says that it ran."""

    name: str
    operator: int | None  # its place in the file; None within the delegate
    turn: int  # how often it had run already in this run


class _Refused(Exception):  # noqa: N818
    """The library does not do what its interface promises."""


def profile(path: Path, feeds: Sequence[Any], *, threads: int | None, seconds: float) -> list[NodeTime] | None:
    """Time the operators of a file while the engine runs it for about so long.

    Args:
        path: The file.
        feeds: An array for each input, in their order.
        threads: Threads within an operator.
        seconds: For how long.

    Returns:
        The times in the order in which they run; None where the installed library cannot say, or where the file's
        batch is dynamic.

    Raises:
        ArtifactError: The file cannot be parsed.
    """
    operators = read_operators(path)
    library = _library()
    if library is None:
        return None
    try:
        with contextlib.ExitStack() as stack:
            runs = _Runs(library, stack, path, feeds, threads)
            runs.once()  # prepares what later ones reuse
            taken: dict[_Event, list[float]] = {}
            end = time.perf_counter() + seconds
            while True:
                for event, milliseconds in runs.once().items():
                    taken.setdefault(event, []).append(milliseconds)
                if time.perf_counter() > end:
                    break
    except (_Refused, AttributeError):  # the second where it lacks a function
        return None
    tensors = matched([(event.name, event.operator) for event in taken], operators)
    return [
        NodeTime(name=found[-1] if found else event.name, op=event.name, milliseconds=median(values), tensors=found)
        for (event, values), found in zip(taken.items(), tensors, strict=True)
    ]


def matched(events: Sequence[tuple[str, int | None]], operators: Sequence[TfliteOperator]) -> list[tuple[str, ...]]:
    """Return the tensors that each event computes.

    Args:
        events: Name of the kernel, and the operator's place in the file where it is known.
        operators: Those of the file.
    """
    hosts: dict[int, int] = {place: number for number, (_, place) in enumerate(events) if place is not None}
    kernels = [number for number, (_, place) in enumerate(events) if place is None]
    rest = [place for place in range(len(operators)) if place not in hosts]
    families = [_family(events[number][0]) for number in kernels]
    names = [operators[place].name for place in rest]
    hosts |= {rest[place]: kernels[number] for number, place in _pairs(families, names)}
    found: list[list[str]] = [[] for _ in events]
    for place, operator in enumerate(operators):
        host = hosts.get(place)
        if host is None:  # fused: padding into what follows, an activation into what goes before
            step = 1 if operator.name in ("PAD", "PADV2") else -1
            host = hosts.get(place + step)
        if host is not None:
            found[host] += operator.outputs
    return [tuple(each) for each in found]


def _pairs(families: Sequence[Sequence[str]], names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the places of the longest common subsequence: both run in their order."""
    best = [[0] * (len(names) + 1) for _ in range(len(families) + 1)]
    for row in range(len(families) - 1, -1, -1):
        for column in range(len(names) - 1, -1, -1):
            here = 1 + best[row + 1][column + 1] if names[column] in families[row] else 0
            best[row][column] = max(here, best[row + 1][column], best[row][column + 1])
    row = column = 0
    while row < len(families) and column < len(names):
        if names[column] in families[row] and best[row][column] == 1 + best[row + 1][column + 1]:
            yield row, column
            row, column = row + 1, column + 1
        elif best[row + 1][column] >= best[row][column + 1]:
            row += 1
        else:
            column += 1


def _family(kernel: str) -> tuple[str, ...]:
    return next((names for pattern, names in _KERNELS if re.match(pattern, kernel, re.IGNORECASE)), ())


def _library() -> Any:
    """Return the engine's library; None where it is missing or of another version."""
    try:
        version = tuple(int(part) for part in importlib.metadata.version("ai-edge-litert").split(".")[:2])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or spec.origin is None or not _VERSIONS[0] <= version < _VERSIONS[1]:
        return None
    for name in ("libLiteRt.so", "libLiteRt.dylib", "LiteRt.dll"):
        path = Path(spec.origin).parent / name
        if path.exists():
            with contextlib.suppress(OSError):
                return ctypes.CDLL(str(path))
    return None


class _Runs:
    """A file, opened with its profiler on."""

    def __init__(
        self, library: Any, stack: contextlib.ExitStack, path: Path, feeds: Sequence[Any], threads: int | None
    ) -> None:
        self._library = library
        self._stack = stack
        self._kept: list[Any] = []  # what the library holds on to, until the handles are gone
        self._environment = self._made("Environment", "LiteRtCreateEnvironment", 0, None)
        model = self._made("Model", "LiteRtCreateModelFromFile", self._environment, str(path).encode())
        options = self._made("Options", "LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add(options, b"runtime_options_string", b"enable_profiling = true\n")
        if threads is not None:
            self._add(options, b"xnnpack", f"num_threads = {threads}\n".encode())
        self._model = self._made("CompiledModel", "LiteRtCreateCompiledModel", self._environment, model, options)
        self._profiler = self._pointer("LiteRtCompiledModelGetProfiler", self._model)
        signature = self._pointer("LiteRtGetModelSignature", model, ctypes.c_size_t(0))
        self._inputs = self._buffers("Input", signature)
        self._outputs = self._buffers("Output", signature)
        for buffer, array in zip(self._inputs, feeds, strict=True):
            self._fill(buffer, array)

    def once(self) -> dict[_Event, float]:
        """Run once and return the milliseconds of each event, in their order."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        sides = [(ctypes.c_size_t(len(each)), each) for each in (self._inputs, self._outputs)]
        self._call("LiteRtRunCompiledModel", self._model, ctypes.c_size_t(0), *sides[0], *sides[1])
        self._call("LiteRtStopProfiler", self._profiler)
        return self._events()

    def _events(self) -> dict[_Event, float]:
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        words = (ctypes.c_uint64 * (4 * _WORDS_OF_EVENT * count.value))()  # room for an event of another size
        self._call("LiteRtGetProfilerEvents", self._profiler, count, words)
        found: dict[_Event, float] = {}
        seen: dict[tuple[str, int | None], int] = {}
        for begin in range(0, _WORDS_OF_EVENT * count.value, _WORDS_OF_EVENT):
            tag, kind, _, microseconds, *_, place, graph, source = words[begin : begin + _WORDS_OF_EVENT]
            if kind & 0xFFFFFFFF not in _TYPES or source & 0xFFFFFFFF > 2 or not tag:
                raise _Refused("the events have another form")
            # What runs in another graph is part of the operator that called it.
            if kind & 0xFFFFFFFF not in (_OPERATOR, _DELEGATED, _OF_DELEGATE) or graph & 0xFFFFFFFF != _MAIN:
                continue
            name = ctypes.string_at(tag).decode(errors="replace")
            if "Delegate" in name:  # the sum of its kernels
                continue
            operator = int(place) if kind & 0xFFFFFFFF == _OPERATOR else None
            turn = seen[name, operator] = seen.get((name, operator), -1) + 1
            found[_Event(name, operator, turn)] = microseconds / 1e3
        return found

    def _buffers(self, side: str, signature: Any) -> Any:
        """Return a buffer for each input or output of a signature."""
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", signature, ctypes.byref(count))
        buffers = []
        for number in map(ctypes.c_size_t, range(count.value)):
            tensor = self._pointer(f"LiteRtGetSignature{side}TensorByIndex", signature, number)
            kind = ctypes.create_string_buffer(_TYPE_BYTES)  # never looked into
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            first = ctypes.c_size_t(0)
            wants = self._pointer(f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, first, number)
            create = "LiteRtCreateManagedTensorBufferFromRequirements"
            buffers.append(self._made("TensorBuffer", create, self._environment, kind, wants))
        return (ctypes.c_void_p * len(buffers))(*buffers)

    def _fill(self, buffer: int, array: Any) -> None:
        size, handle = ctypes.c_size_t(), ctypes.c_void_p(buffer)
        self._call("LiteRtGetTensorBufferPackedSize", handle, ctypes.byref(size))
        if size.value != array.nbytes:
            raise _Refused("the input has another size")
        address = ctypes.c_void_p()
        self._call("LiteRtLockTensorBuffer", handle, ctypes.byref(address), _WRITE)
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
        self._call("LiteRtUnlockTensorBuffer", handle)

    def _add(self, options: Any, identifier: bytes, settings: bytes) -> None:
        """Add settings in TOML."""
        text = ctypes.create_string_buffer(settings)
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        self._kept += [text, free]
        opaque = self._pointer("LiteRtCreateOpaqueOptions", identifier, text, free)
        self._call("LiteRtAddOpaqueOptions", options, opaque)

    def _made(self, what: str, function: str, *arguments: Any) -> Any:
        """Return a handle that ends with the stack."""
        handle = self._pointer(function, *arguments)
        self._stack.callback(getattr(self._library, f"LiteRtDestroy{what}"), handle)
        return handle

    def _pointer(self, function: str, *arguments: Any) -> Any:
        handle = ctypes.c_void_p()
        self._call(function, *arguments, ctypes.byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise _Refused(f"{function} answers {status}")
