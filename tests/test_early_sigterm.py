"""SIGTERM and Ctrl-C before the first step, while images are read and all is set up."""

import json
import signal
from pathlib import Path

import pytest
from conftest import FIT as SHORT

from vae_lab import training
from vae_lab.callbacks import Record
from vae_lab.data import Digits
from vae_lab.models import VAE

FIT = [*SHORT, "--trainer.max_epochs=1", "--pictures.kinds=[]"]
MOMENTS = [
    (training, "loggers"),
    (Digits, "setup"),
    (VAE, "on_fit_start"),
    (Record, "on_train_start"),
]


@pytest.fixture(autouse=True)
def deaf():
    """Whoever does not listen to SIGTERM shall fail the test, and not end all of them."""
    signal.signal(signal.SIGTERM, lambda *_: None)


def raising(number):
    def hook(*args, **kwargs):
        signal.raise_signal(number)

    return hook


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize(("part", "hook"), MOMENTS)
def test_a_new_run_leaves_nothing_and_says_so(lab, monkeypatch, capfd, part, hook, number, status):
    monkeypatch.setattr(part, hook, raising(number))
    with pytest.raises(SystemExit) as stop:
        lab(*FIT)
    assert stop.value.code == status
    said = "lab fit: stopped before the first checkpoint, nothing is kept.\n"
    assert capfd.readouterr().err.endswith(said)
    assert not Path("runs").exists()


@pytest.mark.parametrize(("part", "hook"), MOMENTS)
def test_a_run_that_goes_on_is_told_how(lab, monkeypatch, capfd, part, hook):
    lab(*FIT)
    more = [*FIT, "--trainer.max_epochs=2", "--ckpt_path=last"]
    with monkeypatch.context() as patch:
        patch.setattr(part, hook, raising(signal.SIGTERM))
        with pytest.raises(SystemExit) as stop:
            lab(*more)
    assert stop.value.code == 143
    assert "--ckpt_path runs/run/version_0 goes on" in capfd.readouterr().err
    lab(*more)
    assert json.loads(Path("runs/run/version_0/run.json").read_text())["finished"]


def test_afterwards_sigterm_is_what_it_was(lab):
    before = signal.getsignal(signal.SIGTERM)
    lab(*FIT)
    assert signal.getsignal(signal.SIGTERM) is before
