"""Pictures are changed as the recipe says, and boxes and masks go with them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.data.mask_files import IGNORED
from edgecv.errors import OptionError
from edgecv.training.augmentation import RECIPES, Draw, Recipe, read_recipe

Array = np.ndarray[Any, Any]
SIZES = [(61, 97), (96, 64), (33, 33), (28, 28)]
SIZE_IDS = ["wide", "high", "odd-square", "even-square"]


def draws(**values: float) -> Array:
    """A row of chance in the middle of every range, with no flip and no erasing, but for what is named."""
    table = np.full((1, len(Draw)), 0.5, np.float32)
    table[:, [Draw.FLIP_HORIZONTAL, Draw.FLIP_VERTICAL, Draw.ERASE]] = 0.999
    for name, value in values.items():
        table[:, Draw[name.upper()]] = value
    return table


def scene(size: tuple[int, int]) -> tuple[Array, Array]:
    """A bright rectangle off the centre of a dark picture, and its box."""
    height, width = size
    x1, y1, x2, y2 = round(0.3 * width), round(0.35 * height), round(0.55 * width), round(0.75 * height)
    image = np.full((1, height, width, 1), 10, np.uint8)
    image[:, y1:y2, x1:x2] = 250
    return image, np.array([[[x1, y1, x2, y2]]], np.float32)


def measured(image: Array) -> Array:
    """Where a bright thing lies: its box, by its pixels."""
    rows, columns = np.nonzero(image[..., 0] > 130)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def applied(recipe: Recipe, images: Array, table: Array, **more: Any) -> tuple[Array, Any, Any]:
    changed = recipe.apply(images, draws=table, **more)
    image, boxes, masks = (None if each is None else np.asarray(each) for each in changed)
    assert image is not None
    assert image.dtype == np.float32
    return image, boxes, masks


OPERATIONS = [
    pytest.param(Recipe(flip_horizontal=1.0), {"flip_horizontal": 0.5}, id="flip-horizontal"),
    pytest.param(Recipe(flip_vertical=1.0), {"flip_vertical": 0.5}, id="flip-vertical"),
    pytest.param(Recipe(shift=0.2), {"shift_x": 0.9, "shift_y": 0.2}, id="shift"),
    pytest.param(Recipe(rotate=30), {"rotate": 0.87}, id="rotate-clockwise"),
    pytest.param(Recipe(rotate=30), {"rotate": 0.1}, id="rotate-back"),
    pytest.param(Recipe(zoom=(0.6, 1.3)), {"zoom": 1.0}, id="zoom-in"),
    pytest.param(Recipe(zoom=(0.6, 1.3)), {"zoom": 0.0}, id="zoom-out"),
    pytest.param(Recipe(crop=(0.64, 1.0)), {"crop_area": 0.0, "crop_x": 0.4, "crop_y": 0.9}, id="crop"),
    pytest.param(
        Recipe(crop=(0.6, 1.0), crop_aspect=(0.7, 1.4)),
        {"crop_area": 0.1, "crop_aspect": 0.9, "crop_x": 0.3, "crop_y": 0.8},
        id="crop-aspect",
    ),
    pytest.param(
        Recipe(flip_horizontal=1.0, flip_vertical=1.0, shift=0.1, rotate=20, zoom=(0.8, 1.2), crop=(0.8, 1.0)),
        {
            "flip_horizontal": 0.0,
            "flip_vertical": 0.0,
            "shift_x": 0.8,
            "shift_y": 0.3,
            "rotate": 0.8,
            "zoom": 0.3,
            "crop_area": 0.2,
            "crop_x": 0.6,
            "crop_y": 0.4,
        },
        id="all",
    ),
]


@pytest.mark.parametrize("size", SIZES, ids=SIZE_IDS)
@pytest.mark.parametrize(("recipe", "chance"), OPERATIONS)
def test_a_box_follows_its_rectangle_within_a_pixel(
    recipe: Recipe, chance: dict[str, float], size: tuple[int, int]
) -> None:
    images, boxes = scene(size)
    image, moved, _ = applied(recipe, images, draws(**chance), boxes=boxes)
    assert np.abs(moved[0, 0] - boxes[0, 0]).max() > 1  # it did move
    assert np.abs(measured(image[0]) - moved[0, 0]).max() <= 1


@pytest.mark.parametrize("size", SIZES, ids=SIZE_IDS)
@pytest.mark.parametrize(("recipe", "chance"), OPERATIONS)
def test_a_mask_follows_its_picture(recipe: Recipe, chance: dict[str, float], size: tuple[int, int]) -> None:
    images, _ = scene(size)
    masks = np.where(images[..., 0] > 130, 7, 3)
    image, _, mask = applied(recipe, images, draws(**chance), masks=masks)
    assert mask.dtype == np.int32
    assert set(np.unique(mask)) <= {3, 7, IGNORED}
    seen = mask[0] != IGNORED
    # A pixel half way between bright and dark may be either; none differs that is clearly one of them.
    clear = seen & (np.abs(image[0, ..., 0] - 130) > 60)
    assert np.array_equal(mask[0][clear] == 7, image[0, ..., 0][clear] > 130)
    assert np.count_nonzero(clear) > 0.85 * np.count_nonzero(seen)
    assert np.count_nonzero(mask == 7) == pytest.approx(np.count_nonzero(image > 130), rel=0.05)


@pytest.mark.parametrize("random", range(3))
def test_boxes_follow_under_random_draws_of_the_standard_recipe(random: int) -> None:
    recipe = Recipe(**{**RECIPES["standard"].to_json(), "erase": 0.0, "brightness": 0.0, "contrast": 0.0})
    images, boxes = (np.repeat(each, 64, axis=0) for each in scene((61, 97)))
    image, moved, _ = applied(recipe, images, recipe.draws(64, seed=random, epoch=0), boxes=boxes)
    inside = [row for row in range(64) if moved[row, 0, :2].min() > 1 and (moved[row, 0, 2:] < (96, 60)).all()]
    assert len(inside) > 32
    for row in inside:
        assert np.abs(measured(image[row]) - moved[row, 0]).max() <= 1


@pytest.mark.parametrize("size", SIZES, ids=SIZE_IDS)
def test_flips_and_shifts_by_whole_pixels_are_exact(size: tuple[int, int]) -> None:
    height, width = size
    images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    across, _, _ = applied(Recipe(flip_horizontal=1.0), images, draws(flip_horizontal=0))
    down, _, _ = applied(Recipe(flip_vertical=1.0), images, draws(flip_vertical=0))
    assert np.array_equal(across, images[:, :, ::-1])
    assert np.array_equal(down, images[:, ::-1])
    masks = images[..., 0].astype(np.int32) % 5
    # By the whole width: what is uncovered repeats the border.
    moved, _, mask = applied(Recipe(shift=1.0), images, draws(shift_x=1.0), masks=masks)
    assert np.array_equal(moved, np.repeat(images[:, :, :1], width, axis=2))
    assert (mask == IGNORED).all()
    moved, _, mask = applied(Recipe(shift=4 / width), images, draws(shift_x=0.0), masks=masks)
    np.testing.assert_allclose(moved[:, :, :-4], images[:, :, 4:], atol=0.01)
    assert np.array_equal(mask[:, :, :-4], masks[:, :, 4:])
    assert (mask[:, :, -4:] == IGNORED).all()


def test_a_quarter_turn_is_exact_and_clockwise() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 33, 33, 3), dtype=np.uint8)
    masks = images[..., 0].astype(np.int32) % 5
    turned, _, mask = applied(Recipe(rotate=90), images, draws(rotate=1.0), masks=masks)
    np.testing.assert_allclose(turned[0], np.rot90(images[0], -1), atol=0.01)
    assert np.array_equal(mask[0], np.rot90(masks[0], -1))


@pytest.mark.parametrize("size", SIZES, ids=SIZE_IDS)
def test_a_cut_out_is_what_pillow_makes_of_it(size: tuple[int, int]) -> None:
    """Bilinear enlargement of the same part, which Pillow states in the same coordinates: borders between pixels.

    Pillow rounds twice, after columns and after rows.
    """
    height, width = size
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    recipe = Recipe(crop=(0.25, 1.0))
    cut, _, _ = applied(recipe, pixels[None], draws(crop_area=0.0, crop_x=0.3, crop_y=1.0))
    left, top = 0.3 * width / 2, height / 2
    box = (left, top, left + width / 2, top + height / 2)
    expected = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box))
    np.testing.assert_allclose(cut[0], expected, atol=1.001)


def test_a_zoom_is_what_pillow_makes_of_it() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    zoomed, _, _ = applied(Recipe(zoom=(1.0, 2.0)), pixels[None], draws(zoom=1.0))
    expected = Image.fromarray(pixels).resize((60, 40), Image.Resampling.BILINEAR, (15, 10, 45, 30))
    np.testing.assert_allclose(zoomed[0], np.asarray(expected), atol=1.001)


def test_a_turn_is_what_pillow_makes_of_it() -> None:
    """Pillow turns against the clock, about the centre, on black."""
    pixels = np.random.default_rng(2).integers(0, 256, (61, 97), dtype=np.uint8)
    images = pixels[None, ..., None]
    turned, _, mask = applied(Recipe(rotate=25), images, draws(rotate=1.0), masks=np.zeros((1, 61, 97), np.int32))
    expected = np.asarray(Image.fromarray(pixels).rotate(-25, Image.Resampling.BILINEAR), np.float32)
    inside = (mask[0] != IGNORED) & (np.asarray(Image.new("L", (97, 61), 255).rotate(-25)) == 255)
    inside &= expected > 0  # Pillow leaves out pixels that lie half over the border
    assert np.count_nonzero(inside) > 3000
    assert np.quantile(np.abs(turned[0, ..., 0] - expected)[inside], 0.97) <= 1.0


def test_pixels_are_resampled_once() -> None:
    """Halving a picture and enlarging its middle again would blur it; composed, they cancel out."""
    images = np.random.default_rng(3).integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
    recipe = Recipe(flip_horizontal=1.0, rotate=180, zoom=(0.5, 2.0), crop=(0.25, 1.0), shift=0.5)
    # Halved, half of it cut out again, turned by 180° and mirrored: the picture upside down, in its own pixels.
    chance = {"flip_horizontal": 0.0, "rotate": 1.0, "zoom": 0.0, "crop_area": 0.0}
    changed, _, _ = applied(recipe, images, draws(**chance))
    np.testing.assert_allclose(changed, images[:, ::-1], atol=0.01)


def test_a_box_is_cut_at_the_border_and_dropped_when_too_little_is_left() -> None:
    images = np.zeros((1, 50, 100, 1), np.uint8)
    boxes = np.array([[[60, 10, 80, 30], [70, 10, 90, 30], [90, 10, 98, 30], [0, 0, 0, 0]]], np.float32)
    # Shifted by 25 pixels: 15 and 5 pixels of 20 columns are left, and nothing of the third.
    recipe = Recipe(shift=0.25, keep=0.3)
    _, moved, _ = applied(recipe, images, draws(shift_x=1.0), boxes=boxes)
    assert moved[0].tolist() == [[85, 10, 100, 30], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    _, moved, _ = applied(Recipe(shift=0.25, keep=0.25), images, draws(shift_x=1.0), boxes=boxes)
    assert moved[0, 1].tolist() == [95, 10, 100, 30]


def test_keep_all_only_flips_a_picture_that_would_lose_a_box() -> None:
    recipe = Recipe(flip_horizontal=1.0, shift=0.25)
    images = np.zeros((2, 50, 100, 1), np.uint8)
    images[0, 10:30, 10:18] = images[1, 10:30, 50:60] = 255
    boxes = np.array([[[10, 10, 18, 30]], [[50, 10, 60, 30]]], np.float32)
    chance = np.repeat(draws(flip_horizontal=0.0, shift_x=1.0), 2, axis=0)
    _, lost, _ = applied(recipe, images, chance, boxes=boxes)
    assert lost[:, 0].tolist() == [[0, 0, 0, 0], [65, 10, 75, 30]]
    masks = (images[..., 0] > 0).astype(np.int32)
    image, kept, mask = applied(recipe, images, chance, boxes=boxes, masks=masks, keep_all=True)
    assert kept[:, 0].tolist() == [[82, 10, 90, 30], [65, 10, 75, 30]]
    assert [measured(each).tolist() for each in image] == kept[:, 0].tolist()
    assert measured(np.where(mask == 1, 255, 0)[0, ..., None]).tolist() == kept[0, 0].tolist()
    # Neither turned nor enlarged, where only the shift is to blame.
    recipe = Recipe(flip_horizontal=1.0, shift=0.25, rotate=20, zoom=(1.0, 1.5))
    chance[:, [Draw.ROTATE, Draw.ZOOM]] = 0.7
    image, kept, _ = applied(recipe, images, chance, boxes=boxes, keep_all=True)
    assert kept[0, 0].tolist() == measured(image[0]).tolist() == [82, 10, 90, 30]
    assert kept[1, 0].tolist() != [65, 10, 75, 30]


def test_pictures_without_boxes_keep_all_of_none() -> None:
    images, _ = scene((28, 28))
    recipe = Recipe(shift=0.2)
    table = draws(shift_x=1.0)
    with_none, boxes, _ = applied(recipe, images, table, boxes=np.zeros((1, 2, 4), np.float32), keep_all=True)
    without, _, _ = applied(recipe, images, table)
    assert np.array_equal(with_none, without)
    assert not boxes.any()


def test_brightness_and_contrast_are_factors() -> None:
    images = np.array([0, 50, 100, 250], np.uint8).reshape(1, 2, 2, 1)
    bright, _, _ = applied(Recipe(brightness=0.2), images, draws(brightness=1.0))
    np.testing.assert_allclose(bright.ravel(), [0, 60, 120, 255], rtol=1e-6)
    # About the mean, 100.
    flat, _, _ = applied(Recipe(contrast=0.5), images, draws(contrast=0.0))
    np.testing.assert_allclose(flat.ravel(), [50, 75, 100, 175], rtol=1e-6)
    # 0, 60, 120, 300 about 120: cut to 255 only at the end.
    both, _, _ = applied(Recipe(brightness=0.2, contrast=0.5), images, draws(brightness=1.0, contrast=0.0))
    np.testing.assert_allclose(both.ravel(), [60, 90, 120, 210], rtol=1e-6)


def test_contrast_of_colours_is_about_the_mean_luminance() -> None:
    images = np.array([[255, 0, 0], [0, 255, 0]], np.uint8).reshape(1, 1, 2, 3)
    grey = 255 * (0.299 + 0.587) / 2
    flat, _, _ = applied(Recipe(contrast=1.0), images, draws(contrast=0.0))
    np.testing.assert_allclose(flat, np.full((1, 1, 2, 3), grey), rtol=1e-5)


def test_no_saturation_is_pillow_s_luminance() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    grey, _, _ = applied(Recipe(saturation=1.0), pixels[None], draws(saturation=0.0))
    expected = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    np.testing.assert_allclose(grey[0], np.repeat(expected[..., None], 3, axis=2), atol=1.0)


def test_half_a_turn_of_hue_mirrors_colours_at_their_luminance() -> None:
    pixels = np.random.default_rng(4).integers(100, 150, (1, 9, 7, 3), dtype=np.uint8)
    luminance = pixels @ np.array([0.299, 0.587, 0.114])
    turned, _, _ = applied(Recipe(hue=180), pixels, draws(hue=1.0))
    np.testing.assert_allclose(turned, 2 * luminance[..., None] - pixels, atol=0.01)


def test_hue_moves_red_towards_yellow_or_magenta_and_leaves_grey() -> None:
    pixels = np.array([[150, 90, 90], [90, 90, 90]], np.uint8).reshape(1, 1, 2, 3)
    for chance in (0.0, 1.0):
        turned, _, _ = applied(Recipe(hue=20), pixels, draws(hue=chance))
        np.testing.assert_allclose(turned[0, 0, 1], 90, atol=0.01)
        assert abs(turned[0, 0, 0, 1] - turned[0, 0, 0, 2]) > 10
        assert turned[0, 0, 0] @ [0.299, 0.587, 0.114] == pytest.approx(150 * 0.299 + 90 * 0.701, abs=0.01)


def test_grey_pictures_have_neither_hue_nor_saturation() -> None:
    images, _ = scene((28, 28))
    same, _, _ = applied(Recipe(hue=180, saturation=1.0), images, draws(hue=1.0, saturation=0.0))
    np.testing.assert_allclose(same, images, atol=1e-3)


@pytest.mark.parametrize(("area", "aspect"), [(0.0, 0.5), (0.5, 0.5), (0.5, 0.9), (1.0, 0.3)])
def test_erasing_takes_the_share_of_the_area_and_the_aspect_of_the_paper(area: float, aspect: float) -> None:
    images = np.full((1, 200, 300, 3), 128, np.uint8)
    masks = np.full((1, 200, 300), 4, np.int32)
    boxes = np.array([[[10, 10, 290, 190]]], np.float32)
    table = draws(erase=0.4, erase_area=area, erase_aspect=aspect, erase_x=0.2, erase_y=0.7)
    image, kept, mask = applied(Recipe(erase=0.5), images, table, masks=masks, boxes=boxes)
    assert np.array_equal(kept, boxes)
    rows, columns = np.nonzero(mask[0] == IGNORED)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width  # a whole rectangle
    share = 0.02 + area * 0.38
    ratio = math.exp(math.log(0.3) + aspect * 2 * math.log(1 / 0.3))
    assert height == round(math.sqrt(share * 60_000 * ratio))
    assert width == round(math.sqrt(share * 60_000 / ratio))
    erased = mask[0] == IGNORED
    assert (image[0][~erased] == 128).all()
    # Noise: even from 0 to 255.
    values = image[0][erased]
    assert values.min() >= 0
    assert values.max() < 255
    assert values.mean() == pytest.approx(127.5, abs=5)
    assert values.std() == pytest.approx(255 / math.sqrt(12), abs=4)


def test_erasing_strikes_as_often_as_its_probability() -> None:
    recipe = Recipe(erase=0.3)
    masks = np.zeros((1000, 8, 8), np.int32)
    images = np.zeros((1000, 8, 8, 1), np.uint8)
    _, _, erased = applied(recipe, images, recipe.draws(1000, seed=1, epoch=1), masks=masks)
    struck = (erased == IGNORED).any(axis=(1, 2)).mean()
    assert struck == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 1000))


def test_erased_pictures_have_different_noise() -> None:
    images = np.zeros((2, 8, 8, 1), np.uint8)
    table = np.repeat(draws(erase=0.0), 2, axis=0)
    table[1, Draw.ERASE_NOISE] = 0.1
    image, _, _ = applied(Recipe(erase=1.0, erase_area=(1.0, 1.0), erase_aspect=(1.0, 1.0)), images, table)
    assert (image > 0).mean() > 0.95
    assert not np.isclose(image[0], image[1]).any()


def test_flips_strike_as_often_as_their_probability_and_independently() -> None:
    recipe = Recipe(flip_horizontal=0.5, flip_vertical=0.25)
    images = np.repeat(np.array([[0, 1], [2, 3]], np.uint8)[None, ..., None], 2000, axis=0)
    image, _, _ = applied(recipe, images, recipe.draws(2000, seed=0, epoch=0))
    first = image[:, 0, 0, 0]
    # Neither, across, down, both.
    shares = [np.mean(np.isclose(first, value)) for value in (0, 1, 2, 3)]
    assert shares == pytest.approx([0.375, 0.375, 0.125, 0.125], abs=0.045)


def test_draws_depend_on_seed_epoch_and_number_alone() -> None:
    recipe = RECIPES["standard"]
    table = recipe.draws(1000, seed=5, epoch=2)
    assert table.dtype == np.float32
    assert np.array_equal(recipe.draws(10, seed=5, epoch=2), table[:10])
    assert np.array_equal(RECIPES["light"].draws(1000, seed=5, epoch=2), table)
    for other in (recipe.draws(1000, seed=5, epoch=3), recipe.draws(1000, seed=6, epoch=2), table[::-1]):
        assert abs(np.corrcoef(other.ravel(), table.ravel())[0, 1]) < 0.03
    assert table.min() >= 0
    assert table.max() < 1
    assert table.mean(axis=0) == pytest.approx(np.full(len(Draw), 0.5), abs=0.04)


def test_a_picture_is_changed_alike_whatever_batch_it_is_in() -> None:
    recipe = RECIPES["standard"]
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (7, 40, 30, 3), dtype=np.uint8)
    boxes = np.tile(np.array([[[5, 6, 20, 30]]], np.float32), (7, 1, 1))
    masks = generator.integers(0, 4, (7, 40, 30))
    table = recipe.draws(7, seed=0, epoch=0)
    together = applied(recipe, images, table, boxes=boxes, masks=masks)
    for row in reversed(range(7)):
        one = slice(row, row + 1)
        alone = applied(recipe, images[one], table[one], boxes=boxes[one], masks=masks[one])
        for whole, single in zip(together, alone, strict=True):
            assert np.array_equal(whole[one], single)


def test_the_recipe_none_changes_nothing() -> None:
    images, boxes = scene((28, 28))
    masks = np.zeros((1, 28, 28), np.uint8)
    image, same, mask = applied(RECIPES["none"], images, draws(flip_horizontal=0, erase=0), boxes=boxes, masks=masks)
    assert np.array_equal(image, images)
    assert np.array_equal(same, boxes)
    assert np.array_equal(mask, masks)
    assert not RECIPES["none"].changes


def test_light_keeps_digits_readable() -> None:
    light = RECIPES["light"]
    assert light.flip_horizontal == light.flip_vertical == light.erase == light.hue == 0
    assert light.crop == (1.0, 1.0)


@pytest.mark.parametrize("name", ["none", "light", "standard"])
def test_recipes_go_through_json_unharmed(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(RECIPES[name].to_json()))
    assert read_recipe(str(file)) == read_recipe(name) == RECIPES[name]


def test_missing_keys_change_nothing() -> None:
    assert Recipe.from_json({"rotate": 5, "zoom": [0.9, 1.1]}) == Recipe(rotate=5, zoom=(0.9, 1.1))


KNOWN = (
    "brightness, contrast, crop, crop_aspect, erase, erase_area, erase_aspect, flip_horizontal, flip_vertical, hue, "
    "keep, rotate, saturation, shift, zoom"
)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"rotation": 5}, f"augmentation has the unknown key 'rotation'. Known: {KNOWN}."),
        ([1], "augmentation must be a JSON object, got list"),
        ({"rotate": 200}, "augmentation key 'rotate' must be a number in [0, 180], got 200"),
        ({"shift": -0.1}, "augmentation key 'shift' must be a number in [0, 1], got -0.1"),
        ({"erase": "often"}, "augmentation key 'erase' must be a number in [0, 1], got 'often'"),
        ({"hue": True}, "augmentation key 'hue' must be a number in [0, 180], got True"),
        ({"hue": math.nan}, "augmentation key 'hue' must be a number in [0, 180], got nan"),
        ({"zoom": 1.1}, "augmentation key 'zoom' must be two rising numbers in (0, 100], got 1.1"),
        ({"zoom": [1.1, 0.9]}, "augmentation key 'zoom' must be two rising numbers in (0, 100], got [1.1, 0.9]"),
        ({"zoom": [1, 10**400]}, f"augmentation key 'zoom' must be two rising numbers in (0, 100], got [1, {10**400}]"),
        ({"crop": [0, 1]}, "augmentation key 'crop' must be two rising numbers in (0, 1], got [0, 1]"),
        ({"crop": [0.5, 2]}, "augmentation key 'crop' must be two rising numbers in (0, 1], got [0.5, 2]"),
    ],
)
def test_a_wrong_recipe_is_one_line(document: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Recipe.from_json(document)
    assert str(caught.value) == message


def test_a_recipe_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        read_recipe("strong")
    assert str(caught.value) == "augment must be one of none, light, standard or a FILE.json, got 'strong'"
    file = str(tmp_path / "x.json")
    with pytest.raises(OptionError) as caught:
        read_recipe(file)
    assert str(caught.value) == f"augment {file!r} cannot be read: No such file or directory. Name another file."
    Path(file).write_text("{")
    with pytest.raises(OptionError) as caught:
        read_recipe(file)
    assert str(caught.value) == (
        f"augment {file!r} is no JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1). Mend it."
    )
