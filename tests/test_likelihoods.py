"""Likelihoods against torch's, and their sums and integrals against one."""

import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, Gaussian

LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "fixed": partial(Gaussian, scale=0.3),
    "shared": partial(Gaussian, scale=0.3, learned="shared"),
    "pixel": partial(Gaussian, scale=0.3, learned="pixel"),
}
every_likelihood = pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def cross_entropy(logits, x):
    """Return what torch makes of the same logits, summed over an image."""
    losses = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    return -losses.flatten(-3).sum(-1)


def output_for(likelihood, *lead, channels=1, size=(4, 5)):
    """Return a decoder's output of leading shape `lead` for images of `channels`."""
    return torch.randn(*lead, channels * likelihood.channels, *size)


# all of them


@every_likelihood
@pytest.mark.parametrize("lead", [(3,), (2, 3), (4, 2, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(make, lead, channels):
    likelihood = make()
    output = output_for(likelihood, *lead, channels=channels)
    x = torch.rand(3, channels, 4, 5)
    assert likelihood.log_prob(output, x).shape == lead
    assert likelihood.mean(output).shape == (*lead, channels, 4, 5)
    assert likelihood.sample(output).shape == (*lead, channels, 4, 5)


@every_likelihood
def test_leading_samples_are_scored_one_by_one(make):
    likelihood = make()
    output, x = output_for(likelihood, 6, 3), torch.rand(3, 1, 4, 5)
    together = likelihood.log_prob(output, x)
    torch.testing.assert_close(together, torch.stack([likelihood.log_prob(o, x) for o in output]))


@every_likelihood
def test_half_precision_gives_what_single_gives(make):
    likelihood = make()
    half, x = output_for(likelihood, 3).bfloat16(), torch.rand(3, 1, 4, 5).bfloat16()
    for method in (likelihood.log_prob, lambda o, _: likelihood.mean(o)):
        result = method(half, x)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, method(half.float(), x.float()))


@every_likelihood
def test_autocast_does_not_touch_the_sum_over_pixels(make):
    likelihood = make()
    output, x = output_for(likelihood, 3, size=(28, 28)), torch.rand(3, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        value = likelihood.log_prob(output, x)
    torch.testing.assert_close(value, likelihood.log_prob(output, x))


@every_likelihood
def test_means_and_draws_are_images(make):
    likelihood = make()
    output = 50 * output_for(likelihood, 20)
    for images in (likelihood.mean(output), likelihood.sample(output)):
        assert images.min() >= 0
        assert images.max() <= 1


@every_likelihood
def test_gradients_are_those_of_finite_differences(make):
    likelihood = make().double()
    output = output_for(likelihood, 2, 3, size=(2, 3)).double().requires_grad_()
    x = torch.rand(3, 1, 2, 3).double()
    assert torch.autograd.gradcheck(lambda o: likelihood.log_prob(o, x), output)


# Bernoulli


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([1.0, 30.0, 200.0]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_bernoulli_is_the_cross_entropy_of_torch(shape, largest, dtype):
    logits = torch.empty(2, *shape, dtype=dtype).uniform_(-largest, largest)
    x = torch.rand(shape, dtype=dtype)
    results = []
    for log_prob in (Bernoulli().log_prob, cross_entropy):
        leaf = logits.clone().requires_grad_()
        value = log_prob(leaf, x)
        assert value.dtype == dtype
        (gradient,) = torch.autograd.grad(value.square().mean(), leaf)
        results.append((value.detach(), gradient))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-4 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_bernoulli_is_exact_for_extreme_logits(pixel):
    logits = torch.tensor([-200, -100, -20, -1e-3, 0, 1e-3, 20, 100, 200]).view(-1, 1, 1, 1)
    logits.requires_grad_()
    x = torch.full((9, 1, 1, 1), pixel)
    value = Bernoulli().log_prob(logits, x)
    torch.testing.assert_close(value, cross_entropy(logits, x), rtol=1e-6, atol=1e-7)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    torch.testing.assert_close(gradient, x - logits.detach().sigmoid())


def test_bernoulli_takes_sixteen_pixels_to_a_logarithm_without_underflow():
    # Sixteen sigmoids of a half are the smallest product there is.
    value = Bernoulli().log_prob(torch.zeros(1, 1, 28, 28), torch.ones(1, 1, 28, 28))
    torch.testing.assert_close(value, torch.tensor([-784 * math.log(2)]))


def test_bernoulli_sums_to_one_over_all_binary_images():
    images = torch.tensor([*itertools.product([0.0, 1.0], repeat=4)]).view(16, 1, 2, 2)
    logits = 3 * torch.randn(1, 1, 2, 2)
    total = Bernoulli().log_prob(logits.expand(16, 1, 2, 2), images).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0))


def test_bernoulli_draws_have_its_mean():
    logits = torch.randn(1, 2, 3)
    draws = Bernoulli().sample(logits.expand(40_000, 1, 2, 3))
    assert set(draws.unique().tolist()) == {0, 1}
    torch.testing.assert_close(draws.mean(0), logits.sigmoid(), atol=0.015, rtol=0)


def test_bernoulli_differentiates_twice_and_by_the_image():
    logits = torch.randn(2, 3, 1, 4, 4).double().requires_grad_()
    x = torch.rand(3, 1, 4, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(Bernoulli().log_prob, (logits, x))
    assert torch.autograd.gradgradcheck(Bernoulli().log_prob, (logits, x))


def test_only_the_bernoulli_is_for_black_and_white():
    assert Bernoulli.binary
    assert not Gaussian.binary


# Gaussian


def expected_gaussian(likelihood, output):
    """Return torch's distribution of the same parameters."""
    if likelihood.channels == 1:
        return Normal(output.sigmoid(), likelihood.floor + likelihood.log_scale.exp())
    mean, log_scale = output.chunk(2, -3)
    return Normal(mean.sigmoid(), likelihood.floor + (likelihood.log_scale + log_scale).exp())


@pytest.mark.parametrize("learned", ["none", "shared", "pixel"])
@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0])
def test_gaussian_is_that_of_torch(learned, scale):
    likelihood = Gaussian(scale, learned)
    output, x = output_for(likelihood, 2, 3, channels=3), torch.rand(3, 3, 4, 5)
    normal = expected_gaussian(likelihood, output)
    if learned != "pixel":
        torch.testing.assert_close(normal.scale.unique(), torch.tensor([scale]))
    expected = normal.log_prob(x).flatten(-3).sum(-1)
    torch.testing.assert_close(likelihood.log_prob(output, x), expected)
    torch.testing.assert_close(likelihood.mean(output), normal.mean)


@pytest.mark.parametrize("learned", ["none", "shared", "pixel"])
def test_gaussian_integrates_to_one(learned):
    likelihood = Gaussian(0.2, learned)
    output = output_for(likelihood, 1, size=(1, 1)).expand(20_001, -1, 1, 1)
    grid = torch.linspace(-5, 6, 20_001)
    density = likelihood.log_prob(output, grid.view(-1, 1, 1, 1)).exp()
    torch.testing.assert_close(torch.trapezoid(density, grid), torch.tensor(1.0))


def test_a_learned_scale_has_the_gradient_of_the_maximum_likelihood():
    likelihood = Gaussian(0.5, "shared")
    output, x = torch.randn(50, 1, 4, 4), torch.rand(50, 1, 4, 4)
    adam = torch.optim.Adam(likelihood.parameters(), 0.05)
    for _ in range(200):
        adam.zero_grad()
        (-likelihood.log_prob(output, x).mean()).backward()
        adam.step()
    scale = likelihood.floor + likelihood.log_scale.exp()
    best = (x - output.sigmoid()).square().mean().sqrt()
    torch.testing.assert_close(scale.detach(), best, rtol=1e-3, atol=0)


def test_only_the_shared_scale_is_a_parameter_to_train():
    trained = {m: Gaussian(learned=m).log_scale.requires_grad for m in ("none", "shared", "pixel")}
    assert trained == {"none": False, "shared": True, "pixel": False}


def test_each_pixels_scale_is_learned_through_the_decoders_output():
    likelihood = Gaussian(0.5, "pixel")
    output = torch.zeros(1, 2, 3, 3, requires_grad=True)
    likelihood.log_prob(output, torch.full((1, 1, 3, 3), 0.5)).sum().backward()
    # A perfect mean asks for less scale, everywhere.
    assert (output.grad[:, 1] < 0).all()


def test_a_scale_cannot_collapse_below_half_a_grey_level():
    likelihood = Gaussian(0.5, "pixel")
    output = torch.full((1, 2, 1, 1), -1e3)
    value = likelihood.log_prob(output, torch.zeros(1, 1, 1, 1))
    expected = -math.log(likelihood.floor) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(value, torch.tensor([expected]))


def test_gaussian_draws_have_its_moments():
    likelihood = Gaussian(0.05)
    output = torch.tensor([-0.5, 0, 0.5]).view(1, 1, 1, 3)
    draws = likelihood.sample(output.expand(40_000, 1, 1, 3))
    torch.testing.assert_close(draws.mean(0, True), output.sigmoid(), atol=2e-3, rtol=0)
    torch.testing.assert_close(draws.std(0), torch.full((1, 1, 3), 0.05), rtol=0.03, atol=0)


@pytest.mark.parametrize("scale", [0, -1, Gaussian.floor, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(LabError, match="scale"):
        Gaussian(scale)


def test_an_unknown_way_to_learn_the_scale_is_refused():
    with pytest.raises(LabError, match="shared"):
        Gaussian(learned="global")
