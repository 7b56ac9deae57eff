"""Every source, read from small files in the real formats, whole and damaged."""

import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10 as VisionCIFAR10

from vae_lab.data import (
    CIFAR10,
    KMNIST,
    MNIST,
    CelebA,
    FashionMNIST,
    FreyFaces,
    ImageFolder,
    decode,
    store,
)
from vae_lab.errors import LabError
from vae_lab.runs import load_data


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def write_mnist(root, name, train=60, test=12):
    rng = np.random.default_rng(0)
    for part, n in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (n, 28, 28), np.uint8)
        write_idx(root / f"{name}/raw/{part}-images-idx3-ubyte", images)
        write_idx(root / f"{name}/raw/{part}-labels-idx1-ubyte", np.arange(n, dtype=np.uint8) % 10)
    return images


@pytest.mark.parametrize("source", [MNIST, FashionMNIST, KMNIST])
def test_idx_files_are_read(tmp_path, source):
    images = write_mnist(tmp_path, source.__name__)
    data = source(str(tmp_path))
    assert (data.shape, data.num_classes) == ((1, 28, 28), 10)
    assert [len(data.split(k).rows) for k in ("train", "val", "test")] == [50, 10, 12]
    assert torch.equal(data.split("test").images[:, 0], torch.from_numpy(images))
    assert data.images("test").y.tolist() == [*range(10), 0, 1]


def test_the_root_comes_from_the_environment(tmp_path, monkeypatch):
    write_mnist(tmp_path, "MNIST")
    monkeypatch.setenv("VAE_LAB_DATA", str(tmp_path))
    assert len(MNIST().split("test").rows) == 12


def no_network(*args, **kwargs):
    raise OSError("no route to host")


@pytest.mark.parametrize("source", [MNIST, FashionMNIST, KMNIST, CIFAR10, CelebA])
def test_without_a_network_the_files_to_fetch_are_named(tmp_path, monkeypatch, source):
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torchvision.datasets.celeba.download_file_from_google_drive", no_network)
    data = source(str(tmp_path / "new"))
    assert data.shape == source.native
    with pytest.raises(LabError, match=f"{data.files[1]}.*VAE_LAB_DATA") as caught:
        data.prepare_data()
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_root_is_stored_whole_for_readers_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for data in (MNIST("data"), ImageFolder("data", folder="photos")):
        assert data.hparams["root"] == str(tmp_path / "data")
    assert MNIST().hparams["root"] is None


@pytest.mark.parametrize("gone", ["old", "old/MNIST"])
def test_images_that_were_moved_are_found_by_the_environment(lab, here, monkeypatch, gone):
    write_mnist(here / "old", "MNIST")
    size = ("--data.val_size=10", "--data.batch_size=10", "--data.root=old")
    lab(
        "fit", "--data=MNIST", *size, "--model=VAE", "--trainer.max_epochs=1", "--pictures.kinds=[]"
    )
    write_mnist(here / "new", "MNIST")
    monkeypatch.setenv("VAE_LAB_DATA", str(here / "new"))
    assert Path(load_data("runs/run").root) == here / "old"  # as long as they are there
    shutil.rmtree(here / gone)
    assert "12 codes" in lab("encode", "runs/run", "--split=test")


def test_the_path_of_a_source_of_ones_own_may_be_a_word(lab, here, monkeypatch):
    (here / "worded.py").write_text(
        "from vae_lab.data import Digits\n\n\nclass Worded(Digits):\n    path = 'pictures'\n"
    )
    data = ("--data=worded.Worded", "--data.root=.")
    lab("fit", *data, "--model=VAE", "--trainer.max_epochs=1", "--pictures.kinds=[]")
    monkeypatch.setenv("VAE_LAB_DATA", str(here / "new"))
    assert load_data("runs/run").root == here / "new"


def test_a_download_arrives_whole_or_not_at_all(tmp_path, monkeypatch):
    def broken(self):
        write_mnist(self.root, "MNIST")
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", broken)
    with pytest.raises(LabError, match="The download failed: File not found or corrupted"):
        MNIST(str(tmp_path)).split("test")
    assert list(tmp_path.rglob("*")) == []
    monkeypatch.setattr(
        "torchvision.datasets.MNIST.download", lambda self: write_mnist(self.root, "MNIST")
    )
    assert len(MNIST(str(tmp_path)).split("test").rows) == 12
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]


@pytest.mark.parametrize("keep", [0, 3, 10, 5000])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_a_cut_off_file_is_named_damaged(tmp_path, keep, kind):
    write_mnist(tmp_path, "MNIST")
    path = tmp_path / f"MNIST/raw/t10k-{kind}-ubyte"
    path.write_bytes(path.read_bytes()[: min(keep, path.stat().st_size - 1)])
    with pytest.raises(LabError, match=r"MNIST/raw .*Delete train-images-idx3-ubyte"):
        MNIST(str(tmp_path)).split("test")


def test_cifar_pickles_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
    folder = tmp_path / VisionCIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in CIFAR10.files[:-1]:
        pixels = rng.integers(0, 256, (6, 3072), np.uint8)
        content = {"data": pixels, "labels": list(range(6))}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    data = CIFAR10(str(tmp_path))
    assert [len(data.split(k).rows) for k in ("train", "val", "test")] == [27, 3, 6]
    # A row holds the red, the green and the blue plane, each line by line.
    assert torch.equal(data.split("test").images.flatten(1), torch.from_numpy(pixels))
    grey = CIFAR10(str(tmp_path), channels=1).images("test").x
    luma = (data.images("test").x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, True)
    assert (grey - luma).abs().max() < 0.51 / 255


def test_celeba_is_cropped_and_keeps_its_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.celeba.check_integrity", lambda *a: True)
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{k:06}.jpg" for k in range(1, 10)]
    for k, name in enumerate(names):
        face = Image.new("RGB", (178, 218), "red")
        face.paste((0, 0, 28 * k), (15, 35, 163, 183))  # the centre is what the crop keeps
        face.save(folder / "img_align_celeba" / name, quality=100, subsampling=0)
    values = [" ".join(["1" if j == k else "-1" for j in range(40)]) for k in range(9)]
    tables = {
        "list_attr_celeba.txt": ["9", " ".join(CelebA.classes)]
        + [f"{n}  {v}" for n, v in zip(names, values, strict=True)],
        "identity_CelebA.txt": [f"{n} 1" for n in names],
        "list_bbox_celeba.txt": ["9", "x_1 y_1 width height"] + [f"{n} 1 1 1 1" for n in names],
        "list_landmarks_align_celeba.txt": ["9", "a b"] + [f"{n} 1 1" for n in names],
        "list_eval_partition.txt": [f"{n} {k // 3}" for k, n in enumerate(names)],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    data = CelebA(str(tmp_path), resize=16)
    assert (data.shape, data.num_classes, len(data.label_names)) == ((3, 16, 16), None, 40)
    for part, rows in (("train", (0, 1, 2)), ("val", (3, 4, 5)), ("test", (6, 7, 8))):
        batch = data.images(part)
        order = batch.y.argmax(1)
        assert sorted(order.tolist()) == list(rows)
        assert batch.y.shape == (3, 40)
        assert (batch.x[:, 0, 2:-2, 2:-2] < 0.02).all()
        assert (batch.x[:, 2].mean((1, 2)) - order * 28 / 255).abs().max() < 0.02
    [face] = data.from_files([folder / "img_align_celeba" / names[0]])
    assert (face[0, 2:-2, 2:-2] < 0.02).all()
    assert len(CelebA(str(tmp_path), resize=16, val_size=1).split("train").rows) == 2
    monkeypatch.setattr("torchvision.datasets.celeba.check_integrity", lambda *a: False)
    with pytest.raises(LabError, match=r"Delete list_attr_celeba\.txt, "):  # no pictures
        CelebA(str(tmp_path), resize=16).split("test")


def test_frey_faces_are_upright_frames(tmp_path):
    from scipy.io import savemat

    frames = np.random.default_rng(0).integers(0, 256, (1965, 28, 20), np.uint8)
    savemat(tmp_path / "frey_rawface.mat", {"ff": frames.reshape(1965, 560).T})
    data = FreyFaces(str(tmp_path))
    parts = [data.split(k) for k in ("train", "val", "test")]
    assert [len(p.rows) for p in parts] == [1409, 156, 400]
    found = {x.tobytes() for p in parts for x in p.images[p.rows].numpy()}
    assert found == {x.tobytes() for x in frames}
    assert data.images("val").y.sum() == 0
    (tmp_path / "frey_rawface.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(LabError, match=r"frey_rawface.mat is damaged"):
        FreyFaces(str(tmp_path)).split("train")
    with pytest.raises(LabError, match=r"put frey_rawface.mat"):
        FreyFaces(str(tmp_path / "none")).split("train")


def test_a_folder_of_classes_is_divided_and_cached(folder, monkeypatch):
    data = ImageFolder(str(folder), resize=8)
    assert (data.shape, data.label_names) == ((3, 8, 8), ("blue", "red"))
    assert [len(data.split(k).rows) for k in ("train", "val", "test")] == [32, 4, 4]
    for name in ("train", "val", "test"):
        batch = data.images(name)
        assert torch.equal(batch.x[:, 0].mean((1, 2)) > 0.5, batch.y == 1)
    cached = sorted((folder / ".cache").iterdir())
    assert [p.suffix for p in cached] == [".npy"] * 2

    monkeypatch.setattr(decode, "_decode", None)  # nothing is decoded twice
    again = ImageFolder(folder=str(folder), resize=8)
    assert torch.equal(again.images("train").x, data.images("train").x)


def test_a_folder_whose_names_are_no_unicode_is_read(folder):
    name = os.fsdecode(b"ros\xe9")  # as of an archive that was made on another system
    (folder / "red").rename(folder / name)
    data = ImageFolder(str(folder), resize=8)
    assert data.label_names == ("blue", name)
    assert len(data.images("train").x) == 32
    assert len(data.protocol("train")["listing"]) == 12


def test_a_changed_file_is_decoded_again(folder):
    ImageFolder(str(folder), resize=8).split("train")
    for path in folder.glob("red/deep/*.png"):
        Image.new("RGB", (9, 9), "white").save(path)
    batch = ImageFolder(str(folder), resize=8).images("train")
    assert batch.x[batch.y == 1].min() == 1


def test_a_folder_divided_already_is_kept_so(folder, tmp_path):
    for part in ("train", "val", "test"):
        (tmp_path / "parts" / part).mkdir(parents=True)
        os.rename(folder / "red", tmp_path / "parts" / part / "red")
        Image.new("RGB", (9, 9)).save(tmp_path / "parts" / part / f"red/{part}.png")
        (folder / "red").mkdir()
        Image.new("RGB", (9, 9)).save(folder / "red/one.png")
    data = ImageFolder(str(tmp_path / "parts"), resize=4)
    assert [len(data.split(k).rows) for k in ("train", "val", "test")] == [21, 2, 2]
    (tmp_path / "parts/test/green").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "parts/test/green/a.png")
    with pytest.raises(LabError, match="green belongs to no class"):
        ImageFolder(str(tmp_path / "parts"), resize=4).split("test")


def test_without_train_a_folder_called_test_is_a_class(folder):
    os.rename(folder / "red", folder / "test")
    os.rename(folder / "blue", folder / "val")
    data = ImageFolder(str(folder), resize=4)
    assert data.label_names == ("test", "val")
    assert not data.own_validation
    parts = [data.split(k) for k in ("train", "val", "test")]
    assert [len(p.rows) for p in parts] == [32, 4, 4]  # 40 images, each in one part


def test_a_flat_folder_of_one_size_needs_no_resize(tmp_path):
    for k in range(12):
        Image.new("L", (7, 5), 20 * k).save(tmp_path / f"{k}.png")
    data = ImageFolder(str(tmp_path), channels=1)
    assert (data.shape, data.num_classes) == ((1, 5, 7), None)
    levels = [
        round(255 * v)
        for k in ("train", "val", "test")
        for v in data.images(k).x[:, 0, 0, 0].tolist()
    ]
    assert sorted(levels) == [20 * k for k in range(12)]
    Image.new("L", (9, 5)).save(tmp_path / "odd.png")
    with pytest.raises(LabError, match=r"odd.png is 5 x 9 pixels, where 5 x 7 .* Set resize"):
        [ImageFolder(str(tmp_path)).split(name) for name in ("train", "test")]


def test_a_large_picture_is_cropped_not_stretched(tmp_path):
    wide = Image.new("RGB", (300, 100), "black")
    wide.paste("white", (100, 0, 200, 100))
    for k in range(10):
        wide.save(tmp_path / f"{k}.jpg")
    assert ImageFolder(str(tmp_path), resize=10).images("train").x.mean() > 0.97


def test_a_folder_without_images_or_with_a_bad_one_is_refused(folder, tmp_path):
    with pytest.raises(LabError, match="holds no images"):
        _ = ImageFolder(str(tmp_path / "none")).shape
    (folder / "red/deep/1.png").write_bytes(b"not a picture")
    with pytest.raises(LabError, match=r"red/deep/1.png is no image that can be read"):
        [ImageFolder(str(folder), resize=8).split(name) for name in ("train", "test")]
    assert not list((folder / ".cache").glob("*.part"))


def test_a_folder_that_cannot_be_written_is_cached_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *a: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store.cache_folder(tmp_path / "data") == tmp_path / "cache/vae_lab"


def test_real_mnist(mnist_root):
    data = MNIST(str(mnist_root))
    assert [len(data.split(k).rows) for k in ("train", "val", "test")] == [50_000, 10_000, 10_000]
    assert data.images("test", 5).y.tolist() == [7, 2, 1, 0, 4]
    assert data.split("train").images.float().mean().item() / 255 == pytest.approx(
        0.13066, abs=1e-5
    )
