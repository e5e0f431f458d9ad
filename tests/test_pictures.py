"""Picture files as they come, each built here and compared pixel by pixel."""

from __future__ import annotations

import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from hashzoo.data.pictures import open_picture, to_rgb
from hashzoo.errors import HashzooError

WIDTH, HEIGHT = 48, 32
GREY = np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint8)
PIXELS = np.stack([GREY, GREY[::-1], np.full_like(GREY, 77)], axis=-1)
LOSSY = 12  # the largest difference that a JPEG of quality 95 makes here


def picture() -> Image.Image:
    return Image.fromarray(PIXELS)


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]


def opened(path: Path) -> np.ndarray:
    """The pixels of a file as (H, W, 3) int; anything that is said beside it is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = open_picture(path)
    assert found.mode == "RGB"
    return np.asarray(found).astype(int)


def refusal(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(HashzooError) as caught:
            open_picture(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def png(width: int, height: int, data: bytes = b"", *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG file with this header, whatever its data holds; Pillow writes none of 16 bits a colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("file", ["a.png", "a.bmp", "a.ppm", "a.tif", "a.webp", "a.jp2"])
def test_plain_files_keep_their_pixels(file, tmp_path):
    picture().save(tmp_path / file, **({"lossless": True} if file == "a.webp" else {}))
    np.testing.assert_array_equal(opened(tmp_path / file), PIXELS)


# ---- bit depth


@pytest.mark.parametrize("file", ["a.png", "a.tif"])
def test_sixteen_bits_of_grey_become_their_upper_byte(file, tmp_path):
    values = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / file)
    np.testing.assert_array_equal(opened(tmp_path / file), np.repeat((values >> 8)[..., None], 3, axis=2))


def test_sixteen_bits_a_colour_become_their_upper_byte(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (2, 8, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(8, 2, zlib.compress(rows), depth=16))
    np.testing.assert_array_equal(opened(tmp_path / "a.png"), values >> 8)


@pytest.mark.parametrize(("top", "shift"), [(255, 0), (65535, 8)])
def test_32_bit_integers_are_8_or_16_bit_values(top, shift, tmp_path):
    values = np.linspace(0, top, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.int32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(opened(tmp_path / "a.tif")[..., 1], values >> shift)


@pytest.mark.parametrize("scale", [1, 255])
def test_floats_are_0_to_1_or_0_to_255(scale, tmp_path):
    values = (GREY / 255 * scale).astype(np.float32)
    values[0, :3] = np.nan, -np.inf, -3
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(opened(tmp_path / "a.tif")[..., 2], np.where(values > 0, GREY, 0))


@pytest.mark.parametrize(("file", "options"), [("a.png", {}), ("a.tif", {"compression": "group4"})])
def test_one_bit_is_black_and_white(file, options, tmp_path):
    Image.fromarray(GREY > 128).save(tmp_path / file, **options)
    np.testing.assert_array_equal(opened(tmp_path / file)[..., 0], np.where(GREY > 128, 255, 0))


# ---- colours


@pytest.mark.parametrize("file", ["a.jpg", "a.tif"])
def test_cmyk(file, tmp_path):
    """JPEG stores it inverted, as Adobe does; the picture is not to become its negative."""
    picture().convert("CMYK").save(tmp_path / file, quality=100)
    if file == "a.jpg":
        assert b"Adobe" in (tmp_path / file).read_bytes()
    assert np.abs(opened(tmp_path / file) - PIXELS).max() <= 4


def test_a_palette_with_one_transparent_colour_lies_on_white(tmp_path):
    drawn = picture().quantize(8)
    for file in ("a.png", "a.gif"):
        drawn.save(tmp_path / file, transparency=0)
        expected = np.where((np.asarray(drawn) == 0)[..., None], 255, np.asarray(drawn.convert("RGB")))
        np.testing.assert_array_equal(opened(tmp_path / file), expected)


def test_a_palette_with_half_transparent_colours_lies_on_white(tmp_path):
    drawn = picture().quantize(8)
    drawn.save(tmp_path / "a.png", transparency=bytes([0, 128, *[255] * 6]))
    alpha = np.array([0, 128, *[255] * 6])[np.asarray(drawn)][..., None] / 255
    expected = np.asarray(drawn.convert("RGB")) * alpha + 255 * (1 - alpha)
    assert np.abs(opened(tmp_path / "a.png") - expected).max() <= 1


@pytest.mark.parametrize("file", ["a.png", "a.tif"])
def test_grey_with_transparency_lies_on_white(file, tmp_path):
    alpha = GREY[:, ::-1]
    Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha))).save(tmp_path / file)
    expected = GREY * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(opened(tmp_path / file)[..., 0] - expected).max() <= 1


def test_one_colour_that_stands_for_transparency_lies_on_white(tmp_path):
    colour = tuple(int(value) for value in PIXELS[5, 5])
    picture().save(tmp_path / "a.png", transparency=colour)
    expected = np.where((colour == PIXELS).all(axis=2, keepdims=True), 255, PIXELS)
    assert (expected != PIXELS).any()
    np.testing.assert_array_equal(opened(tmp_path / "a.png"), expected)


def test_transparent_pixels_hide_their_colour():
    hidden = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert to_rgb(hidden).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("profile", [None, b"no profile"])
def test_colour_profiles_change_nothing(profile, tmp_path):
    profile = profile or ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture().save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(opened(tmp_path / "a.png"), PIXELS)


# ---- turned, moving, several


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, PIXELS),
        (2, PIXELS[:, ::-1]),
        (3, PIXELS[::-1, ::-1]),
        (4, PIXELS[::-1]),
        (5, PIXELS.transpose(1, 0, 2)),
        (6, PIXELS.transpose(1, 0, 2)[:, ::-1]),
        (7, PIXELS[::-1, ::-1].transpose(1, 0, 2)),
        (8, PIXELS.transpose(1, 0, 2)[::-1]),
        (9, PIXELS),  # there is no such orientation
    ],
)
def test_cameras_that_were_turned(orientation, turned, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert opened(tmp_path / "a.jpg").shape == turned.shape
    assert np.abs(opened(tmp_path / "a.jpg") - turned).max() <= LOSSY


@pytest.mark.parametrize("file", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_moving_pictures_the_first_frame(file, tmp_path):
    first, second = frames()
    first.save(tmp_path / file, save_all=True, append_images=[second], **({"lossless": True} if "w" in file else {}))
    assert np.abs(opened(tmp_path / file) - (255, 0, 0)).max() <= 1


def test_of_a_camera_file_with_several_pictures_the_first(tmp_path):
    picture().save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames(), quality=95)
    assert np.abs(opened(tmp_path / "a.jpg") - PIXELS).max() <= LOSSY


def test_the_ending_of_a_name_says_nothing(tmp_path):
    picture().save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(opened(tmp_path / "a.jpg"), PIXELS)


# ---- refused


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff\xd8\xff\xe0", b"\0" * 1000])
def test_what_is_no_picture_is_refused(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    assert "no readable picture" in refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize("file", ["a.png", "a.jpg", "a.tif", "a.webp", "a.gif", "a.bmp", "a.jp2"])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_what_is_cut_off_is_refused(file, share, tmp_path):
    picture().save(tmp_path / file)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: int(len(whole) * share)])
    assert "mend it or leave its row out" in refusal(tmp_path / file)


@pytest.mark.parametrize(("side", "said"), [(13_000, "claims 13000 x 13000 pixels"), (60_000, "claims more than")])
def test_what_claims_to_be_huge_is_refused_before_it_is_decoded(side, said, tmp_path):
    (tmp_path / "a.png").write_bytes(png(side, side))
    assert said in refusal(tmp_path / "a.png")


def test_a_large_photograph_is_not_warned_of(tmp_path):
    """12,000 x 10,000 pixels lie above the size from which Pillow warns."""
    (tmp_path / "a.png").write_bytes(png(12_000, 10_000))
    assert "truncated" in refusal(tmp_path / "a.png")


def test_what_another_program_would_have_to_draw_is_refused(tmp_path):
    picture().save(tmp_path / "a.eps")
    assert "is no readable picture (no format that hashzoo reads)" in refusal(tmp_path / "a.eps")


def test_folders_and_absent_files_are_refused(tmp_path):
    assert "no readable picture" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "absent.png")


@pytest.mark.parametrize("file", ["a.png", "a.jpg", "a.gif", "a.webp", "a.avif", "a.jp2", "a.bmp"])
def test_damaged_files_are_read_or_refused_and_nothing_else(file, tmp_path):
    if file == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / file, **({"exif": exif} if file in ("a.jpg", "a.png", "a.webp") else {}))
    whole = (tmp_path / file).read_bytes()
    numbers, refused = random.Random(1), []
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(numbers.choice([1, 2, 5])):
            damaged[numbers.randrange(min(len(damaged), 300))] = numbers.choice([0, 255, numbers.randrange(256)])
        (tmp_path / file).write_bytes(damaged)
        try:
            opened(tmp_path / file)
        except HashzooError as error:
            refused.append(str(error))
    assert all(str(tmp_path / file) in sentence for sentence in refused)
