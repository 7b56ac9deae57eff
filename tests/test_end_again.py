"""A run that was stopped after its last step, while its last pictures were made."""

import errno
import os
import signal
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
from going_on import last, rows, same
from lightning.pytorch.callbacks import Timer

from vae_lab.callbacks import Pictures
from vae_lab.models import VAE
from vae_lab.runs import Run

pytestmark = pytest.mark.usefixtures("interruptible")
FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=64",
    "--data.val_size=100",
    "--data.batch_size=16",
    "--model=VAE",
    "--model.latent_dim=2",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--pictures.kinds=[samples]",
]


EARLY = [  # stops after two epochs
    "--trainer.max_epochs=6",
    "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping",
    "--trainer.callbacks.monitor=val/loss",
    "--trainer.callbacks.min_delta=1000",
    "--trainer.callbacks.patience=1",
]


def interrupt(*_):
    signal.raise_signal(signal.SIGINT)


def fill(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("action", "status", "words"),
    [
        (interrupt, 130, []),
        (fill, 2, []),
        (interrupt, 130, ["--trainer.max_steps=8"]),
        (interrupt, 130, ["--trainer.max_steps=6"]),  # in the middle of an epoch
        (interrupt, 130, EARLY),
    ],
)
def test_what_was_stopped_at_its_end_ends_once_more(lab, monkeypatch, action, status, words):
    # Of the same name, which stands below its pictures.
    lab(*FIT, *words, "--runs=whole/runs")
    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "on_train_end", action)
        with pytest.raises(SystemExit) as stop:
            lab(*FIT, *words)
    assert stop.value.code == status
    mine, whole = Run(Path("runs/run/version_0")), Run(Path("whole/runs/run/version_0"))
    assert not mine.finished
    assert not mine.pictures
    printed = lab(*FIT, *words, "--ckpt_path=last")
    assert mine.finished
    assert "images_per_second" not in mine.record
    (picture,) = mine.pictures.values()
    assert f"picture   {picture}" in printed
    theirs = whole.path / "pictures" / picture.name
    assert picture.read_bytes() == theirs.read_bytes()
    assert [p.parent.name for p in mine.path.glob("*/codes")] == [f"{last()['global_step']:05}"]
    assert same(last()["state_dict"], last(root=Path("whole"))["state_dict"])
    assert rows() == rows(root=Path("whole"))


def test_what_came_to_its_end_does_not_end_once_more(lab, monkeypatch):
    lab(*FIT)
    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "on_train_end", fill)
        lab(*FIT, "--ckpt_path=last")


def test_what_was_stopped_early_stays_so_under_the_same_callbacks(lab):
    lab(*FIT, *EARLY)
    before = last()["global_step"]
    with redirect_stderr(StringIO()) as said:
        lab(*FIT, *EARLY, "--trainer.max_epochs=9", "--ckpt_path=last")
    assert last()["global_step"] == before
    assert "at its end; without EarlyStopping" in said.getvalue()
    lab(*FIT, *EARLY, "--trainer.callbacks.patience=2", "--ckpt_path=last")
    assert last()["global_step"] > before


def test_what_its_time_ended_trains_on_without_a_limit(lab, monkeypatch):
    with monkeypatch.context() as patch:
        # So it ends by its first step.
        patch.setattr(Timer, "time_elapsed", lambda timer, *_: bool(timer.start_time()))
        patch.setattr(Pictures, "on_train_end", interrupt)
        with pytest.raises(SystemExit):
            lab(*FIT, "--trainer.max_time=00:00:00:01")
    with redirect_stderr(StringIO()) as said:
        lab(*FIT, "--trainer.max_time=00:00:00:01", "--ckpt_path=last")
    assert "a longer --trainer.max_time, which counts from the run's beginning" in said.getvalue()
    before = last()["global_step"]
    lab(*FIT, "--ckpt_path=last")
    assert last()["global_step"] > before


def test_what_asked_for_the_end_is_remembered_until_enough_epochs_are_trained(lab, monkeypatch):
    # The second epoch is better than the first by 6.5, and the fourth by 8.4.
    words = [*FIT, *EARLY, "--trainer.callbacks.min_delta=8", "--trainer.min_epochs=4"]
    lab(*words, "--name=whole")
    train = VAE.training_step

    def step(self, *given):
        if self.current_epoch == 3:
            interrupt()
        return train(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(VAE, "training_step", step)
        with pytest.raises(SystemExit):
            lab(*words)
    lab(*words, "--ckpt_path=last")
    assert rows() == rows("whole")
    assert same(last()["state_dict"], last("whole")["state_dict"])
