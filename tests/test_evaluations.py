"""The numbers of a run stay as long as the weights that they were measured on."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import FIT
from lightning.pytorch.callbacks import Callback

from vae_lab import runs

MORE = [*FIT, "--pictures.kinds=[]", "--ckpt_path=last"]


class Stop(Callback):
    """Stops a run as somebody at the keyboard does, before an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


class Worse(Callback):
    """Spoils what was learned before an epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        for weight in pl_module.parameters():
            weight.data.fill_(1.0)


def stopped(lab, epoch):
    """Go on until an epoch begins, counted from 0."""
    there = [f"--trainer.callbacks+={__name__}.Stop", f"--trainer.callbacks.epoch={epoch}"]
    with pytest.raises(SystemExit) as stop:
        lab(*MORE, "--trainer.max_epochs=9", *there)
    assert stop.value.code == 130


@pytest.fixture
def run(lab):
    lab(*MORE[:-1])
    return Path("runs/run/version_0")


@pytest.fixture
def measured(run, lab):
    lab("evaluate", run, "--importance-samples=0")
    return run / "metrics.json"


def test_numbers_go_with_their_weights(measured, lab):
    lab(*MORE)
    assert measured.exists()  # nothing was left to train
    said = lab(*MORE, "--trainer.max_epochs=3")
    assert not measured.exists()
    assert "metrics.json loses its test scores: checkpoints/best.ckpt holds other weights" in said


def test_so_they_do_where_a_run_is_stopped_and_those_of_other_weights_stay(measured, run, lab):
    lab("evaluate", run, "--importance-samples=0", "--split=val")
    report = json.loads(measured.read_text())
    report["protocol"]["val"]["checkpoint"] = "checkpoints/kept.ckpt"
    shutil.copy(run / "checkpoints/best.ckpt", run / "checkpoints/kept.ckpt")
    measured.write_text(json.dumps(report))
    stopped(lab, epoch=3)
    left = json.loads(measured.read_text())
    assert left["protocol"].keys() == {"val"}
    assert {key.partition("/")[0] for key in left["metrics"]} == {"val"}


def test_numbers_stay_until_their_weights_are_replaced(measured, run, lab):
    numbers = measured.read_text()
    stopped(lab, epoch=2)
    assert measured.read_text() == numbers
    # An epoch that is no better leaves the best weights as they were measured.
    lab(*MORE, "--trainer.max_epochs=3", f"--trainer.callbacks+={__name__}.Worse")
    assert runs.find(run).seen[0] == 3
    assert measured.read_text() == numbers
