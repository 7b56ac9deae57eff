"""The verbs, end to end on small runs."""

import csv
import json
import os
import re
import subprocess
import sys
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import FIT
from PIL import Image

from vae_lab import pictures
from vae_lab.cli import main
from vae_lab.runs import Run, load_data, load_model, names_of


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


@pytest.mark.parametrize(
    ("monitor", "mode"), [("val/loss", "min"), ("val/kl", "max"), ("val/elbo", "max")]
)
def test_a_fit_ends_with_the_best_of_what_chose_the_checkpoint(lab, monitor, mode):
    words = [f"--checkpoint.monitor={monitor}", f"--checkpoint.mode={mode}", "--name=run"]
    out = lab(*FIT, *words, "--trainer.max_epochs=4", "--model.lr=0.05")
    curves = Run(Path("runs/run/version_0")).curves()
    step, value = (max if mode == "max" else min)(curves[monitor], key=itemgetter(1))
    found = re.search(r"^best +(\S+) (\S+) at step (\d+)(.*)$", out, re.MULTILINE)
    assert found[1] == monitor
    assert float(found[2]) == pytest.approx(value, rel=1e-4)
    assert int(found[3]) == step
    elbo = "" if monitor == "val/elbo" else f"; val/elbo {dict(curves['val/elbo'])[step]:.5g}"
    assert found[4] == elbo


def test_samples_of_several_runs_stand_side_by_side(run, lab):
    last = run / "checkpoints/last.ckpt"
    assert lab("sample", run, last, "--n=4") == "sample.png\n"
    alone = Image.open("sample.png").size
    lab("sample", run, last, run, "--n=4")
    assert Image.open("sample.png").width > alone[0]


def test_checkpoints_are_named_by_their_runs_or_as_given_where_those_are_the_same(here):
    paths = [here / f"vae/version_{k}/checkpoints/{c}.ckpt" for k in (0, 1) for c in "ab"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert names_of(paths[::2]) == ["vae/version_0", "vae/version_1"]
    assert names_of(paths[:3]) == [*map(str, paths[:2]), "vae/version_1"]


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


def test_pictures_say_what_they_are_of(lab, run, monkeypatch):
    said, sign, epoch = [], pictures.signed, "VAE/version_0, epoch 2"
    monkeypatch.setattr(pictures, "signed", lambda p, *w: said.append(", ".join(w)) or sign(p, *w))
    for words, about in (
        (["sample", "--seed=3"], [f"{epoch}, seed 3"]),
        (["reconstruct", "--split=test"], [f"{epoch}, test images"]),
        (["traverse"], [f"{epoch}, val images, image 0"]),
        (["scatter", "--prior=true"], [f"{epoch}, val images, seed 0"]),
        (["attribute", "--limit=90", "--n=2"], [f"{epoch}, val images"]),
        (["invert", "--data=2", "--steps=2"], [f"{epoch}, val images, binarize none, seed 0"]),
        (["gallery", "--n=2", "--seed=1"], [f"VAE: {epoch}", "val images, seed 1"]),
    ):
        said.clear()
        lab(words[0], run / "checkpoints/last.ckpt", *words[1:])
        assert said == about


def test_fewer_images_than_were_asked_for_are_told(run, capfd):
    main(["interpolate", str(run), "--pairs=1000"])
    main(["gallery", str(run), "--n=300"])
    said = [line for line in capfd.readouterr().err.splitlines() if "asked for" in line]
    wanted = ("2,000", "300")
    assert said == [f"{n} val images were asked for; there are no more than 100." for n in wanted]
    # Nobody asked for the thousand that say how far codes go.
    main(["traverse", str(run)])
    assert "asked for" not in capfd.readouterr().err


def test_codes_go_to_a_file(lab, run):
    # Those of test are asked for by name: nobody should come to choose by them.
    for n, words in ((100, []), (297, ["--split=test"])):
        assert f"{n} codes of 3 dimensions" in lab("encode", run, *words)
        with np.load("codes.npz") as file:
            assert file["codes"].shape == (n, 3)
            assert file["labels"].shape == (n,)
    assert "7 codes" in lab("encode", run, "--limit=7")
    images = load_data(run).images("val", 7)
    with np.load("codes.npz") as file, torch.inference_mode():
        assert file["labels"].tolist() == images.y.tolist()
        np.testing.assert_allclose(file["codes"], load_model(run).encode(images.x), 1e-5, 1e-6)


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
    last = run / "checkpoints/last.ckpt"
    lab("predict", config, f"--ckpt_path={last}")
    with np.load("predictions.npz") as file, torch.inference_mode():
        wanted = load_model(last)(load_data(run).images("test").x)
        np.testing.assert_allclose(file["x_hat"], wanted, 1e-5, 1e-6)
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
