"""Folders of image files as cameras, scanners and other programs leave them."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vae_lab.data import CelebA, Digits, ImageData, ImageFolder, decode, store
from vae_lab.errors import LabError
from vae_lab.image_files import open_image
from vae_lab.judges import _source


def fill(folder, n=10, size=(9, 9), **levels):
    """Write grey images of n levels, in subfolders if they have names."""
    for name in levels or [""]:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(n):
            level = levels.get(name, 0) + k
            Image.new("L", size, level).save(folder / name / f"{k}.png")
    return folder


def levels(data, split):
    return sorted((255 * data.images(split).x[:, 0, 0, 0]).round().int().tolist())


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, ending, channels):
    ramp = np.linspace(0, 0xFFFF, 20).astype(np.uint16).reshape(4, 5)
    Image.fromarray(ramp).save(path := tmp_path / f"a.{ending}")
    found = np.asarray(open_image(path, channels)).reshape(4, 5, -1)
    assert np.abs(found[..., 0] - ramp / 257).max() <= 1
    assert found.shape[-1] == channels
    assert np.asarray(open_image(path, channels, (2, 2))).shape[:2] == (2, 2)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.ones((4, 5), np.float32), "its pixels are real numbers"),
        (np.full((4, 5), 70_000, np.int32), "its pixels have more than 16 bits"),
    ],
)
def test_pixels_of_no_known_range_are_refused(tmp_path, array, why):
    for k in range(10):
        Image.fromarray(array).save(tmp_path / f"{k}.tif")
    with pytest.raises(LabError, match=rf"\d.tif is no image that can be read \({why}"):
        ImageFolder(str(tmp_path), channels=1).split("train")


def test_a_photograph_stands_upright(tmp_path):
    image = Image.new("L", (6, 4))
    image.paste(255, (0, 0, 6, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    image.save(path := tmp_path / "a.jpg", exif=exif)
    found = np.asarray(open_image(path, 1))
    assert found.shape == (6, 4)
    assert found[:, :2].max() < 20 < 235 < found[:, 2:].min()


def test_a_photograph_on_its_side_is_not_decoded_too_small(tmp_path):
    stripes = Image.fromarray(np.tile(np.uint8([0, 255]).repeat(8), 32)[:, None].repeat(2048, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    stripes.save(path := tmp_path / "a.jpg", quality=95, exif=exif)
    with Image.open(path) as image:
        whole = image.convert("L").rotate(-90, expand=True)
    # Decoded by an eighth, 64 pixels across, it would have to be blown up again.
    found = np.asarray(open_image(path, 1, (32, 128))).astype(int)
    assert abs(found - np.asarray(ImageOps.fit(whole, (128, 32)))).mean() < 5


def test_height_comes_before_width(tmp_path):
    data = ImageFolder(str(fill(tmp_path, size=(30, 30))), resize=(4, 6), channels=1)
    assert data.shape == tuple(data.images("train").x.shape[1:]) == (1, 4, 6)
    face = CelebA(crop=20, resize=(4, 6)).open_file(tmp_path / "0.png")
    assert (face.height, face.width) == (4, 6)


def test_a_crop_of_more_than_the_face_is_refused(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "0.png")
    with pytest.raises(LabError, match=r"crop is 21, and 0\.png has 30 x 20 pixels"):
        CelebA(crop=21).open_file(tmp_path / "0.png")


def test_a_smaller_crop_of_a_face_leaves_out_what_is_around(tmp_path):
    face = Image.new("RGB", (178, 218), "red")
    face.paste("blue", (39, 59, 139, 159))  # the middle hundred
    face.save(path := tmp_path / "a.png")
    for crop, inside in ((100, True), (148, False)):
        found = np.asarray(CelebA(crop=crop, resize=10).open_file(path))
        assert bool((found[..., 0] < 5).all()) is inside


def test_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_LAB_DATA", str(fill(tmp_path)))
    with pytest.raises(LabError, match="Which folder"):
        ImageFolder()
    assert ImageFolder(str(tmp_path)).listing == ImageFolder(folder=str(tmp_path)).listing


def test_hidden_copies_are_not_read(tmp_path):
    fill(tmp_path, cats=0, dogs=100)
    for name in ("cats/.thumbnails", "dogs/.ipynb_checkpoints", ".trash"):
        fill(tmp_path / name)
    (tmp_path / "cats/._0.png").write_bytes(b"what a Mac leaves")
    data = ImageFolder(str(tmp_path), channels=1)
    assert data.label_names == ("cats", "dogs")
    every = [level for split in ("train", "val", "test") for level in levels(data, split)]
    assert sorted(every) == [*range(10), *range(100, 110)]


def test_the_cache_of_scaled_images_does_not_hide_that_sizes_differ(tmp_path):
    fill(tmp_path)
    Image.new("L", (8, 9)).save(tmp_path / "odd.png")
    splits = ("train", "val", "test")
    for data in (ImageFolder(str(tmp_path), resize=9), ImageFolder(str(tmp_path), resize=8)):
        assert sum(len(data.split(name).rows) for name in splits) == 11
    for _ in range(2):
        with pytest.raises(LabError, match="Set resize"):
            [ImageFolder(str(tmp_path)).split(name) for name in splits]


def test_a_file_of_the_same_size_that_has_changed_since_is_read_again(tmp_path):
    fill(tmp_path, size=(1, 1))
    before = levels(ImageFolder(str(tmp_path)), "train")
    for path in tmp_path.glob("*.png"):
        held = path.stat()
        Image.new("L", (1, 1), 200).save(path)
        assert path.stat().st_size == held.st_size
        os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns + 10**9))
    assert levels(ImageFolder(str(tmp_path)), "train") == [200] * len(before)


def test_the_protocol_tells_images_apart(tmp_path, monkeypatch):
    def told(data):
        return data.protocol("test")

    assert told(Digits(pad=1)) != told(Digits(resize=10)) != told(Digits(resize=12))
    assert {"resize", "pad", "own", "listing"}.isdisjoint(told(Digits()))
    cats, dogs = (ImageFolder(str(fill(tmp_path / name))) for name in ("cats", "dogs"))
    assert told(cats) == told(dogs)  # they are the same files
    Image.new("RGB", (9, 9), "red").save(tmp_path / "dogs/0.png")
    other = ImageFolder(str(tmp_path / "dogs"))
    assert told(other) != told(cats)
    assert _source(other) != _source(cats)
    same = ImageFolder(str(tmp_path), folder="cats", resize=8)
    assert _source(same) == _source(cats)
    assert torch.equal(cats.images("test").y, torch.zeros(1, dtype=torch.long))
    assert "folder" not in told(same)
    monkeypatch.setattr(ImageData, "split", lambda data, name: SimpleNamespace(rows=[]))
    assert told(CelebA())["own"] == "crop 148"


class Tinted(Digits):
    """Digits that depend on arguments of their own, called as a protocol's keys are."""

    def __init__(self, root=None, *, tint=(1, 2), split="letters", **kwargs):
        super().__init__(root, **kwargs)


class Framed(Tinted):
    """Such digits in a frame."""

    def __init__(self, root=None, *, frame=1, **kwargs):
        super().__init__(root, **kwargs)


def test_arguments_of_a_users_own_data_tell_its_images_apart():
    plain = Tinted(batch_size=7).protocol("test")
    assert plain == {**Digits().protocol("test"), "data": "Tinted", "own": plain["own"]}
    assert plain["own"] == "split letters, tint [1, 2]"
    assert Tinted(tint=(1, 3)).protocol("test")["own"] == "split letters, tint [1, 3]"
    assert Framed().protocol("test") == Framed(tint=(1, 2)).protocol("test")
    assert Framed().protocol("test")["own"] == "frame 1, split letters, tint [1, 2]"


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_what_is_transparent_is_white(tmp_path, ending):
    glyph = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    glyph.paste((0, 0, 0, 255), (0, 0, 2, 4))
    glyph.save(path := tmp_path / f"a.{ending}", lossless=True)
    for channels in (1, 3):
        found = np.asarray(open_image(path, channels)).reshape(4, 4, -1)
        assert (found[:, :2] == 0).all()
        assert (found[:, 2:] == 255).all()


@pytest.mark.parametrize("gone", [True, False])
def test_test_images_stay_so_when_a_file_comes_or_goes(tmp_path, gone):
    fill(tmp_path, n=200)
    before = ImageFolder(str(tmp_path))
    trained = {*levels(before, "train"), *levels(before, "val")}
    if gone:
        # Of the test images, the place of one may be taken by another.
        (tmp_path / f"{levels(before, 'test')[0]}.png").unlink()
    else:
        Image.new("L", (9, 9), 250).save(tmp_path / "new.png")
    assert len(trained & {*levels(ImageFolder(str(tmp_path)), "test")}) <= 1


def test_one_process_decodes_and_others_wait_for_it(tmp_path, monkeypatch):
    fill(tmp_path)
    begun, decoded = Event(), []

    def slowly(files, out, opener, original=decode._decode):
        begun.set()
        time.sleep(0.3)
        decoded.append(len(files))
        original(files, out, opener)

    monkeypatch.setattr(decode, "_decode", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ImageFolder(str(tmp_path)).split, "train")
        assert begun.wait(10)
        second = pool.submit(ImageFolder(str(tmp_path)).split, "train")
        assert torch.equal(first.result().images, second.result().images)
    assert decoded == [9]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    fill(tmp_path)
    ImageFolder(str(tmp_path)).split("train")
    (cached,) = (tmp_path / ".cache").glob("*.npy")
    cached.rename(cached.with_suffix(".part"))
    assert len(levels(ImageFolder(str(tmp_path)), "train")) == 8
    assert [path.name for path in (tmp_path / ".cache").iterdir()] == [cached.name]


def test_another_users_cache_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / ".cache").mkdir()
    monkeypatch.setattr(store.os, "access", lambda path, mode: path != tmp_path / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert store.cache_folder(tmp_path) == tmp_path / "mine/vae_lab"


def test_a_path_is_one_however_it_is_spelled(tmp_path, monkeypatch):
    fill(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for root in ("photos", tmp_path / "photos"):
        ImageFolder(str(root)).split("train")
    assert len([*(tmp_path / "photos/.cache").iterdir()]) == 1


def test_a_damaged_test_image_is_found_before_training(tmp_path):
    data = ImageFolder(str(fill(tmp_path, cats=0, dogs=100)), channels=1)
    path, _ = data._chosen("test")[0]
    path.write_bytes(b"no image")
    with pytest.raises(LabError, match=f"{path.name} is no image"):
        data.prepare_data()
