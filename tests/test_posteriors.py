"""Families of posteriors: what is drawn, what is said of it, and what training sees of it."""

import math
from functools import partial
from itertools import product

import pytest
import torch

from vae_lab.contracts import Batch
from vae_lab.errors import LabError
from vae_lab.metrics.likelihood import importance_nll
from vae_lab.models import VAE
from vae_lab.nets import MLPDecoder, MLPEncoder
from vae_lab.posteriors import BottomUp, Categorical, Gaussian, GumbelSoftmax
from vae_lab.priors import Uniform

DRAWS = 100_000
FAMILIES = {
    "gaussian": partial(Gaussian, 6),
    "categorical": partial(GumbelSoftmax, 6, classes=3),
    "two layers": partial(BottomUp, 6, top=2, hidden=(4,)),
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


every_family = pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)


@every_family
def test_draws_and_densities_have_the_codes_shape(make):
    family = make()
    posterior = family(torch.randn(3, family.features), 0)
    for draw in (posterior.sample, posterior.rsample):
        z = draw(4)
        assert z.shape == (4, 3, 6)
        assert posterior.log_prob(z).shape == (4, 3)
    assert posterior.mean.shape == (3, 6)


@every_family
def test_half_precision_features_make_posteriors_of_single_precision(make):
    family = make()
    with torch.autocast("cpu", torch.bfloat16):
        posterior = family(torch.randn(3, family.features).bfloat16(), 0)
        z = posterior.sample(2)
        assert {z.dtype, posterior.rsample(2).dtype} == {torch.float32}
        assert {posterior.log_prob(z).dtype, posterior.mean.dtype} == {torch.float32}


@every_family
def test_a_detached_posterior_is_the_same_and_teaches_through_codes_alone(make):
    family = make()
    features = torch.randn(3, family.features, requires_grad=True)
    posterior = family(features, 0)
    z = posterior.sample(2).detach().requires_grad_()
    log_prob = posterior.detach().log_prob(z)
    torch.testing.assert_close(log_prob, posterior.log_prob(z))
    (to_z,) = torch.autograd.grad(posterior.log_prob(z).sum(), z)
    log_prob.sum().backward()
    torch.testing.assert_close(z.grad, to_z)
    assert features.grad is None
    assert all(parameter.grad is None for parameter in family.parameters())


# choices


def test_relaxed_codes_of_no_temperature_are_one_hot_and_as_frequent_as_the_choice():
    logits = torch.randn(1, 2, 3)
    z = Categorical(logits, temperature=1e-4).rsample(DRAWS)[:, 0]
    # Two classes come as near as a thousandth in about one draw of a thousand.
    assert ((z > 0.999) | (z < 0.001)).double().mean() > 0.99
    expected = logits.softmax(-1).flatten()
    error = (expected * (1 - expected) / DRAWS).sqrt()
    assert ((z.round().mean(0) - expected).abs() < 4 * error).all()


def test_hot_codes_are_spread_evenly():
    z = Categorical(torch.randn(1, 2, 3), temperature=1e4).rsample(100)
    torch.testing.assert_close(z, torch.full_like(z, 1 / 3), atol=0.01, rtol=0)


def test_relaxed_groups_each_sum_to_one():
    z = Categorical(torch.randn(5, 2, 3), 0.7).rsample(4)
    torch.testing.assert_close(z.unflatten(-1, (2, 3)).sum(-1), torch.ones(4, 5, 2))


def test_draws_are_exactly_one_hot_and_follow_the_probabilities():
    posterior = Categorical(torch.randn(1, 2, 3))
    z = posterior.sample(DRAWS)[:, 0]
    assert set(z.unique().tolist()) == {0, 1}
    codes = _all_codes()
    probabilities = posterior.log_prob(codes[:, None])[:, 0].exp()
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-6)
    frequencies = (z[:, None] == codes).all(2).double().mean(0)
    error = (probabilities * (1 - probabilities) / DRAWS).sqrt()
    assert ((frequencies - probabilities).abs() < 4 * error).all()
    torch.testing.assert_close(posterior.mean[0], (probabilities[:, None] * codes).sum(0))


def test_straight_through_codes_are_one_hot_with_the_relaxed_gradient():
    direction = torch.randn(5, 6)
    found = []
    for straight_through in (False, True):
        logits = torch.ones(5, 2, 3, requires_grad=True)
        torch.manual_seed(1)
        z = Categorical(logits, 0.7, straight_through).rsample(1)[0]
        (z * direction).sum().backward()
        found.append((z, logits.grad))
    (relaxed, gradient), (hard, same) = found
    torch.testing.assert_close(same, gradient)
    assert gradient.any()
    hottest = relaxed.unflatten(-1, (2, 3)).argmax(-1)
    expected = torch.nn.functional.one_hot(hottest, 3).flatten(1).float()
    torch.testing.assert_close(hard, expected)


def test_the_temperature_falls_with_the_steps_to_its_least():
    family = GumbelSoftmax(6, classes=3, tau_min=0.4, rate=0.1)
    found = [family(torch.zeros(1, 6), step).temperature for step in (0, 5, 9, 10, 1000)]
    assert found == pytest.approx([1, math.exp(-0.5), math.exp(-0.9), 0.4, 0.4])


def test_a_model_hands_its_family_the_step_that_training_is_at(monkeypatch):
    model, x, *_ = choices(rate=0.1, tau_min=0.4)
    for step, temperature in ((0, 1), (5, math.exp(-0.5))):
        monkeypatch.setattr(VAE, "global_step", step)
        assert model.posterior(x).temperature == pytest.approx(temperature)


def _all_codes():
    """Return the nine codes of two groups of three classes."""
    eye = torch.eye(3)
    return torch.stack([torch.cat(pair) for pair in product(eye, eye)])


def choices(**settings):
    """Return a VAE with nine codes, and what they say of p(x), p(z|x) and q(z|x) of images."""
    nets = {"encoder": partial(MLPEncoder, hidden=()), "decoder": partial(MLPDecoder, hidden=())}
    family = partial(GumbelSoftmax, classes=3, **settings)
    prior = partial(Uniform, classes=3)
    model = VAE((1, 2, 3), 6, **nets, posterior=family, prior=prior).requires_grad_(False)
    x = torch.rand(5, 1, 2, 3).round()
    codes = _all_codes()[:, None].expand(9, 5, 6)
    joint = model.log_likelihood(x, codes) - math.log(9)
    return model, x, joint, model.posterior(x).log_prob(codes)


def test_importance_sampling_finds_the_enumerated_likelihood():
    model, x, joint, _ = choices()
    for mode in (True, False):
        model.train(mode)
        nats = importance_nll(lambda x, n: model.log_weights(x, n), x, 40_000, rows=40_000)
        expected = -joint.logsumexp(0).double()
        torch.testing.assert_close(nats, expected, atol=0.02, rtol=0)


def test_the_bound_outside_of_training_is_the_enumerated_one():
    model, x, joint, posterior = choices()
    expected = (posterior.exp() * (joint - posterior)).sum(0)
    many = x.repeat_interleave(20_000, 0)
    elbo = model.eval().terms(Batch(many, many))["elbo"].view(5, -1)
    assert ((elbo.mean(1) - expected).abs() < 4 * elbo.std(1) / math.sqrt(20_000)).all()


@pytest.mark.parametrize("straight_through", [False, True])
def test_the_decoder_sees_relaxed_codes_in_training_alone(straight_through, monkeypatch):
    model, x, *_ = choices(straight_through=straight_through)
    seen = []
    monkeypatch.setattr(model, "output", lambda z, y: seen.append(z) or VAE.output(model, z, y))
    for mode in (True, False):
        model.train(mode).terms(Batch(x, x))
    relaxed, hard = (((z > 1e-6) & (z < 1 - 1e-6)).any() for z in seen)
    assert relaxed == (not straight_through)
    assert not hard


def test_samples_of_choices_are_images():
    model, *_ = choices()
    assert model.sample(7).shape == (7, 1, 2, 3)
    assert model.encode(torch.rand(2, 1, 2, 3)).shape == (2, 6)


# two layers


def test_two_layers_factorise():
    family = BottomUp(6, top=2, hidden=(4,))
    features = torch.randn(3, family.features)
    z = torch.randn(5, 3, 6)
    lower = Gaussian(4)(features, 0)
    upper = Gaussian(2)(family.net(z[..., :4]), 0)
    expected = lower.log_prob(z[..., :4]) + upper.log_prob(z[..., 4:])
    torch.testing.assert_close(family(features, 0).log_prob(z), expected)


def test_the_upper_layer_is_drawn_around_what_the_drawn_lower_one_says():
    family = BottomUp(2, top=1, hidden=()).requires_grad_(False)
    family.net[0].weight.copy_(torch.tensor([[3.0], [0.0]]))
    family.net[0].bias.copy_(torch.tensor([1.0, -10.0]))
    z = family(torch.zeros(1, 2), 0).sample(DRAWS)[:, 0]
    torch.testing.assert_close(z[:, 1], 3 * z[:, 0] + 1, atol=0.05, rtol=0)
    assert z[:, 0].std().item() == pytest.approx(1, abs=0.02)


def test_the_decoder_sees_the_lower_layer_alone():
    model = VAE((1, 2, 3), 6, posterior=partial(BottomUp, top=2))
    z = torch.randn(4, 6)
    images = model.decode(z)
    z[:, 4:] += 1
    assert torch.equal(model.decode(z), images)
    z[:, 3] += 1
    assert not torch.equal(model.decode(z), images)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(GumbelSoftmax, classes=4), "groups of 4 classes"),
        (partial(GumbelSoftmax, classes=1), "groups of 1 classes"),
        (partial(GumbelSoftmax, classes=0), "groups of 0 classes"),
        (partial(GumbelSoftmax, classes=3, tau_min=0.0), "tau_min"),
        (partial(GumbelSoftmax, classes=3, tau_min=math.nan), "tau_min"),
        (partial(GumbelSoftmax, classes=3, rate=-1.0), "rate"),
        (partial(GumbelSoftmax, classes=3, rate=math.inf), "rate"),
        (partial(BottomUp, top=6), "leave the lower none"),
        (partial(BottomUp, top=0), "leave the lower none"),
        (partial(BottomUp, top=2, hidden=(0,)), "at least one unit"),
        (partial(BottomUp, top=2, activation="Nonsense"), "Nonsense"),
    ],
    ids=str,
)
def test_what_no_family_can_be_is_refused(make, words):
    with pytest.raises(LabError, match=words):
        make(6)
