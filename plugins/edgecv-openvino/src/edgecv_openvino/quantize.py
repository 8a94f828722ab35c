"""int8 by OpenVINO's own tool, NNCF's quantisation after training, of the float32 graph.

Kernels have a scale a channel and 7 bits of 8: with all 8, products overflow 16 bits on x86 without VNNI. Activations
have 8. Scaling, decoding, suppression and softmax stay float, and so do layers whose output holds boxes and scores.
"""

import contextlib
import io
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from edgecv.errors import ConversionError, OptionError, one_line
from edgecv.quantizable import joint_layers

if TYPE_CHECKING:
    from edgecv.artifact import Artifact
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["quantize"]


def quantize(
    model: Any, source: "Artifact", calibration: "Calibration", *, float_layers: Sequence[str], fast: bool
) -> Any:
    """Return the graph in int8.

    Args:
        model: The float32 graph; its operators have names of their own.
        source: The ONNX artifact that it was read from.
        calibration: Pictures from which the ranges of activations are learnt.
        float_layers: Paths of layers that stay float32.
        fast: Correct each bias as if the layers before were exact.

    Raises:
        OptionError: One of ``float_layers`` is no layer of the network, or ``source`` does not say what it is of.
        ConversionError: NNCF cannot quantise it.
        PictureError: A picture cannot be read.
    """
    deployable = source.deployable
    if deployable is None:
        raise OptionError("openvino in int8 starts from an artifact with its Deployable. Export through edgecv.export.")
    unknown = [path for path in float_layers if path not in source.layers]
    if unknown:
        raise OptionError(f"float_layers names {unknown[0]!r}, which is no layer of {deployable.name!r}.")
    ignored = _float_operators(model, source.layers, {*float_layers, *joint_layers(deployable)})
    feeds = list(_feeds(deployable, calibration, model.inputs[0].any_name))
    with _quiet_nncf() as nncf:
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        try:
            return nncf.quantize(
                model,
                nncf.Dataset(feeds),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(feeds),
                fast_bias_correction=fast,
                ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
                advanced_parameters=AdvancedQuantizationParameters(
                    overflow_fix=OverflowFix.ENABLE,
                    # By default it takes the mean of the pictures' extremes, and what is beyond is cut: the error of
                    # EfficientNet-Lite0's logits is 0.34 of what varies between pictures, 0.29 so, and 0.24 with the
                    # full correction of biases.
                    activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                ),
            )
        except Exception as error:  # whatever it raises, it is the converter's
            raise ConversionError(f"NNCF cannot quantise {deployable.name}: {one_line(error)}.") from error


def _float_operators(model: Any, layers: Collection[str], floating: Collection[str]) -> list[str]:
    """Name the operators that stay float: those that belong to no layer, and those of ``floating``."""
    found = []
    for operator in model.get_ordered_ops():
        name = operator.get_friendly_name()
        paths = _paths(name, layers)
        if operator.get_type_name() not in ("Constant", "Parameter", "Result") and (
            not paths or set(paths) & set(floating)
        ):
            found.append(name)
    return found


def _paths(name: str, layers: Collection[str]) -> tuple[str, ...]:
    """Return the layers that an operator belongs to: its name is ``layer+layer/Operator``, and a layer may have /."""
    group = name
    while "/" in group:
        group = group.rpartition("/")[0]
        paths = tuple(group.split("+"))
        if all(path in layers for path in paths):
            return paths
    return ()


def _feeds(deployable: "Deployable", calibration: "Calibration", name: str) -> Iterator[dict[str, Any]]:
    for feed in calibration.feeds(deployable):
        yield {name: np.repeat(feed, deployable.batch or 1, axis=0)}


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """Import NNCF; keep its progress from the results, and it from telling its makers."""
    # Unless it takes this machine for one of its own, it sends statistics without asking.
    os.environ.setdefault("NNCF_CI", "1")
    with contextlib.redirect_stdout(io.StringIO()):
        import nncf

        nncf.set_log_level(logging.ERROR)
        yield nncf
