import keras
import numpy as np
import pytest

from edgecv.architectures.blocks import residual_unit
from edgecv.architectures.fashion import fashion_cnn
from edgecv.architectures.lenet import lenet5
from edgecv.errors import ArchitectureError


@pytest.mark.parametrize(
    ("filters", "stride", "shape", "skip"),
    [(4, 1, (5, 7, 4), False), (6, 1, (5, 7, 6), True), (4, 2, (3, 4, 4), True)],
    ids=["identity", "more channels", "half the size"],
)
def test_residual_unit_skips_by_1x1_only_where_the_shape_changes(
    filters: int, stride: int, shape: tuple[int, int, int], skip: bool
) -> None:
    image = keras.Input((5, 7, 4))
    model = keras.Model(image, residual_unit(image, filters, stride=stride, name="unit"))
    names = [layer.name for layer in model.layers]
    assert model.output_shape[1:] == shape
    assert ("unit_skip_conv" in names) == skip
    if skip:
        layer = model.get_layer("unit_skip_conv")
        assert (layer.kernel_size, layer.strides) == ((1, 1), (stride, stride))


def test_strided_convolution_pads_like_torch() -> None:
    # torch pads one pixel on every side: the first output of a centre tap is the first pixel. Keras'
    # "same" would start one pixel later.
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, residual_unit(image, 1, stride=2, name="unit"))
    pad, convolution = model.get_layer("unit_1_pad"), model.get_layer("unit_1_conv")
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1] = 1
    convolution.set_weights([kernel])
    pixels = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    answer = np.asarray(convolution(pad(pixels)))
    assert answer.ravel().tolist() == [0, 2, 8, 10]


def test_builders_refuse_small_pictures_by_themselves() -> None:
    message = "^fashion_cnn halves its input 3 times, got 7x9. Give at least 8x8 pixels.$"
    with pytest.raises(ArchitectureError, match=message):
        fashion_cnn((7, 9, 1))
    message = "^lenet5 has three 5x5 convolutions without padding, got 31x32. Give at least 32x32 pixels.$"
    with pytest.raises(ArchitectureError, match=message):
        lenet5((31, 32, 1))
