"""Adversarial losses and penalties against closed forms."""

import math

import pytest
import torch

from vae_lab.adversarial_losses import (
    R1,
    GradientPenalty,
    Hinge,
    LeastSquares,
    NonSaturating,
    Saturating,
    Wasserstein,
    gradient_norm,
)
from vae_lab.errors import LabError

REAL, FAKE = torch.tensor([0.5, -2.0]), torch.tensor([1.5, 0.25])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("loss", "critic", "generator"),
    [
        (
            NonSaturating,
            lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
            lambda f: -math.log(sigmoid(f)),
        ),
        (
            Saturating,
            lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
            lambda f: math.log(1 - sigmoid(f)),
        ),
        (LeastSquares, lambda r, f: ((r - 1) ** 2 + f**2) / 2, lambda f: (f - 1) ** 2 / 2),
        (Hinge, lambda r, f: max(0, 1 - r) + max(0, 1 + f), lambda f: -f),
        (Wasserstein, lambda r, f: f - r, lambda f: -f),
    ],
)
def test_losses_are_what_the_papers_say(loss, critic, generator):
    expected = [critic(r, f) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)]
    torch.testing.assert_close(loss().critic(REAL, FAKE), torch.tensor(expected))
    expected = [generator(f) for f in FAKE.tolist()]
    torch.testing.assert_close(loss().generator(FAKE), torch.tensor(expected))


def test_a_critic_that_cannot_tell_loses_log_four():
    loss = Saturating().critic(torch.zeros(3), torch.zeros(3))
    torch.testing.assert_close(loss, torch.full((3,), math.log(4)))


def test_scores_of_any_size_give_finite_losses():
    scores = torch.tensor([-1e4, 1e4])
    for loss in (NonSaturating(), Saturating()):
        assert loss.critic(scores, -scores).isfinite().all()
        assert loss.generator(scores).isfinite().all()


def test_what_a_score_says_is_a_probability_where_the_loss_is_logistic():
    torch.testing.assert_close(NonSaturating().output(REAL), REAL.sigmoid())
    assert torch.equal(Wasserstein().output(REAL), REAL)


def linear(weight):
    return lambda x: x.flatten(1) @ weight


def test_penalties_of_a_linear_critic_are_those_of_its_weight():
    weight = torch.tensor([3.0, 4.0, 0.0, 0.0])
    real, fake = torch.randn(5, 1, 2, 2), torch.randn(5, 1, 2, 2)
    torch.testing.assert_close(gradient_norm(linear(weight), real), torch.full((5,), 5.0))
    found = GradientPenalty(10)(linear(weight), real, fake)
    torch.testing.assert_close(found, torch.full((5,), 10 * 16.0))
    torch.testing.assert_close(R1(4)(linear(weight), real, fake), torch.full((5,), 50.0))


def test_penalties_look_where_they_should():
    """A quadratic critic's slope is the distance from the origin."""

    def square(x):
        return 0.5 * x.flatten(1).square().sum(1)

    real, fake = torch.full((64, 1, 2, 2), 3.0), torch.ones(64, 1, 2, 2)
    torch.testing.assert_close(R1(2)(square, real, fake), torch.full((64,), 36.0))
    slopes = (GradientPenalty(1)(square, real, fake).sqrt() + 1) / 2
    assert 1 <= slopes.min() < 1.3 < 2.7 < slopes.max() <= 3


def test_penalties_have_gradients_even_where_the_slope_is_zero():
    weight = torch.zeros(4, requires_grad=True)
    images = torch.randn(5, 1, 2, 2)
    for penalty in (R1(), GradientPenalty()):
        (gradient,) = torch.autograd.grad(penalty(linear(weight), images, images).sum(), weight)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_is_a_positive_number(weight):
    with pytest.raises(LabError, match="above 0"):
        GradientPenalty(weight)
