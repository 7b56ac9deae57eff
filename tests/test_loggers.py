"""Loggers and checkpoints of a user's own, beside those of a run."""

import logging
from pathlib import Path

import pytest

FIT = (
    "fit",
    "--model=VAE",
    "--data=Digits",
    "--trainer.max_epochs=1",
    "--pictures.kinds=[samples]",
)


def test_a_users_logger_writes_beside_the_runs_own(lab, here):
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=mine")
    out = lab(*FIT, *logger, "--name=two")
    assert Path("runs/two/version_0/metrics.csv").is_file()
    [own] = here.glob("mine/**/metrics.csv")
    assert "train/loss" in own.read_text()
    assert "lab evaluate runs/two/version_0" in out


def test_a_users_profiler_writes_what_it_measured(lab, here):
    profiler = ("--trainer.profiler=SimpleProfiler", "--trainer.profiler.dirpath=mine")
    lab(*FIT, *profiler, "--trainer.profiler.filename=times", "--trainer.logger=true")
    assert "run_training_epoch" in Path("mine/fit-times.txt").read_text()
    # Lightning's own logger is the run's own.
    assert {path.name for path in here.iterdir()} == {"mine", "runs"}


@pytest.fixture
def heard():
    """What Lightning says, wherever it goes."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("lightning.pytorch").addHandler(handler)
    yield said
    logging.getLogger("lightning.pytorch").removeHandler(handler)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("--trainer.profiler=simple", "run_training_epoch"),
        ("--trainer.profiler=advanced", "ncalls"),
        ("--trainer.callbacks=LearningRateFinder", "Learning rate set to"),
    ],
)
def test_lightning_tells_what_it_was_asked_for_and_no_more(lab, heard, asked, answer):
    lab(*FIT, "--data.batch_size=64")
    assert not heard
    lab(*FIT, "--data.batch_size=64", asked)
    assert answer in heard[-1]


def test_without_a_logger_there_is_no_run_and_the_users_configuration_stays(lab, here):
    Path("config.yaml").write_text("mine")
    lab(*FIT, "--trainer.logger=false", "--name=none")
    assert {path.name for path in here.iterdir()} == {"checkpoints", "config.yaml"}
    assert Path("config.yaml").read_text() == "mine"


def test_a_users_checkpoints_change_nothing_of_what_is_said(lab):
    extra = (
        "--trainer.callbacks=ModelCheckpoint",
        "--trainer.callbacks.monitor=val/elbo",
        "--trainer.callbacks.mode=max",
    )
    assert "best      val/loss" in lab(*FIT, *extra, "--name=more")
