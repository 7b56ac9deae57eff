"""Runs that are stopped, killed, repeated or spoiled."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from going_on import STATE, last, rows, same

from vae_lab import runs
from vae_lab.callbacks import AtomicCheckpointIO
from vae_lab.errors import LabError
from vae_lab.loggers import History, Wandb
from vae_lab.models import VAE

# All that depends on where training stands: noise, fresh binary images, warm-up and schedule.
FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=300",
    "--data.val_size=100",
    "--data.batch_size=32",
    "--data.binarize=dynamic",
    "--model=VAE",
    "--model.latent_dim=3",
    "--model.encoder.hidden=[50]",
    "--model.decoder.hidden=[50]",
    "--model.warmup=25",
    "--model.schedule=ExponentialLR",
    "--model.schedule.gamma=0.7",
    "--trainer.max_epochs=3",
    "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=4",
    "--trainer.enable_progress_bar=false",
    "--pictures.kinds=[]",
]


def check_resumed(whole, partial=None):
    """Compare the run in this folder with the unbroken one, but for a window cut off at a step."""
    mine, theirs = last(), last(root=whole)
    assert {key: same(mine[key], theirs[key]) for key in STATE} == dict.fromkeys(STATE, True)
    assert os.listdir("runs/run") == ["version_0"]
    unbroken = rows(root=whole)
    assert [r for r in rows() if r in unbroken or r["step"] != str(partial)] == unbroken
    best = runs.Run(Path("runs/run/version_0")).checkpoint("best")
    assert same(
        torch.load(best, weights_only=True)["state_dict"],
        torch.load(whole / best, weights_only=True)["state_dict"],
    )


def test_a_run_goes_on_after_an_epoch(lab, whole):
    lab(*FIT, "--trainer.max_epochs=1")
    earlier = rows()
    lab(*FIT, "--ckpt_path=last")
    assert rows()[: len(earlier)] == earlier
    check_resumed(whole)


@pytest.mark.parametrize("steps", [13, 20])
def test_a_run_goes_on_after_so_many_steps(lab, whole, steps):
    lab(*FIT, f"--trainer.max_steps={steps}")
    assert last()["global_step"] == steps
    lab(*FIT, "--ckpt_path=last")
    check_resumed(whole, partial=steps)


@pytest.mark.parametrize("step", [4, 10])
def test_a_run_goes_on_after_a_crash_in_an_epoch(lab, stopped, whole, step):
    stopped(ZeroDivisionError, step, lambda: 1 / 0, "--last.minutes=1e-9")
    assert last()["global_step"] == step
    lab(*FIT, "--ckpt_path=last")
    check_resumed(whole)


def terminate():
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("step", [3, 9, 13])  # in the first epoch, its last step, in the second
def test_a_run_goes_on_after_sigterm(lab, stopped, whole, capfd, step):
    assert stopped(SystemExit, step, terminate).code == 143
    assert "--ckpt_path runs/run/version_0 goes on" in capfd.readouterr().err
    assert last()["global_step"] == step + 1
    lab(*FIT, "--ckpt_path=last")
    check_resumed(whole)


def test_sigterm_waits_for_a_validation(lab, monkeypatch):
    monkeypatch.setattr(VAE, "on_validation_start", lambda self: terminate())
    with pytest.raises(SystemExit) as stop:  # it would end after the first of ten batches
        lab(*FIT, "--data.eval_batch_size=10", "--trainer.num_sanity_val_steps=0")
    assert stop.value.code == 143
    assert last()["global_step"] == 10
    assert "val/loss" in rows()[-1]


def test_sigterm_before_a_validation_within_an_epoch_waits_for_it(lab, stopped):
    words = ["--trainer.val_check_interval=0.5"]
    lab(*FIT, *words, "--name=whole")
    assert stopped(SystemExit, 4, terminate, *words).code == 143
    assert last()["global_step"] == 6
    lab(*FIT, *words, "--ckpt_path=last")
    unbroken = rows("whole")
    assert [row for row in rows() if row in unbroken] == unbroken


def test_sigterm_waits_for_gradients_that_accumulate(lab, stopped):
    words = ["--trainer.accumulate_grad_batches=3"]
    assert stopped(SystemExit, 1, terminate, *words).code == 143
    progress = last()["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert (last()["global_step"], progress["current"]["processed"]) == (2, 6)


def test_sigterm_in_the_last_validation_finishes_the_run(lab, monkeypatch):
    words = ("--trainer.max_epochs=1", "--trainer.num_sanity_val_steps=0")
    monkeypatch.setattr(VAE, "on_validation_start", lambda self: terminate())
    lab(*FIT, *words, "--pictures.kinds=[samples]")
    run = runs.find("runs/run")
    assert run.finished
    assert "samples" in run.pictures


@pytest.mark.parametrize(
    ("words", "hook", "kept"),
    [
        # The gradients that were accumulated are lost.
        (["--trainer.accumulate_grad_batches=3"], "on_train_batch_start", STATE[3:5]),
        (["--trainer.val_check_interval=0.5"], "on_validation_start", STATE),
    ],
)
def test_what_ends_within_an_epoch_has_the_rest_of_it_to_come(lab, monkeypatch, words, hook, kept):
    def stop(self, *batch):
        self.trainer.should_stop = self.current_epoch == 1 and batch[1:] in ((), (4,))

    lab(*FIT, *words, "--name=whole")
    with monkeypatch.context() as patch:
        patch.setattr(VAE, hook, stop)
        lab(*FIT, *words)
    assert last()["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 1
    lab(*FIT, *words, "--ckpt_path=last")
    mine, unbroken = last(), last("whole")
    assert {key: same(mine[key], unbroken[key]) for key in kept} == dict.fromkeys(kept, True)
    assert mine["progress"]["images_seen"] == unbroken["progress"]["images_seen"]


def test_a_best_checkpoint_of_weights_alone_is_not_what_a_run_goes_on_from(lab):
    words = [*FIT, "--checkpoint.save_weights_only=true"]
    lab(*words, "--trainer.max_epochs=1")
    assert "optimizer_states" in last()
    lab(*words, "--ckpt_path=last")
    assert last()["global_step"] == 30


def test_a_best_checkpoint_of_before_an_epochs_end_is_not_what_a_run_goes_on_from(lab, whole):
    words = [*FIT, "--checkpoint.save_on_train_epoch_end=false"]
    lab(*words, "--trainer.max_epochs=1")
    lab(*words, "--ckpt_path=last")
    check_resumed(whole)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_with_the_status_of_an_interrupt(stopped):
    assert stopped(SystemExit, 13, lambda: signal.raise_signal(signal.SIGINT)).code == 130
    assert last()["global_step"] == 10


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_before_the_first_checkpoint_is_said_and_leaves_nothing(stopped, capfd):
    assert stopped(SystemExit, 3, lambda: signal.raise_signal(signal.SIGINT)).code == 130
    said = "lab fit: stopped before the first checkpoint, nothing is kept.\n"
    assert capfd.readouterr().err.endswith(said)
    assert not Path("runs").exists()


def test_a_checkpoint_within_an_epoch_waits_for_whole_steps(stopped):
    words = ["--last.minutes=1e-9", "--trainer.accumulate_grad_batches=3"]
    stopped(ZeroDivisionError, 2, lambda: 1 / 0, *words)
    progress = last()["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["current"]["processed"] == 6


@pytest.fixture
def written(monkeypatch):
    """The steps after which checkpoints are written."""
    steps, save = [], AtomicCheckpointIO.save_checkpoint

    def count(self, checkpoint, path, storage_options=None):
        steps.append(checkpoint["global_step"])
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", count)
    return steps


def test_without_need_a_checkpoint_is_written_once_an_epoch(lab, written):
    lab(*FIT)
    # Where an epoch is the best so far, its one file has both names.
    assert written == [10, 20, 30]
    checkpoint = last()
    (best,) = (state for key, state in checkpoint["callbacks"].items() if key.startswith("Best"))
    assert checkpoint["global_step"] == 30
    assert best["best_model_score"] == best["current_score"]


def test_a_long_epoch_is_saved_every_so_many_minutes(lab, written, monkeypatch):
    minutes, step = [0], VAE.training_step

    def training_step(self, *given):
        minutes[0] += 1
        return step(self, *given)

    clock = SimpleNamespace(monotonic=lambda: 60 * minutes[0])
    monkeypatch.setattr("vae_lab.callbacks.last.time", clock)
    monkeypatch.setattr(VAE, "training_step", training_step)
    lab(*FIT, "--last.minutes=4", "--trainer.max_epochs=2")
    assert written == [4, 8, 10, 14, 18, 20]


def test_a_last_checkpoint_that_is_not_the_best_has_a_file_of_its_own(lab):
    lab(*FIT, "--checkpoint.mode=max")
    folder = Path("runs/run/version_0/checkpoints")
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert (best["global_step"], last()["global_step"]) == (10, 30)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_loses_nothing_that_was_saved(lab, here, number):
    words = [*FIT, "--trainer.max_epochs=40", "--last.minutes=1e-9"]
    lab(*words, "--name=whole")
    started = subprocess.Popen([sys.executable, "-m", "vae_lab", *words])
    checkpoint = here / "runs/run/version_0/checkpoints/last.ckpt"
    while not checkpoint.exists():
        assert started.poll() is None
        time.sleep(0.02)
    time.sleep(0.5)
    started.send_signal(number)
    assert started.wait(60) == (-number if number == signal.SIGKILL else 143)
    assert 0 < last()["global_step"] < 400
    lab(*words, "--ckpt_path=last")
    mine, theirs = last(), last("whole")
    assert {key: same(mine[key], theirs[key]) for key in STATE} == dict.fromkeys(STATE, True)
    assert rows()[-1] == rows("whole")[-1]


def full_disk(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("place", "function"), [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_leaves_the_checkpoint_that_stood_there(tmp_path, monkeypatch, place, function):
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, path)
    monkeypatch.setattr(place, function, full_disk)
    with pytest.raises(LabError, match=r"a.ckpt could not be written: No space left on device"):
        AtomicCheckpointIO().save_checkpoint({"x": 2}, path)
    assert torch.load(path, weights_only=True) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_stops_a_run_in_a_sentence(stopped, monkeypatch, capfd):
    assert stopped(SystemExit, 15, lambda: monkeypatch.setattr(os, "fsync", full_disk)).code == 2
    assert capfd.readouterr().err.startswith("lab fit: runs/run/version_0/checkpoints/")
    assert last()["global_step"] == 10


def no_file(name):
    """Put a folder where the run's file is, which nobody can write to, root included."""
    path = Path("runs/run/version_0") / name
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize(("step", "best"), [(15, True), (4, False)])
def test_a_loggers_file_that_cannot_be_written_stops_a_run_in_a_sentence(
    stopped, capfd, lab, step, best
):
    assert stopped(SystemExit, step, lambda: no_file("metrics.csv")).code == 2
    name = "runs/run/version_0/metrics.csv"
    assert f"{name} could not be used: Is a directory." in capfd.readouterr().err
    assert Path("runs").exists() is best
    if best:
        assert last()["global_step"] == 10
        Path(name).rmdir()
        lab(*FIT, "--ckpt_path=last")
        assert last()["global_step"] == 30


def test_a_full_disk_takes_no_curve_away(tmp_path, monkeypatch):
    history = History(tmp_path, "run", 0)
    history.log_metrics({"a": 1.0}, 1)
    history.save()
    file = Path(history.log_dir) / "metrics.csv"
    before = file.read_bytes()
    # Another column: Lightning would write the whole file anew, over the old one.
    history.log_metrics({"b": 2.0}, 2)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(LabError, match=r"metrics.csv could not be written: No space left"):
        history.save()
    assert file.read_bytes() == before
    monkeypatch.undo()
    again = History(tmp_path, "run", 0)
    again.log_metrics({"b": 2.0}, 2)
    again.save()
    assert file.read_text().split() == ["a,b,step", "1.0,,1", ",2.0,2"]


def test_a_full_disk_that_names_no_file_is_said_of_the_folder(stopped, capfd):
    assert stopped(SystemExit, 15, full_disk).code == 2
    assert capfd.readouterr().err.startswith(
        "lab fit: runs/run/version_0 could not be used: No space left on device."
    )
    assert stopped(ConnectionError, 15, no_connection)


class Killed:
    """What is left of a run of W&B whose process was killed."""

    asked = 0

    def log(self, metrics):
        self.asked += 1
        raise ConnectionResetError("Connection lost")


def test_without_wandb_a_training_goes_on_and_says_so_once(tmp_path, capsys):
    logger = Wandb("run", tmp_path, offline=True)
    logger._experiment = Killed()
    for step in (1, 2):
        logger.log_metrics({"loss": 1.0}, step)
    assert capsys.readouterr().err == (
        "lab fit: W&B is gone (ConnectionResetError: Connection lost); training goes on without.\n"
    )
    assert logger._experiment.asked == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("a minute"), "`wandb sync --no-skip-online 'a run'` sends the rest."),
        (ConnectionResetError("Connection lost"), "W&B was gone at the end: Connection lost"),
    ],
)
def test_what_wandb_lacks_at_the_end_is_said_and_no_error(tmp_path, capsys, error, said):
    class Left:
        dir = "a run/files"

        def finish(self):
            raise error

    logger = Wandb("run", tmp_path, offline=True)
    logger._experiment = Left()
    logger.end()
    assert said in capsys.readouterr().err


def no_connection():
    raise ConnectionError("not of a file")


def test_the_same_seed_gives_the_same_weights_and_pictures_do_not_matter(lab, whole):
    lab(*FIT, "--pictures.kinds=null", "--pictures.every=1", "--name=drawn")
    assert same(last("drawn")["state_dict"], last(root=whole)["state_dict"])
    lab(*FIT, "--seed_everything=1", "--name=other")
    assert not same(last("other")["state_dict"], last(root=whole)["state_dict"])


def test_a_loss_without_bound_stops_and_leaves_nothing_bad(lab, capfd):
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--model.lr=1e30")
    assert stop.value.code == 2
    message = capfd.readouterr().err
    assert "stopped being finite in epoch 1" in message
    assert message.count("\n") == 1
    assert not list(Path("runs").rglob("*.ckpt"))


def test_a_poisoned_batch_keeps_the_last_good_checkpoint(lab, monkeypatch, capfd):
    terms = VAE.terms

    def poisoned(self, batch):
        bad = self.training and self.global_step == 15
        return terms(self, batch._replace(x=batch.x * float("nan")) if bad else batch)

    monkeypatch.setattr(VAE, "terms", poisoned)
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--last.minutes=1e-9", "--trainer.log_every_n_steps=50")
    assert stop.value.code == 2
    assert "stopped being finite in epoch 2" in capfd.readouterr().err
    kept = last()
    assert kept["global_step"] == 15
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())
