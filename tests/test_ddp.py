"""Training on two processes, through the real command line."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from going_on import rows
from lightning.pytorch.callbacks import Callback

from vae_lab.models import VAE

FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=301",
    "--data.val_size=101",
    "--data.batch_size=16",
    "--model=VAE",
    "--model.latent_dim=2",
    "--model.encoder.hidden=[30]",
    "--model.decoder.hidden=[30]",
    "--trainer.accelerator=cpu",
    "--trainer.devices=2",
    "--trainer.strategy=ddp",
    "--pictures.every=1",
    "--trainer.callbacks=test_ddp.Witness",
]


class Witness(Callback):
    """Writes down what its process saw, drew and learned."""

    def __init__(self):
        self.notes = {"seen": [], "drawn": [], "weights": []}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.notes["seen"] += [(trainer.current_epoch, digest(x)) for x in batch.x]
        # Every step begins a stream of its own, so this takes nothing away from the next.
        self.notes["drawn"].append(torch.rand(1).item())

    def on_train_epoch_end(self, trainer, pl_module):
        self.notes["weights"].append([digest(v) for v in pl_module.state_dict().values()])

    def on_train_end(self, trainer, pl_module):
        Path(f"rank{trainer.global_rank}.json").write_text(json.dumps(self.notes))


class Ranked(VAE):
    """A VAE that also says which process an image was seen by."""

    def terms(self, batch):
        terms = super().terms(batch)
        return terms | {"rank": torch.full_like(terms["loss"], self.global_rank)}


class Terminated(Callback):
    """Is told to end in a step, as one process of the two."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 6:
            signal.raise_signal(signal.SIGTERM)


def digest(tensor):
    return sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def call(folder, *words):
    """Run `lab` there, at most three minutes, and return its status and what it complained of."""
    folder.mkdir(exist_ok=True)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vae_lab", *FIT, *words]
    done = subprocess.run(command, cwd=folder, env=here, timeout=180, capture_output=True)
    return done.returncode, done.stderr.decode()


def run(folder, *words):
    """Run `lab` there to its end, and return what each process wrote down."""
    status, said = call(folder, *words)
    assert status == 0, said[-2000:]
    assert os.listdir(folder / "runs/run") == ["version_0"]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


WHOLE = ["--trainer.max_epochs=2", "--model=test_ddp.Ranked", "--trainer.log_every_n_steps=5"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the witnesses of a run of two epochs."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder, *WHOLE)


@pytest.mark.slow
def test_each_image_is_seen_once_an_epoch_in_another_order(whole):
    from vae_lab.data import Digits

    split = Digits(limit=301, val_size=101).split("train")
    images = split.images[split.rows].float().div_(255)
    _, (first, second) = whole
    epochs = [[image for e, image in first["seen"] + second["seen"] if e == k] for k in (0, 1)]
    assert [Counter(epoch) for epoch in epochs] == [Counter(map(digest, images))] * 2
    assert epochs[0] != epochs[1]


@pytest.mark.slow
def test_processes_draw_other_noise_and_keep_the_same_weights(whole):
    _, (first, second) = whole
    drawn = first["drawn"] + second["drawn"]
    assert len(set(drawn)) == len(drawn) == 40
    assert first["weights"] == second["weights"]
    assert first["weights"][0] != first["weights"][1]


@pytest.mark.slow
def test_curves_are_of_the_images_of_both_processes(whole):
    columns = [row["train/rank"] for row in rows(root=whole[0])]
    windows = [float(text) for text in columns if text]
    # The other five of ten steps end with 13 images, of which the first process has seven.
    assert windows == [0.5, pytest.approx(70 / 141)] * 2


@pytest.mark.slow
def test_one_folder_holds_the_run(whole):
    folder, _ = whole
    run_folder = folder / "runs/run/version_0"
    names = {path.name for path in run_folder.iterdir()}
    assert {"config.yaml", "checkpoints", "metrics.csv", "pictures", "run.json"} <= names
    assert len(list(run_folder.glob("events.*"))) == 1
    assert {path.stem[-4:] for path in (run_folder / "pictures").iterdir()} == {"0001", "0002"}
    assert json.loads((run_folder / "run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(whole, tmp_path):
    folder, witnesses = whole
    # Step 7 lies in an epoch of ten; it is saved because the steps run out.
    run(tmp_path / "part", *WHOLE, "--trainer.max_steps=7")
    again = run(tmp_path / "part", *WHOLE, "--ckpt_path=last")
    assert again[0]["weights"][-1] == witnesses[0]["weights"][-1]
    # Each process takes up the terms of its own images.
    windows, others = (
        {row["step"]: row["train/loss"] for row in rows(root=root)}
        for root in (folder, tmp_path / "part")
    )
    assert windows["10"] == others["10"]
    assert windows["20"] == others["20"]
    states = [
        torch.load(root / "runs/run/version_0/checkpoints/last.ckpt", weights_only=True)
        for root in (folder, tmp_path / "part")
    ]
    moments, resumed = (state["optimizer_states"][0]["state"] for state in states)
    assert all(torch.equal(moments[k]["exp_avg"], resumed[k]["exp_avg"]) for k in moments)


@pytest.mark.slow
def test_one_process_that_is_told_to_end_ends_both_with_a_checkpoint(whole, tmp_path):
    words = ("--trainer.max_epochs=2", "--trainer.callbacks+=test_ddp.Terminated")
    status, said = call(tmp_path, *words)
    assert (status, "goes on" in said) == (143, True), said[-2000:]
    checkpoint = tmp_path / "runs/run/version_0/checkpoints/last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 7
    again = run(tmp_path, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert again[0]["weights"][-1] == whole[1][0]["weights"][-1]
