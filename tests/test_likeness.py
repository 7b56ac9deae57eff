"""The Fréchet distance that training follows is the one that an evaluation finds."""

import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from tests.test_compare import make_run
from vae_lab import runs
from vae_lab.callbacks import Likeness
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.models import VAE
from vae_lab.verbs.comparing.comparison import Comparison

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)

FIT = [
    "fit",
    "--data=Digits",
    "--data.val_size=200",
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
    "--pictures.kinds=[]",
]
JUDGE = "--model.encoder={class_path: Autoencoder, init_args: {latent_dim: 8}}"
GAN = [*FIT, "--model=GAN", "--model.latent_dim=4"]
FOLLOWED = ["--trainer.callbacks+=Likeness", "--trainer.callbacks.samples=150"]


@pytest.fixture
def judge(lab):
    """The run of a classifier with eight features."""
    lab(*FIT, "--model=Classifier", JUDGE, "--checkpoint.monitor=val/error", "--name=judge")
    return "runs/judge"


def test_it_follows_what_an_evaluation_finds_and_leaves_training_alone(lab, judge):
    lab(*GAN, "--name=gan", *FOLLOWED, f"--trainer.callbacks.judge={judge}")
    lab(*GAN, "--name=alone")
    lab("evaluate", "runs/gan", "--split=val", "--samples=150", f"--judge={judge}")
    run = runs.find("runs/gan")
    curves, others = run.curves(), runs.find("runs/alone").curves()
    followed = curves.pop("val/frechet_distance")
    assert len(followed) == 2
    assert followed[-1][1] == pytest.approx(run.scores["val/frechet_distance"], rel=1e-5)
    assert followed[-1][0] == curves["val/critic_loss"][-1][0]
    assert curves["val/critic_loss"] == others["val/critic_loss"]


def test_it_chooses_the_checkpoint_looks_at_the_last_epoch_and_goes_on(lab, judge, monkeypatch):
    monitored = ["--trainer.callbacks.every=2", "--checkpoint.monitor=val/frechet_distance"]
    words = [*GAN, "--name=gan", *FOLLOWED, f"--trainer.callbacks.judge={judge}", *monitored]
    said = lab(*words, "--trainer.max_epochs=3")
    assert re.search(r"best      val/frechet_distance [\d.]+ at step", said)
    first = [value for _, value in runs.find("runs/gan").curves()["val/frechet_distance"]]
    assert len(first) == 2

    told, look = [], Likeness.on_validation_epoch_end

    def followed(callback, trainer, model):
        look(callback, trainer, model)
        told.append(trainer.callback_metrics["val/frechet_distance"].item())

    monkeypatch.setattr(Likeness, "on_validation_epoch_end", followed)
    lab(*words, "--trainer.callbacks.every=5", "--trainer.max_epochs=5", "--ckpt_path=last")
    # No look is due in the fourth epoch: what stands there was found in the third.
    assert told[0] == pytest.approx(first[-1])
    assert told[1] != pytest.approx(first[-1])
    lab("evaluate", "runs/gan", "--split=val", "--samples=150", f"--judge={judge}")
    found = runs.find("runs/gan").scores["val/frechet_distance"]
    assert found == pytest.approx(min([*first, told[1]]), rel=1e-5)


def test_no_more_samples_are_compared_than_there_are_training_images(lab, judge):
    few = ["--data.limit=100", "--data.batch_size=50", f"--trainer.callbacks.judge={judge}"]
    lab(*GAN, "--name=gan", *FOLLOWED, *few)
    lab("evaluate", "runs/gan", "--split=val", "--samples=150", f"--judge={judge}")
    run = runs.find("runs/gan")
    last = run.curves()["val/frechet_distance"][-1][1]
    assert last == pytest.approx(run.scores["val/frechet_distance"], rel=1e-5)


def test_a_validation_measures_it_too(lab, judge):
    every = ["--trainer.callbacks.every=2", f"--trainer.callbacks.judge={judge}"]
    lab(*GAN, "--name=gan", *FOLLOWED, *every)
    followed = runs.find("runs/gan").curves()["val/frechet_distance"][-1][1]
    said = lab("validate", "--config=runs/gan/version_0/config.yaml", "--ckpt_path=runs/gan")
    assert f"val/frechet_distance   {followed:.4f}" in said


@pytest.mark.parametrize(
    ("changed", "due"),
    [
        ({}, False),
        ({"current_epoch": 4}, True),
        ({"max_epochs": 3}, True),
        ({"max_epochs": 4}, False),
        ({"max_epochs": 4, "check_val_every_n_epoch": 3}, True),
        ({"max_epochs": -1, "max_steps": 300}, True),
        ({"max_epochs": -1}, False),
        ({"should_stop": True}, True),
        ({"state": SimpleNamespace(fn=TrainerFn.VALIDATING)}, True),
    ],
)
def test_the_last_validation_is_always_due(changed, due):
    trainer = {"current_epoch": 2, "max_epochs": 20, "global_step": 300, "max_steps": -1}
    trainer |= {"check_val_every_n_epoch": 1, "should_stop": False}
    trainer |= {"state": SimpleNamespace(fn=TrainerFn.FITTING)}
    trainer |= {"fit_loop": SimpleNamespace(_can_stop_early=True)}
    assert Likeness("judge", every=5)._due(SimpleNamespace(**trainer | changed)) == due


def test_a_number_of_another_judge_is_not_taken_over():
    first, second = Likeness("a"), Likeness("b")
    for callback, name in ((first, "One 0123"), (second, "Two 4567")):
        callback._name, callback._compared = name, 100
    first._found = 3.0
    second.load_state_dict(first.state_dict())
    assert second.state_dict()["found"] == math.inf


def test_samples_are_compared_with_grey_images(monkeypatch):
    class Judge(nn.Module):
        latent_dim = 8

        def encode(self, x, y=None):
            return x.flatten(1)[:, 20:28]

    module = sys.modules["vae_lab.callbacks.likeness"]
    monkeypatch.setattr(module, "load_judge", lambda *_: (Judge(), "one", ""))
    data, strategy = Digits(binarize="static"), SimpleNamespace(root_device="cpu")
    callback = Likeness("judge")
    trainer = SimpleNamespace(datamodule=data, strategy=strategy)
    callback.setup(trainer, VAE((1, 8, 8), 4), "validate")
    torch.testing.assert_close(callback._real, Judge().encode(Digits().images("val").x))


def test_a_sweep_by_it_keeps_the_weights_that_a_trial_is_known_by():
    # An adversarial run keeps its latest weights, a trial counts by its best number.
    path = Path(__file__).parents[1] / "experiments/sweeps/gan_rates.yaml"
    sweep = yaml.safe_load(path.read_text())
    assert f"--checkpoint.monitor={sweep['metric']['name']}" in sweep["command"]


def test_what_is_no_judge_or_draws_nothing_is_refused(lab, judge, folder, capfd):
    photos = [
        f"--data.folder={folder}",
        "--data.resize=8",
        "--data.channels=1",
        "--data.batch_size=8",
    ]
    words = [*FIT, *FOLLOWED, f"--trainer.callbacks.judge={judge}"]
    for model, message in (
        (["--model=Autoencoder"], "Likeness needs a model that can sample"),
        (["--model=GAN", "--data.resize=12"], "The judge takes images of"),
        (["--model=GAN", "--trainer.callbacks.every=3"], "every 3 epochs, and"),
        (["--model=GAN", "--trainer.callbacks.samples=8"], "8 features, and Likeness needs more"),
        (
            ["--model=GAN", "--data=ImageFolder", *photos, "--data.val_size=12"],
            "learned from Digits and knows nothing of ImageFolder",
        ),
    ):
        with pytest.raises(SystemExit):
            lab(*words, *model)
        assert message in capfd.readouterr().err
    with pytest.raises(LabError, match="every is at least 1"):
        Likeness(judge, every=0)


@pytest.mark.parametrize(("limit", "best"), [(7, None), (8, 70.0)])
def test_curves_of_fewer_training_images_than_samples_have_no_best(tmp_path, limit, best):
    for version in range(2):
        curve = {"val/frechet_distance": [70.0 + version]}
        make_run(tmp_path / "gan" / f"version_{version}", "GAN", curve)
    found = runs.find_all(tmp_path)
    for run, given in zip(found, (None, limit), strict=True):
        likeness = {"class_path": "a.Likeness", "init_args": {"judge": "a", "samples": 8}}
        run.config["trainer"]["callbacks"].append(likeness)
        run.config["data"] = {"class_path": "a.MNIST", "init_args": {"limit": given}}
    columns = {c.key: c for c in Comparison(found).columns}
    assert columns["val/frechet_distance (best)"].best == best
