"""Every kind of picture gives the right pixels, or one line that says why not."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.errors import OptionError, PictureError
from edgecv.pictures import Placement, find_pictures, fit_picture, picture_of_array, place, read_picture
from edgecv.preprocess import Fit

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(image: Image.Image, name: str = "x.png", **options: Any) -> Path:
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def pixels(path: Path) -> list[list[list[int]]]:
    picture = read_picture(path)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (picture.height, picture.width, 3)
    return picture.pixels.tolist()  # type: ignore[no-any-return]


def row(*colours: tuple[int, int, int]) -> list[list[list[int]]]:
    return [[list(colour) for colour in colours]]


def strip(mode: str, *values: Any) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (strip("RGB", RED, (1, 2, 3)), row(RED, (1, 2, 3))),
        (strip("L", 0, 100, 255), row(BLACK, (100,) * 3, WHITE)),
        (strip("1", 0, 255), row(BLACK, WHITE)),
        # Half of the colour, half of the white below it; 127.5 goes either way.
        (strip("RGBA", (*RED, 255), (*RED, 0), (*BLACK, 51)), row(RED, WHITE, (204,) * 3)),
        (strip("LA", (10, 255), (10, 0), (0, 51)), row((10,) * 3, WHITE, (204,) * 3)),
        # 16 bits are scaled: clipping would give 255 for all but the first, cutting off bits 0, 0, 128, 255.
        (strip("I;16", 0, 257, 32896, 65535), row(BLACK, (1,) * 3, (128,) * 3, WHITE)),
        (strip("I;16", 128, 129, 300), row(BLACK, (1,) * 3, (1,) * 3)),
    ],
    ids=["rgb", "grey", "1-bit", "rgba", "grey-alpha", "16-bit", "16-bit-rounding"],
)
def test_png_of_every_mode(image: Image.Image, expected: object, save: Save) -> None:
    assert pixels(save(image)) == expected


def test_16_bit_tiff_and_pgm_are_scaled(save: Save) -> None:
    image = strip("I;16", 0, 32896, 65535)
    assert pixels(save(image, "x.tiff")) == row(BLACK, (128,) * 3, WHITE)
    assert pixels(save(image, "x.pgm")) == row(BLACK, (128,) * 3, WHITE)


def test_palette_with_and_without_transparency(save: Save) -> None:
    image = strip("P", 0, 1, 2)
    image.putpalette([*RED, *GREEN, *BLUE])
    assert pixels(save(image)) == row(RED, GREEN, BLUE)
    assert pixels(save(image, "one.png", transparency=1)) == row(RED, WHITE, BLUE)
    assert pixels(save(image, "many.png", transparency=bytes([255, 0, 51]))) == row(RED, WHITE, (204, 204, 255))


def test_grey_png_with_one_transparent_value(save: Save) -> None:
    assert pixels(save(strip("L", 7, 8), transparency=7)) == row(WHITE, (8,) * 3)


def test_cmyk_jpeg_and_tiff(save: Save) -> None:
    # No ink is white, full black ink is black, cyan and magenta make blue.
    cmyk = Image.new("CMYK", (48, 16), (0, 0, 0, 0))
    cmyk.paste((0, 0, 0, 255), (16, 0, 32, 16))
    cmyk.paste((255, 255, 0, 0), (32, 0, 48, 16))
    for name in ("x.jpg", "x.tiff"):
        found = read_picture(save(cmyk, name)).pixels
        for x, colour in ((8, WHITE), (24, BLACK), (40, BLUE)):
            np.testing.assert_allclose(found[8, x].astype(int), colour, atol=4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("mode", "name"), [("RGB", "x.png"), ("L", "x.png"), ("I;16", "x.png"), ("RGB", "x.tiff")])
def test_exif_orientation_is_applied(orientation: int, mode: str, name: str, save: Save) -> None:
    upright = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    # How a camera stores an upright scene under each orientation: Exif 2.3, table 6 ("0th row / 0th column").
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    values = np.ascontiguousarray(stored)
    image = Image.fromarray(values.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(values).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(save(image, name, exif=exif))
    assert (picture.width, picture.height) == (3, 2)
    assert picture.pixels[..., 0].tolist() == upright.tolist()


def test_damaged_exif_is_left_aside(save: Save) -> None:
    path = save(Image.new("RGB", (8, 8), RED), "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff")
    assert read_picture(path).width == 8


def test_an_animation_gives_its_first_frame(save: Save) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE)]
    for name in ("x.gif", "x.png", "x.webp"):
        options = {"lossless": True} if name == "x.webp" else {}
        path = save(frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert read_picture(path).pixels[0, 0].tolist() == list(RED)


def test_one_pixel_and_20000_pixels_wide(save: Save) -> None:
    assert pixels(save(Image.new("RGB", (1, 1), GREEN))) == row(GREEN)
    ramp = np.zeros((3, 20_000, 3), np.uint8)
    ramp[:, 10_000:] = 200
    path = save(Image.fromarray(ramp), "wide.png")
    assert read_picture(path).pixels.tolist() == ramp.tolist()
    fitted = fit_picture(read_picture(path).pixels, Fit(), (4, 10))
    np.testing.assert_array_equal(fitted[:, :4], 0)
    np.testing.assert_array_equal(fitted[:, 6:], 200)


def png(width: int, height: int, depth: int, colour: int, content: bytes, transparent: bytes = b"") -> bytes:
    """Build a PNG, chunk by chunk as its specification (ISO/IEC 15948) says."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [head, *([b"tRNS" + transparent] if transparent else []), b"IDAT" + zlib.compress(content), b"IEND"]
    framed = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def png_of_size(width: int, height: int) -> bytes:
    return png(width, height, 8, 2, b"\0" * 10)


@pytest.mark.parametrize(
    ("depth", "samples", "transparent", "expected"),
    [
        (1, bytes([0b01000000]), 0, [255, 255, 255]),
        (2, bytes([0b00011000]), 1, [0, 255, 170]),  # 4 greys: 0, 85, 170, 255
        (4, bytes([0x12, 0xF0]), 2, [17, 255, 255]),  # 16 greys, 17 apart
        (8, bytes([1, 2, 3]), 2, [1, 255, 3]),
        (16, struct.pack(">3H", 257, 258, 514), 258, [1, 255, 2]),  # 257 has the same grey, and is not transparent
    ],
)
def test_the_transparent_value_of_a_grey_png_of_any_depth(
    depth: int, samples: bytes, transparent: int, expected: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(3, 1, depth, 0, b"\0" + samples, struct.pack(">H", transparent)))
    assert pixels(path) == row(*((value,) * 3 for value in expected))


def test_a_transparent_colour_is_shown_as_paper_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(2, 1, 8, 2, bytes([0, 7, 8, 9, 1, 2, 3]), struct.pack(">3H", 7, 8, 9)))
    assert pixels(path) == row(WHITE, (1, 2, 3))
    content = b"\0" + struct.pack(">6H", 257, 257, 257, 65535, 0, 0)
    path.write_bytes(png(2, 1, 16, 2, content))
    assert pixels(path) == row((1, 1, 1), RED)
    path.write_bytes(png(2, 1, 16, 2, content, struct.pack(">3H", 257, 257, 257)))
    with pytest.raises(PictureError) as raised:
        read_picture(path)
    assert str(raised.value) == (
        f"Picture {str(path)!r} has a transparent colour of 16 bits. Save it again with 8 bits."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^Picture '.*' is damaged or no picture that edgecv reads\. Use JPEG, PNG, WebP, TIFF, BMP or GIF\.$"),
        (
            b"a text",
            r"^Picture '.*' is damaged or no picture that edgecv reads\. Use JPEG, PNG, WebP, TIFF, BMP or GIF\.$",
        ),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            r"^Picture '.*' is damaged or no picture that edgecv reads\. Use JPEG, .* GIF\.$",
        ),
        (png_of_size(20_000, 20_000), r"^Picture '.*' has more than 178,956,970 pixels\. Make it smaller\.$"),
        (png_of_size(20, 20), r"^Picture '.*' cannot be read: .*\. Save it again as PNG or JPEG\.$"),
    ],
    ids=["empty", "text", "postscript", "bomb", "too-little-data"],
)
def test_what_is_no_picture_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=message):
        read_picture(path)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tiff", "x.bmp"])
def test_truncated_pictures_are_refused(name: str, save: Save) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(Image.fromarray(noise), name)
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(PictureError, match=r"^Picture '.*' (cannot be read: .*|is damaged or .*)\.$"):
            read_picture(path)


def test_random_damage_raises_picture_errors_only(save: Save) -> None:
    import random

    dice = random.Random(0)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for name in ("x.jpg", "x.png", "x.gif", "x.tiff", "x.webp", "x.bmp", "x.ppm"):
        whole = save(image, name).read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(3):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            path = save(image, name)
            path.write_bytes(damaged)
            try:
                assert read_picture(path).pixels.ndim == 3
            except PictureError:
                continue


def test_32_bit_pictures_are_refused(save: Save) -> None:
    message = r"^Picture '.*' has 32-bit {}, whose white is unknown\. Save it with 8 or 16 bits\.$"
    with pytest.raises(PictureError, match=message.format("floating-point numbers")):
        read_picture(save(Image.new("F", (2, 2)), "x.tiff"))
    with pytest.raises(PictureError, match=message.format("integers")):
        read_picture(save(Image.new("I", (2, 2)), "y.tiff"))


def test_missing_files_and_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"^Picture '.*none' does not exist\. Name a picture, a folder or a glob\.$"):
        read_picture(tmp_path / "none")
    with pytest.raises(PictureError, match=r"^Picture '.*' is not a file\. Name a picture, a folder or a glob\.$"):
        read_picture(tmp_path)


def test_what_the_system_refuses_is_one_line() -> None:
    name = "a" * 300 + ".png"
    assert find_pictures([name]) == [name]
    with pytest.raises(PictureError) as raised:
        read_picture(name)
    assert str(raised.value) == f"Picture {name!r} cannot be read: File name too long. Name another one."


def test_sources_are_found_in_a_fixed_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("folder")
    folder.mkdir()
    for name in ("c.PNG", "a.jpg", "b.txt", ".hidden.jpg", "[d].webp"):
        (folder / name).write_bytes(b"x")
    assert find_pictures(["folder"]) == ["folder/[d].webp", "folder/a.jpg", "folder/c.PNG"]
    assert find_pictures(["folder/*.jpg", "none.png", folder / "b.txt"]) == ["folder/a.jpg", "none.png", "folder/b.txt"]
    # A name that looks like a glob and exists is that file.
    assert find_pictures(["folder/[d].webp"]) == ["folder/[d].webp"]


def test_empty_folders_and_globs_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"^Folder '.*' holds no picture\. Name one with JPEG, PNG or WebP files\.$"):
        find_pictures([tmp_path])
    with pytest.raises(PictureError, match=r"^Glob '.*' matches no file\. Check its folder and suffix\.$"):
        find_pictures([str(tmp_path / "*.jpg")])


@pytest.mark.parametrize("source", ["camera:0", "clip.mp4", "clip.AVI", "rtsp://camera/1", "https://a.b/c.jpg"])
def test_videos_and_cameras_are_refused(source: str) -> None:
    message = r"^'.*' is no picture\. Name pictures, folders or globs; edgecv predict takes the rest\.$"
    with pytest.raises(OptionError, match=message):
        find_pictures([source])


def test_arrays_are_pictures() -> None:
    grey = np.array([[1, 2]], np.uint8)
    for array in (grey, grey[..., None]):
        assert picture_of_array(array).pixels.tolist() == row((1,) * 3, (2,) * 3)
    for wrong in (
        np.zeros((2, 2, 3)),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros(3, np.uint8),
        np.zeros((0, 2), np.uint8),
    ):
        with pytest.raises(
            PictureError, match=r"^An array of .* is no picture\. Give uint8 \(height, width, 3\) in RGB"
        ):
            picture_of_array(wrong)


def columns(*values: int, height: int = 2) -> Any:
    return np.repeat(np.tile(np.array(values, np.uint8), (height, 1))[..., None], 3, axis=2)


def test_stretch_and_smoothing() -> None:
    # Halving by a triangle of two source pixels' half-width: (1, 3, 3, 1)/8 inside, renormalised at the border.
    fitted = fit_picture(columns(0, 80, 160, 240), Fit(), (2, 2))
    assert fitted[0, :, 0].tolist() == [round((3 * 0 + 3 * 80 + 160) / 7), round((80 + 3 * 160 + 3 * 240) / 7)]


def test_crop_takes_the_centre() -> None:
    picture = columns(0, 1, 2, 3, 4, 5, 6, 7)
    assert fit_picture(picture, Fit(mode="crop"), (2, 2))[0, :, 0].tolist() == [3, 4]
    assert fit_picture(picture, Fit(mode="crop"), (2, 4))[0, :, 0].tolist() == [2, 3, 4, 5]
    tall = np.ascontiguousarray(picture.transpose(1, 0, 2))
    assert fit_picture(tall, Fit(mode="crop"), (2, 2))[:, 0, 0].tolist() == [3, 4]
    # 224/256 of the short side 256 is 224, which no rounding may make 223.
    assert place(Fit(mode="crop", fraction=0.875), (256, 400), (224, 224)).picture == (88, 16, 224, 224)


def test_letterbox_keeps_all_and_fills_with_grey() -> None:
    fitted = fit_picture(columns(*[200] * 8, height=4), Fit(mode="letterbox"), (8, 8))
    assert fitted[..., 0].tolist() == [[114] * 8] * 2 + [[200] * 8] * 4 + [[114] * 8] * 2


def test_luminance_is_that_of_itu_r_601() -> None:
    picture = np.array([[RED, GREEN, BLUE, WHITE]], np.uint8)
    fitted = fit_picture(picture, Fit(), (1, 4), channels=1)
    assert fitted.shape == (1, 4, 1)
    assert fitted[0, :, 0].tolist() == [76, 150, 29, 255]


@pytest.mark.parametrize("mode", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (30, 50), (7, 1000)])
def test_any_size_fits(mode: Any, size: tuple[int, int]) -> None:
    fitted = fit_picture(np.full((*size, 3), 9, np.uint8), Fit(mode=mode, fraction=0.5), (16, 24))
    assert fitted.shape == (16, 24, 3)
    assert (fitted == 9).any()
    assert set(np.unique(fitted)) <= {9, 114}


@pytest.mark.parametrize("mode", ["stretch", "crop", "letterbox"])
def test_boxes_come_back_to_where_they_were(mode: Any) -> None:
    # A white rectangle on black, found again in the fitted picture, maps back onto itself.
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[60:140, 120:180] = 255
    fitted = fit_picture(picture, Fit(mode=mode), (160, 160))
    y, x = np.nonzero((fitted[..., 0] > 127) & (fitted[..., 0] != 114))
    box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]]) / 160
    found = place(Fit(mode=mode), (200, 300), (160, 160)).boxes_in_picture(box)
    np.testing.assert_allclose(found, [[120, 60, 180, 140]], atol=1.5)


def test_masks_come_back_at_the_pictures_size() -> None:
    mask = np.array([[1, 1], [2, 2]], np.int32)
    stretched = place(Fit(), (4, 2), (2, 2)).mask_in_picture(mask)
    assert stretched.tolist() == [[1, 1], [1, 1], [2, 2], [2, 2]]
    cropped = place(Fit(mode="crop"), (2, 6), (2, 2)).mask_in_picture(mask)
    assert cropped.tolist() == [[-1, -1, 1, 1, -1, -1], [-1, -1, 2, 2, -1, -1]]
    boxed = place(Fit(mode="letterbox"), (2, 4), (4, 4)).mask_in_picture(np.arange(16, dtype=np.int32).reshape(4, 4))
    assert boxed.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.875, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (17, 9)])
def test_masks_of_any_crop_fit_the_picture(fraction: float, size: tuple[int, int]) -> None:
    placement = place(Fit(mode="crop", fraction=fraction), size, (4, 4))
    mask = placement.mask_in_picture(np.full((4, 4), 7, np.int32))
    assert mask.shape == size
    assert set(np.unique(mask)) <= {-1, 7}
    assert (mask == 7).any()


def test_a_mask_of_a_crop_lies_where_the_crop_was_taken() -> None:
    # The crop takes 0.75 of 4 pixels, from 0.5 to 3.5: the centres 0.5, 1.5 and 2.5 lie in its pixels 0, 1 and 2.
    placement = place(Fit(mode="crop", fraction=0.75), (4, 4), (3, 3))
    seen = placement.mask_in_picture(np.array([[1, 2, 3]] * 3, np.int32))
    assert seen.tolist() == [[1, 2, 3, -1]] * 3 + [[-1] * 4]


def test_masks_of_pictures_come_to_the_networks_size() -> None:
    mask = np.array([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]], np.uint8)
    # Three columns have their centres at 1, 3 and 5 of six: on a border, the pixel behind it counts.
    stretched = place(Fit(), (2, 6), (2, 3)).mask_in_input(mask)
    assert stretched.tolist() == [[2, 4, 6], [8, 10, 12]]
    assert stretched.dtype == np.uint8
    enlarged = place(Fit(), (2, 6), (3, 6)).mask_in_input(mask)
    assert enlarged[:, 0].tolist() == [1, 7, 7]
    cropped = place(Fit(mode="crop"), (2, 6), (2, 2)).mask_in_input(mask)
    assert cropped.tolist() == [[3, 4], [9, 10]]
    boxed = place(Fit(mode="letterbox"), (2, 6), (6, 6)).mask_in_input(mask)
    assert boxed.tolist() == [[255] * 6] * 2 + mask.tolist() + [[255] * 6] * 2
    empty = place(Fit(mode="letterbox"), (2, 6), (4, 6)).mask_in_input(mask.astype(np.int32), fill=-1)
    assert (empty[[0, 3]] == -1).all()
    assert empty.dtype == np.int32


@pytest.mark.parametrize("fit", [Fit(), Fit(mode="crop", fraction=0.5), Fit(mode="crop"), Fit(mode="letterbox")])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (17, 9), (1, 30)])
def test_a_mask_shows_the_pixel_that_the_picture_shows_there(fit: Fit, size: tuple[int, int]) -> None:
    # Enlarged by a whole number, each pixel of the mask keeps its whole square, and comes back from it.
    height, width = size
    mask = np.arange(height * width).reshape(size).astype(np.int32) + 1000
    placement = place(fit, size, (30, 30) if fit.mode != "letterbox" else (height * 3 + 2, width * 3))
    inside = placement.mask_in_input(mask)
    assert inside.shape == placement.size
    assert (inside != 255).any()
    back = placement.mask_in_picture(inside)
    assert back[back >= 0].tolist() == mask[back >= 0].tolist()
    if fit.mode != "crop":
        assert (back >= 0).all()
    bars = np.ones(placement.size, bool)
    x, y, filled_width, filled_height = placement.input
    bars[y : y + filled_height, x : x + filled_width] = False
    np.testing.assert_array_equal(inside == 255, bars)


def test_a_mask_ends_where_the_picture_ends() -> None:
    # A part that begins a pixel before the picture and ends a pixel behind it, as augmentation takes it.
    placement = Placement(picture=(-1, 0, 4, 1), input=(0, 0, 4, 1), size=(1, 4), picture_size=(1, 2))
    assert placement.mask_in_input(np.array([[5, 6]], np.uint8)).tolist() == [[255, 5, 6, 255]]
    assert placement.mask_in_picture(np.array([[1, 2, 3, 4]], np.int32)).tolist() == [[2, 3]]
