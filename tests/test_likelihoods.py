"""Likelihoods against torch's, and their sums and integrals against one."""

import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions

from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, DiscretizedLogisticMixture, Gaussian, Laplace

LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "fixed": partial(Gaussian, scale=0.3),
    "shared": partial(Gaussian, scale=0.3, learned="shared"),
    "pixel": partial(Gaussian, scale=0.3, learned="pixel"),
    "laplace": partial(Laplace, scale=0.3),
    "laplace pixel": partial(Laplace, scale=0.3, learned="pixel"),
    "mixture": partial(DiscretizedLogisticMixture, components=3),
}
every_likelihood = pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
real = pytest.mark.parametrize("kind", [Gaussian, Laplace])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def cross_entropy(logits, x):
    """Return what torch makes of the same logits, summed over an image."""
    losses = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    return -losses.flatten(-3).sum(-1)


def output_for(likelihood, *lead, channels=1, size=(4, 5)):
    """Return a decoder's output of leading shape `lead` for images of `channels`."""
    return torch.randn(*lead, likelihood.outputs(channels), *size)


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
def test_output_of_another_shape_is_refused_not_spread_over_the_images(make):
    likelihood = make()
    lost_channel = output_for(likelihood, 1, size=(3, 4, 5))[0]
    with pytest.raises(LabError, match=r"put out .*4 x 5, where a .* needs 3 x"):
        likelihood.log_prob(lost_channel, torch.rand(3, 1, 4, 5))


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
@pytest.mark.parametrize("channels", [1, 3])
def test_means_are_images_and_so_are_draws_but_of_densities(make, channels):
    likelihood = make()
    output = 50 * output_for(likelihood, 20, channels=channels)
    images = [likelihood.mean(output)]
    if likelihood.binary or likelihood.discrete:
        images.append(likelihood.sample(output))
    for image in images:
        assert image.min() >= 0
        assert image.max() <= 1


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
    assert not any(kind.binary for kind in (Gaussian, Laplace, DiscretizedLogisticMixture))


# Gaussian and Laplace


def expected(likelihood, output):
    """Return torch's distribution of the same parameters."""
    kind = getattr(distributions, "Normal" if type(likelihood) is Gaussian else "Laplace")
    if likelihood.outputs(1) == 1:
        return kind(output.sigmoid(), likelihood.floor + likelihood.log_scale.exp())
    mean, log_scale = output.chunk(2, -3)
    return kind(mean.sigmoid(), likelihood.floor + (likelihood.log_scale + log_scale).exp())


@real
@pytest.mark.parametrize("learned", ["none", "shared", "pixel"])
@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0])
def test_densities_are_those_of_torch(kind, learned, scale):
    likelihood = kind(scale, learned)
    output, x = output_for(likelihood, 2, 3, channels=3), torch.rand(3, 3, 4, 5)
    theirs = expected(likelihood, output)
    if learned != "pixel":
        torch.testing.assert_close(theirs.scale.unique(), torch.tensor([scale]))
    value = theirs.log_prob(x).flatten(-3).sum(-1)
    torch.testing.assert_close(likelihood.log_prob(output, x), value)
    torch.testing.assert_close(likelihood.mean(output), theirs.mean)


@real
@pytest.mark.parametrize("learned", ["none", "shared", "pixel"])
def test_densities_integrate_to_one(kind, learned):
    likelihood = kind(0.2, learned)
    output = output_for(likelihood, 1, size=(1, 1)).expand(20_001, -1, 1, 1)
    grid = torch.linspace(-5, 6, 20_001)
    density = likelihood.log_prob(output, grid.view(-1, 1, 1, 1)).exp()
    torch.testing.assert_close(torch.trapezoid(density, grid), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("kind", "best"),
    [
        (Gaussian, lambda error: error.square().mean().sqrt()),
        (Laplace, lambda error: error.abs().mean()),
    ],
    ids=["Gaussian", "Laplace"],
)
def test_a_learned_scale_has_the_gradient_of_the_maximum_likelihood(kind, best):
    likelihood = kind(0.5, "shared")
    output, x = torch.randn(50, 1, 4, 4), torch.rand(50, 1, 4, 4)
    adam = torch.optim.Adam(likelihood.parameters(), 0.05)
    for _ in range(200):
        adam.zero_grad()
        (-likelihood.log_prob(output, x).mean()).backward()
        adam.step()
    scale = likelihood.floor + likelihood.log_scale.exp()
    torch.testing.assert_close(scale.detach(), best(x - output.sigmoid()), rtol=1e-3, atol=0)


@real
def test_only_the_shared_scale_is_a_parameter_to_train(kind):
    trained = {m: kind(learned=m).log_scale.requires_grad for m in ("none", "shared", "pixel")}
    assert trained == {"none": False, "shared": True, "pixel": False}


@real
def test_each_pixels_scale_is_learned_through_the_decoders_output(kind):
    likelihood = kind(0.5, "pixel")
    output = torch.zeros(1, 2, 3, 3, requires_grad=True)
    likelihood.log_prob(output, torch.full((1, 1, 3, 3), 0.5)).sum().backward()
    # A perfect mean asks for less scale, everywhere.
    assert (output.grad[:, 1] < 0).all()


@pytest.mark.parametrize(("kind", "unit"), [(Gaussian, math.sqrt(2 * math.pi)), (Laplace, 2)])
def test_a_scale_cannot_collapse_below_half_a_grey_level(kind, unit):
    likelihood = kind(0.5, "pixel")
    output = torch.full((1, 2, 1, 1), -1e3)
    value = likelihood.log_prob(output, torch.zeros(1, 1, 1, 1))
    torch.testing.assert_close(value, torch.tensor([-math.log(unit * likelihood.floor)]))


@real
def test_draws_have_the_moments_of_the_density(kind):
    likelihood = kind(0.2)
    output = torch.tensor([-3, 0, 0.5]).view(1, 1, 1, 3)
    draws = likelihood.sample(output.expand(100_000, 1, 1, 3))
    torch.testing.assert_close(draws.mean(0, True), output.sigmoid(), atol=4e-3, rtol=0)
    stddev = expected(likelihood, output).stddev.squeeze(0)
    torch.testing.assert_close(draws.std(0), stddev, rtol=0.02, atol=0)


@real
@pytest.mark.parametrize("scale", [0, -1, Gaussian.floor, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(kind, scale):
    with pytest.raises(LabError, match="scale"):
        kind(scale)


@real
def test_an_unknown_way_to_learn_the_scale_is_refused(kind):
    with pytest.raises(LabError, match="shared"):
        kind(learned="global")


# discretised logistic mixture

LEVELS = torch.arange(256) / 255


def mixture_output(weights, centres, log_scales):
    """Return a decoder's output for one grey pixel, one number a component."""
    return torch.tensor([*weights, *centres, *log_scales]).view(1, -1, 1, 1)


def masses(output, components):
    """Return the probability of each level of one grey pixel."""
    likelihood = DiscretizedLogisticMixture(components)
    return likelihood.log_prob(output.expand(256, -1, 1, 1), LEVELS.view(-1, 1, 1, 1)).exp()


@pytest.mark.parametrize("log_scale", [-100.0, -7.0, -4.0, -1.0, 2.0, 100.0])
@pytest.mark.parametrize("centre", [-30.0, -1.0, -0.3, 0.999, 1.0, 5.0])
def test_mixture_sums_to_one_over_all_levels(log_scale, centre):
    output = mixture_output([0.0, 2.0], [centre, 0.1], [log_scale, -3.0]).double()
    total = masses(output, 2).sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-10)


def test_mixture_is_the_difference_of_torchs_logistic_distribution_functions():
    def cdf(x):
        return ((x - centres) / scales).sigmoid()

    weights, centres, scales = (
        torch.tensor(v).double() for v in ([0.2, 0.8], [-0.6, 0.3], [0.2, 0.05])
    )
    output = torch.cat([weights.log(), centres, scales.log()]).view(1, -1, 1, 1)
    edges = (torch.arange(1, 256).double() * 2 - 1).unsqueeze(1) / 255 - 1
    below = torch.cat([torch.zeros(1, 2), cdf(edges), torch.ones(1, 2)]).double()
    torch.testing.assert_close(masses(output, 2), below.diff(dim=0) @ weights)


def test_mixture_sums_to_one_over_all_colours():
    # Summed over green and blue, red is left with the mixture of a grey pixel.
    torch.manual_seed(3)
    likelihood = DiscretizedLogisticMixture(2)
    output = torch.randn(1, likelihood.outputs(3), 1, 1)
    others = torch.cartesian_prod(LEVELS, LEVELS).T.view(2, 256, 256)
    for level in (0, 100, 255):
        x = torch.cat([torch.full((1, 256, 256), level / 255), others]).unsqueeze(0)
        parts = output.expand(1, -1, 256, 256)
        # One image of 65,536 pixels would be one sum of logarithms: make each an image.
        parts, x = (t.permute(0, 2, 3, 1).reshape(-1, t.shape[1], 1, 1) for t in (parts, x))
        total = likelihood.log_prob(parts.double(), x).exp().sum()
        red = output[:, [0, 1, 2, 3, 8, 9]].double()
        torch.testing.assert_close(total, masses(red, 2)[level])


def test_colours_move_with_those_before_them():
    likelihood = DiscretizedLogisticMixture(1)
    output = torch.zeros(1, likelihood.outputs(3), 1, 1)
    output[:, 4:7] = -6  # sharp
    output[:, 7:] = torch.tensor([100.0, 100.0, -100.0]).view(3, 1, 1)  # slopes 1, 1 and -1
    # Measured from mid-grey, green goes where red is, and blue where red less green is.
    x = torch.tensor([[0.2, 0.2, 0.5], [0.2, 0.8, 0.8]]).view(2, 3, 1, 1)
    follows, opposes = likelihood.log_prob(output.expand(2, -1, 1, 1), x)
    assert follows > opposes + 50


def test_a_mixture_far_from_the_pixel_still_has_a_gradient():
    output = mixture_output([0.0], [-3.0], [-7.0]).requires_grad_()
    value = DiscretizedLogisticMixture(1).log_prob(output, torch.full((1, 1, 1, 1), 0.8))
    value.sum().backward()
    assert value.isfinite().all()
    assert output.grad[0, 1] > 0
    assert output.grad.isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_mixture_draws_are_levels_with_the_mean_of_the_mixture(channels):
    torch.manual_seed(5)
    likelihood = DiscretizedLogisticMixture(3)
    output = torch.randn(1, likelihood.outputs(channels), 2, 2) / 3
    output[:, 3 * (1 + channels) : 3 * (1 + 2 * channels)] -= 2.5
    draws = likelihood.sample(output.expand(40_000, -1, 2, 2))
    torch.testing.assert_close((255 * draws).round() / 255, draws)
    torch.testing.assert_close(draws.mean(0, True), likelihood.mean(output), atol=5e-3, rtol=0)
    if channels == 1:
        probability = masses(output[..., :1, :1], 3)
        counts = (255 * draws[:, 0, 0, 0]).round().long().bincount(minlength=256) / 40_000
        assert (counts - probability).abs().sum() < 0.1


@pytest.mark.parametrize("log_scale", [-7.0, -4.0, -1.0, 3.0])
@pytest.mark.parametrize("centre", [-2.0, -1.0, -0.35, 0.9])
def test_mixture_mean_is_that_of_its_levels_to_half_a_level(centre, log_scale):
    output = mixture_output([0.5, 0.0], [centre, 0.4], [log_scale, -2.0])
    mean = (masses(output, 2) * LEVELS).sum()
    torch.testing.assert_close(
        DiscretizedLogisticMixture(2).mean(output).squeeze(), mean, rtol=0, atol=0.5 / 255
    )


def test_outputs_are_counted_as_in_the_paper():
    mixture = DiscretizedLogisticMixture(10)
    assert [mixture.outputs(channels) for channels in (1, 3)] == [30, 100]
    assert [Gaussian(learned="pixel").outputs(channels) for channels in (1, 3)] == [2, 6]


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(LabError, match="components is at least 1"):
        DiscretizedLogisticMixture(0)


def test_only_the_mixture_is_a_probability_of_8_bit_values():
    assert DiscretizedLogisticMixture.discrete
    assert not any(kind.discrete for kind in (Bernoulli, Gaussian, Laplace))
