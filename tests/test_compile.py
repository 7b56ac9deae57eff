"""Training with compiled networks."""

import pytest
import torch
from going_on import last

from vae_lab.nets import Decoder, Encoder

pytestmark = pytest.mark.slow  # a minute of compilation

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
GAN = ("--model=GAN", "--model.generator.hidden=[8]", "--model.critic.hidden=[8]")


@pytest.fixture(autouse=True)
def anew():
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()  # which a reset leaves as they are


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
