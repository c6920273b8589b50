"""Images: every kind of file is decoded rightly, or refused with one line that says why."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotag.data.images import MAX_PIXELS, decode, find_images, measure, open_image
from cotag.errors import DataError, ImageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> np.ndarray:
    """40 x 24 pixels whose four quarters are red, green, blue and white."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:12, :20], pixels[:12, 20:], pixels[12:, :20], pixels[12:, 20:] = RED, GREEN, BLUE, WHITE
    return pixels


def noise(height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    return decode(io.BytesIO(data), "x")


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\x00" * 100)) + chunk(b"IEND", b"")


def refusal(path: Path, **where: object) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(path, **where)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF", "JPEG2000"])
def test_lossless_formats_give_their_pixels(kind: str) -> None:
    image = decoded(encoded(Image.fromarray(corners()), kind))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), corners())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    # What a camera held that way stores: the upright picture with the inverse turn applied.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](corners())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, quality=95)
    image = decoded(data)
    assert image.size == measure(io.BytesIO(data), "x") == (40, 24)
    for place, color in {(5, 3): RED, (35, 3): GREEN, (5, 20): BLUE, (35, 20): WHITE}.items():
        assert np.abs(np.subtract(image.getpixel(place), color)).max() < 30


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_leaves_the_pixels() -> None:
    image = decoded(encoded(Image.fromarray(corners()), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"))
    assert np.array_equal(np.asarray(image), corners())


def test_16_bit_gray_is_scaled_not_clipped() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        image = decoded(encoded(Image.fromarray(values), kind))
        assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 128, 255], kind


def test_16_bit_rgb_png_is_scaled_not_clipped() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    line = b"\x00" + struct.pack(">6H", 65535, 32768, 0, 256, 257, 65280)
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(line)) + chunk(b"IEND", b"")
    assert np.asarray(decoded(data)).tolist() == [[[255, 128, 0], [1, 1, 255]]]


def test_pixels_of_32_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.tif"
    Image.fromarray(np.ones((4, 4), np.float32)).save(path)
    assert "32 bits" in refusal(path)


def test_cmyk_jpeg_gives_its_colors() -> None:
    image = decoded(encoded(Image.fromarray(corners()).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(np.asarray(image)[[3, 3, 20, 20], [5, 35, 5, 35]].astype(int) - [RED, GREEN, BLUE, WHITE]).max() < 30


def test_transparent_pixels_lie_over_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    image = decoded(encoded(Image.fromarray(rgba), "PNG"))
    assert np.asarray(image)[0].tolist() == [[255, 0, 0], [255, 255, 255], [127, 127, 127]]
    gray = np.array([[[10, 255], [10, 0]]], np.uint8)
    assert np.asarray(decoded(encoded(Image.fromarray(gray, "LA"), "PNG")))[0].tolist() == [[10] * 3, [255] * 3]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([200, 10, 10, 10, 10, 200])
    clear = decoded(encoded(palette, "PNG", transparency=b"\x00\xff"))
    assert np.asarray(clear)[0].tolist() == [[255, 255, 255], [10, 10, 200]]
    sixteen = Image.fromarray(np.array([[300, 65535]], np.uint16))
    assert np.asarray(decoded(encoded(sixteen, "PNG", transparency=300)))[0].tolist() == [[255] * 3, [255] * 3]


def test_one_bit_and_one_pixel() -> None:
    bits = Image.fromarray(np.array([[True, False]]))
    assert np.asarray(decoded(encoded(bits, "PNG")))[0].tolist() == [[255] * 3, [0] * 3]
    point = decoded(encoded(Image.new("RGB", (1, 1), GREEN), "PNG"))
    assert (point.size, point.getpixel((0, 0))) == ((1, 1), GREEN)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, GREEN, BLUE)]
    settings = {"lossless": True} if kind == "WEBP" else {}
    image = decoded(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **settings))
    assert (image.mode, image.getpixel((8, 8))) == ("RGB", RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_truncated_image_is_refused(kind: str, part: float, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(noise()), kind)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * part)])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_end_is_zeros_is_truncated_and_one_padded_with_zeros_is_whole(progressive: bool) -> None:
    data = encoded(Image.fromarray(noise()), "JPEG", progressive=progressive)
    with pytest.raises(ImageError, match="truncated"):
        decoded(data[: len(data) // 2] + bytes(len(data) // 2))
    assert np.array_equal(np.asarray(decoded(data + bytes(512))), np.asarray(decoded(data)))


def test_a_damaged_image_is_refused() -> None:
    data = bytearray(encoded(Image.fromarray(noise()), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="x: is "):
        decoded(bytes(data))


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    assert "no such file" in refusal(path)
    path.write_bytes(b"")
    assert "0 bytes" in refusal(path)
    path.write_text("image,labels\na.jpg,cat\n")
    assert "no image of a known format (JPEG, PNG" in refusal(path)
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    assert "no image of a known format" in refusal(path)
    assert "a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal(path / "b.jpg")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "may not be read" in refusal(path)


@pytest.mark.parametrize("side", [10_001, 50_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_by_its_header(side: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    message = refusal(path)
    assert f"{side * side:,} pixels" in message
    assert f"{MAX_PIXELS:,}" in message


def test_messages_name_row_and_source(tmp_path: Path) -> None:
    assert "(row 17 of labels.csv)" in refusal(tmp_path / "a.jpg", row=17, source="labels.csv")
    assert "(row 0):" in refusal(tmp_path / "a.jpg", row=0)


def test_cover_decodes_a_smaller_jpeg_that_still_covers(tmp_path: Path) -> None:
    smooth = Image.fromarray(noise(6, 8)).resize((800, 600), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    exact, fast = open_image(tmp_path / "a.jpg"), open_image(tmp_path / "a.jpg", cover=(128, 128))
    assert (exact.size, fast.size) == ((800, 600), (200, 150))
    small = exact.resize(fast.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(fast)).mean() < 2
    smooth.save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png", cover=(10, 10)).size == (800, 600)


def test_find_images(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "b/.hidden.png", "b/notes.txt", "a.webp", "x[1].png", "empty/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    def names(*given: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path / name for name in given])]

    assert names("") == ["a.webp", "b/1.png", "b/2.JPG", "x[1].png"]
    assert names("b/notes.txt", "b", "b/1.png") == ["b/notes.txt", "b/1.png", "b/2.JPG"]
    assert names("b/*") == ["b/1.png", "b/2.JPG"]
    assert names("**/*.png") == ["b/1.png", "x[1].png"]
    assert names("[b]") == ["b/1.png", "b/2.JPG"]
    assert names("x[1].png") == ["x[1].png"]
    for given, said in (("none.jpg", "no such file"), ("empty", "holds no image"), ("*.gif", "matches no image")):
        with pytest.raises(DataError, match=said) as caught:
            names("a.webp", given)
        assert given in str(caught.value)


def test_shards_and_addresses_are_found(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for name, members in (("a.tar", ["b/2.JPG", "b/1.txt"]), ("c.tar", ["b/1.txt"])):
        with tarfile.open(tmp_path / name, "w") as shard:
            for member in members:
                shard.add(tmp_path / member, member)
    member, address = f"{tmp_path}/a.tar::b/2.JPG", "https://host/x.jpg"
    assert [str(place) for place in find_images([tmp_path / "a.tar", member, address])] == [member, address]
    with pytest.raises(DataError, match="the shard holds no image"):
        find_images([tmp_path / "c.tar"])
    with pytest.raises(DataError, match="no such file"):
        find_images([tmp_path / "none.tar"])


@pytest.mark.real
def test_real_photographs_are_decoded(shared_data: Path) -> None:
    found = find_images([shared_data / "coco604"])
    photographs = [path for path in found if path.suffix == ".jpg"]
    assert len(photographs) == 604
    for path in photographs[::60]:
        image = open_image(path)
        assert image.mode == "RGB"
        assert min(image.size) == 256
