"""What an epoch shows depends on the samples, the seed and its number, and on nothing else."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from edgecv.data.mask_files import IGNORED
from edgecv.data.samples import ArraySource, Box, FileSource, Sample
from edgecv.errors import OptionError, PictureError
from edgecv.pictures import Picture, Placement, fit_picture, read_picture
from edgecv.preprocess import Fit
from edgecv.training.augmentation import RECIPES, Recipe
from edgecv.training.stream import Stream

Array = np.ndarray[Any, Any]


def category(sample: Sample, placement: Placement) -> Mapping[str, Array]:  # noqa: ARG001
    return {"category": np.array(sample.category, np.int32)}


def make_samples(count: int) -> list[Sample]:
    """Pictures of noise, 20 × 30, whose class is their number."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 20, 30, 3), dtype=np.uint8)
    return [Sample(picture=ArraySource(f"x[{i}]", pixels[i]), category=i) for i in range(count)]


def make_stream(samples: list[Sample], **more: Any) -> Stream:
    options: dict[str, Any] = {"size": (24, 32), "channels": 3, "fit": Fit(), "targets": category, "batch": 4} | more
    return Stream(samples, **options)


def shown(stream: Stream, number: int) -> tuple[Array, Array]:
    """An epoch's images and categories, one behind the other."""
    batches = [(images.numpy(), targets["category"].numpy()) for images, targets in stream.epoch(number)]
    return np.concatenate([each[0] for each in batches]), np.concatenate([each[1] for each in batches])


def digest(stream: Stream, number: int) -> str:
    found = hashlib.sha256()
    for images, targets in stream.epoch(number):
        found.update(images.numpy().tobytes() + targets["category"].numpy().tobytes())
    return found.hexdigest()


def test_epochs_may_be_read_side_by_side() -> None:
    stream = make_stream(make_samples(10), recipe=RECIPES["standard"], shuffle=True, seed=3)
    alone = [[images.numpy() for images, _ in stream.epoch(number)] for number in range(3)]
    for number, *together in zip(range(stream.steps), *map(stream.epoch, range(3)), strict=True):
        for epoch, (images, _) in enumerate(together):
            np.testing.assert_array_equal(images.numpy(), alone[epoch][number])
    assert not np.array_equal(alone[0][0], alone[1][0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["stretch", "crop", "letterbox"])
def test_pictures_are_those_that_the_deployed_network_sees(mode: Any, channels: int) -> None:
    fit = Fit(mode=mode)
    samples = make_samples(6)
    stream = make_stream(samples, fit=fit, channels=channels)
    images, categories = shown(stream, 0)
    assert images.dtype == np.float32
    assert categories.tolist() == list(range(6))
    for sample, image in zip(samples, images, strict=True):
        assert np.array_equal(image, fit_picture(sample.picture.read().pixels, fit, (24, 32), channels))


def test_the_last_batch_is_smaller_and_no_picture_is_left_out() -> None:
    stream = make_stream(make_samples(10), shuffle=True)
    sizes = [len(images) for images, _ in stream.epoch(0)]
    assert sizes == [4, 4, 2]
    assert stream.steps == 3
    assert len(stream.epoch(0)) == 3
    assert sorted(shown(stream, 0)[1].tolist()) == list(range(10))


def test_a_batch_may_be_larger_than_the_part() -> None:
    assert [len(images) for images, _ in make_stream(make_samples(3), batch=64).epoch(0)] == [3]


def test_types_and_shapes_are_known_before_a_batch_is_drawn() -> None:
    images, targets = make_stream(make_samples(3), recipe=RECIPES["standard"]).epoch(0).element_spec
    assert images == tf.TensorSpec((None, 24, 32, 3), tf.float32)
    assert targets == {"category": tf.TensorSpec((None,), tf.int32)}


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    samples = make_samples(50)
    order = [make_stream(samples, shuffle=True, seed=3).order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(each) == list(range(50)) for each in order)
    assert len({tuple(each) for each in order}) == 3
    again = make_stream(samples, shuffle=True, seed=3, batch=7, recipe=RECIPES["light"])
    assert again.order(2).tolist() == order[2]
    assert shown(again, 2)[1].tolist() == order[2]
    assert make_stream(samples, shuffle=True, seed=4).order(0).tolist() != order[0]
    assert make_stream(samples, seed=3).order(1).tolist() == list(range(50))


def test_shuffling_mixes_the_whole_part() -> None:
    """A shuffle buffer would leave pictures near their places."""
    order = make_stream(make_samples(1000), shuffle=True).order(0)
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1


def test_an_epoch_is_the_same_again_whatever_was_shown_before() -> None:
    options: dict[str, Any] = {"recipe": RECIPES["standard"], "shuffle": True, "seed": 11}
    samples = make_samples(10)
    stream = make_stream(samples, **options)
    tf.random.set_seed(1)
    first = [digest(stream, number) for number in range(3)]
    assert len(set(first)) == 3
    tf.random.set_seed(2)
    np.random.seed(5)
    assert digest(make_stream(samples, **options), 2) == first[2]
    assert digest(stream, 1) == first[1]
    assert digest(make_stream(samples, cache_bytes=0, **options), 1) == first[1]


def test_a_picture_is_changed_alike_whatever_the_batch_and_order() -> None:
    samples = make_samples(9)
    recipe = RECIPES["standard"]
    images, _ = shown(make_stream(samples, recipe=recipe, seed=1), 5)
    others, order = shown(make_stream(samples, recipe=recipe, seed=1, batch=2, shuffle=True), 5)
    assert order.tolist() != list(range(9))
    assert np.array_equal(others, images[order])


def the_stream() -> Stream:
    return make_stream(make_samples(10), recipe=RECIPES["standard"], shuffle=True, seed=11)


SCRIPT = """
import importlib.util, sys
from edgecv.quiet import quiet_frameworks
with quiet_frameworks():
    import tensorflow as tf
specification = importlib.util.spec_from_file_location("stream_tests", sys.argv[1])
tests = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tests)
if sys.argv[2] == "deterministic":
    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(4)
print(tests.digest(tests.the_stream(), 1))
"""


@pytest.mark.parametrize("mode", ["plain", "deterministic"])
def test_another_process_shows_the_same(mode: str) -> None:
    command = [sys.executable, "-c", SCRIPT, __file__, mode]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    assert told == digest(the_stream(), 1)


@dataclass
class CountedSource:
    """A picture that counts how often it is read."""

    name: str = "counted"
    reads: list[int] = field(default_factory=list)

    def read(self) -> Picture:
        self.reads.append(1)
        return Picture(np.full((20, 30, 3), 77, np.uint8), self.name)


@pytest.mark.parametrize(("cache_bytes", "reads"), [(2 * 24 * 32 * 3, 1), (2 * 24 * 32 * 3 - 1, 3)])
def test_pictures_are_read_once_when_all_fit_into_the_cache(cache_bytes: int, reads: int) -> None:
    source = CountedSource()
    samples = [*make_samples(1), Sample(picture=source, category=1)]
    stream = make_stream(samples, cache_bytes=cache_bytes)
    for number in range(3):
        assert (shown(stream, number)[0][1] == 77).all()
    assert len(source.reads) == reads


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_a_corrupt_picture_stops_the_epoch_with_one_line_that_names_it(tmp_path: Path, cache_bytes: int) -> None:
    files = [tmp_path / f"{number:02}.jpg" for number in range(24)]
    for file in files:
        Image.new("RGB", (30, 20), "red").save(file)
    for bad in (13, 21):
        files[bad].write_bytes(files[bad].read_bytes()[:200])
    stream = make_stream([Sample(picture=FileSource(each), category=0) for each in files], cache_bytes=cache_bytes)
    with pytest.raises(PictureError) as expected:
        read_picture(files[13])
    seen: list[Any] = []
    with pytest.raises(PictureError) as caught, stream.telling():
        seen.extend(iter(stream.epoch(0)))
    assert str(caught.value) == str(expected.value)
    assert "\n" not in str(caught.value)
    assert len(seen) == 3  # those before it came through
    with pytest.raises(PictureError), stream.telling():
        list(stream.epoch(1))


def test_errors_of_others_are_left_alone() -> None:
    stream = make_stream(make_samples(2))
    with pytest.raises(tf.errors.InvalidArgumentError), stream.telling():
        tf.debugging.assert_equal(1, 2)


def box_targets(sample: Sample, placement: Placement) -> Mapping[str, Array]:
    corners = np.array([(box.x1, box.y1, box.x2, box.y2) for box in sample.boxes]).reshape(-1, 4)
    mask = np.zeros(placement.size, np.uint8)
    for left, top, right, bottom in placement.boxes_in_input(corners).round().astype(int):
        mask[top:bottom, left:right] = 5
    return {
        "boxes": placement.boxes_in_input(corners).astype(np.float32),
        "box_categories": np.array([box.category for box in sample.boxes], np.int32),
        "mask": mask,
    }


def box_samples() -> list[Sample]:
    pixels = np.zeros((3, 48, 64, 3), np.uint8)
    pixels[0, 8:24, 16:40] = 255
    pixels[1, 20:40, 30:50] = 255
    boxes = [(Box(16, 8, 40, 24, category=2),), (Box(30, 20, 50, 40, category=1), Box(0, 0, 4, 4, category=0)), ()]
    return [Sample(picture=ArraySource(f"x[{i}]", pixels[i]), boxes=boxes[i]) for i in range(3)]


def test_boxes_are_padded_to_the_most_that_a_sample_has() -> None:
    stream = make_stream(box_samples(), targets=box_targets)
    assert stream.epoch(0).element_spec[1]["boxes"] == tf.TensorSpec((None, 2, 4), tf.float32)
    ((_, targets),) = stream.epoch(0)
    # Half of the picture's size.
    assert targets["boxes"].numpy().tolist() == [
        [[8, 4, 20, 12], [0, 0, 0, 0]],
        [[15, 10, 25, 20], [0, 0, 2, 2]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ]
    assert targets["box_categories"].numpy().tolist() == [[2, -1], [1, 0], [-1, -1]]
    assert targets["mask"].dtype == tf.int32
    assert targets["mask"].shape == (3, 24, 32)


def test_boxes_and_masks_follow_the_picture_through_the_stream() -> None:
    recipe = Recipe(flip_horizontal=0.5, flip_vertical=0.5, shift=0.1, zoom=(0.9, 1.1))
    stream = make_stream(box_samples()[:2], targets=box_targets, recipe=recipe, keep_all_boxes=True)
    places = set()
    for number in range(8):
        ((images, targets),) = stream.epoch(number)
        for image, box, mask in zip(
            images.numpy(), targets["boxes"].numpy()[:, 0], targets["mask"].numpy(), strict=True
        ):
            rows, columns = np.nonzero(image[..., 0] > 127)
            assert np.abs([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] - box).max() <= 1
            assert np.mean((image[..., 0] > 127) == (mask == 5), where=mask != IGNORED) > 0.96
            places.add(tuple(box.round().tolist()))
    assert len(places) > 8


def test_looking_shows_what_the_epoch_shows() -> None:
    stream = make_stream(make_samples(6), recipe=RECIPES["standard"], seed=2)
    images, _ = shown(stream, 3)
    looked, targets = stream.look([4, 1], epoch=3)
    assert np.array_equal(looked, images[[4, 1]])
    assert targets["category"].tolist() == [4, 1]
    plain, _ = stream.look([4], epoch=None)
    assert np.array_equal(plain, shown(make_stream(make_samples(6)), 0)[0][4:5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"cache_bytes": -5}, "cache_bytes must be at least 0, got -5"),
    ],
)
def test_numbers_out_of_range_are_one_line(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_stream(make_samples(2), **options)
    assert str(caught.value) == message


def test_no_samples_are_one_line() -> None:
    with pytest.raises(OptionError) as caught:
        make_stream([])
    assert str(caught.value) == "a stream needs samples, got none"


def boxes_only(sample: Sample, placement: Placement) -> Mapping[str, Array]:
    found = box_targets(sample, placement)
    return {key: found[key] for key in ("boxes", "box_categories")}


def test_batches_of_several_sizes_depend_on_seed_and_epoch_alone() -> None:
    samples = box_samples() * 16  # 48 pictures, 24 steps: more than twice ten
    streams = [make_stream(samples, targets=boxes_only, batch=2, scales=(32, 96), seed=seed) for seed in (0, 0, 1)]
    first, again, other = ([stream.sides(number).tolist() for number in range(5)] for stream in streams)
    assert first == again
    assert first != other
    assert {side for sides in first for side in sides} == {32, 64, 96}
    # The size stays for ten batches of the run, also where an epoch of 24 ends in between.
    steps = [side for sides in first for side in sides]
    assert all(len(set(steps[begin : begin + 10])) == 1 for begin in range(0, len(steps), 10))


def test_boxes_shrink_with_their_pictures() -> None:
    stream = make_stream(box_samples()[:1] * 30, targets=boxes_only, batch=1, scales=(32, 96), seed=3)
    # The box is 16, 8 … 40, 24 of a picture of 64 × 48 pixels: a quarter to five eighths, a sixth to a half.
    shares = np.array([16 / 64, 8 / 48, 40 / 64, 24 / 48])
    sides = stream.sides(0)
    assert len(set(sides.tolist())) > 1
    for side, (images, targets) in zip(sides, stream.epoch(0), strict=True):
        assert images.shape == (1, side, side, 3)
        np.testing.assert_allclose(targets["boxes"].numpy()[0, 0], shares * side, rtol=1e-5)
        bright = np.argwhere(images.numpy()[0, :, :, 0] > 127)
        seen = np.concatenate([bright.min(axis=0)[::-1], bright.max(axis=0)[::-1] + 1])
        assert np.abs(seen - shares * side).max() <= 1


def test_one_size_has_no_sides() -> None:
    assert make_stream(make_samples(4)).sides(0).tolist() == []
