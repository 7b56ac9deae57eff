"""Disks that fill or refuse, W&B that goes away, run folders that were damaged: docs/faults.md."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb_server
from disks import fill, read_only, writable
from going_on import last
from test_reliability import FIT

from vae_lab import endings
from vae_lab.errors import LabError
from vae_lab.files import atomic, write_text
from vae_lab.verbs.evaluating.evaluate import evaluate

# A thread of TensorBoard's that dies of a full disk has nothing to tell of its own.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
FOLDER = "disk/run/version_0"


def goes_on(lab):
    """Go on to the end with the run that was stopped in its second epoch."""
    for name in ("best", "last"):
        assert checkpoint(name)["global_step"] == 10
    lab(*FIT, "--runs=disk", "--ckpt_path=last")
    assert checkpoint("last")["global_step"] == 30


def checkpoint(name):
    import torch

    return torch.load(f"{FOLDER}/checkpoints/{name}.ckpt", weights_only=True)


def test_a_disk_that_fills_in_training_keeps_the_checkpoints(disk, stopped, lab, capfd):
    assert stopped(SystemExit, 15, lambda: fill(disk), "--runs=disk").code == 2
    assert f"{FOLDER}/checkpoints/" in (said := capfd.readouterr().err)
    assert "could not be written: No space left on device" in said
    (disk / "plug").unlink()
    goes_on(lab)


def test_a_disk_that_becomes_read_only_keeps_the_checkpoints(disk, stopped, lab, capfd):
    assert stopped(SystemExit, 15, lambda: read_only(disk), "--runs=disk").code == 2
    said = capfd.readouterr().err
    assert FOLDER in said
    assert "Read-only file system" in said
    assert "Traceback" not in said
    writable(disk)
    goes_on(lab)


def test_checkpoints_that_take_no_file_stop_a_run_in_a_sentence(disk, stopped, lab, capfd):
    folder = f"{FOLDER}/checkpoints"

    def freeze(sign, path=folder):
        subprocess.run(["chattr", f"{sign}i", path], check=True, capture_output=True)

    # Root, who mounted the disk, writes where chmod forbids it: this flag alone stops root, and
    # older kernels know it on no tmpfs.
    try:
        freeze("+", disk)
        freeze("-", disk)
    except FileNotFoundError:
        pytest.skip("needs `chattr` of e2fsprogs, which is not on this machine")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs a tmpfs that knows chattr +i: {error.stderr.decode().strip()}")
    try:
        assert stopped(SystemExit, 15, lambda: freeze("+"), "--runs=disk").code == 2
    finally:
        freeze("-")
    said = capfd.readouterr().err
    assert f"{folder}/" in said
    assert "could not be written: Operation not permitted" in said
    goes_on(lab)


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, found = tmp_path / "a.txt", []
    monkeypatch.setattr(
        os, "fsync", lambda file: found.append((os.stat(file).st_size, path.exists()))
    )
    write_text(path, "words")
    assert found == [(5, False)]


def test_of_two_who_write_a_file_at_once_one_wins_with_all_of_his(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    with atomic(path) as file:
        file.write(b"first")
        monkeypatch.setattr(os, "getpid", lambda: 0)
        write_text(path, "the second")
    assert path.read_text() == "first"
    assert [*tmp_path.iterdir()] == [path]


def test_a_quota_that_is_used_up_is_said_of_the_folder():
    used_up = OSError(errno.EDQUOT, "Disk quota exceeded")
    said = "runs/run could not be used: Disk quota exceeded"
    with pytest.raises(LabError, match=said), endings.disk(Path("runs/run")):
        raise used_up


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (fill, "used: No space left on device"),
        (read_only, "made: Read-only file system"),
    ],
)
def test_a_folder_of_runs_that_takes_none_is_named(disk, lab, capfd, spoil, reason):
    spoil(disk)
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--runs=disk/runs")
    assert stop.value.code == 2
    said = f"lab fit: disk/runs/run/version_0 could not be {reason}.\n"
    assert capfd.readouterr().err == said
    assert not list(disk.glob("runs/*"))


def test_wandbs_folder_may_go_while_a_run_is_trained(lab, monkeypatch):
    from vae_lab.models import VAE

    step = VAE.training_step

    def training_step(self, *given):
        if self.global_step == 15:
            assert Path("runs/run/version_0/wandb").is_dir()
            shutil.rmtree("runs/run/version_0/wandb", ignore_errors=True)
        return step(self, *given)

    monkeypatch.setattr(VAE, "training_step", training_step)
    lab(*FIT, "--wandb=offline")
    assert last()["global_step"] == 30


def start(address, *words):
    """Begin a training that logs to a server of W&B's kind."""
    where = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": address}
    command = [sys.executable, "-m", "vae_lab", *FIT, "--wandb=online", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | where, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
def test_wandb_that_cannot_be_reached_is_told_and_logs_offline(here):
    training = start("http://127.0.0.1:9")
    said, errors = training.communicate(timeout=300)
    assert training.returncode == 0, errors
    assert "W&B logs offline, for " in said
    assert last()["global_step"] == 30


@pytest.mark.slow
@pytest.mark.parametrize("unplugged", [False, True])
def test_wandb_gets_curves_and_pictures_until_it_is_unplugged(here, unplugged):
    with wandb_server.server() as running:
        words = ["--pictures.kinds=[reconstructions]", "--trainer.max_epochs=40"]
        training = start(f"http://127.0.0.1:{running.server_port}", *words)
        while unplugged and not (here / "runs/run/version_0/checkpoints/last.ckpt").exists():
            assert training.poll() is None
            time.sleep(0.02)
        if unplugged:
            wandb_server.unplug(running)
        _, errors = training.communicate(timeout=300)
    assert training.returncode == 0, errors
    assert last()["global_step"] == 400
    assert "Traceback" not in errors
    assert ("`wandb sync --no-skip-online runs/run/version_0/wandb/run-" in errors) is unplugged
    if not unplugged:
        curves = b"".join(body for path, body in running.posted if "file_stream" in path)
        assert b"val/elbo" in curves
        assert any("reconstructions" in name for name in running.files)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("metrics.csv", "step,a\n1,abc\n"),
        ("metrics.csv", "step,val/lo"),
        ("config.yaml", "a: ["),
        ("config.yaml", "model:\n"),
        ("run.json", '{"comm'),
    ],
)
def test_what_lies_beside_a_checkpoint_may_be_damaged_when_it_is_evaluated(run, file, text):
    (run / file).write_text(text)
    evaluate(str(run), importance_samples=2)
    assert (run / "metrics.json").is_file()
    assert (run / file).read_text() == text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:999]), "best.ckpt is cut short, damaged"),
        (lambda path: shutil.rmtree(path.parent), "has no checkpoint yet"),
        (lambda path: (path.parents[1] / "metrics.json").write_text("{"), "is not an evaluation"),
    ],
)
def test_a_run_without_sound_weights_or_numbers_is_refused(run, damage, message):
    damage(run / "checkpoints/best.ckpt")
    with pytest.raises(LabError, match=message):
        evaluate(str(run), importance_samples=2)


def test_no_picture_of_a_run_is_needed_to_evaluate_it(run):
    shutil.rmtree(run / "pictures", ignore_errors=True)
    (run / "pictures").write_text("no folder")
    evaluate(str(run), importance_samples=2)
    assert (run / "metrics.json").is_file()
