"""`lab gallery`: one figure of several models, and a table that says what may be compared."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from vae_lab import pictures, runs
from vae_lab.data import Digits
from vae_lab.files import digest
from vae_lab.verbs.gallery import gallery


def measured(run, sha256=None, judge="Classifier 0123, 100 samples", **values):
    """Write what `lab evaluate` would have."""
    about = {"data": "Digits", "split": "test", "images": 297, "binarize": "none", "judge": judge}
    about["checkpoint_sha256"] = sha256 or digest(Path(run, "checkpoints/best.ckpt"))
    metrics = {f"test/{key}": {"value": value} for key, value in values.items()}
    report = {"protocol": {"test": about}, "metrics": metrics}
    Path(run, "metrics.json").write_text(json.dumps(report))


@pytest.fixture
def two(run):
    """Two runs of one model, the second a copy."""
    other = Path("runs/other/version_0")
    shutil.copytree(run, other)
    return str(run), str(other)


def test_rows_are_of_the_runs_and_numbers_of_their_evaluation(lab, two):
    measured(two[0], frechet_distance=3.0, squared_error=9.0, judge_feature_error=2.0)
    measured(two[1], frechet_distance=5.0, squared_error=7.0, judge_feature_error=2.0)
    Path(two[0], "run.json").write_text('{"seconds": 90}')
    out = lab("gallery", *two, "runs/Autoencoder", "--n=4")
    page = Path("gallery.md").read_text()
    header, _, first, second, third = page.splitlines()[:5]
    assert header == "| model | run | Fréchet distance | pixel error | feature error | training |"
    assert re.fullmatch(r"\| VAE \| VAE/version_0 \| \*\*3\*\* \| 9 \| 2 \| 1.5 min \|", first)
    assert second.startswith("| VAE | other/version_0 | 5 | **7** | 2 | ")
    assert third.startswith("| Autoencoder | Autoencoder/version_0 |  |  |  | ")
    assert "Not measured alike" not in page
    assert "judge Classifier 0123, 100 samples: VAE/version_0 (weights" in page
    # What draws nothing needs no judge.
    assert "No judge" not in page
    assert "3.0" not in out
    assert "gallery.png" in out

    # Six rows: the images, three reconstructions and the samples of two.
    height = Image.open("gallery.png").height
    lab("gallery", two[0], "--n=4")
    assert Image.open("gallery.png").height < height


def test_numbers_of_two_judges_are_told_apart_and_none_is_asked_for(lab, two):
    measured(two[0], frechet_distance=3.0)
    measured(two[1], judge="Classifier 4567, 100 samples", frechet_distance=5.0)
    lab("gallery", *two, "--n=2")
    page = Path("gallery.md").read_text()
    assert "**" not in page
    assert "Not measured alike, and so not to be compared: Fréchet distance." in page
    Path(two[1], "metrics.json").unlink()
    lab("gallery", *two, "--n=2")
    assert f"`lab evaluate {two[1]} --judge JUDGE`" in Path("gallery.md").read_text()


def test_runs_of_one_name_in_two_folders_have_a_row_each(lab, two, monkeypatch):
    said, elsewhere = [], Path("elsewhere/VAE/version_0")
    shutil.copytree(two[0], elsewhere)
    measured(two[0], frechet_distance=3.0)
    lab("gallery", two[0], two[1], "--n=2")
    height = Image.open("gallery.png").height
    lab("gallery", two[0], elsewhere, "--n=2")
    assert Image.open("gallery.png").height == height
    monkeypatch.setattr(pictures, "signed", lambda picture, *text: said.extend(text) or picture)
    lab("gallery", two[0], elsewhere, "--n=2")
    assert said[:2] == [f"VAE: {two[0]}, epoch 2", f"VAE: {elsewhere}, epoch 2"]
    page = Path("gallery.md").read_text()
    assert f"| VAE | {two[0]} | 3 |" in page
    assert f"| VAE | {elsewhere} |" in page
    assert f"{two[0]} (weights" in page


def test_the_seed_decides_on_the_samples(lab, run):
    def drawn(*words):
        lab("gallery", run, "--n=3", *words)
        return Path("gallery.png").read_bytes()

    assert drawn() == drawn() != drawn("--seed=1")


def test_grey_images_stand_over_what_is_restored_of_them(run, monkeypatch):
    drawn = []
    monkeypatch.setattr("vae_lab.verbs.gallery.load_data", lambda run: Digits(binarize="static"))
    monkeypatch.setattr(pictures, "gallery", lambda *a: drawn.extend(a) or torch.zeros(3, 2, 2))
    gallery([str(run)], n=3)
    x, restored, _ = drawn
    images = Digits().images("val", 3)
    assert torch.equal(x, images.x)
    torch.testing.assert_close(restored["VAE"], runs.load_model(run)(images.x))


def test_what_cannot_stand_side_by_side_is_refused(lab, two, capfd, monkeypatch):
    from vae_lab import runs

    measured(two[1], sha256="0123456789ab", frechet_distance=3.0)
    data = runs.load_data(two[0])
    for words, message in (
        (two, f"The numbers of {two[1]} are of other weights"),
        ([two[0], "--n=0"], "--n is at least 1"),
        ([two[0], f"{two[0]}/checkpoints/last.ckpt"], "version_0 is given twice"),
        ([two[0], "runs/nowhere"], "There is no runs/nowhere"),
    ):
        capfd.readouterr()
        with pytest.raises(SystemExit):
            lab("gallery", *words)
        assert message in capfd.readouterr().err
    Path(two[1], "metrics.json").unlink()

    others = type(data)(split_seed=3, val_size=100)
    loads = "vae_lab.verbs.gallery.load_data"
    monkeypatch.setattr(loads, lambda path: others if "other" in path else data)
    with pytest.raises(SystemExit):
        lab("gallery", *two)
    assert "different images: split_seed is 0 and 3" in capfd.readouterr().err
    assert not Path("gallery.png").exists()
