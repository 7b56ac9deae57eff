"""What the VAE's settings mean."""

import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from vae_lab.contracts import Batch
from vae_lab.errors import LabError
from vae_lab.losses import gaussian_kl, importance_bound
from vae_lab.models import VAE
from vae_lab.nets import MLPDecoder, MLPEncoder
from vae_lab.posteriors import DiagonalGaussian
from vae_lab.randomness import reseed

# Lightning has much to say of a trainer without validation.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec")


def build(**settings):
    """Return a small VAE of 1 x 8 x 8 images, the same at every call."""
    torch.manual_seed(0)
    nets = {
        "encoder": partial(MLPEncoder, hidden=(32,)),
        "decoder": partial(MLPDecoder, hidden=(32,)),
    }
    return VAE((1, 8, 8), 4, **nets, **settings)


def images(n=8):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1)).round()
    return Batch(x, torch.zeros(n))


SETTINGS = [
    {},
    {"beta": 4.0},
    {"beta": 0.0},
    {"free_bits": 0.5},
    {"samples": 3},
    {"importance_samples": 5},
    {"importance_samples": 5, "samples": 2, "beta": 0.5},
    {"warmup": 10},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_elbo_is_the_plain_one_whatever_is_trained(settings):
    terms = build(**settings).terms(images())
    torch.testing.assert_close(terms["elbo"], -(terms["reconstruction"] + terms["kl"]))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_reconstruction_and_divergence_have_their_meaning_whatever_is_trained(settings):
    model, batch = build(**settings), images()
    reseed(0)
    terms = model.terms(batch)
    reseed(0)
    posterior = model.posterior(batch.x)
    z = posterior.rsample(model.samples * model.importance_samples)
    log_likelihood = torch.stack(
        [model.likelihood.log_prob(model.decoder(codes), batch.x) for codes in z]
    )
    torch.testing.assert_close(terms["reconstruction"], -log_likelihood.mean(0))
    torch.testing.assert_close(terms["kl"], gaussian_kl(*posterior).sum(1))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence(beta):
    terms = build(beta=beta).terms(images())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])


def test_free_bits_are_charged_even_where_they_are_not_used():
    model = build(free_bits=100.0, beta=2.0)
    terms = model.terms(images())
    # Four dimensions at a hundred nats each, twice: far above what an untrained posterior costs.
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 800)


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("k", [2, 7])
def test_the_importance_weighted_loss_averages_bounds_of_k_weights(samples, k):
    model = build(samples=samples, importance_samples=k)
    batch = images()
    reseed(0)
    loss = model.terms(batch)["loss"]
    reseed(0)
    weights = model.log_weights(batch.x, k * samples).view(k, samples, 8)
    torch.testing.assert_close(loss, -importance_bound(weights).mean(0))


@pytest.mark.parametrize("settings", [{}, {"importance_samples": 3}], ids=str)
def test_more_samples_leave_the_expectation_and_lower_the_variance(settings):
    x = images(1).x.repeat(4000, 1, 1, 1)
    losses = {}
    for samples in (1, 16):
        torch.manual_seed(samples)
        with torch.no_grad():
            losses[samples] = build(**settings, samples=samples).terms(Batch(x, x))["loss"]
    one, many = losses[1], losses[16]
    error = math.sqrt((one.var() + many.var()) / 4000)
    assert abs(one.mean() - many.mean()) < 4 * error
    assert one.std() / many.std() == pytest.approx(4, rel=0.1)


def test_the_divergence_is_of_single_precision_under_autocast():
    model, x = build(), images().x
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        features = model.encoder(x)
        kl = model.terms(Batch(x, x))["kl"]
    assert features.dtype == torch.bfloat16
    expected = gaussian_kl(*DiagonalGaussian.from_features(features.double())).sum(1)
    torch.testing.assert_close(kl.double(), expected, rtol=1e-5, atol=1e-6)


class Weights(Callback):
    """Notes the divergence's weight at each step, and after training."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, *args):
        self.seen.append(pl_module.kl_weight)

    def on_train_end(self, trainer, pl_module):
        self.seen.append(pl_module.eval().kl_weight)


def test_the_divergences_weight_rises_with_the_steps_to_beta():
    weights = Weights()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(max_epochs=3, callbacks=[weights], accelerator="cpu", **quiet)
    trainer.fit(build(beta=3.0, warmup=4), DataLoader([images(), images()], batch_size=None))
    assert weights.seen == [0, 0.75, 1.5, 2.25, 3, 3, 3]


def test_the_warm_up_weighs_what_is_trained_and_not_what_is_validated():
    model = build(warmup=4)
    for training_now, weight in ((True, 0), (False, 1)):
        terms = model.train(training_now).terms(images())
        torch.testing.assert_close(terms["loss"], terms["reconstruction"] + weight * terms["kl"])


@pytest.mark.parametrize(
    "wrong",
    [
        *({"beta": beta} for beta in (-1.0, math.nan, math.inf)),
        *({"free_bits": nats} for nats in (-0.1, math.nan, math.inf)),
        {"warmup": -1},
        {"samples": 0},
        {"importance_samples": 0},
        {"free_bits": 0.5, "importance_samples": 2},
    ],
    ids=str,
)
def test_what_no_vae_can_be_is_refused(wrong):
    with pytest.raises(LabError):
        build(**wrong)
