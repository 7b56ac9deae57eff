"""What a model or data was built of, in Python or by the command line, is kept."""

import subprocess
import sys
from enum import Enum
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from conftest import QUIET

from vae_lab import runs
from vae_lab.cli import main
from vae_lab.codes import Categorical, Uniform
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.likelihoods import Gaussian, Laplace
from vae_lab.models import GAN, VAE, InfoGAN
from vae_lab.priors import MixtureOfGaussians

SHAPE = (1, 8, 8)


class Weighted(VAE):
    """Takes what its parent takes, and a number."""

    def __init__(self, shape, weight=0.1, **kwargs):
        super().__init__(shape, **kwargs)
        self.weight = weight


class Wide(VAE):
    """Tells its parent what it was not told itself."""

    def __init__(self, shape):
        super().__init__(shape, latent_dim=50)


class Fixed(VAE):
    """Takes nothing at all."""

    def __init__(self):
        super().__init__(SHAPE, latent_dim=7)


class FixedDigits(Digits):
    """Takes nothing at all."""

    def __init__(self):
        super().__init__(batch_size=32)


class HandsOn(VAE):
    """Takes what its parent takes, without a word."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class Colour(Enum):
    RED = 1


class Painted(VAE):
    def __init__(self, shape, colour=None, **kwargs):
        super().__init__(shape, **kwargs)


def saved(model, path, data=None):
    """Write a checkpoint of a model that has not learned anything."""
    trainer = L.Trainer(max_steps=1, limit_val_batches=0, **QUIET)
    trainer.fit(model, data or Digits(batch_size=32))
    trainer.save_checkpoint(path)
    return path


def test_what_came_through_keyword_arguments_is_kept(tmp_path):
    mixture = partial(MixtureOfGaussians, components=3)
    model = Weighted(SHAPE, 0.5, latent_dim=4, beta=4.0, likelihood=Gaussian, prior=mixture)
    back = runs.load_model(saved(model, tmp_path / "a.ckpt"))
    assert (back.weight, back.latent_dim, back.beta) == (0.5, 4, 4.0)
    assert isinstance(back.likelihood, Gaussian)
    assert len(back.prior.logits) == 3


def test_what_nobody_said_stays_what_it_was(tmp_path, monkeypatch):
    path = saved(Weighted(SHAPE), tmp_path / "a.ckpt")
    monkeypatch.setattr(Weighted.__init__, "__defaults__", (0.9,))
    assert runs.load_model(path).weight == 0.1


def test_what_is_handed_on_by_its_place_is_kept(tmp_path):
    back = runs.load_model(saved(HandsOn(SHAPE, 4, beta=2.0), tmp_path / "a.ckpt"))
    assert (back.latent_dim, back.beta) == (4, 2.0)


def test_what_a_class_tells_its_parent_is_its_own(tmp_path):
    assert runs.load_model(saved(Wide(SHAPE), tmp_path / "a.ckpt")).latent_dim == 50


def test_a_class_that_takes_nothing_is_built_of_nothing(tmp_path):
    path = saved(Fixed(), tmp_path / "a.ckpt", FixedDigits())
    assert runs.load_model(path).latent_dim == 7
    assert runs.load_data(path).batch_size == 32


def test_numbers_of_numpy_paths_and_names_are_kept_plain(tmp_path):
    model = Painted(SHAPE, Colour.RED, latent_dim=np.int64(4), beta=np.linspace(1, 4, 4)[3])
    assert model.hparams["colour"] == "RED"
    back = runs.load_model(saved(model, tmp_path / "a.ckpt"))
    assert (back.latent_dim, back.beta) == (4, 4.0)


@pytest.mark.parametrize("value", [lambda: 0, torch.zeros(2), object()])
def test_what_no_checkpoint_can_say_is_refused_before_training(value):
    with pytest.raises(LabError, match="A checkpoint cannot hold"):
        Painted(SHAPE, value)


@pytest.mark.parametrize("kind", [VAE, GAN])
def test_lightnings_own_way_of_loading_works(tmp_path, kind):
    made = (
        GAN(SHAPE)
        if kind is GAN
        else VAE(SHAPE, 3, prior=partial(MixtureOfGaussians, components=3))
    )
    path = saved(made, tmp_path / "a.ckpt")
    back = kind.load_from_checkpoint(path)
    assert back.hparams == made.hparams
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), made.parameters(), strict=True))
    again = saved(back, tmp_path / "b.ckpt")
    assert type(runs.load_model(again)) is type(made)


def test_an_argument_replaces_that_of_the_checkpoint(tmp_path):
    path = saved(VAE(SHAPE, 3, likelihood=Gaussian), tmp_path / "a.ckpt")
    back = VAE.load_from_checkpoint(path, beta=2.0, likelihood=partial(Laplace, scale=0.5))
    assert (back.beta, back.hparams["beta"]) == (2.0, 2.0)
    assert isinstance(back.likelihood, Laplace)


def test_what_replaces_an_argument_is_noted_wherever_it_is_taken(tmp_path):
    path = saved(Weighted(SHAPE, latent_dim=3), tmp_path / "a.ckpt")
    back = Weighted.load_from_checkpoint(path, beta=3.0)
    assert runs.load_model(saved(back, tmp_path / "b.ckpt")).beta == 3.0


def test_lists_that_are_noted_are_not_those_that_are_built_from(tmp_path):
    path = saved(InfoGAN(SHAPE), tmp_path / "a.ckpt")
    codes = [partial(Categorical, values=10), Uniform, Uniform]
    back = InfoGAN.load_from_checkpoint(path, codes=codes)
    assert len(runs.load_model(saved(back, tmp_path / "b.ckpt")).codes) == 3


def test_a_model_is_not_loaded_into_one_that_is_there(tmp_path):
    path = saved(model := VAE(SHAPE, 3), tmp_path / "a.ckpt")
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        model.load_from_checkpoint(path)


def test_a_module_that_ends_python_does_not_end_a_verb(here, monkeypatch):
    (here / "ends.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(here)
    content = torch.load(saved(VAE(SHAPE, 3), here / "a.ckpt"), weights_only=True)
    content["hyper_parameters"]["_class_path"] = "ends.Model"
    torch.save(content, here / "a.ckpt")
    with pytest.raises(LabError, match=r"holds a ends.Model, which cannot be imported here \(0\)"):
        runs.load_model(here / "a.ckpt")


def test_data_built_in_python_are_found_again(tmp_path):
    path = saved(VAE(SHAPE), tmp_path / "a.ckpt", Digits(None, 32, binarize="threshold"))
    data = runs.load_data(path)
    assert (type(data), data.batch_size, data.binarize) == (Digits, 32, "threshold")
    assert Digits.load_from_checkpoint(path).binarize == "threshold"


OWN = """
from vae_lab.data import Digits
from vae_lab.models import VAE

class MyVAE(VAE):
    def __init__(self, shape, weight: float = 0.1, **kwargs):
        super().__init__(shape, **kwargs)

class MyDigits(Digits):
    pass
"""
FIT = "fit --model=my_lab.MyVAE --model.latent_dim=2 --data=my_lab.MyDigits --trainer.max_epochs=1"


def lab(folder, *words):
    """Run the installed command, which sees no more of the folder than any program does."""
    command = Path(sys.executable).with_name("lab")
    return subprocess.run([command, *words], cwd=folder, capture_output=True, text=True)


def test_classes_of_the_folder_are_used_by_every_verb(tmp_path):
    (tmp_path / "my_lab.py").write_text(OWN)
    assert lab(tmp_path, *FIT.split(), "--pictures.kinds=[samples]", "--name=own").returncode == 0
    assert "elbo" in lab(tmp_path, "evaluate", "runs/own", "--importance-samples=2").stdout
    (tmp_path / "my_lab.py").unlink()
    gone = lab(tmp_path, "sample", "runs/own")
    assert gone.returncode == 2
    assert "holds a my_lab.MyVAE, which cannot be imported here (No module" in gone.stderr
    assert gone.stderr.count("\n") == 1


BROKEN = {
    "needs": ("import no_such_package", "cannot be imported: there is no module 'no_such_package'"),
    "prefixed": ("import prefix", "cannot be imported: there is no module 'prefix'"),
    "renamed": ("from math import tau2", "cannot be used: cannot import name 'tau2' from 'math'"),
    "typo": ("def :", "cannot be used: invalid syntax"),
    "fails": ("1 / 0", "cannot be used: division by zero"),
    "empty": ("", "there is no class 'empty.MyVAE'"),
    "plain": ("class MyVAE: pass", "is no Model."),
}


@pytest.mark.parametrize("module", BROKEN)
def test_a_class_that_cannot_be_used_is_said_why(here, module, monkeypatch, capfd):
    text, says = BROKEN[module]
    (here / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(here)
    with pytest.raises(SystemExit):
        main(["fit", f"--model={module}.MyVAE", "--data=Digits"])
    said = capfd.readouterr().err
    assert says in said
    assert said.count("\n") == 1


BUGS = {
    "raise ValueError('mine')": ValueError,
    "1 / 0": ZeroDivisionError,
    "import no": ImportError,
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_a_constructor_is_raised_as_itself(here, bug, monkeypatch):
    module = f"bug_{BUGS[bug].__name__}"
    (here / f"{module}.py").write_text(OWN.replace("super().__init__(shape, **kwargs)", bug))
    monkeypatch.syspath_prepend(here)
    with pytest.raises(BUGS[bug]) as raised:
        main(["fit", f"--model={module}.MyVAE", "--data=Digits"])
    assert raised.traceback[-1].path.name == f"{module}.py"
    assert raised.value.__cause__ is None


def test_a_bug_before_the_first_checkpoint_leaves_no_newest_run(here, monkeypatch):
    monkeypatch.setattr(VAE, "on_train_epoch_end", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["fit", "--model=VAE", "--data=Digits", "--trainer.max_epochs=1"])
    assert not (here / "runs").exists()


def test_what_a_bug_hides_stays_hidden(here, monkeypatch):
    def broken(_):
        try:
            raise KeyError
        except KeyError:
            raise RuntimeError("plain") from None

    monkeypatch.setattr(VAE, "on_train_epoch_end", broken)
    with pytest.raises(RuntimeError, match="plain") as raised:
        main(["fit", "--model=VAE", "--data=Digits", "--trainer.max_epochs=1"])
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_part_of_another_kind_is_said_to_be_one(here, capfd):
    with pytest.raises(SystemExit):
        main(["fit", "--model=VAE", "--model.likelihood=StandardNormal", "--data=Digits"])
    assert "StandardNormal is of another kind than what goes there." in capfd.readouterr().err
