"""What checkpoints, schedules and EarlyStopping go by, and how patient they are."""

from pathlib import Path

import pytest
from conftest import FIT
from going_on import last, rows, same
from lightning import Callback
from lightning.pytorch.callbacks import device_stats_monitor

from vae_lab.runs import Run

STOPPING = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor"]
CHECKPOINT = [
    "--trainer.callbacks=ModelCheckpoint",
    "--trainer.callbacks.filename=own",
    "--trainer.callbacks.monitor",
]
PLATEAU = [
    "--model.schedule=lightning.pytorch.cli.ReduceLROnPlateau",
    "--model.schedule.monitor",
]


@pytest.fixture
def refused(lab, capfd):
    """Return what is said of a training that is refused."""

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            lab(*FIT, "--pictures.kinds=[]", *words)
        assert stop.value.code == 2
        assert not Path("runs").exists()
        captured = capfd.readouterr()
        return captured.out, captured.err

    return run


@pytest.mark.parametrize("words", [["--checkpoint.monitor"], STOPPING, CHECKPOINT, PLATEAU])
@pytest.mark.parametrize("name", ["val/los", "val_loss"])
def test_what_validation_does_not_measure_is_refused_before_training(refused, words, name):
    out, err = refused(*words, name, "--trainer.enable_progress_bar=true")
    known = "val/loss, val/reconstruction, val/kl, val/elbo"
    assert err == f"lab fit: There is no {name} to monitor; there is {known}.\n"
    assert "epoch" not in out


def test_what_training_does_not_measure_is_told_in_a_sentence(refused):
    _, err = refused(*STOPPING, "train/los")
    assert err.startswith("lab fit: There is no train/los to monitor; there is val/loss, ")
    assert err.endswith(", train/elbo.\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ChainedScheduler"], "object of type 'Adam' has no len()"),
        # The base class raises this error without a message, so that its name is all that is told.
        (["LRScheduler"], "NotImplementedError"),
        (["OneCycleLR", "--model.schedule.max_lr=1"], "You must define either total_steps OR (ep"),
        (["CosineAnnealingWarmRestarts", "--model.schedule.T_0=0"], "Expected positive integer"),
    ],
)
def test_a_schedule_that_torch_refuses_is_told_in_a_sentence(refused, words, said):
    _, err = refused("--model.schedule", *words)
    assert err.startswith(f"lab fit: {words[0]} is no --model.schedule as it stands: {said}")


def test_a_schedule_that_fails_at_its_first_step_is_told_so_too(lab, capfd):
    with pytest.raises(SystemExit):
        lab(*FIT, "--model.schedule=StepLR", "--model.schedule.step_size=0", "--pictures.kinds=[]")
    said = "lab fit: StepLR is no --model.schedule as it stands: integer modulo by zero.\n"
    assert capfd.readouterr().err == said


def test_a_bug_in_a_schedule_of_ones_own_is_told_where_it_is(lab, here):
    (here / "own.py").write_text(
        "from torch.optim.lr_scheduler import LRScheduler\n\n\nclass Own(LRScheduler):\n"
        "    def get_lr(self):\n        return [1 / 0]\n"
    )
    with pytest.raises(ZeroDivisionError):
        lab(*FIT, "--model.schedule=own.Own")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("BackboneFinetuning", "'VAE' object has no attribute 'backbone'"),
        ("DeviceStatsMonitor", "cannot log CPU stats as `psutil` is not installed"),
    ],
)
def test_a_callback_of_lightnings_that_lacks_something_is_refused_by_its_name(
    refused, monkeypatch, word, said
):
    monkeypatch.setattr(device_stats_monitor, "_PSUTIL_AVAILABLE", False)
    _, error = refused(f"--trainer.callbacks={word}")
    assert error.startswith(f"lab fit: {word} cannot be used: ")
    assert said in error
    assert error.count("\n") == 1


def test_an_average_that_no_checkpoint_would_hold_is_refused(refused):
    word = "{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.001}}"
    _, error = refused(f"--trainer.callbacks=[{word}]")
    assert "no checkpoint would hold it" in error


def test_lightnings_timer_is_written_down(lab):
    duration = "--trainer.callbacks.duration=00:01:00:00"
    lab(*FIT, "--pictures.kinds=[]", "--trainer.callbacks=Timer", duration)
    [told] = Run(Path("runs/run/version_0")).config["trainer"]["callbacks"]
    assert told["init_args"]["interval"] == "step"


def test_who_may_go_without_a_metric_does(lab):
    lab(*FIT, "--pictures.kinds=[]", *STOPPING, "val/los", "--trainer.callbacks.strict=false")
    assert Run(Path("runs/run/version_0")).finished


def test_what_is_tried_before_training_changes_nothing(lab):
    lab(*FIT, "--pictures.kinds=[]")
    lab(*FIT, "--pictures.kinds=[]", "--name=untried", "--trainer.num_sanity_val_steps=0")
    assert same(last()["state_dict"], last("untried")["state_dict"])
    assert rows() == rows("untried")
    assert "num_sanity_val_steps" not in lab("compare", "runs/run", "runs/untried")


def test_a_run_that_goes_on_is_as_patient_as_it_is_told_now(lab):
    words = [*FIT, "--pictures.kinds=[]", *STOPPING, "val/loss", "--trainer.max_epochs=6"]
    words.append("--trainer.callbacks.min_delta=1000")  # no epoch but the first is better
    lab(*words, "--trainer.callbacks.patience=1")
    assert last()["epoch"] == 1
    lab(*words, "--trainer.callbacks.patience=3", "--ckpt_path=last")
    assert last()["epoch"] == 3


def test_a_callback_may_be_new_to_a_run_that_goes_on(lab):
    lab(*FIT, "--pictures.kinds=[]")
    lab(*FIT, *STOPPING, "val/loss", "--trainer.max_epochs=3", "--ckpt_path=last")
    assert last()["epoch"] == 2


class Watch(Callback):
    """Logs its own number, as many callbacks do, not before training has begun."""

    def on_validation_epoch_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            pl_module.log("val/watch", 1.0)


def test_a_callback_of_ones_own_may_log_once_training_has_begun(lab):
    watch = f"--trainer.callbacks+={Watch.__module__}.Watch"
    lab(*FIT, "--pictures.kinds=[]", *STOPPING, "val/watch", watch)
    assert Run(Path("runs/run/version_0")).finished
