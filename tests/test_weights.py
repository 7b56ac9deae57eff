"""A model that begins with the weights of another run, and with nothing else of it."""

import json
import shutil
from pathlib import Path

import conftest
import pytest
import torch
from going_on import last, same

from vae_lab import runs
from vae_lab.files import digest
from vae_lab.verbs.results.records import _settings

FIT = [*conftest.FIT, "--model.latent_dim=3", "--pictures.kinds=[]", "--weights=runs/VAE"]


def weights(path):
    return torch.load(runs.checkpoint_of(path), weights_only=True)["state_dict"]


def test_a_run_begins_with_the_best_weights_of_another_and_counts_anew(run, lab):
    # A rate at which no weight moves, and another objective.
    lab(*FIT, "--trainer.max_epochs=1", "--model.lr=1e-30", "--model.importance_samples=5")
    assert same(dict(weights("runs/run")), dict(weights(run)))
    assert runs.find("runs/run").seen == (1, 64)
    assert last()["optimizer_states"][0]["state"][0]["step"] == 2
    source = run.absolute() / "checkpoints/best.ckpt"
    assert runs.find("runs/run").config["weights"] == str(source)
    record = json.loads(Path("runs/run/version_0/run.json").read_text())
    assert record["source_sha256"] == digest(source)


def test_such_a_run_goes_on_from_its_own_weights_whatever_became_of_the_others(run, lab):
    lab(*FIT, "--trainer.max_epochs=2", "--name=whole")
    lab(*FIT, "--trainer.max_epochs=1", "--name=part")
    began = runs.find("runs/part").config["weights"]
    shutil.rmtree(run)
    lab(*FIT, "--trainer.max_epochs=2", "--name=part", "--ckpt_path=last")
    assert same(dict(last("part")["state_dict"]), dict(last("whole")["state_dict"]))
    assert runs.find("runs/part").config["weights"] == began


def test_a_run_that_goes_on_by_a_link_still_says_what_it_began_with(run, lab):
    lab(*FIT, "--trainer.max_epochs=1")
    began = runs.find("runs/run").config["weights"]
    Path("latest.ckpt").symlink_to("runs/run/version_0/checkpoints/last.ckpt")
    lab(*FIT, "--trainer.max_epochs=2", "--ckpt_path=latest.ckpt")
    assert runs.find("runs/run").seen == (2, 128)
    assert runs.find("runs/run").config["weights"] == began


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model.latent_dim=4"], "The checkpoint is of a model with other settings: "),
        (["--weights=runs/VEA"], "There is no runs/VEA"),
        (["--weights=pyproject.toml"], "There is no pyproject.toml"),
    ],
)
def test_weights_that_do_not_fit_or_are_nowhere_are_refused(run, lab, capfd, words, says):
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--trainer.max_epochs=1", *words)
    assert stop.value.code == 2
    error = capfd.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert not Path("runs/run").exists()


def test_a_run_that_goes_on_takes_no_other_weights(run, lab, capfd):
    plain = FIT[:-1]
    lab(*plain, "--trainer.max_epochs=1")
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert stop.value.code == 2
    said = "--ckpt_path goes on with its own weights: leave out --weights."
    assert said in capfd.readouterr().err


def test_a_record_names_the_weights_without_the_machines_folders(run, lab):
    lab(*FIT, "--trainer.max_epochs=1")
    kept = _settings(runs.find("runs/run"), ["weights"])
    assert kept["weights"] == "VAE/version_0/checkpoints/best.ckpt"
