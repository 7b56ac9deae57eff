"""The command line: what it refuses, and in how few words."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from vae_lab.cli import main

FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=64",
    "--data.val_size=100",
    "--data.batch_size=32",
    "--model=VAE",
    "--model.latent_dim=2",
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
]


@pytest.fixture
def refused(lab, here, capfd):
    """Run a command that must fail well, and return its one or two sentences."""

    def run(*argv):
        before = sorted(here.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            lab(*argv)
        message = capfd.readouterr().err.strip()
        assert stop.value.code == 2
        assert message.startswith("lab ")
        assert "\n" not in message
        assert len(message) < 450
        assert sorted(here.rglob("*")) == before
        return message

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.latentdim=3", "no setting 'latentdim'; did you mean 'latent_dim'"),
        ("--trainer.max_epoch=3", "no setting 'trainer.max_epoch'; did you mean 'trainer.max_ep"),
        ("--data.batchsize=5", "did you mean 'batch_size'"),
        ("--model.encoder.hiden=[3]", "did you mean 'hidden'"),
        ("--bogus=1", "no setting 'bogus'"),
        ("--data.shape=3", "no setting 'shape'"),
        ("--model=VEA", "no class 'VEA'; did you mean 'VAE'"),
        ("--model=vae_lab.models.VEA", "did you mean 'VAE'"),
        ("--model=nowhere.Model", "no class 'nowhere.Model'"),
        ("--model=torch.nn.Linear", "torch.nn.Linear is no Model"),
        ("--model=Model", "model: "),
        ("--data=Digit", "did you mean 'Digits'"),
        ("--model.encoder=ConvEncodr", "did you mean 'ConvEncoder'"),
        ("--trainer.callbacks=Foo", "no class 'Foo'"),
        ("--model.latent_dim=two", "model.latent_dim: expected int, not 'two'"),
        ("--model.latent_dim=1.5", "model.latent_dim: expected int, not '1.5'"),
        ("--model.lr=fast", "model.lr: expected float"),
        ("--model.encoder.hidden=x", "model.encoder.hidden: expected Sequence, not 'x'"),
        ("--trainer.max_epochs=x", "trainer.max_epochs: expected int"),
        ("--trainer.precision=17", "trainer.precision: expected one of"),
        ("--data.binarize=dynamc", "data.binarize: expected one of 'none', 'threshold'"),
        ("--wandb=maybe", "wandb: expected one of 'offline', 'online'"),
        ("--seed_everything=x", "seed_everything: expected"),
        ("--model.schedule=StepLR", "model.schedule: step_size must be given"),
        ("--data.root", "expected one argument"),
        ("stray", "stray"),
    ],
)
def test_a_wrong_word_is_named(refused, words, message):
    assert message in refused(*FIT, words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {class_path: VAE, init_args: {latentdim: 3}}", "did you mean 'latent_dim'"),
        ("modle: {class_path: VAE}", "did you mean 'model'"),
        ("trainer: {max_epoch: 3}", "did you mean 'trainer.max_epochs'"),
        ("trainer: {max_epochs: x}", "trainer.max_epochs: expected int, not 'x'"),
        ("model: {class_path: VEA}", "did you mean 'VAE'"),
        ("model: [unclosed\n  a: b: c", "not YAML at line 2"),
        ("", "empty"),
        ("- a\n- b", "not made of `name: value` lines"),
        (b"\x86\xff\x00", "not text"),
        (None, "does not exist"),
    ],
)
def test_a_wrong_file_is_refused(refused, here, text, message):
    if text is not None:
        (here / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refused("fit", "--config=x.yaml", "--data=Digits")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fits"], "did you mean 'fit'"),
        (["frobnicate"], "`lab --help` lists"),
        (["fit"], "lab fit: data, model must be given"),
        (["fit", "--model=VAE"], "data must be given"),
        (["fit", "--data=Digits"], "model must be given"),
    ],
)
def test_a_command_without_what_it_needs(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.latent_dim=0", "latent_dim"),
        ("--model.lr=-1", "learning rate"),
        ("--data.batch_size=5000", "only 64 training images"),
        ("--data.val_size=5000", "only 1500 images"),
        ("--data.val_size=0", "no validation images"),
        ("--data.resize=0", "resize must be 1 or more"),
        ("--pictures.kinds=[cats]", "No picture is called 'cats'"),
        ("--pictures.every=0", "every >= 1"),
        ("--last.minutes=0", "above 0"),
        ("--checkpoint.monitor=val/los", "could not find the monitored key"),
        ("--trainer.devices=0", "not a valid input"),
        ("--name=../elsewhere", "one folder"),
        ("--ckpt_path=last", "no run in runs/run yet"),
        ("--ckpt_path=nowhere.ckpt", "There is no nowhere.ckpt"),
        ("--ckpt_path=nowhere", "There is no nowhere"),
        ("--runs=/proc/runs", "could not be made"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(refused, words, message):
    assert message in refused(*FIT, words)


def test_nets_refuse_images_they_cannot_take(refused):
    tiny = ["--model.encoder=ConvEncoder", "--data.resize=2"]
    assert "at least 4 x 4" in refused(*FIT, *tiny)


def test_data_that_cannot_be_fetched_are_asked_for(refused):
    message = refused("fit", "--model=VAE", "--data=FreyFaces", "--data.root=nowhere")
    assert "put frey_rawface.mat" in message
    assert "into nowhere" in message


def test_damaged_data_are_named(refused, here):
    (here / "data").mkdir()
    (here / "data/frey_rawface.mat").write_text("hello")
    message = refused("fit", "--model=VAE", "--data=FreyFaces")
    assert "frey_rawface.mat" in message


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_weights_that_nobody_trained_are_not_judged(refused, verb):
    assert "which weights?" in refused(verb, "--data=Digits", "--model=VAE")


class Crafted:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run folders of a VAE and of an autoencoder, both of three code dimensions."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for model in ("VAE", "Autoencoder"):
            words = [*FIT, f"--model={model}", "--model.latent_dim=3", f"--name={model}"]
            patch.setattr(sys, "argv", ["lab", *words])
            main(words)
    return folder / "runs"


@pytest.fixture
def checkpoint(here, trained):
    """A function that makes a bad checkpoint."""

    def make(kind):
        path, good = here / "x.ckpt", trained / "VAE/version_0/checkpoints/last.ckpt"
        whole = good.read_bytes()
        if kind == "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        elif kind == "flipped":
            path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        elif kind == "text":
            path.write_text("hello")
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "folder":
            path.mkdir()
        elif kind == "crafted":
            torch.save({"state_dict": {}, "x": Crafted()}, path)
        elif kind == "foreign":
            torch.save({"state_dict": {}}, path)
        elif kind == "lightning":
            torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, path)
        return path

    return make


BAD_CHECKPOINTS = {
    "missing": "There is no x.ckpt",
    "truncated": "cut short",
    "flipped": "damaged",
    "text": "no checkpoint",
    "empty": "no checkpoint",
    "folder": "x.ckpt",
    "crafted": "refused",
    "foreign": "not written by vae_lab",
    "lightning": "x.ckpt|other settings",
}


@pytest.mark.parametrize(("kind", "message"), BAD_CHECKPOINTS.items(), ids=BAD_CHECKPOINTS)
@pytest.mark.parametrize("verb", ["sample", "fit"])
def test_a_bad_checkpoint_is_refused(refused, checkpoint, kind, message, verb):
    checkpoint(kind)
    words = {
        "sample": ["sample", "x.ckpt"],
        "fit": [*FIT, "--ckpt_path=x.ckpt"],
    }
    assert any(part in refused(*words[verb]) for part in message.split("|"))


def test_a_bad_checkpoint_is_not_measured(refused, checkpoint):
    checkpoint("crafted")
    assert "refused" in refused("test", "--data=Digits", "--model=VAE", "--ckpt_path=x.ckpt")


def test_weights_of_other_settings_are_refused(refused, run):
    last = f"--ckpt_path={run}/checkpoints/last.ckpt"
    assert "other settings" in refused(*FIT, "--model.latent_dim=5", last)
    auto = "--ckpt_path=runs/Autoencoder/version_0"
    assert "other settings" in refused(*FIT, "--model.latent_dim=3", auto)
    assert "name: VAE" in (run / "config.yaml").read_text()


def test_going_on_with_what_is_refused_keeps_the_configuration(lab, run):
    words = ["--name=VAE", "--ckpt_path=last", "--model.latent_dim=3"]
    for wrong in ("--pictures.kinds=[manifold]", "--data.batch_size=5000"):
        with pytest.raises(SystemExit):
            lab(*FIT, *words, wrong)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["pictures"]["kinds"] is None
    assert config["data"]["init_args"]["batch_size"] == 32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "{run}", "--nn=3"], "no setting 'nn'; did you mean 'n'"),
        (["sample", "{run}", "--n=x"], "n: expected int"),
        (["sample", "{run}", "--n=0"], "--n is at least 1"),
        (["sample", "{run}", "stray"], "stray"),
        (["sample"], "run must be given"),
        (["sample", "nowhere"], "There is no nowhere"),
        (["sample", "{runs}/VEA"], "did you mean"),
        (["sample", "{auto}"], "needs a model that can sample; Autoencoder cannot"),
        (["manifold", "{run}"], "needs a 2-dimensional code; this VAE has 3"),
        (["sample", "{run}", "--output=/proc/x.png"], "could not be written"),
        (["sample", "{run}", "--output=."], "could not be written"),
        (["encode", "{run}", "--output=/proc/x.npz"], "could not be written"),
        (["encode", "{run}", "--split=trian"], "split: expected one of 'train'"),
        (["encode", "{run}", "--limit=-4"], "--limit is at least 1"),
        (["reconstruct", "{run}", "--n=0"], "--n is at least 1"),
        (["traverse", "{run}", "--image=5000"], "there is no image 5000"),
        (["traverse", "{run}", "--image=-1"], "there is no image -1"),
        (["traverse", "{run}", "--steps=0"], "--steps is at least 1"),
        (["interpolate", "{run}", "--steps=0"], "--steps is at least 1"),
        (["interpolate", "{run}", "--pairs=0"], "--pairs is at least 1"),
        (["manifold", "{run}", "--side=0"], "--side is at least 1"),
        (["evaluate", "{run}", "--split=x"], "split: expected one of"),
        (["evaluate", "{run}", "--importance_samples=-1"], "at least 0"),
        (["compare"], "runs must be given"),
        (["compare", "nowhere"], "There is no nowhere"),
        (["compare", "{run}", "--sort=x"], "No metric is called 'x'"),
        (["compare", "{run}", "--html=/proc/x.html"], "could not be written"),
    ],
)
def test_a_verb_refuses_what_it_cannot_do(refused, trained, words, message):
    run, auto = trained / "VAE/version_0", trained / "Autoencoder/version_0"
    assert message in refused(*(word.format(run=run, auto=auto, runs=trained) for word in words))
    assert not list(run.glob("*.json.part"))


def test_pictures_ask_a_model_for_what_it_can_do(refused):
    words = ["--model=Autoencoder", "--pictures.kinds=[samples]"]
    assert "needs a model that can sample; Autoencoder cannot" in refused(*FIT, *words)
    words = ["--model.latent_dim=20", "--pictures.kinds=[manifold]"]
    assert "needs a 2-dimensional code; this VAE has 20" in refused(*FIT, *words)


@pytest.fixture
def run(trained, here):
    """A copy of the VAE's run in the working folder, as `runs/VAE/version_0`."""
    shutil.copytree(trained, here / "runs")
    return Path("runs/VAE/version_0")


def test_a_run_folder_holds_all_there_is_to_know(trained):
    run = trained / "VAE/version_0"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["name"] == "VAE"
    assert config["model"]["init_args"]["latent_dim"] == 3
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"epoch", "images", "step", "train/loss", "train/elbo", "val/loss", "val/kl"} <= set(
        rows[0]
    )
    assert [row["images"] for row in rows if row["val/loss"]] == ["64", "128"]
    kinds = {path.name for path in (run / "pictures").iterdir()}
    assert kinds >= {f"{kind}_0002.png" for kind in ("reconstructions", "samples", "scatter")}
    record = json.loads((run / "run.json").read_text())
    assert record["finished"]
    assert record["command"][:2] == ["lab", "fit"]


@pytest.mark.parametrize("verb", ["sample", "reconstruct", "traverse", "interpolate", "manifold"])
def test_a_verb_draws_a_picture_from_a_run_or_a_checkpoint(lab, run, verb):
    if verb == "manifold":
        lab(*FIT, "--name=VAE", "--pictures.kinds=[]")
        run = run.parent / "version_1"
    assert lab(verb, run) == f"{verb}.png\n"
    lab(verb, run / "checkpoints/best.ckpt", "--output=deep/again.png")
    first, again = (np.asarray(Image.open(path)) for path in (f"{verb}.png", "deep/again.png"))
    assert np.array_equal(first, again)
    assert first.std() > 10


def test_codes_go_to_a_file(lab, run):
    assert "297 codes of 3 dimensions" in lab("encode", run)
    with np.load("codes.npz") as file:
        assert file["codes"].shape == (297, 3)
        assert file["labels"].shape == (297,)


def test_runs_are_evaluated_and_compared(lab, run):
    assert "test/nll" in lab("evaluate", run, "--importance_samples=4")
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert metrics["test/elbo"]["value"] < 0
    table = lab("compare", "runs", "--html=page.html")
    assert "VAE/version_0" in table
    assert "Autoencoder/version_0" in table
    assert "data:image/png" in Path("page.html").read_text()


def test_trained_weights_are_validated_tested_and_used(lab, run):
    config = f"--config={run}/config.yaml"
    with (run / "metrics.csv").open() as file:
        best = min(float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"])
    measured = lab("validate", config, "--ckpt_path=best")
    assert float(re.search(r"val/loss +(\S+)", measured)[1]) == pytest.approx(best, abs=1e-3)
    assert "test/elbo" in lab("test", config, f"--ckpt_path={run}")
    lab("predict", config, f"--ckpt_path={run}/checkpoints/last.ckpt")
    with np.load("predictions.npz") as file:
        assert file["x_hat"].shape == (297, 1, 8, 8)
    # Nothing but that was written.
    assert sorted(os.listdir()) == ["predictions.npz", "runs"]


def test_a_runs_own_configuration_starts_it_again(lab, run):
    lab("fit", f"--config={run}/config.yaml")
    again = run.parent / "version_1"
    assert (again / "metrics.csv").read_text() == (run / "metrics.csv").read_text()
    # Also after the run was continued, which is not part of how it begins.
    lab("fit", f"--config={again}/config.yaml", "--ckpt_path=last", "--trainer.max_epochs=3")
    lab("fit", f"--config={again}/config.yaml")
    assert {path.name for path in run.parent.iterdir()} == {f"version_{k}" for k in range(3)}


def test_a_file_names_its_experiment_and_the_command_line_overrides_it(lab, here):
    (here / "tiny.yaml").write_text(
        "model: {class_path: VAE, init_args: {latent_dim: 5}}\n"
        "data: {class_path: Digits, init_args: {limit: 64, batch_size: 32}}\n"
        "trainer: {max_epochs: 1}\n"
    )
    lab("fit", "--config=tiny.yaml", "--model.latent_dim=4", "--pictures.kinds=[]")
    config = yaml.safe_load(Path("runs/tiny/version_0/config.yaml").read_text())
    assert config["model"]["init_args"]["latent_dim"] == 4


def test_help_and_tables_do_not_wait_for_torch(trained):
    program = (
        "import sys; from vae_lab.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "slow = {'torch', 'lightning', 'matplotlib', 'sklearn', 'wandb'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    for words in (["--help"], ["compare", "--help"], ["sample", "--help"], ["compare", trained]):
        command = [sys.executable, "-c", program, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert not done.stderr
        assert done.stdout


def test_a_process_exits_with_status_2_and_one_line(here):
    for words in (["fti"], ["fit", "--config=missing.yaml"]):
        command = [sys.executable, "-m", "vae_lab", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert not done.stdout
        assert done.stderr.startswith("lab ")
        assert done.stderr.count("\n") == 1
    assert not list(here.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_wandb_without_a_key_logs_offline(lab, here, monkeypatch, mode):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(here))
    printed = lab(*FIT, f"--wandb={mode}")
    assert ("there is no key on this machine" in printed) == (mode == "online")
    assert list(here.glob("runs/run/version_0/wandb/offline-run-*"))
