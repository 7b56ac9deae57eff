"""The checkpoint that is kept holds the weights whose score it is kept for."""

import pytest
import torch
from going_on import rows

from vae_lab import runs

FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=300",
    "--data.val_size=100",
    "--data.batch_size=20",
    "--model=VAE",
    "--model.latent_dim=2",
    "--model.encoder.hidden=[10]",
    "--model.decoder.hidden=[10]",
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--pictures.kinds=[]",
]


OFTEN = "--trainer.val_check_interval=0.5"
SELDOM = "--trainer.check_val_every_n_epoch=2"


@pytest.mark.parametrize(
    "words",
    [
        (),
        (OFTEN,),
        ("--trainer.val_check_interval=3",),
        ("--trainer.val_check_interval=7", "--trainer.check_val_every_n_epoch=null"),
        (SELDOM,),
    ],
    ids=" ".join,
)
def test_the_best_checkpoint_is_of_the_step_of_its_score(lab, words):
    # The loss falls, so that the largest is of the first validation: what comes later must not win.
    lab(*FIT, *words, "--checkpoint.mode=max")
    scores = {int(row["step"]): float(row["val/loss"]) for row in rows() if row["val/loss"]}
    best = torch.load(runs.find("runs/run").checkpoint("best"), weights_only=True)
    assert best["global_step"] == max(scores, key=scores.get)


@pytest.mark.parametrize("words", [OFTEN, SELDOM])
def test_the_best_of_training_is_of_the_epoch_of_its_score(lab, words):
    lab(*FIT, words, "--trainer.max_epochs=3", "--checkpoint.monitor=train/loss")
    best = torch.load(runs.find("runs/run").checkpoint("best"), weights_only=True)
    assert best["global_step"] == 45  # the loss falls


@pytest.mark.parametrize("words", [OFTEN, SELDOM])
def test_the_best_of_a_game_is_the_latest(lab, words):
    plain = [word for word in FIT if not word.startswith("--model")]
    lab(*plain, words, "--trainer.max_epochs=3", "--model=GAN", "--model.generator.hidden=[10]")
    best = torch.load(runs.find("runs/run").checkpoint("best"), weights_only=True)
    assert best["global_step"] == 45
