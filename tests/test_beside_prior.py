"""A prior beside the aggregate posterior."""

import sys
from functools import partial

import numpy as np
import pytest
import torch

from vae_lab import pictures
from vae_lab.conditions import AttributeCondition
from vae_lab.contracts import Batch
from vae_lab.drawings import DRAWINGS
from vae_lab.errors import LabError
from vae_lab.models import CVAE, VAE, Autoencoder
from vae_lab.posteriors import BottomUp, GumbelSoftmax
from vae_lab.priors import MixtureOfGaussians, StandardNormal, TopDown, Uniform, VampPrior

SHAPE = (1, 4, 5)
LAYERS = {"prior": partial(TopDown, top=2), "posterior": partial(BottomUp, top=2)}
RELAXED = {"prior": partial(Uniform, classes=3), "posterior": partial(GumbelSoftmax, classes=3)}


@pytest.fixture
def figures(monkeypatch):
    """Catch figures before they become pixels."""
    seen = []
    drawing = sys.modules["vae_lab.pictures.prior"]
    monkeypatch.setattr(drawing, "rasterise", lambda f: seen.append(f) or torch.zeros(3, 4, 4))
    return seen


def images(n=40):
    return Batch(torch.rand(n, *SHAPE), torch.arange(n) % 3)


def points(axes):
    return torch.from_numpy(np.asarray(axes.collections[0].get_offsets())).float()


@pytest.mark.parametrize(
    ("make", "size", "contours"),
    [
        (partial(VAE, prior=StandardNormal), 2, True),
        (partial(VAE, prior=MixtureOfGaussians), 2, True),
        (partial(VAE, prior=partial(VampPrior, pseudo_inputs=7)), 2, True),
        (partial(VAE, prior=StandardNormal), 1, False),
        (partial(VAE, prior=MixtureOfGaussians), 5, False),
        (partial(VAE, **LAYERS), 5, False),
        (partial(VAE, **RELAXED), 6, False),
        (CVAE, 2, True),
        (partial(CVAE, conditional_prior=True), 2, False),
    ],
)
def test_every_prior_is_drawn_beside_its_codes(figures, make, size, contours):
    model = make(SHAPE, latent_dim=size).eval()
    drawing = DRAWINGS["beside_prior"]
    drawing.check(model, "this")
    drawing.draw(model, images())
    prior, codes = figures[0].axes
    assert len(points(prior)) == len(points(codes)) == 40
    assert prior.get_xlim() == codes.get_xlim()
    if size > 1:  # upwards nothing is measured of a single dimension
        assert prior.get_ylim() == codes.get_ylim()
    drawn = [
        any("Contour" in type(c).__name__ for c in axes.collections) for axes in (prior, codes)
    ]
    assert drawn == [contours] * 2
    assert (", black around" in prior.get_title()) == contours
    assert type(model.prior).__name__ in figures[0].get_suptitle()


def test_a_prior_given_attributes_is_called_so(figures):
    condition = partial(AttributeCondition, attributes=2)
    model = CVAE(SHAPE, latent_dim=2, condition=condition, conditional_prior=True).eval()
    x = images().x
    DRAWINGS["beside_prior"].draw(model, Batch(x, torch.rand(len(x), 2)))
    assert "draws of the prior p(z|y)" in figures[0].axes[0].get_title()


def test_draws_of_a_moved_prior_have_the_colour_of_the_class_they_were_given(monkeypatch):
    model = CVAE(SHAPE, latent_dim=2, conditional_prior=True).eval()
    model.place.weight.data[0] = 100 * torch.arange(10)  # each class has a place of its own
    seen = []
    monkeypatch.setattr(pictures, "beside_prior", lambda *args: seen.extend(args))
    with torch.inference_mode():
        DRAWINGS["beside_prior"].draw(model, images())
    _, draws, labels, conditions, *_ = seen
    assert torch.equal((draws[:, 0] / 100).round().long(), conditions)
    assert torch.equal(labels, images().y)


def test_draws_without_a_class_have_no_class_s_colour(figures):
    DRAWINGS["beside_prior"].draw(VAE(SHAPE, latent_dim=2).eval(), images())
    prior, codes = (axes.collections[0].get_facecolor()[:, :3] for axes in figures[0].axes)
    assert not {*map(tuple, prior.tolist())} & {*map(tuple, codes.tolist())}


def test_the_plane_is_that_of_the_codes_principal_components(figures):
    codes = torch.randn(500, 4) * torch.tensor([0.1, 5.0, 3.0, 0.1])
    draws = torch.eye(4).repeat(10, 1) * 2
    pictures.beside_prior(codes, draws)
    prior, own = map(points, figures[0].axes)
    share = codes[:, 1].var() / codes.var(0).sum()
    said = f"codes' principal component 1, {share:.0%} of the variance"
    assert [axes.get_xlabel() for axes in figures[0].axes] == [said, said]
    centre = codes[:, [1, 2]].mean(0)
    assert torch.allclose(own.abs(), (codes[:, [1, 2]] - centre).abs(), atol=0.3)
    expected = (draws[:, [1, 2]] - centre).abs()
    assert torch.allclose(prior.abs(), expected, atol=0.3)


@pytest.mark.parametrize("size", [1, 2])
def test_codes_of_few_dimensions_stay_as_they_are(figures, monkeypatch, size):
    monkeypatch.setattr(sys.modules["vae_lab.pictures.plane"], "rasterise", figures.append)
    codes = torch.rand(50, size) - 7.0
    pictures.beside_prior(codes, codes + 1)
    pictures.scatter(codes)
    prior, *own = [axes for figure in figures for axes in figure.axes]
    for axes, moved in ((prior, codes + 1), *((axes, codes) for axes in own)):
        torch.testing.assert_close(points(axes)[:, :size], moved)
        labels = ("z1", ["no axis: spread out, by class", "z2"][size - 1])
        assert (axes.get_xlabel(), axes.get_ylabel()) == labels
        assert len(axes.get_yticks()) * (2 - size) == 0


def test_codes_of_one_dimension_do_not_lie_on_each_other(figures):
    codes, labels = torch.zeros(60, 1), torch.arange(60) % 3
    pictures.beside_prior(codes, codes, labels)
    prior, own = (points(axes)[:, 1] for axes in figures[0].axes)
    assert len(prior.unique()) == len(own.unique()) == 60
    rows = [own[labels == k] for k in range(3)]
    assert rows[0].min() > rows[1].max() > rows[1].min() > rows[2].max()


@pytest.mark.parametrize("n", [20, 20_000])
def test_contours_hold_their_shares_of_the_prior(figures, n):
    torch.manual_seed(0)
    normal = torch.distributions.Normal(0.0, 1.0)
    draws = torch.randn(n, 2)
    pictures.beside_prior(
        1.5 * torch.randn(50, 2), draws, log_density=lambda z: normal.log_prob(z).sum(1)
    )
    rings = figures[0].axes[0].collections[1]
    radii = [
        np.linalg.norm(path.vertices, axis=1).mean()
        for path in rings.get_paths()
        if len(path.vertices)
    ]
    # The radius of a 2-D standard normal is Rayleigh's.
    expected = [(-2 * np.log(1 - share)) ** 0.5 for share in (0.9, 0.5, 0.1)]
    assert radii == pytest.approx(expected, rel=0.03)


def test_contours_lie_along_the_axes_of_the_prior(figures):
    # Along the first axis it is ten times as wide as along the second.
    torch.manual_seed(0)
    scale = torch.tensor([5.0, 0.5])
    normal = torch.distributions.Normal(0.0, scale)
    draws = torch.randn(2000, 2) * scale
    pictures.beside_prior(draws[:50], draws, log_density=lambda z: normal.log_prob(z).sum(1))
    rings = figures[0].axes[0].collections[1]
    width, height = np.ptp(np.concatenate([path.vertices for path in rings.get_paths()]), 0)
    assert width > 5 * height


def test_a_model_without_a_posterior_is_refused():
    with pytest.raises(LabError, match="Autoencoder cannot"):
        DRAWINGS["beside_prior"].check(Autoencoder(SHAPE), "this")
    with pytest.raises(LabError, match="of one size"):
        pictures.beside_prior(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(LabError, match="not finite"):
        pictures.beside_prior(torch.zeros(5, 2), torch.full((5, 2), torch.nan))
