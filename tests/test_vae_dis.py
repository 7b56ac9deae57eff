"""VAE_Dis_l: a frozen critic measures, and a checkpoint brings it along."""

from functools import partial
from pathlib import Path

import pytest
import torch
from test_adversarial import SHAPE, fit, images
from test_vaegan import NETS, build

from vae_lab import runs
from vae_lab.errors import LabError
from vae_lab.losses import gaussian_kl
from vae_lab.metrics.suite import measure
from vae_lab.models import GAN, VAE, InfoGAN, VAEDis
from vae_lab.nets import MLPDecoder, MLPGenerator
from vae_lab.nets.layers import to_layer

CONV = {"encoder": NETS["conv"]["encoder"], "decoder": NETS["conv"]["generator"]}
CRITIC = partial(GAN, latent_dim=4, **{k: NETS["conv"][k] for k in ("generator", "critic")})
FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=64",
    "--data.val_size=50",
    "--data.batch_size=32",
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--pictures.kinds=[]",
]
SMALL = ["--model.latent_dim=3", "--model.encoder.hidden=[16]"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)


def vae_dis(**settings):
    torch.manual_seed(0)
    return VAEDis(SHAPE, **{"gan": CRITIC, "layer": 3, "latent_dim": 4, **CONV, **settings})


def test_the_loss_is_the_divergence_and_half_the_distance_of_features():
    model, batch = vae_dis(beta=0.5), images()
    torch.manual_seed(1)
    terms = model.terms(batch)
    posterior = model.posterior(batch.x)
    torch.manual_seed(1)
    restored = model.decode(posterior.rsample(1)[0])
    ours, theirs = (to_layer(model.critic, 3, 2 * x - 1).flatten(1) for x in (batch.x, restored))
    error, kl = (ours - theirs).square().sum(1), gaussian_kl(*posterior).sum(1)
    torch.testing.assert_close(terms["loss"], 0.5 * error + 0.5 * kl)
    torch.testing.assert_close(terms["feature_error"], error)
    pixels = (batch.x - restored).square().flatten(1).sum(1)
    torch.testing.assert_close(terms["pixel_error"], pixels)


@pytest.mark.parametrize("make", [lambda: vae_dis(), lambda: build("conv")])
def test_an_evaluation_tells_the_error_in_the_features_that_it_learned_by(make):
    model, batch = make().eval(), images()
    ours, theirs = (
        to_layer(model.critic, model.layer, 2 * x - 1) for x in (batch.x, model(batch.x))
    )
    expected = (ours - theirs).square().flatten(1).sum(1).mean().item()
    found = measure(model, batch, lambda: batch, 0, 0)
    assert found["feature_error"].value == pytest.approx(expected, rel=1e-4)
    assert "feature_error" not in measure(VAE(SHAPE).eval(), batch, lambda: batch, 0, 0)


def test_the_critic_measures_and_never_learns():
    model = vae_dis().train()
    before = {name: value.clone() for name, value in model.critic.state_dict().items()}
    model.terms(images())["loss"].mean().backward()
    assert not model.critic.training
    assert all(w.grad is None for w in model.critic.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.critic.state_dict().items())
    for net in (model.encoder, model.decoder):
        assert any(w.grad.any() for w in net.parameters())


def test_one_image_left_for_batch_norm_is_refused():
    with pytest.raises(LabError, match="A batch of one image"):
        fit(vae_dis(decoder=MLPGenerator), 17)


@pytest.mark.parametrize("decoder", [CONV["decoder"], partial(MLPDecoder, hidden=(16,))])
def test_one_image_is_enough_for_maps_of_many_pixels_and_for_a_critic_that_rests(decoder):
    model = vae_dis(decoder=decoder)
    fit(model, 17)
    assert model.images_seen == 17


@pytest.mark.parametrize("kind", ["GAN", "VAEGAN"])
def test_a_run_starts_from_a_gans_and_is_complete_without_it(lab, kind):
    nets = ["--model.latent_dim=4", "--model.generator.hidden=[16]", "--model.critic.hidden=[16]"]
    lab(*FIT, f"--model={kind}", *nets, "--name=gan")
    source = runs.load_model("runs/gan").critic
    start = [*FIT, "--model=VAEDis", *SMALL, "--name=dis"]
    lab(*start, "--model.gan=runs/gan")
    for path in Path("runs/gan").rglob("*.ckpt"):
        path.unlink()
    model = runs.load_model("runs/dis")
    assert str(model.critic) == str(source)
    for mine, theirs in zip(model.critic.parameters(), source.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    # A run that goes on has its critic in its own checkpoint.
    lab(*start, "--trainer.max_epochs=2", "--model.gan=runs/gan", "--ckpt_path=last")
    for mine, theirs in zip(
        runs.load_model("runs/dis").critic.parameters(), source.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_a_checkpoint_without_a_critic_is_refused(lab, capfd):
    lab(*FIT, "--model=VAE", "--model.latent_dim=3", "--name=vae")
    with pytest.raises(SystemExit):
        lab(*FIT, "--model=VAEDis", *SMALL, "--model.gan=runs/vae", "--name=dis")
    assert "has no critic to measure by" in capfd.readouterr().err
    assert not Path("runs/dis").exists()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"gan": VAE}, "has no critic to measure by"),
        ({"layer": 6}, "no layer 6 .* it has 0 Conv2d, .* 5 Flatten"),
        ({"gan": partial(InfoGAN, noise=4)}, "no layer 3"),
        ({"beta": -1.0}, "beta"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"gan": "missing/best.ckpt"}, "missing/best.ckpt"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, why):
    with pytest.raises(LabError, match=why):
        vae_dis(**wrong)


def test_a_vaegans_critic_serves_as_well():
    torch.manual_seed(0)
    assert VAEDis(SHAPE, partial(type(build()), latent_dim=4, **NETS["conv"]), 3).critic
