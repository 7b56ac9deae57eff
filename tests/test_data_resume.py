"""Data under a trainer: a resumed run sees the same batches; a checkpoint rebuilds the data."""

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI

from vae_lab.data import (
    Digits,
    ImageFolder,
)
from vae_lab.errors import LabError

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


class Recorder(LightningModule):
    """Remembers every batch, and depends on all of them."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(64))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(
            (self.current_epoch, batch_idx, batch.x.double().sum().item(), batch.y.tolist())
        )
        return (batch.x.flatten(1) @ self.weight - batch.y).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("loss", batch.x.mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3, momentum=0.9)


def fit(folder, resume=None, save=None, **trainer):
    """Train for three epochs of 10 batches, and return the model and the checkpoints."""
    model, data = Recorder(), Digits(limit=300, batch_size=32, binarize="dynamic")
    keep = ModelCheckpoint(folder, "{epoch}-{step}", save_top_k=-1, **(save or {}))
    limits = {"max_epochs": 3, **trainer}
    Trainer(callbacks=[keep], **QUIET, **limits).fit(
        model, data, ckpt_path=resume, weights_only=True
    )
    return model, sorted(folder.glob("*.ckpt"))


SAVES = {
    "within an epoch": {"every_n_train_steps": 7},
    "at the last batch": {"every_n_train_steps": 10},
    "at the epoch's end": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    "after validation": {"every_n_epochs": 1, "save_on_train_epoch_end": False, "monitor": "loss"},
}
TRAINERS = {
    "epochs": {},
    "steps": {"max_epochs": -1, "max_steps": 27},
    "validation within": {"val_check_interval": 4},
    "limited": {"limit_train_batches": 9},
    "reloading": {"reload_dataloaders_every_n_epochs": 1},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)
@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_a_resumed_run_sees_the_batches_of_an_unbroken_one(tmp_path, monkeypatch, save, trainer):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    whole, checkpoints = fit(tmp_path / "whole", save=save, **trainer)
    assert len({str(seen[2:]) for seen in whole.seen}) == len(whole.seen)
    for checkpoint in checkpoints:
        resumed, _ = fit(tmp_path / checkpoint.stem, resume=checkpoint, save=save, **trainer)
        assert resumed.seen == whole.seen[len(whole.seen) - len(resumed.seen) :]
        assert torch.equal(resumed.weight, whole.weight)
        step = torch.load(checkpoint, weights_only=True)["global_step"]
        assert len(resumed.seen) == len(whole.seen) - step


def test_a_resumed_run_may_not_divide_the_epoch_otherwise(tmp_path):
    _, checkpoints = fit(tmp_path, save={"every_n_train_steps": 7}, max_epochs=1)
    trainer = Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    with pytest.raises(LabError, match="middle of an epoch of 10 batches"):
        trainer.fit(Recorder(), Digits(limit=300, batch_size=50), ckpt_path=checkpoints[0])


def test_a_checkpoint_rebuilds_data_made_in_python(tmp_path):
    data = Digits(resize=(12, 10), binarize="static", limit=200)
    trainer = Trainer(fast_dev_run=1, **QUIET)
    model = Recorder()
    model.weight = torch.nn.Parameter(torch.zeros(120))
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Digits.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert again.protocol("val") == data.protocol("val")
    assert torch.equal(again.images("train").x, data.images("train").x)


def test_a_checkpoint_rebuilds_data_made_by_the_command_line(tmp_path, folder):
    cli = LightningCLI(
        Recorder,
        run=False,
        save_config_callback=None,
        trainer_defaults={"fast_dev_run": 1, **QUIET},
        args=[
            "--data=ImageFolder",
            f"--data.folder={folder}",
            "--data.resize=8",
            "--data.channels=1",
            "--data.batch_size=8",
        ],
    )
    cli.trainer.fit(cli.model, cli.datamodule)
    cli.trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = LightningDataModule.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert isinstance(again, ImageFolder)
    assert again.shape == (1, 8, 8)
    assert torch.equal(again.images("val").x, cli.datamodule.images("val").x)
