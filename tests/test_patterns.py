"""Pictures of integers: the same on every device, and of a kind that networks tell apart."""

import hashlib

import numpy as np
import pytest

from edgecv.patterns import _drawn, pattern

_MASK = 2**64 - 1


def mixed(value: int) -> int:
    """SplitMix64's mixing function, written from the paper with Python's own integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def test_the_generator_is_that_of_the_paper() -> None:
    # The first outputs of java.util.SplittableRandom's generator for seed 0, as published with the reference code.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [mixed((number + 1) * 0x9E3779B97F4A7C15 & _MASK) for number in range(3)] == published
    state = mixed(mixed(0 + 7 + 1) + 2 + 1)
    expected = [mixed((state + (number + 1) * 0x9E3779B97F4A7C15) & _MASK) >> 33 for number in range(5)]
    assert _drawn([7, 2], 5).tolist() == expected


# A picture that changes makes every artifact that was exported before fail on the device.
@pytest.mark.parametrize(
    ("seed", "shape", "sha256"),
    [
        (0, (28, 28, 1), "be9caa632f202548030822fd6c7221f5ca41422e573d859428ca04a823c615c8"),
        (1, (224, 224, 3), "292c8c755504775b90aef2671d111cf587a67e0b59fc251a8fc8163ca3b7d925"),
        (2, (301, 513, 3), "148e4d96eb73c965052659c8311a3ea07eb66dd303f29137f4957d760ce63726"),
    ],
)
def test_a_seed_always_gives_the_same_picture(seed: int, shape: tuple[int, int, int], sha256: str) -> None:
    picture = pattern(seed, shape)
    assert picture.shape == shape
    assert picture.dtype == np.uint8
    assert hashlib.sha256(picture.tobytes()).hexdigest() == sha256


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 3), (5, 400, 1)])
def test_any_size_has_a_picture(shape: tuple[int, int, int]) -> None:
    assert pattern(3, shape).shape == shape


@pytest.mark.parametrize("seed", range(3))
def test_pictures_use_the_range_and_have_shades_on_all_scales(seed: int) -> None:
    picture = pattern(seed, (224, 224, 3)).astype(int)
    assert 60 < picture.mean() < 190
    assert picture.std() > 40
    # Neighbours are alike, as in a photo: of noise they would differ by 85 on average.
    assert np.abs(np.diff(picture, axis=1)).mean() < 20
    # Quarters differ in brightness, as large things do.
    quarters = picture.reshape(2, 112, 2, 112, 3).mean(axis=(1, 3, 4))
    assert quarters.std() > 5
