"""Training with compiled networks."""

from functools import partialmethod
from pathlib import Path

import pytest
import torch
import torch._functorch.config
from going_on import last

from vae_lab.compiling import compile_networks
from vae_lab.errors import LabError
from vae_lab.models import Autoencoder
from vae_lab.nets import Decoder, Encoder
from vae_lab.penalties import L1Sparsity

FIT = (
    "fit",
    "--data=Digits",
    "--data.limit=96",
    "--data.val_size=32",
    "--data.batch_size=32",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--pictures.kinds=[]",
)
VAE = ("--model=VAE", "--model.encoder.hidden=[8]", "--model.decoder.hidden=[8]")
PLAYERS = ("--model.generator.hidden=[8]", "--model.critic.hidden=[8]")
GAN = ("--model=GAN", *PLAYERS)
VAEGAN = ("--model=VAEGAN", "--model.encoder.hidden=[8]", *PLAYERS)
CONTRACTIVE = ("--model.penalty=Contraction", "--model.activation=Sigmoid")
DEEP = ("--model=Autoencoder", "--model.encoder.hidden=[8]", *CONTRACTIVE)


@pytest.fixture(autouse=True)
def anew():
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()  # which a reset leaves as they are


@pytest.fixture
def quick(monkeypatch):
    """Trace as compilation does, and compile nothing."""
    eagerly = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", eagerly)
    with torch._functorch.config.patch(donated_buffer=True):
        yield


@pytest.mark.slow  # a minute of compilation
@pytest.mark.parametrize("model", [VAE, GAN], ids=["VAE", "GAN"])
def test_compiled_networks_learn_what_others_learn_and_go_on(lab, here, model):
    lab(*FIT, *model, "--name=plain", "--trainer.max_epochs=2")
    lab(*FIT, *model, "--name=compiled", "--compile=true", "--trainer.max_epochs=1")
    lab(*FIT, *model, "--name=compiled", "--trainer.max_epochs=2", "--ckpt_path=last")
    plain, compiled = last("plain"), last("compiled")
    assert compiled["epoch"] == plain["epoch"]
    assert compiled["state_dict"].keys() == plain["state_dict"].keys()
    for name, weight in plain["state_dict"].items():
        torch.testing.assert_close(compiled["state_dict"][name], weight, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("model", [VAE, GAN], ids=["VAE", "GAN"])
def test_it_is_the_networks_that_are_compiled(lab, here, monkeypatch, model):
    compiled, compile_ = [], torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda net: (compiled.append(type(net)), compile_(net))
    )
    lab(*FIT, *model, "--compile=true", "--trainer.max_epochs=1")
    assert len(set(compiled)) == 2
    assert any(issubclass(net, Encoder) for net in compiled)
    assert any(issubclass(net, Decoder) for net in compiled)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 2


@pytest.mark.usefixtures("quick")
def test_a_graph_that_is_gone_through_twice_is_compiled_too(lab, here):
    lab(*FIT, *VAEGAN, "--compile=true", "--trainer.max_epochs=1")
    assert torch._dynamo.utils.counters["frames"]["ok"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "penalty"),
    [
        ((*GAN, "--model.penalty=R1"), "R1"),
        ((*GAN, "--model.penalty=GradientPenalty"), "GradientPenalty"),
        (DEEP, "Contraction"),
    ],
)
def test_a_penalty_that_is_differentiated_twice_is_not_compiled(lab, here, capfd, words, penalty):
    with pytest.raises(SystemExit):
        lab(*FIT, *words, "--compile=true", "--trainer.max_epochs=1")
    assert f"{penalty} is differentiated twice, which --compile cannot" in capfd.readouterr().err
    assert not Path("runs").exists()


def test_a_users_own_penalty_says_of_itself_that_it_is_differentiated_twice():
    class Own(L1Sparsity):
        def differentiates_twice(self, model):
            return True

    with pytest.raises(LabError, match="Own is differentiated twice"):
        compile_networks(Autoencoder((1, 4, 4), penalty=Own))


@pytest.mark.usefixtures("quick")
def test_a_contraction_that_is_known_exactly_is_compiled(lab, here):
    one_layer = ("--model=Autoencoder", "--model.encoder.hidden=[]", *CONTRACTIVE)
    lab(*FIT, *one_layer, "--compile=true", "--trainer.max_epochs=1")
    assert torch._dynamo.utils.counters["frames"]["ok"]
