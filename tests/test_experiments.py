"""Every experiment is short, says what it shows, and runs one batch on the embedded digits."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_data_sources import write_mnist
from vae_lab import training
from vae_lab.verbs.results.digits import on_digits

FOLDER = Path(__file__).parents[1] / "experiments"
EXPERIMENTS = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("larsen/larsen_*.yaml")])
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))
# What an experiment is called if its model, or its data, are such.
MODELS = {
    **{"Autoencoder": "(?<![vw])ae", "StackedAutoencoder": "stacked_d?ae"},
    **{"VAE": "vae|iwae", "CVAE": "cvae", "FeedForward": "feedforward"},
    **{"GAN": "gan", "InfoGAN": "infogan", "VAEGAN": "vaegan", "VAEDis": "vae_dis"},
    **{"Classifier": "classifier|features", "PCA": "pca", "KMeans": "kmeans"},
    "GaussianMixture": "gmm",
}
DATA = {
    **{"mnist": ["MNIST"], "digits": ["Digits"], "frey": ["FreyFaces"], "folder": ["ImageFolder"]},
    "cifar10": ["CIFAR10", "ImageFolder"],
}
OVERLAYS = sorted([*FOLDER.glob("full/*.yaml"), FOLDER / "larsen/celeba.yaml"])

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
every_experiment = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
every_overlay = pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
every_sweep = pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)


@pytest.fixture
def one_batch(tmp_path, monkeypatch):
    """Run one batch of an experiment in an empty folder, which it leaves empty."""

    def fit(path, *arguments):
        argv = ["fit", f"--config={path}", *arguments, "--trainer.fast_dev_run=1"]
        monkeypatch.setattr(sys, "argv", ["lab", *argv])
        training.run(argv)
        assert not any(tmp_path.iterdir())

    monkeypatch.chdir(tmp_path)
    return fit


def head_and_body(path):
    """Return the lines of the opening comment, and those after it."""
    lines = path.read_text().splitlines()
    length = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return lines[:length], lines[length:]


def test_the_demo_is_there():
    assert FOLDER / "vae_digits.yaml" in EXPERIMENTS
    assert SWEEPS


@every_experiment
def test_it_opens_with_a_comment_and_is_short(path):
    head, body = head_and_body(path)
    assert len(head) > 1
    assert re.search(r"\b(19|20)\d\d\b", " ".join(head)), "names no paper of any year"
    assert 10 <= len(body) <= 20
    assert len(head) + len(body) <= 30


@every_experiment
def test_it_is_named_after_its_model_and_data(path):
    config = yaml.safe_load(path.read_text())
    name, _, data = path.stem.rpartition("_")
    assert config["data"]["class_path"] in DATA[data]
    assert re.search(MODELS[config["model"]["class_path"]], name)


@every_experiment
def test_it_runs_one_batch_on_the_embedded_digits(path, one_batch):
    one_batch(path, *on_digits(path.stem))


@pytest.mark.parametrize("name", ["gan_mnist", "dcgan_mnist", "infogan_mnist", "vae_mnist"])
@pytest.mark.parametrize("data", ["FashionMNIST", "KMNIST"])
def test_other_data_take_the_place_of_mnist(name, data, one_batch, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_mnist(root, data, train=400)
    one_batch(FOLDER / f"{name}.yaml", f"--data={data}", f"--data.root={root}")


@every_overlay
def test_an_overlay_goes_over_the_experiment_that_it_names(path, one_batch):
    head, _ = head_and_body(path)
    named = re.search(
        r"lab fit --config experiments/([\w/]+).yaml --config (\S+)",
        " ".join(line.strip("# ") for line in head),
    )
    assert named
    assert FOLDER.parent / named[2] == path
    one_batch(FOLDER / f"{named[1]}.yaml", f"--config={path}", *on_digits(named[1]))


@every_sweep
def test_a_sweep_varies_an_experiment_that_exists(path):
    sweep = yaml.safe_load(path.read_text())
    command = sweep["command"]
    assert command[command.index("--config") + 1] in {f"experiments/{p.name}" for p in EXPERIMENTS}
    assert sweep["metric"]["name"].startswith("val/")
    assert sweep["parameters"]


@every_sweep
def test_every_word_of_a_sweeps_command_is_understood(path, monkeypatch, capsys):
    command = yaml.safe_load(path.read_text())["command"]
    assert command[:3] == ["${env}", "${program}", "fit"]
    words = [word for word in command[2:] if not word.startswith("${")]
    monkeypatch.chdir(FOLDER.parent)
    monkeypatch.setattr(sys, "argv", ["lab", *words, "--print_config"])
    with pytest.raises(SystemExit) as stop:
        training.run(sys.argv[1:])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["checkpoint"]["monitor"] in ("val/loss", "val/frechet_distance")


@every_sweep
def test_the_first_run_of_a_sweep_runs_one_batch(path, one_batch):
    sweep = yaml.safe_load(path.read_text())
    config = FOLDER.parent / sweep["command"][sweep["command"].index("--config") + 1]
    first = [f"--{name}={given['values'][0]}" for name, given in sweep["parameters"].items()]
    one_batch(config, *first, *on_digits(config.stem))
