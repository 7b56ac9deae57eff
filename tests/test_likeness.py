"""The Fréchet distance that training follows is the one that an evaluation finds."""

import re

import pytest

from vae_lab import runs
from vae_lab.callbacks import Likeness
from vae_lab.errors import LabError

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


def test_it_can_choose_the_checkpoint(lab, judge):
    monitored = ["--trainer.callbacks.every=2", "--checkpoint.monitor=val/frechet_distance"]
    words = [*GAN, "--name=gan", *FOLLOWED, f"--trainer.callbacks.judge={judge}", *monitored]
    said = lab(*words, "--trainer.max_epochs=5")
    assert re.search(r"best      val/frechet_distance [\d.]+ at step", said)
    assert len(runs.find("runs/gan").curves()["val/frechet_distance"]) == 2


def test_what_is_no_judge_or_draws_nothing_is_refused(lab, judge, capfd):
    words = [*FIT, *FOLLOWED, f"--trainer.callbacks.judge={judge}"]
    for model, message in (
        (["--model=Autoencoder"], "Likeness needs a model that can sample"),
        (["--model=GAN", "--data.resize=12"], "The judge takes images of"),
    ):
        with pytest.raises(SystemExit):
            lab(*words, *model)
        assert message in capfd.readouterr().err
    with pytest.raises(LabError, match="every >= 1"):
        Likeness(judge, every=0)
