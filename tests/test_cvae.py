"""What a condition does to a VAE."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from vae_lab.conditions import AttributeCondition, ClassCondition, ImageCondition, PartialCondition
from vae_lab.contracts import Batch
from vae_lab.data import Digits
from vae_lab.data.quadrants import quadrants
from vae_lab.errors import LabError
from vae_lab.likelihoods import DiscretizedLogisticMixture, Gaussian, Likelihood
from vae_lab.metrics.evidence import bounds
from vae_lab.metrics.samples import agreement
from vae_lab.metrics.suite import measure
from vae_lab.models import CVAE, VAE, FeedForward
from vae_lab.nets import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from vae_lab.posteriors import BottomUp, GumbelSoftmax
from vae_lab.priors import MixtureOfGaussians, Moved, StandardNormal, TopDown, Uniform, VampPrior
from vae_lab.randomness import reseed

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)

MLP = {
    "encoder": partial(MLPEncoder, hidden=(64,)),
    "decoder": partial(MLPDecoder, hidden=(64,)),
}
NETS = {
    "mlp": MLP,
    "conv": {
        "encoder": partial(ConvEncoder, channels=(8, 16), hidden=32),
        "decoder": partial(ConvDecoder, channels=(16, 8), hidden=32),
    },
    "residual": {
        "encoder": partial(ResidualEncoder, channels=(8, 16)),
        "decoder": partial(ResidualDecoder, channels=(16, 8)),
    },
}
CONDITIONS = {
    "class": (ClassCondition, torch.arange(8)),
    "attributes": (partial(AttributeCondition, attributes=3), torch.randn(8, 3)),
    "image": (partial(ImageCondition, channels=2, features=5), torch.rand(8, 2, 9, 7)),
    "part": (PartialCondition, quadrants(torch.rand(8, 1, 9, 7).round(), 2)),
}


def build(shape=(1, 8, 8), **settings):
    """Return a small CVAE, the same at every call."""
    torch.manual_seed(0)
    return CVAE(shape, **{"latent_dim": 4, **MLP, **settings})


def moved(model):
    """Draw a conditional prior's weights, which begin at zero."""
    torch.manual_seed(5)
    nn.init.normal_(model.place.weight, 0, 0.5)
    return model


# any condition, any nets


@pytest.mark.parametrize("nets", NETS)
@pytest.mark.parametrize("kind", CONDITIONS)
@pytest.mark.parametrize("switch", [False, True], ids=["N(0, I)", "p(z|y)"])
def test_a_condition_reaches_every_part_in_nets_of_any_kind(nets, kind, switch):
    condition, y = CONDITIONS[kind]
    model = build((1, 9, 7), condition=condition, conditional_prior=switch, **NETS[nets])
    x = torch.rand(8, 1, 9, 7).round()
    model.terms(Batch(x, y))["loss"].mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    if switch:
        moved(model)
    model.eval()
    other = y.flip(0)
    z = torch.randn(8, 4)
    assert not torch.allclose(model.encode(x, y), model.encode(x, other))
    assert not torch.allclose(model.decode(z, y), model.decode(z, other))
    gap = model.prior_given(y).log_prob(z) - model.prior_given(other).log_prob(z)
    assert bool(gap.abs().max() > 1e-3) == switch


def digits(n=None, **settings):
    data = Digits(binarize="threshold", **settings)
    return data.images("train", n), data.images("test", n)


def train(model, batch, steps=250):
    adam = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(steps):
        reseed(step)
        rows = torch.randint(len(batch.x), (100,))
        adam.zero_grad()
        model.terms(Batch(batch.x[rows], batch.y[rows]))["loss"].mean().backward()
        adam.step()
    return model.eval()


@pytest.fixture(scope="module")
def learned():
    """A CVAE with a prior for each class, after a short training on the embedded digits."""
    return train(build(conditional_prior=True), digits()[0])


def bound(model, batch):
    reseed(0)
    with torch.inference_mode():
        return model.terms(batch)["elbo"].mean().item()


def test_permuted_labels_hurt_the_bound(learned):
    x, y = digits()[1]
    right, wrong = bound(learned, Batch(x, y)), bound(learned, Batch(x, (y + 3) % 10))
    assert right > wrong + 3
    # A model without labels has to learn the class from the image, and pays for it in nats.
    torch.manual_seed(0)
    plain = train(VAE((1, 8, 8), 4, **MLP), digits()[0])
    assert right > bound(plain, Batch(x, y)) + 0.5


def test_samples_agree_with_their_class_more_often_than_chance(learned):
    x, y = digits()[0]

    class Nearest:
        """Names the class whose mean image is nearest."""

        def log_probs(self, images):
            means = torch.stack([x[y == k].mean(0) for k in range(10)]).flatten(1)
            return -torch.cdist(images.flatten(1), means)

    found = agreement(learned, Nearest(), 50, 0, "judged by the nearest mean")
    assert found["label_agreement"].value > 0.7
    assert found["least_label_agreement"].value <= found["label_agreement"].value
    assert "judged by the nearest mean" in found["label_agreement"].note
    reseed(1)
    before = torch.rand(1)
    reseed(1)
    agreement(learned, Nearest(), 5, 0, "")
    assert torch.equal(torch.rand(1), before)


def test_without_a_class_each_sample_draws_its_own(learned):
    reseed(3)
    drawn = learned.sample(6)
    reseed(3)
    y = torch.randint(10, (6,))
    torch.testing.assert_close(drawn, learned.sample(6, y))


# the prior of a condition


@pytest.mark.parametrize("base", [StandardNormal, MixtureOfGaussians])
def test_a_moved_prior_is_a_density_that_its_draws_follow(base):
    model = moved(build(latent_dim=1, prior=base, conditional_prior=True))
    model.requires_grad_(False)
    prior = model.prior_given(torch.tensor([7]))
    assert isinstance(prior, Moved)
    grid = torch.linspace(-30, 30, 60001).view(-1, 1, 1)
    density = prior.log_prob(grid).exp()
    assert density.sum() * 1e-3 == pytest.approx(1, abs=1e-4)
    torch.manual_seed(0)
    many = model.prior_given(torch.full((20000,), 7)).sample(20000)
    mean = (density * grid[..., 0]).sum() * 1e-3
    assert many.mean().item() == pytest.approx(mean.item(), abs=0.05)


def test_its_divergence_is_the_sampled_one():
    model = moved(build(conditional_prior=True))
    x, y = torch.rand(3, 1, 8, 8), torch.tensor([1, 1, 8])
    posterior, prior = model.posterior(x, y), model.prior_given(y)
    z = posterior.sample(40000)
    sampled = (posterior.log_prob(z) - prior.log_prob(z)).mean(0)
    torch.testing.assert_close(prior.kl(posterior, z).sum(1), sampled, rtol=0.02, atol=0.02)


def test_two_layers_can_be_moved_too():
    parts = {"posterior": partial(BottomUp, top=2), "prior": partial(TopDown, top=2)}
    model = moved(build(conditional_prior=True, **parts))
    assert model.terms(Batch(torch.rand(3, 1, 8, 8), torch.arange(3)))["loss"].isfinite().all()


def test_a_style_keeps_its_place_under_another_prior():
    model, y, to = moved(build(conditional_prior=True)), torch.arange(5), torch.arange(5, 10)
    z = model.transfer(torch.randn(5, 4), y, to)
    torch.testing.assert_close(model.transfer(model.transfer(z, to, y), y, to), z)
    place = model.prior_given(y).place.mean
    there = model.prior_given(to).place.mean
    torch.testing.assert_close(model.transfer(place, y, to), there)
    assert build().transfer(z, y, to) is z


# likelihoods given a condition, against one that is known


class Slope(nn.Linear, Encoder):
    """A linear encoder."""

    def __init__(self, shape, features):
        super().__init__(math.prod(shape), features)

    def forward(self, x):
        return super().forward(x.flatten(1))


class Lift(nn.Linear, Decoder):
    """A linear decoder."""

    def __init__(self, features, shape):
        super().__init__(features, math.prod(shape))
        self.shape = shape

    def forward(self, z):
        return super().forward(z).view(-1, *self.shape)


class Noisy(Likelihood):
    """Pixels around the decoder's output itself, 0.7 away from it."""

    def log_prob(self, output, x):
        return Normal(output, 0.7).log_prob(x).flatten(-3).sum(-1)

    def mean(self, output):
        return output

    def sample(self, output):
        return Normal(output, 0.7).sample()


@pytest.fixture
def linear():
    """A CVAE of four pixels of which p(x|y) is a Gaussian, and what it is for each y."""
    condition = partial(AttributeCondition, attributes=2)
    nets = {"encoder": Slope, "decoder": Lift, "condition": condition}
    model = build((1, 2, 2), latent_dim=2, likelihood=Noisy, conditional_prior=True, **nets)
    moved(model).requires_grad_(False).eval()
    nn.init.normal_(model.decoder.weight, 0, 0.5)
    nn.init.normal_(model.encoder.weight, 0, 0.1)

    def exact(x, y):
        prior = model.prior_given(y).place
        weight = model.decoder.weight
        mean = torch.cat([prior.mean, y], 1) @ weight.T + model.decoder.bias
        code = weight[:, :2]
        covariance = code @ torch.diag_embed(prior.log_variance.exp()) @ code.T
        covariance = covariance + 0.49 * torch.eye(4)
        return MultivariateNormal(mean, covariance).log_prob(x.flatten(1))

    return model, exact


def test_both_estimates_of_a_conditional_likelihood_find_the_known_one(linear):
    model, exact = linear
    torch.manual_seed(2)
    images = Batch(torch.rand(12, 1, 2, 2), torch.randn(12, 2))
    found = bounds(model, images, 4000, 0, lambda n: None)
    known = -exact(*images).mean().item()
    assert found["nll"].value == pytest.approx(known, abs=0.02)
    assert found["mc_nll"].value == pytest.approx(known, abs=0.04)
    assert "-log p(x|y) by importance sampling, 4000 samples" in found["nll"].note
    assert "-log p(x|y) by Monte Carlo, 4000 codes" in found["mc_nll"].note
    # It is the condition's own likelihood that is found.
    other = Batch(images.x, images.y.flip(0))
    assert abs(exact(*other).mean().item() + known) > 0.1
    assert found["elbo"].value < -known


# parts of images


def test_quadrants_are_shown_in_pyros_order():
    x = torch.ones(1, 1, 4, 6)
    masks = [quadrants(x, known)[0, 1] for known in (1, 2, 3)]
    assert [int(mask.sum()) for mask in masks] == [6, 12, 18]
    assert masks[0][2:, :3].all()
    assert masks[1][:, :3].all()
    assert not masks[2][2:, 3:].any()


def test_data_give_quadrants_of_the_very_images_drawn():
    data = Digits(binarize="dynamic", quadrants=3, batch_size=50)
    for x, y in (next(iter(data.train_dataloader())), data.images("test", 20)):
        assert y.shape == (len(x), 2, 8, 8)
        assert torch.equal(y[:, 0], x[:, 0] * y[:, 1])
    assert data.protocol("test")["quadrants"] == 3


@pytest.mark.parametrize("known", [1, 3])
@pytest.mark.parametrize("kind", [CVAE, FeedForward])
def test_the_likelihood_counts_unknown_pixels_alone(kind, known):
    torch.manual_seed(0)
    x = torch.rand(5, 1, 8, 8).round()
    y = quadrants(x, known)
    model = kind((1, 8, 8), condition=PartialCondition, decoder=MLP["decoder"])
    z = torch.randn(5, 20)
    with torch.no_grad():
        told = model.output(y) if kind is FeedForward else model.output(z, y)
        mean, hidden = told.sigmoid(), y[:, 1:] == 0
        expected = torch.where(hidden, torch.where(x > 0.5, mean, 1 - mean).log(), 0.0)
        found = model.likelihood.log_prob(told, x)
    torch.testing.assert_close(found, expected.flatten(1).sum(1), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(mean[~hidden], x[~hidden], rtol=0, atol=1e-8)


def test_a_known_pixel_that_is_grey_stays_grey():
    x = torch.rand(5, 1, 8, 8)
    y = quadrants(x, 2)
    told = FeedForward((1, 8, 8), condition=PartialCondition).eval()(y)
    torch.testing.assert_close(told[y[:, 1:] > 0], x[y[:, 1:] > 0])


def test_the_guess_without_a_code_has_an_exact_likelihood():
    torch.manual_seed(0)
    x = torch.rand(6, 1, 8, 8).round()
    images = Batch(x, quadrants(x, 1))
    model = FeedForward((1, 8, 8), condition=PartialCondition).eval()
    found = measure(model, images, lambda: images, 100, 0)
    expected = -model.log_prob(*images).mean().item()
    assert found["nll"].value == pytest.approx(expected, abs=1e-3)
    assert "unknown pixels alone, exact" in found["nll"].note


def test_the_guess_of_colours_has_the_units_of_what_has_a_code():
    images = Batch(torch.rand(6, 3, 4, 4), torch.arange(6))
    settings = {"condition": ClassCondition, "likelihood": DiscretizedLogisticMixture}
    found = measure(FeedForward((3, 4, 4), **settings).eval(), images, lambda: images, 5, 0)
    assert found["nll_bits_per_dim"].value == pytest.approx(
        found["nll"].value / (48 * math.log(2)), rel=1e-6
    )
    assert "log_density" not in found


def test_a_unit_that_says_no_more_than_the_condition_is_not_active(linear):
    model, _ = linear
    images = Batch(torch.rand(50, 1, 2, 2), torch.randn(50, 2))
    said = bounds(model, images, 0, 0, lambda n: None)["active_units"]
    assert said.value == 2
    assert "its condition's prior" in said.note
    with torch.no_grad():
        model.posterior = lambda x, y=None: model.prior_given(y).place
    assert model.encode(*images).var(0).min() > 0.01
    assert bounds(model, images, 0, 0, lambda n: None)["active_units"].value == 0


# what is refused


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: build(prior=partial(VampPrior, pseudo_inputs=3)), "pseudo-inputs have no"),
        (
            lambda: build(
                latent_dim=10, prior=Uniform, posterior=GumbelSoftmax, conditional_prior=True
            ),
            "moves real codes",
        ),
        (lambda: build(condition=PartialCondition, likelihood=Gaussian), "Bernoulli; this is Gau"),
        (lambda: build(condition=partial(ClassCondition, classes=1)), "classes is at least 2"),
        (lambda: build(condition=partial(AttributeCondition, attributes=0)), "attributes is at"),
        (lambda: build(condition=partial(ImageCondition, channels=0)), "channels is at least 1"),
        (lambda: Digits(quadrants=1), "black and white"),
        (lambda: Digits(quadrants=4, binarize="dynamic"), "quadrants is one of"),
    ],
)
def test_parts_that_have_no_meaning_together_are_refused(make, says):
    with pytest.raises(LabError, match=says):
        make()


@pytest.mark.parametrize("kind", CONDITIONS)
def test_a_condition_that_is_missing_or_of_another_kind_is_refused(kind):
    model, x = build((1, 9, 7), condition=CONDITIONS[kind][0]), torch.rand(2, 1, 9, 7)
    for y in (None, torch.rand(2, 4), torch.rand(2, 1, 3, 3)):
        with pytest.raises(LabError, match="needs a condition"):
            model.encode(x, y)
    with pytest.raises(LabError, match="needs a condition"):
        model.decode(torch.randn(2, 4))


def test_classes_beyond_the_conditions_are_refused():
    with pytest.raises(LabError, match=r"0 to 9, and these go from 3 to 12"):
        build().encode(torch.rand(2, 1, 8, 8), torch.tensor([3, 12]))
