"""Classifiers by the command line: what starts, goes on and is measured."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.test_classifier import ENCODERS, SHAPE, examples, saved
from vae_lab import runs
from vae_lab.contracts import Batch
from vae_lab.corruptions import Masking
from vae_lab.data import Digits
from vae_lab.drawings import DRAWINGS
from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.metrics.suite import measure
from vae_lab.models import (
    Autoencoder,
    Classifier,
    StackedAutoencoder,
)
from vae_lab.nets import MLPEncoder

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)

# by the command line


FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=100",
    "--data.limit_seed=1",
    "--data.batch_size=50",
    "--model=Classifier",
    "--model.lr=0.01",
    "--checkpoint.monitor=val/error",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
    "--pictures.kinds=[]",
    "--name=few",
]


@pytest.fixture
def source(trained, here):
    """The run of an autoencoder, which may be deleted."""
    shutil.copytree(trained / "Autoencoder", here / "runs" / "Autoencoder")
    return here / "runs" / "Autoencoder"


def encoder_in(folder):
    """Return what a run's config.yaml says that it began with."""
    return runs.find(folder).config["model"]["init_args"]["encoder"]


def test_a_run_goes_on_whatever_became_of_the_run_that_it_started_from(lab, source):
    encoder = "--model.encoder=runs/Autoencoder"
    began = str(source / "version_0/checkpoints/best.ckpt")
    known = digest(Path(began))
    lab(*FIT, encoder, "--trainer.max_epochs=4")
    lab(*FIT, encoder, "--name=part", "--trainer.max_epochs=2")
    shutil.copytree("runs/part", "runs/alone")
    # A newer version, of another architecture.
    lab(
        "fit", "--data=Digits", "--model=Autoencoder", "--name=Autoencoder", "--pictures.kinds=[]",
        "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false",
    )  # fmt: skip
    assert runs.find("runs/Autoencoder").path.name == "version_1"
    lab(*FIT, encoder, "--name=part", "--trainer.max_epochs=4", "--ckpt_path=last")
    lab("fit", "--config=runs/few/version_0/config.yaml", "--name=rerun")
    shutil.rmtree(source)
    lab(*FIT, encoder, "--name=alone", "--trainer.max_epochs=4", "--ckpt_path=last")
    names = ("few", "part", "alone", "rerun")
    assert [encoder_in(f"runs/{name}") for name in names] == [began] * 4
    records = [json.loads(Path(f"runs/{name}/version_0/run.json").read_text()) for name in names]
    assert [record["source_sha256"] for record in records] == [known] * 4
    whole, *others = (
        torch.load(runs.checkpoint_of(f"runs/{name}", "last"), weights_only=True)["state_dict"]
        for name in names
    )
    for other in others:
        torch.testing.assert_close(other, whole, rtol=0, atol=0)
    assert "val/error" in lab("validate", *FIT[1:], encoder, "--ckpt_path=best")
    with pytest.raises(SystemExit):
        lab(*FIT, encoder)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(LabError, match="is a folder; name a checkpoint in it"):
        Classifier(SHAPE, str(tmp_path))


def test_images_are_damaged_in_training_alone():
    plain = Classifier(SHAPE, ENCODERS["autoencoder"])
    damaged = Classifier(SHAPE, ENCODERS["autoencoder"], corruption=partial(Masking, 1.0))
    damaged.load_state_dict(plain.state_dict())
    torch.testing.assert_close(damaged.eval().terms(examples()), plain.terms(examples()))
    black = Batch(torch.zeros_like(examples().x), examples().y)
    torch.testing.assert_close(damaged.train().terms(examples()), plain.terms(black))


def test_its_corruption_makes_it_no_denoising_model():
    model = Classifier(SHAPE, ENCODERS["autoencoder"], corruption=partial(Masking, 0.5)).eval()
    found = measure(model, examples(), examples, samples=0, seed=0)
    assert "error" in found
    assert not {"restored_squared_error", "corrupted_squared_error"} & found.keys()
    with pytest.raises(LabError, match="needs a model that can decode; Classifier cannot"):
        DRAWINGS["restorations"].check(model, "lab denoise")


def test_evaluation_has_the_error_and_the_labels_that_were_learned_from(lab, source):
    lab(*FIT, "--model.encoder=runs/Autoencoder", "--model.frozen=true", "--trainer.max_epochs=3")
    shutil.rmtree(source)
    lab("evaluate", "runs/few")
    report = runs.find("runs/few").evaluation
    images = Digits().images("test")
    with torch.inference_mode():
        model = runs.load_model("runs/few")
        terms = model.terms(images)
    error, nll = (report["metrics"][f"test/{key}"] for key in ("error", "label_nll"))
    p = terms["error"].double().mean().item()
    assert error["value"] == pytest.approx(p)
    assert error["standard_error"] == pytest.approx((p * (1 - p) / 297) ** 0.5)
    assert nll["value"] == pytest.approx(terms["loss"].mean().item())
    assert "test/knn_accuracy" not in report["metrics"]
    assert "limit 100, limit_seed 1" in error["protocol"]


def test_the_encoder_can_be_a_class_with_settings(lab):
    lab(
        *FIT,
        "--model.encoder=Autoencoder",
        "--model.encoder.latent_dim=7",
        "--trainer.max_epochs=12",
        "--trainer.check_val_every_n_epoch=5",
    )
    assert runs.load_model("runs/few").latent_dim == 7
    assert [step for step, _ in runs.find("runs/few").curves()["val/error"]] == [10, 20]
    lab(*FIT, "--name=default", "--trainer.max_epochs=1")
    assert runs.load_model("runs/default").latent_dim == 30
    began = encoder_in("runs/default")
    on = [*FIT, "--name=default", "--trainer.max_epochs=2", "--ckpt_path=last"]
    lab(*on, "--model.encoder=runs/few")
    assert encoder_in("runs/default") == began
    lab("fit", "--config=runs/default/version_0/config.yaml", "--name=same")
    for name, weight in runs.load_model("runs/same").state_dict().items():
        assert torch.equal(weight, runs.load_model("runs/default").state_dict()[name])


def test_random_weights_of_a_stack_leave_a_checkpoint_that_loads(tmp_path):
    layer = partial(Autoencoder, encoder=partial(MLPEncoder, hidden=()), activation="Sigmoid")
    path = saved(StackedAutoencoder(SHAPE, widths=(8, 6), layers=(layer,)), tmp_path / "stack.ckpt")
    model = Classifier(SHAPE, path, weights="random")
    loaded = runs.load_model(saved(model, tmp_path / "again.ckpt"))
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
