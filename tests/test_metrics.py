"""The metrics against closed forms, constructed cases and published anchors."""

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vae_lab.contracts import Batch, Bounds
from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, DiscretizedLogisticMixture, Gaussian
from vae_lab.losses import gaussian_kl
from vae_lab.metrics.codes import (
    knn_accuracy,
    linear_probe_accuracy,
    pca_reconstruction,
    squared_error_per_image,
)
from vae_lab.metrics.evidence import _rows, bounds
from vae_lab.metrics.likelihood import active_units, elbo_terms, importance_nll
from vae_lab.metrics.measures import Measure
from vae_lab.metrics.suite import measure
from vae_lab.models import VAE
from vae_lab.priors import MixtureOfGaussians


class LinearGaussian:
    """Probabilistic PCA, x = W z + mu + sigma eps, whose likelihood has a closed form.

    The proposal is the exact posterior, moved by `shift` and widened by `widen`.
    """

    latent_dim = 3

    def __init__(self, shift: float = 0.0, widen: float = 1.0) -> None:
        stream = torch.Generator().manual_seed(0)
        self.W = torch.randn(8, 3, dtype=torch.float64, generator=stream)
        self.mu = torch.randn(8, dtype=torch.float64, generator=stream)
        self.sigma, self.shift, self.widen = 0.7, shift, widen
        self.gram = self.W.T @ self.W + self.sigma**2 * torch.eye(3, dtype=torch.float64)

    @property
    def marginal(self) -> MultivariateNormal:
        noise = self.sigma**2 * torch.eye(8, dtype=torch.float64)
        return MultivariateNormal(self.mu, self.W @ self.W.T + noise)

    def posterior(self, x: Tensor, shift: float, widen: float) -> MultivariateNormal:
        mean = torch.linalg.solve(self.gram, (x - self.mu) @ self.W, left=False)
        return MultivariateNormal(mean + shift, widen * self.sigma**2 * torch.inverse(self.gram))

    def log_weights(self, x: Tensor, samples: int, y: Tensor | None = None) -> Tensor:
        q = self.posterior(x, self.shift, self.widen)
        z = q.sample((samples,))
        prior = Normal(torch.zeros_like(z), 1).log_prob(z).sum(-1)
        likelihood = Normal(z @ self.W.T + self.mu, self.sigma).log_prob(x).sum(-1)
        return likelihood + prior - q.log_prob(z)

    def elbo(self, x: Tensor) -> Tensor:
        gap = kl_divergence(
            self.posterior(x, self.shift, self.widen), self.posterior(x, shift=0.0, widen=1.0)
        )
        return self.marginal.log_prob(x) - gap


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return LinearGaussian().marginal.sample((400,))


def pca_error(train, test, k):
    restored = pca_reconstruction(train, test, k)
    return squared_error_per_image(test.float(), restored).mean().item()


@pytest.mark.parametrize(("samples", "rows"), [(1, 800), (7, 3), (100, 800), (1001, 64)])
def test_nll_is_exact_under_the_exact_posterior_for_any_samples_and_chunks(x, samples, rows):
    model = LinearGaussian()
    nll = importance_nll(model.log_weights, x[:30], samples, rows)
    torch.testing.assert_close(nll, -model.marginal.log_prob(x[:30]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("samples", [1000, 20_000])
def test_nll_converges_under_a_wrong_proposal_as_its_variance_says(x, samples):
    model = LinearGaussian(shift=0.2, widen=1.5)
    nll = importance_nll(model.log_weights, x[:50], samples, rows=20_000)
    # For two Gaussians, E w^2 / (E w)^2 is (c / sqrt(2c - 1))^D exp(shift' P shift / (2c - 1)).
    distance = model.shift**2 * model.gram.sum() / model.sigma**2
    moment = (1.5 / 2**0.5) ** 3 * math.exp(distance / 2)
    standard_error = math.sqrt((moment - 1) / samples)
    error = nll + model.marginal.log_prob(x[:50])
    assert error.abs().max() < 4 * standard_error
    assert error.square().mean().sqrt() == pytest.approx(standard_error, rel=0.4)


def test_the_bound_rises_with_samples_from_the_elbo_to_the_likelihood(x):
    model = LinearGaussian(shift=0.3, widen=1.5)
    bounds = [
        -importance_nll(model.log_weights, x, k, rows=10_000).mean() for k in (1, 2, 5, 20, 500)
    ]
    assert all(low < high for low, high in pairwise(bounds))
    assert bounds[0] == pytest.approx(model.elbo(x).mean().item(), abs=0.15)
    assert bounds[-1] == pytest.approx(model.marginal.log_prob(x).mean().item(), abs=0.02)


def test_one_sample_is_the_elbo(x):
    model = LinearGaussian(shift=0.3, widen=1.5)
    torch.manual_seed(0)
    nll = importance_nll(model.log_weights, x, 1, rows=len(x))
    torch.manual_seed(0)
    terms = elbo_terms(lambda b: {"elbo": model.log_weights(b.x, 1)[0]}, [Batch(x, x)])
    assert torch.equal(-nll, terms["elbo"])

    many = model.log_weights(x, 2000)
    error = many.std(0) / math.sqrt(2000)
    assert ((many.mean(0) - model.elbo(x)).abs() < 5 * error).all()


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 50))
def test_every_image_gets_exactly_its_samples_in_chunks_of_bounded_size(images, samples, rows):
    drawn, done = torch.zeros(images, dtype=torch.long), []

    def log_weights(index: Tensor, count: int) -> Tensor:
        assert count * len(index) <= rows
        drawn[index] += count
        return index.expand(count, -1).float()

    nll = importance_nll(log_weights, torch.arange(images), samples, rows, done.append)
    assert (drawn == samples).all()
    assert sum(done) == images
    torch.testing.assert_close(nll, -torch.arange(images).double())


def test_weights_of_improbable_images_neither_underflow_nor_lose_digits():
    nll = importance_nll(lambda x, n: torch.full((n, len(x)), -1e5), torch.zeros(2), 5000)
    torch.testing.assert_close(nll, torch.full((2,), 1e5, dtype=torch.float64))


def test_nll_refuses_no_samples_and_misshapen_weights():
    with pytest.raises(LabError, match="samples"):
        importance_nll(lambda x, n: x, torch.zeros(3), 0)
    with pytest.raises(LabError, match="shape"):
        importance_nll(lambda x, n: torch.zeros(len(x), n), torch.zeros(1), 700)


def test_elbo_terms_are_collected_for_each_image_and_completed():
    batches = [Batch(torch.full((n, 1), float(n)), torch.zeros(n)) for n in (3, 2)]
    terms = elbo_terms(
        lambda b: {"reconstruction": b.x[:, 0], "kl": 2 * b.x[:, 0], "loss": b.x[:, 0]}, batches
    )
    assert terms.keys() == {"elbo", "reconstruction", "kl"}
    assert terms["elbo"].tolist() == [-9, -9, -9, -6, -6]
    with pytest.raises(LabError, match="loss"):
        elbo_terms(lambda b: {"loss": b.x[:, 0]}, batches)


def test_active_units_count_the_dimensions_whose_mean_moves():
    torch.manual_seed(0)
    means = torch.randn(5000, 4) * torch.tensor([1.0, 0.11, 0.09, 0.0]) + 3
    assert active_units(means) == 2
    with pytest.raises(LabError):
        active_units(means[:1])


def test_squared_error_sums_pixels_and_clips_nothing():
    x = torch.zeros(2, 1, 2, 2)
    x_hat = torch.stack([torch.full((1, 2, 2), 2.0), torch.zeros(1, 2, 2)])
    assert squared_error_per_image(x, x_hat).tolist() == [16, 0]
    with pytest.raises(LabError, match="shape"):
        squared_error_per_image(x, x_hat[:, :, 0])


def test_pca_restores_what_lies_in_its_plane_and_no_more():
    torch.manual_seed(0)
    plane = torch.randn(200, 2) @ torch.randn(2, 12)
    images = (plane + 1).reshape(200, 1, 3, 4)
    assert pca_error(images[:100], images[100:], 2) < 1e-6
    assert pca_reconstruction(images[:100], images[100:], 2).shape == (100, 1, 3, 4)
    # What one component leaves of the fitted images is the second one's variance.
    eigenvalues = torch.linalg.svdvals(plane - plane.mean(0)).square() / 200
    assert pca_error(images, images, 1) == pytest.approx(eigenvalues[1].item(), rel=1e-4)


@pytest.mark.parametrize("k", [0, 13])
def test_pca_refuses_components_that_do_not_exist(k):
    with pytest.raises(LabError, match="between 1 and 12"):
        pca_error(torch.rand(50, 1, 3, 4), torch.rand(5, 1, 3, 4), k)


def clusters(n: int) -> tuple[Tensor, Tensor]:
    y = torch.arange(n) % 3
    centres = torch.tensor([[0.0, 0, 0], [100, 0, 0], [0, 0, 1]])
    return centres[y] + 0.01 * torch.randn(n, 3), y


def test_probes_read_separable_codes_and_guess_at_shuffled_ones():
    torch.manual_seed(0)
    (train, y_train), (test, y_test) = clusters(300), clusters(90)
    for accuracy in (knn_accuracy, linear_probe_accuracy):
        assert accuracy(train, y_train, test, y_test) == 1
        assert accuracy(train, y_train, test, (y_test + 1) % 3) == 0
        assert accuracy(train, y_train[torch.randperm(300)], test, y_test) < 0.6


def test_neighbours_vote_by_majority():
    train, y = torch.tensor([[0.0], [0.2], [0.3], [5.0]]), torch.tensor([1, 0, 0, 1])
    probe = torch.tensor([[0.01]]), torch.tensor([0])
    assert knn_accuracy(train, y, *probe, k=1) == 0
    assert knn_accuracy(train, y, *probe, k=3) == 1


def test_probes_refuse_what_they_cannot_learn_from():
    codes, y = torch.rand(4, 2), torch.zeros(4, dtype=torch.long)
    with pytest.raises(LabError, match="neighbours"):
        knn_accuracy(codes, y, codes, y)
    with pytest.raises(LabError, match="classes"):
        linear_probe_accuracy(codes, y, codes, y)


@pytest.mark.parametrize(
    ("value", "images", "error"),
    [(0.0, 9, None), (1.0, 9, None), (1.0, 1, None), (0.5, 1, None), (0.2, 100, 0.04)],
)
def test_a_share_has_a_standard_error_where_images_differ(value, images, error):
    found = Measure.share(value, images, "").standard_error
    assert found is None if error is None else found == pytest.approx(error)


def test_a_model_that_only_bounds_is_measured_reproducibly(x):
    model, images = LinearGaussian(shift=0.3), Batch(x, torch.zeros(len(x)))
    assert isinstance(model, Bounds)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = measure(model, images, lambda: images, samples=200, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.keys() == {"elbo", "nll"}
    assert found["nll"].value < -found["elbo"].value
    exact = -model.marginal.log_prob(x).mean().item()
    assert found["nll"].value == pytest.approx(exact, abs=5 * found["nll"].standard_error)
    # The likelihood's noise does not depend on what was measured before it.
    torch.manual_seed(3)
    assert found["nll"].value == importance_nll(model.log_weights, x, 200).mean().item()


@pytest.mark.parametrize(
    ("likelihood", "outputs"),
    [
        (Bernoulli(), 3),
        (Gaussian(), 3),
        (Gaussian(learned="pixel"), 6),
        (DiscretizedLogisticMixture(5), 50),
    ],
)
def test_the_more_a_pixel_takes_the_fewer_codes_are_decoded_at_once(likelihood, outputs):
    images = Batch(torch.empty(1, 3, 32, 32), torch.empty(1))
    rows = _rows(SimpleNamespace(likelihood=likelihood), images)
    assert rows == 1700 * 784 // (outputs * 32 * 32)


def test_codes_of_a_bound_are_decoded_so_many_at_a_time():
    model = VAE((1, 28, 28), latent_dim=2, importance_samples=50).eval()
    rows = []
    model.decoder.register_forward_hook(lambda net, codes, out: rows.append(len(codes[0])))
    images = Batch(torch.rand(100, 1, 28, 28), torch.zeros(100))
    bounds(model, images, 0, 0, lambda n: None)
    assert max(rows) == 1700
    assert sum(rows) == 5000


def test_a_divergence_is_the_sum_of_those_of_the_codes_dimensions():
    model = VAE((1, 2, 3), 3).eval()
    batch = Batch(torch.rand(7, 1, 2, 3).round(), torch.zeros(7))
    kl = bounds(model, batch, 0, 0, lambda n: None)["kl"]
    expected = gaussian_kl(*model.posterior(batch.x)).mean(0)
    torch.testing.assert_close(torch.tensor(kl.parts), expected)
    assert sum(kl.parts) == pytest.approx(kl.value)
    mixed = VAE((1, 2, 3), 3, prior=MixtureOfGaussians).eval()
    assert bounds(mixed, batch, 0, 0, lambda n: None)["kl"].parts == ()


def test_conditions_stay_with_their_images():
    class Conditional:
        def log_weights(self, x: Tensor, samples: int, y: Tensor | None = None) -> Tensor:
            assert torch.equal(x, y)
            return x.expand(samples, -1)

    x = torch.arange(1000.0)
    found = measure(Conditional(), Batch(x, x), lambda: Batch(x, x), samples=9, seed=0)
    assert found["nll"].value == pytest.approx(-499.5)


@pytest.fixture(scope="module")
def mnist(mnist_root: Path) -> dict[str, Tensor]:
    """Read the raw files, so that the anchors rest on nothing of ours but the metrics."""
    root = mnist_root / "MNIST" / "raw"

    def read(name: str, header: int) -> Tensor:
        return torch.frombuffer(bytearray((root / name).read_bytes()[header:]), dtype=torch.uint8)

    return {
        split: Batch(
            read(f"{prefix}-images-idx3-ubyte", 16).view(-1, 1, 28, 28) / 255,
            read(f"{prefix}-labels-idx1-ubyte", 8).long(),
        )
        for split, prefix in (("train", "train"), ("test", "t10k"))
    }


@pytest.mark.parametrize(("k", "anchor"), [(2, 43.645), (30, 13.866)])
def test_pca_reaches_its_anchor_on_mnist(mnist, k, anchor):
    error = pca_error(mnist["train"].x, mnist["test"].x, k)
    assert error == pytest.approx(anchor, abs=6e-4)


def test_neighbours_of_pca_codes_reach_their_anchor_on_mnist(mnist):
    from sklearn.decomposition import PCA

    train, test = mnist["train"], mnist["test"]
    pca = PCA(30).fit(train.x.flatten(1).numpy())
    codes = [torch.from_numpy(pca.transform(b.x.flatten(1).numpy())) for b in (train, test)]
    assert knn_accuracy(codes[0], train.y, codes[1], test.y) == pytest.approx(0.9755, abs=2e-4)


def test_grey_pixels_under_a_bernoulli_are_not_called_a_likelihood():
    model = VAE((1, 4, 4), latent_dim=2).eval()
    grey = Batch(torch.full((6, 1, 4, 4), 0.5), torch.zeros(6))
    binary = Batch(grey.x.round(), grey.y)
    assert "no likelihood" in bounds(model, grey, 2, 0, lambda count: None)["nll"].note
    assert "no likelihood" not in bounds(model, binary, 2, 0, lambda count: None)["nll"].note
