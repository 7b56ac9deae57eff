"""Lightning's finders of a learning rate and of a batch size, which try before training begins."""

import io
import sys
from pathlib import Path

import pytest
from going_on import last, rows, same

from vae_lab.runs import Run

FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=64",
    "--data.val_size=100",
    "--data.batch_size=32",
    "--model=VAE",
    "--model.latent_dim=2",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--pictures.kinds=[]",
]


@pytest.mark.parametrize(
    ("finder", "option", "steps"),
    [("LearningRateFinder", "num_training_steps=12", 2), ("BatchSizeFinder", "max_trials=3", 8)],
)
def test_what_a_finder_tries_is_no_part_of_the_run(lab, finder, option, steps):
    printed = lab(*FIT, f"--trainer.callbacks={finder}", f"--trainer.callbacks.{option}")
    assert [line.split()[1] for line in printed.splitlines()[:2]] == ["1/2", "2/2"]
    assert [int(row["step"]) for row in rows() if row["val/loss"]] == [steps, 2 * steps]
    checkpoint = last()
    assert checkpoint["global_step"] == 2 * steps
    assert checkpoint["progress"]["images_seen"] == 2 * 64


def test_training_begins_anew_at_the_rate_that_was_found(lab):
    words = [*FIT, "--data.batch_size=4"]
    lab(*words, "--trainer.callbacks=LearningRateFinder", "--trainer.callbacks.min_lr=0.01")
    found = last()
    rate = found["hyper_parameters"]["lr"]
    assert rate >= 0.01
    lab(*words, f"--model.lr={rate}", "--name=told")
    assert same(found["state_dict"], last("told")["state_dict"])


@pytest.mark.parametrize(
    ("finder", "option", "group", "setting"),
    [
        ("LearningRateFinder", "min_lr=0.01", "model", "lr"),
        ("BatchSizeFinder", "max_trials=3", "data", "batch_size"),
    ],
)
def test_what_was_found_stands_in_the_settings_and_stays_when_a_run_goes_on(
    lab, monkeypatch, finder, option, group, setting
):
    words = [*FIT, "--data.batch_size=4", f"--trainer.callbacks={finder}"]
    words += [f"--trainer.callbacks.{option}"]
    lab(*words)
    trained = "hyper_parameters" if group == "model" else "datamodule_hyper_parameters"
    found = last()[trained][setting]
    assert Run(Path("runs/run/version_0")).config[group]["init_args"][setting] == found
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    lab(*words, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert last()[trained][setting] == found
    assert finder not in sys.stderr.getvalue()  # nothing else was asked for
    lab(*words, "--name=whole", "--trainer.max_epochs=3")
    assert same(last()["state_dict"], last("whole")["state_dict"])


@pytest.mark.parametrize(
    ("finder", "setting"), [("LearningRateFinder", "lr"), ("BatchSizeFinder", "batch_size")]
)
def test_a_finder_that_is_first_told_when_a_run_goes_on_says_that_it_looks_for_nothing(
    lab, monkeypatch, finder, setting
):
    lab(*FIT)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    lab(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last", f"--trainer.callbacks={finder}")
    said = f"lab fit: {finder} looks for nothing: a run goes on with the {setting} it began with."
    assert said in sys.stderr.getvalue().splitlines()
