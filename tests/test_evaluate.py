"""`lab evaluate`: what is measured for whom, where it is written, and what is refused."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import FIT
from torch import nn

from vae_lab import runs
from vae_lab.contracts import Batch
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.models import VAE, Autoencoder
from vae_lab.verbs.encode import encode
from vae_lab.verbs.evaluating import evaluate as module
from vae_lab.verbs.evaluating.evaluate import evaluate

BOUNDS = {"elbo", "reconstruction", "kl", "nll", "active_units"}
CODES = {"knn_accuracy", "linear_probe_accuracy", "kmeans_accuracy", "kmeans_nmi"}
JACOBIAN = {"jacobian_norm", "jacobian_per_entry"}


class Coder(nn.Module):
    """Keeps the first two of four pixels."""

    latent_dim = 2

    def encode(self, x, y=None):
        return x.flatten(1)[:, :2]

    def decode(self, z, y=None):
        return torch.cat([z, torch.zeros_like(z)], 1).view(-1, 1, 2, 2)


class Bounded(Coder):
    """The same with a bound of noise around minus eight."""

    def terms(self, batch):
        n = torch.zeros(len(batch.x))
        return {"loss": n, "reconstruction": n + 5, "kl": n + 3}

    def log_weights(self, x, samples, y=None):
        return torch.randn(samples, len(x)) - 8.5


class Diverged(Bounded):
    def log_weights(self, x, samples, y=None):
        return torch.full((samples, len(x)), torch.nan)


class Data:
    """Images of three classes, told apart by their first pixel."""

    labelled = True
    splits = ("train", "val", "test")
    seed, files = 0, "these"

    def images(self, split, n=None):
        size = {"train": 90, "val": 30, "test": 60}[split]
        stream = torch.Generator().manual_seed(size)
        y = torch.arange(size) % 3 if self.labelled else torch.zeros(size, dtype=torch.long)
        x = torch.rand(size, 1, 2, 2, generator=stream) / 10
        x[:, 0, 0, 0] += torch.arange(size) % 3 / 4
        return Batch(x[:n], y[:n])

    def protocol(self, split):
        return {
            "data": "Data",
            "listing": self.files,
            "split": split,
            "images": len(self.images(split).x),
            "binarize": "static-own",
            "shape": [1, 2, 2],
            "split_seed": self.seed,
        }


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Lay out a run folder whose checkpoint is `run.model`, loaded with `run.data`."""
    folder = tmp_path / "runs" / "vae" / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    loaded = {"model": Bounded(), "data": Data()}
    monkeypatch.setattr(module, "load_model", lambda path: loaded["model"])
    monkeypatch.setattr(module, "load_data", lambda path: loaded["data"])
    return folder, loaded


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


def names(folder, split="test"):
    return {key.removeprefix(f"{split}/") for key in read(folder)["metrics"] if split in key}


def test_a_bounding_model_gets_every_metric_with_its_protocol(run, capsys):
    folder, _ = run
    evaluate(str(folder), importance_samples=50, seed=3)
    report = read(folder)
    assert names(folder) == BOUNDS | CODES | {"squared_error"}

    nll = report["metrics"]["test/nll"]
    assert nll["unit"] == "nats"
    assert nll["value"] == pytest.approx(8, abs=0.3)
    assert 0 < nll["standard_error"] < 0.2
    for part in ("50 samples", "split test", "static-own", "images 60", "seed 3", "best.ckpt"):
        assert part in nll["protocol"]
    assert report["metrics"]["test/elbo"]["value"] == -8
    assert report["metrics"]["test/active_units"]["value"] == 1
    assert report["metrics"]["test/knn_accuracy"]["value"] == 1

    protocol = report["protocol"]["test"]
    assert protocol["checkpoint"] == "checkpoints/best.ckpt"
    assert protocol["torch"] == torch.__version__
    assert {"commit", "device", "threads", "seconds", "importance_samples"} <= protocol.keys()
    assert "test/nll" in capsys.readouterr().out


def test_a_divergence_is_told_part_by_part_the_largest_first(run, capsys):
    class Parted(Bounded):
        def divergences(self, x, y=None):
            return torch.tensor([1.0, 2.0]).expand(len(x), -1)

    folder, loaded = run
    evaluate(str(folder), importance_samples=0)
    assert "parts" not in read(folder)["metrics"]["test/kl"]
    loaded["model"] = Parted()
    evaluate(str(folder), importance_samples=0)
    assert read(folder)["metrics"]["test/kl"]["parts"] == [1.0, 2.0]
    assert "test/kl by part: 2: 2.00, 1: 1.00" in capsys.readouterr().out


def test_an_autoencoder_is_set_beside_pca_and_gets_no_bound(run):
    folder, loaded = run
    loaded["model"] = Coder()
    evaluate(str(folder))
    assert names(folder) == CODES | {"squared_error", "pca_squared_error"}
    metrics = read(folder)["metrics"]
    x = Data().images("test").x
    expected = x.flatten(1)[:, 2:].square().sum(1)
    assert metrics["test/squared_error"]["value"] == pytest.approx(expected.mean().item())
    error = expected.std().item() / 60**0.5
    assert metrics["test/squared_error"]["standard_error"] == pytest.approx(error)
    assert 0 < metrics["test/pca_squared_error"]["value"] < metrics["test/squared_error"]["value"]
    assert "2 components of 120" in metrics["test/pca_squared_error"]["protocol"]


@pytest.mark.parametrize(
    ("split", "splits", "count"),
    [("test", Data.splits, 120), ("val", Data.splits, 90), ("test", ("train", "test"), 90)],
)
def test_metrics_learn_from_validation_images_once_those_have_done_their_work(
    run, split, splits, count
):
    folder, loaded = run
    loaded["data"].splits = splits
    evaluate(str(folder), split=split, importance_samples=0)
    assert f"{count} training" in read(folder)["metrics"][f"{split}/knn_accuracy"]["protocol"]


def test_metrics_learn_from_no_more_images_than_a_limited_run(lab):
    words = [*FIT, "--model=Autoencoder", "--name=few", "--trainer.max_epochs=1"]
    lab(*words, "--pictures.kinds=[]")
    evaluate("runs/few")
    for metric in ("linear_probe_accuracy", "kmeans_accuracy", "pca_squared_error"):
        note = runs.find("runs/few").evaluation["metrics"][f"test/{metric}"]["protocol"]
        assert re.search(r"\b64 (training )?images", note)


@pytest.mark.parametrize("split", ["test", "val"])
def test_too_few_codes_for_neighbours_leave_the_rest(run, split, monkeypatch):
    folder, loaded = run
    loaded["model"] = Coder()
    monkeypatch.setattr(module, "TRAIN_LIMIT", 4)
    evaluate(str(folder), split=split)
    expected = CODES - {"knn_accuracy"} | {"squared_error", "pca_squared_error"}
    assert names(folder, split) == expected
    monkeypatch.setattr(module, "TRAIN_LIMIT", 5)
    evaluate(str(folder), split=split)
    assert "knn_accuracy" in names(folder, split)


def test_metrics_learn_from_so_many_images_at_most(run, monkeypatch):
    folder, _ = run
    for most in (95, 90, 50):
        monkeypatch.setattr(module, "TRAIN_LIMIT", most)
        evaluate(str(folder), importance_samples=0)
        note = read(folder)["metrics"]["test/knn_accuracy"]["protocol"]
        assert f"{most} training" in note


def test_no_samples_leave_the_likelihood_out_and_no_labels_the_probes(run):
    folder, loaded = run
    loaded["data"].labelled = False
    evaluate(str(folder), importance_samples=0)
    assert names(folder) == BOUNDS - {"nll"} | {"squared_error"}


def test_another_split_is_added_and_what_is_measured_anew_replaced(run):
    folder, _ = run
    evaluate(str(folder), importance_samples=5)
    before = read(folder)
    evaluate(str(folder), split="val", importance_samples=0)
    report = read(folder)
    assert before["metrics"].items() <= report["metrics"].items()
    assert report["protocol"]["test"] == before["protocol"]["test"]
    assert report["protocol"]["val"]["images"] == 30
    assert names(folder, "val") == names(folder) - {"nll"}
    evaluate(str(folder), importance_samples=0, seed=1)
    again = read(folder)
    assert again["metrics"]["test/nll"] == before["metrics"]["test/nll"]
    assert again["protocol"]["test"]["importance_samples"] == 5
    assert "seed 1" in again["metrics"]["test/elbo"]["protocol"]


@pytest.mark.parametrize("change", ["weights", "checkpoint", "split_seed", "listing"])
def test_what_came_from_elsewhere_is_dropped_from_its_split_alone(run, change):
    folder, loaded = run
    for split in ("val", "test"):
        evaluate(str(folder), split, importance_samples=5)
    best = folder / "checkpoints" / "best.ckpt"
    if change == "weights":
        best.write_text("trained on")
    elif change == "checkpoint":
        best.rename(best.with_stem("last"))
    elif change == "split_seed":
        loaded["data"].seed = 1
    else:
        loaded["data"].files = "others"
    evaluate(str(folder), importance_samples=0)
    report = read(folder)
    assert "test/nll" not in report["metrics"]
    assert "importance_samples" not in report["protocol"]["test"]
    assert "val/nll" in report["metrics"]


def test_a_quick_look_writes_nothing(run, capsys):
    folder, _ = run
    evaluate(str(folder), limit=20)
    assert not (folder / "metrics.json").exists()
    evaluate(str(folder), importance_samples=5)
    before = read(folder)
    capsys.readouterr()
    evaluate(str(folder), importance_samples=0, limit=20)
    assert read(folder) == before
    assert "look at 20 images; metrics.json is left" in capsys.readouterr().out


def test_an_evaluation_that_ends_meanwhile_is_kept(run):
    folder, loaded = run

    class Slow(Bounded):
        def log_weights(self, x, samples, y=None):
            loaded["model"] = Bounded()
            if not (folder / "metrics.json").exists():
                evaluate(str(folder), split="val", importance_samples=0)
            return super().log_weights(x, samples, y)

    loaded["model"] = Slow()
    evaluate(str(folder), importance_samples=1)
    assert {"test", "val"} == read(folder)["protocol"].keys()
    assert {"test/elbo", "val/elbo"} <= read(folder)["metrics"].keys()


def test_the_seed_decides_the_numbers(run):
    folder, _ = run

    def nll(seed):
        evaluate(str(folder), importance_samples=5, seed=seed)
        return read(folder)["metrics"]["test/nll"]["value"]

    assert nll(1) == nll(1) != nll(2)


def test_a_checkpoint_writes_to_its_run_and_a_stray_one_beside_itself(run, tmp_path, monkeypatch):
    folder, _ = run
    monkeypatch.chdir(folder / "checkpoints")
    evaluate("best.ckpt", importance_samples=0)
    assert (folder / "metrics.json").exists()
    stray = tmp_path / "stray.ckpt"
    stray.touch()
    evaluate(str(stray), importance_samples=0)
    assert read(tmp_path)["protocol"]["test"]["checkpoint"] == "stray.ckpt"


@pytest.mark.parametrize("wrong", [{"importance_samples": -1}, {"limit": 0}, {"seed": -1}])
def test_arguments_out_of_range_are_refused(run, wrong):
    with pytest.raises(LabError, match="at least"):
        evaluate(str(run[0]), **wrong)


@pytest.mark.parametrize(("model", "reason"), [(nn.Identity(), "Identity"), (Diverged(), "nll")])
def test_nothing_is_written_when_nothing_sound_can_be(run, model, reason):
    folder, loaded = run
    loaded["model"] = model
    with pytest.raises(LabError, match=reason):
        evaluate(str(folder), importance_samples=5)
    assert not list(folder.glob("*metrics*"))


def test_a_damaged_report_is_refused_before_the_work(run):
    folder, loaded = run
    (folder / "metrics.json").write_text('{"metr')
    del loaded["model"]
    with pytest.raises(LabError, match=r"metrics\.json"):
        evaluate(str(folder))
    assert (folder / "metrics.json").read_text() == '{"metr'


def test_numbers_that_no_disk_takes_are_told_all_the_same(run, capsys):
    folder, _ = run
    (folder / f".metrics.json.{os.getpid()}.part").mkdir()
    with pytest.raises(LabError, match=r"metrics\.json could not be written"):
        evaluate(str(folder), importance_samples=5)
    assert "test/nll" in capsys.readouterr().out


def test_codes_that_are_not_numbers_are_refused(run):
    folder, loaded = run

    class Broken(nn.Module):
        latent_dim = 2

        def encode(self, x, y=None):
            return torch.full((len(x), 2), torch.nan)

    loaded["model"] = Broken()
    with pytest.raises(LabError, match="finite"):
        evaluate(str(folder))


def test_importing_the_verb_imports_no_torch():
    code = "import sys, vae_lab.verbs.evaluating.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("model", "expected"), [(VAE, BOUNDS), (Autoencoder, {"pca_squared_error"} | JACOBIAN)]
)
def test_the_models_of_the_house_are_measured_on_its_data(run, model, expected):
    folder, loaded = run
    loaded.update(model=model((1, 8, 8), latent_dim=3).eval(), data=Digits(binarize="static"))
    evaluate(str(folder), importance_samples=10)
    assert names(folder) == expected | CODES | {"squared_error"}
    protocol = read(folder)["metrics"]["test/squared_error"]["protocol"]
    assert "data Digits, split test, images 297, shape [1, 8, 8], binarize static-own" in protocol


def test_codes_are_written_without_the_images_held_at_once(tmp_path, monkeypatch, capsys):
    class Streamed(Data):
        def loader(self, split, n=None):
            return map(Batch, *(part.split(25) for part in Data().images(split, n)))

        def images(self, split, n=None):
            raise AssertionError("all images at once")

        def protocol(self, split):
            return Data().protocol(split)

    monkeypatch.setattr(runs, "load_model", lambda path: Coder())
    monkeypatch.setattr(runs, "load_data", lambda path: Streamed())
    for limit, count in ((None, 60), (30, 30), (99, 60)):
        encode("any", "test", limit=limit, output=str(tmp_path / "codes.npz"))
        assert f"{count} codes of 2 dimensions" in capsys.readouterr().out
        x, y = Data().images("test", count)
        with np.load(tmp_path / "codes.npz") as file:
            assert np.array_equal(file["codes"], x.flatten(1)[:, :2])
            assert np.array_equal(file["labels"], y)
