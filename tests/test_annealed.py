"""Annealed importance sampling against likelihoods that are known."""

import json
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from vae_lab.conditions import AttributeCondition, ClassCondition, PartialCondition
from vae_lab.contracts import Batch, Generates
from vae_lab.errors import LabError
from vae_lab.likelihoods import DiscretizedLogisticMixture, Likelihood
from vae_lab.metrics.annealed import (
    Annealing,
    annealed_nll,
    annealed_weights,
    bidirectional_gap,
    check_annealing,
    sigmoid_schedule,
    step_sizes,
)
from vae_lab.metrics.evidence import annealing, bounds
from vae_lab.metrics.hamiltonian import State, move
from vae_lab.metrics.likelihood import importance_nll
from vae_lab.models import CVAE, VAE, Autoencoder
from vae_lab.nets import MLPDecoder, MLPEncoder
from vae_lab.posteriors import GumbelSoftmax
from vae_lab.priors import Uniform
from vae_lab.verbs.evaluating import evaluate as module
from vae_lab.verbs.evaluating.evaluate import evaluate

SHAPE, LATENT, SCALE = (1, 2, 4), 3, 1.0
HOW = Annealing(chains=16, temperatures=100)


class Linear(Likelihood):
    """Gaussian pixels around the decoder's output as it is."""

    def log_prob(self, output, x):
        square = ((x - output) / SCALE).square().flatten(-3).sum(-1)
        return -0.5 * square - x[0].numel() * math.log(SCALE * math.sqrt(2 * math.pi))

    def mean(self, output):
        return output

    def sample(self, output):
        return torch.normal(output, SCALE)


def linear_vae():
    """Return a VAE of linear nets whose encoder is as good as can be, and p(x) itself."""
    torch.manual_seed(0)
    nets = {"encoder": partial(MLPEncoder, hidden=()), "decoder": partial(MLPDecoder, hidden=())}
    model = VAE(SHAPE, LATENT, likelihood=Linear, **nets).double().eval()
    up, down = model.decoder[0], model.encoder[1]
    with torch.no_grad():
        up.bias.normal_()
        precision = torch.eye(LATENT) + up.weight.T @ up.weight / SCALE**2
        down.weight[:LATENT] = torch.linalg.solve(precision, up.weight.T) / SCALE**2
        down.weight[LATENT:] = 0
        down.bias[:LATENT] = -down.weight[:LATENT] @ up.bias
        down.bias[LATENT:] = precision.inverse().diag().log()
    covariance = up.weight @ up.weight.T + SCALE**2 * torch.eye(8)
    return model, MultivariateNormal(up.bias.detach(), covariance.detach())


def images(marginal, n):
    torch.manual_seed(1)
    x = marginal.sample((n,))
    return Batch(x.view(n, *SHAPE), torch.zeros(n)), -marginal.log_prob(x)


def test_annealed_and_importance_sampled_likelihoods_are_the_true_one():
    model, marginal = linear_vae()
    batch, nll = images(marginal, 20)
    annealed = annealed_nll(model, batch, HOW)
    sampled = importance_nll(model.log_weights, batch.x, 5000)
    assert annealed.shape == (20,)
    assert annealed.dtype == torch.float64
    assert ((annealed - nll).mean()).abs() < 0.05
    assert ((sampled - nll).mean()).abs() < 0.05
    assert ((annealed - sampled).mean()).abs() < 0.05
    # Every image for itself, not their mean alone.
    assert (annealed - nll).abs().max() < 0.5


def test_the_gap_closes_as_chains_are_given_time():
    model, marginal = linear_vae()
    batch, nll = images(marginal, 100)
    hasty, patient = Annealing(chains=1, temperatures=1), Annealing(16, 300)
    gaps = {how: bidirectional_gap(model, batch, how).mean() for how in (hasty, patient)}
    assert gaps[patient].abs() < 0.05
    error = (annealed_nll(model, batch, hasty) - nll).mean()
    assert gaps[hasty] > error > 0.3


def line(x, scale):
    """Return both densities of one code around which one pixel lies, and log p(x) itself."""
    x = torch.tensor(x)
    densities = (
        lambda z: Normal(0.0, 1.0).log_prob(z).sum(-1),
        lambda z: Normal(z[..., 0], scale).log_prob(x),
    )
    return densities, Normal(0.0, math.sqrt(1 + scale**2)).log_prob(x)


def test_weights_are_unbiased_however_few_the_temperatures():
    torch.manual_seed(0)
    densities, truth = line(1.5, scale=0.7)
    start, steps = torch.randn(20_000, 1, 1), [torch.full((1, 1, 1), 0.1)] * 4
    weights = annealed_weights(*densities, start, sigmoid_schedule(3), steps).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert (weights.mean() - truth.exp()).abs() < 4 * error
    assert error < 0.01 * truth.exp()


def test_weights_are_unbiased_at_the_steps_that_other_chains_have_found():
    # A step that followed the weighed chains took the mean weight to 1.13 of what it is.
    torch.manual_seed(0)
    densities, truth = line(2.0, scale=0.1)
    betas, pilots, start = sigmoid_schedule(200), torch.randn(1, 4000, 1), torch.randn(1, 4000, 1)
    steps = step_sizes(*densities, pilots, betas)
    assert len(steps[100].unique()) > 1  # for each image its own
    up = annealed_weights(*densities, start, betas, steps) - truth
    code = 2 / 1.01 + 0.1 / math.sqrt(1.01) * start
    down = annealed_weights(*densities, code, betas[::-1], steps[::-1]) + truth
    for weights in (up.exp(), down.exp()):
        error = weights.std() / math.sqrt(weights.numel())
        assert error < 0.04
        assert (weights.mean() - 1).abs() < 4 * error


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_move_leaves_its_density_as_it_is(beta):
    torch.manual_seed(0)
    # N(0, 1) times N(z; 2, 1 / 4) to the power of beta.
    precision = 1 + 4 * beta
    mean, std = 8 * beta / precision, precision**-0.5
    densities = (
        lambda z: -0.5 * z.square().sum(-1),
        lambda z: -2 * (z - 2).square().sum(-1),
    )
    # Long steps, of which many are refused: without that the density would not stay.
    step = torch.full((1, 1, 1), 1.8 * std)
    state = State.at(mean + std * torch.randn(20_000, 1, 1), *densities)
    for _ in range(10):
        state, acceptance = move(state, beta, step, *densities)
    assert 0.3 < acceptance.mean() < 0.95
    torch.testing.assert_close(state.z.mean().item(), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(state.z.std().item(), std, atol=0.02, rtol=0)
    fresh = State.at(state.z, *densities)
    for kept, found in zip(state, fresh, strict=True):
        torch.testing.assert_close(kept, found)


def test_the_schedule_is_densest_at_its_ends():
    betas = torch.tensor(sigmoid_schedule(100))
    steps = betas.diff()
    assert betas[0] == 0
    assert betas[-1] == 1
    assert steps.argmin() in (0, 99)
    torch.testing.assert_close(steps, steps.flip(0))
    assert (steps[:50].diff() > 0).all()
    assert sigmoid_schedule(1) == [0, 1]


class Conditional:
    """Images of one pixel around a code that is around its condition."""

    likelihood, prior = Linear(), None

    def prior_given(self, y=None):
        class Shifted:
            def log_prob(self, z):
                return Normal(y.unsqueeze(-1), 1).log_prob(z).sum(-1)

            def sample(self, n):
                assert n == len(y)
                return torch.normal(y.unsqueeze(-1), 1.0)

        return Shifted()

    def output(self, z, y=None):
        return z.unflatten(-1, (1, 1, 1))

    def log_likelihood(self, x, z, y=None):
        return self.likelihood.log_prob(self.output(z, y), x)


def test_every_image_keeps_its_condition():
    y = 3 * torch.arange(7).double()
    x = y.view(7, 1, 1, 1) + 0.3
    nll = annealed_nll(Conditional(), Batch(x, y), Annealing(200, 50))
    expected = -Normal(y, math.sqrt(1 + SCALE**2)).log_prob(x.flatten())
    torch.testing.assert_close(nll, expected, atol=0.1, rtol=0)
    gap = bidirectional_gap(Conditional(), Batch(x, y), Annealing(200, 50))
    assert gap.abs().max() < 0.1


def test_numbers_come_with_their_protocol_and_leave_the_random_stream_alone():
    model, marginal = linear_vae()
    batch, _ = images(marginal, 4)
    steps = []
    measure = partial(annealing, model, batch, Annealing(3, 20))
    torch.manual_seed(5)
    first = measure(seed=0, progress=steps.append)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert measure(seed=0, progress=steps.append) == first
    assert measure(seed=1, progress=steps.append) != first
    assert first["ais_nll"].unit == first["bdmc_gap"].unit == "nats"
    assert first["ais_nll"].standard_error > 0
    for part in ("4 images", "3 chains", "20 temperatures", "10 leapfrog"):
        assert part in first["ais_nll"].note


@pytest.mark.parametrize(("chains", "paths"), [(3, 15), (6, 26)])
def test_progress_counts_the_moves_of_chains_as_few_of_which_find_the_steps(chains, paths):
    model, marginal = linear_vae()
    how, steps = Annealing(chains, 20), []
    annealing(model, images(marginal, 4)[0], how, 0, steps.append)
    assert sum(steps) == 4 * how.moves == 4 * 20 * paths


@pytest.mark.parametrize(
    ("condition", "y", "said"),
    [
        (ClassCondition, torch.zeros(2, dtype=torch.long), "log p(x|y) "),
        (PartialCondition, torch.ones(2, 2, 4, 4), "log p(x|y) of the unknown pixels alone "),
    ],
)
def test_annealing_names_the_condition(condition, y, said):
    model = CVAE((1, 4, 4), 2, condition=condition).eval()
    found = annealing(model, Batch(torch.ones(2, 1, 4, 4), y), Annealing(2, 3), 0, lambda n: None)
    assert all(said in measure.note for measure in found.values())


def test_images_are_annealed_a_part_at_a_time():
    model, marginal = linear_vae()
    batch, nll = images(marginal, 5)
    # 400 chains leave room for two images.
    annealed = annealed_nll(model, batch, Annealing(400, 50))
    torch.testing.assert_close(annealed, nll, atol=0.1, rtol=0)


def test_weights_of_the_model_get_no_gradient():
    model, marginal = linear_vae()
    annealed_nll(model, images(marginal, 2)[0], Annealing(2, 3))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_be_annealed_is_refused():
    assert isinstance(VAE((1, 4, 4)), Generates)
    check_annealing(VAE((1, 4, 4)))
    with pytest.raises(LabError, match=r"Annealed importance sampling needs .* Autoencoder"):
        check_annealing(Autoencoder((1, 4, 4)))
    choices = {
        "prior": partial(Uniform, classes=2),
        "posterior": partial(GumbelSoftmax, classes=2),
    }
    with pytest.raises(LabError, match="discrete"):
        check_annealing(VAE((1, 4, 4), 4, **choices))
    with pytest.raises(LabError, match="temperatures is at least 1"):
        sigmoid_schedule(0)


def test_a_model_that_has_diverged_is_refused():
    model, marginal = linear_vae()
    nn.init.constant_(model.decoder[0].weight, math.nan)
    with pytest.raises(LabError, match="ais_nll"):
        annealing(model, images(marginal, 2)[0], Annealing(2, 3), 0, lambda n: None)


# lab evaluate


class Data:
    """Black and white noise."""

    splits = ("train", "test")

    def images(self, split, n=None):
        x = torch.rand(30, 1, 2, 2, generator=torch.Generator().manual_seed(0)).round()
        return Batch(x[:n], torch.zeros(30, dtype=torch.long)[:n])

    def protocol(self, split):
        return {"data": "Data", "binarize": "static-own"}


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Lay out a checkpoint that is loaded as `model` with its data."""

    def lay(model):
        monkeypatch.setattr(module, "load_model", lambda path: model.eval())
        monkeypatch.setattr(module, "load_data", lambda path: Data())
        (tmp_path / "best.ckpt").touch()
        return str(tmp_path / "best.ckpt")

    return lay


def test_evaluate_anneals_so_many_images_where_asked_to(checkpoint, tmp_path):
    path = checkpoint(VAE((1, 2, 2), 2))
    evaluate(path, importance_samples=0)
    assert "test/ais_nll" not in json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    few = {"ais_images": 5, "ais_chains": 2, "ais_temperatures": 3}
    evaluate(path, importance_samples=2000, ais=True, **few)
    found = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    for part in ("first 5 images", "2 chains, 3 temperatures", "static-own", "seed 0"):
        assert part in found["test/ais_nll"]["protocol"]
    assert "5 images drawn from the model" in found["test/bdmc_gap"]["protocol"]


def test_evaluate_refuses_to_anneal_before_it_measures(checkpoint):
    with pytest.raises(LabError, match="Autoencoder cannot"):
        evaluate(checkpoint(Autoencoder((1, 2, 2), 2)), ais=True)
    with pytest.raises(LabError, match="at least 1"):
        evaluate(checkpoint(VAE((1, 2, 2), 2)), ais=True, ais_chains=0)


def test_probabilities_of_8_bit_values_are_told_in_bits_per_dimension_too():
    class Bounded:
        likelihood = DiscretizedLogisticMixture()

        def log_weights(self, x, samples, y=None):
            return torch.full((samples, len(x)), -8.0)

    batch = Batch(torch.rand(3, 3, 2, 2), torch.zeros(3))
    found = bounds(Bounded(), batch, 5, 0, lambda n: None)
    for key in ("elbo_bits_per_dim", "nll_bits_per_dim"):
        assert found[key].unit == "bits/dim"
        assert found[key].value == pytest.approx(8 / (12 * math.log(2)))
    condition = partial(AttributeCondition, attributes=1)
    model = CVAE((3, 2, 2), condition=condition, likelihood=DiscretizedLogisticMixture).eval()
    batch = Batch(batch.x, torch.zeros(3, 1))
    found = bounds(model, batch, 5, 0, lambda n: None)
    found |= annealing(model, batch, Annealing(2, 3), 0, lambda n: None)
    for key in ("elbo", "nll", "mc_nll", "ais_nll"):
        bits = abs(found[key].value) / (12 * math.log(2))
        assert found[f"{key}_bits_per_dim"].value == pytest.approx(bits)
    images = Batch(torch.rand(3, *SHAPE).double(), torch.zeros(3))
    found = bounds(linear_vae()[0], images, 5, 0, lambda n: None)
    assert not [key for key in found if "bits" in key]


def test_a_standard_error_is_told_in_the_units_of_its_number():
    class Bounded:
        likelihood = DiscretizedLogisticMixture()

        def log_weights(self, x, samples, y=None):
            return torch.linspace(-9, -7, len(x)).expand(samples, -1)

    found = bounds(Bounded(), Batch(torch.rand(3, 3, 2, 2), torch.zeros(3)), 5, 0, lambda n: None)
    for key in ("elbo", "nll"):
        expected = found[key].standard_error / (12 * math.log(2))
        assert found[f"{key}_bits_per_dim"].standard_error == pytest.approx(expected)
