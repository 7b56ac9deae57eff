"""The norm of an encoder's Jacobian: four ways to it agree, and what is said of each."""

from functools import partial

import pytest
import torch
from torch import nn

from vae_lab.contracts import Batch
from vae_lab.losses import hutchinson_norm, sigmoid_jacobian_norm
from vae_lab.metrics import autoencoders
from vae_lab.metrics.autoencoders import jacobians
from vae_lab.metrics.jacobian import autograd_norm, differentiable
from vae_lab.metrics.suite import measure
from vae_lab.models import VAE, Autoencoder
from vae_lab.models.stacked import StackedAutoencoder
from vae_lab.nets import ConvEncoder, MLPEncoder

SHAPE = (1, 4, 5)
LINEAR = partial(MLPEncoder, hidden=[])


@pytest.fixture(autouse=True)
def _fixed():
    torch.manual_seed(0)


def images(n=9, shape=SHAPE):
    return Batch(torch.rand(n, *shape), torch.arange(n) % 2)


def brute_force(model, x):
    """Every entry of the Jacobian, by torch's own differentiation forwards through backwards."""
    each = torch.func.vmap(torch.func.jacrev(lambda image: model.encode(image[None])[0]))
    return each(x).flatten(1).square().sum(1).detach()


@pytest.mark.parametrize(
    "make",
    [
        partial(Autoencoder, SHAPE, 6),
        partial(Autoencoder, SHAPE, 6, activation="Tanh"),
        partial(Autoencoder, SHAPE, 6, LINEAR, activation="Sigmoid"),
        partial(Autoencoder, SHAPE, 6, LINEAR, activation="Sigmoid", top_k=2),
        partial(Autoencoder, SHAPE, 6, partial(ConvEncoder, channels=[3])),
        partial(StackedAutoencoder, SHAPE, [7, 6], [partial(Autoencoder, activation="Sigmoid")]),
        partial(VAE, SHAPE, 6),
    ],
    ids=["deep", "tanh", "sigmoid", "top_k", "conv", "stack", "vae"],
)
def test_a_pass_for_each_dimension_is_the_whole_jacobian(make):
    model, x = make(), images().x
    expected = brute_force(model.eval(), x)
    torch.testing.assert_close(autograd_norm(model.encode, x), expected)
    assert jacobians(model, images(1), 0)["jacobian_norm"].value > 0


def test_the_closed_form_is_single_under_mixed_precision():
    code, weight = torch.rand(3, 6), torch.randn(6, 64)
    expected = sigmoid_jacobian_norm(code, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sigmoid_jacobian_norm(code, weight), expected)


@pytest.mark.parametrize("top_k", [None, 2])
def test_the_closed_form_is_the_whole_jacobian_of_a_sigmoid_layer(top_k):
    model = Autoencoder(SHAPE, 6, LINEAR, activation="Sigmoid", top_k=top_k).eval()
    batch = images()
    expected = brute_force(model, batch.x)
    weight = model.encoder[1].weight
    torch.testing.assert_close(sigmoid_jacobian_norm(model.encode(batch.x), weight), expected)
    found = jacobians(model, batch, 0)["jacobian_norm"]
    assert found.value == pytest.approx(expected.mean().item(), rel=1e-5)
    assert found.standard_error == pytest.approx(expected.std().item() / 3, rel=1e-4)
    assert "closed form" in found.note


def test_hutchinsons_estimate_has_no_bias():
    model = Autoencoder(SHAPE, 12, activation="Tanh").eval()
    x = images(4).x
    draws = torch.stack([hutchinson_norm(model.encode, x).detach() for _ in range(3000)])
    error = draws.mean(0) - brute_force(model, x)
    assert (error.abs() < 4 * draws.std(0) / len(draws) ** 0.5).all()
    assert (draws.std(0) > 0.01 * draws.mean(0)).all()


def test_a_linear_encoder_has_the_norm_of_its_weights():
    model = Autoencoder(SHAPE, 6, LINEAR).eval()
    norm = model.encoder[1].weight.square().sum().item()
    found = jacobians(model, images(), 0)
    assert found["jacobian_norm"].value == pytest.approx(norm, rel=1e-5)
    assert found["jacobian_norm"].standard_error == pytest.approx(0, abs=1e-6)
    assert found["jacobian_per_entry"].value == pytest.approx(norm / (6 * 20), rel=1e-5)
    assert "120 entries" in found["jacobian_per_entry"].note


@pytest.mark.parametrize(
    ("shape", "settings", "cited"),
    [
        ((1, 28, 28), {"encoder": LINEAR, "activation": "Sigmoid"}, True),
        (SHAPE, {"encoder": LINEAR, "activation": "Sigmoid"}, False),
        ((3, 28, 28), {"encoder": LINEAR, "activation": "Sigmoid"}, False),
        ((1, 28, 28), {"encoder": LINEAR}, False),
        ((1, 28, 28), {"activation": "Sigmoid"}, False),
    ],
)
def test_published_norms_are_cited_beside_models_like_theirs_alone(shape, settings, cited):
    model = Autoencoder(shape, 6, **settings).eval()
    note = jacobians(model, images(2, shape), 0)["jacobian_per_entry"].note
    assert ("do not say" in note) == ("Rifai" in note) == cited


def test_a_large_code_is_probed_by_its_seed_alone():
    model = Autoencoder(SHAPE, 65).eval()
    batch = images(200)
    before = torch.get_rng_state()
    first, again, other = (jacobians(model, batch, s)["jacobian_norm"] for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again != other
    assert "10 probes" in first.note
    exact = brute_force(model, batch.x).mean().item()
    assert first.value == pytest.approx(exact, rel=0.02)


class FromABook(Autoencoder):
    """Codes that are entries of a learned book, by steps of which nothing is differentiable."""

    def __init__(self, shape, latent_dim):
        super().__init__(shape, latent_dim)
        self.book = nn.Parameter(torch.randn(4, latent_dim))

    def encode(self, x, y=None):
        code = super().encode(x)
        entry = self.book[torch.cdist(code, self.book).argmin(1)]
        return entry.view(len(x), self.latent_dim)


def test_codes_that_no_gradient_leads_through_to_the_image_have_no_jacobian():
    model = FromABook(SHAPE, 6).eval()
    assert jacobians(model, images(), 0) == {}
    found = measure(model, images(), images, 0, 0)
    assert "squared_error" in found
    assert "jacobian_norm" not in found


def test_gradients_are_taken_where_they_are_switched_off_and_leave_none_behind():
    model = Autoencoder(SHAPE, 3, activation="Tanh").eval()
    with torch.inference_mode():
        batch = images(5)
        exact = autograd_norm(model.encode, batch.x)
        found = jacobians(model, batch, 0)["jacobian_norm"].value
    expected = brute_force(model, batch.x.clone())
    torch.testing.assert_close(exact, expected)
    assert found == pytest.approx(expected.mean().item(), rel=1e-5)
    assert not exact.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_few_images_are_spread_over_many(monkeypatch):
    monkeypatch.setattr(autoencoders, "IMAGES", 3)
    model = Autoencoder(SHAPE, 3, activation="Tanh").eval()
    batch = images(9)
    found = jacobians(model, batch, 0)["jacobian_norm"]
    expected = brute_force(model, batch.x[[0, 4, 8]]).mean().item()
    assert found.value == pytest.approx(expected, rel=1e-5)
    assert "on 3 images, evenly spaced" in found.note


class Untrained(nn.Module):
    """Computes outside of torch, as a fit without gradients may."""

    latent_dim = 2

    def encode(self, x, y=None):
        return torch.from_numpy(x.flatten(1)[:, :2].numpy())


class Stepped(nn.Module):
    """Has weights, but no gradient reaches the image."""

    latent_dim = 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20, 4)

    def encode(self, x, y=None):
        return self.layer(x.flatten(1)).argmax(1, keepdim=True).float()


@pytest.mark.parametrize("model", [Untrained(), Stepped()])
def test_what_has_no_gradient_has_no_jacobian(model):
    assert jacobians(model, images(), 0) == {}


def test_a_network_is_differentiable():
    model = Autoencoder(SHAPE, 3)
    with torch.inference_mode():
        assert differentiable(model, model.encode, images().x)


def test_autoencoders_are_measured_and_models_that_bound_are_not():
    batch = images(40)
    names = {
        kind: measure(kind(SHAPE, 3).eval(), batch, lambda: batch, 2, 0).keys()
        for kind in (Autoencoder, VAE)
    }
    assert {"jacobian_norm", "jacobian_per_entry"} <= names[Autoencoder]
    assert not {"jacobian_norm", "jacobian_per_entry"} & names[VAE]
