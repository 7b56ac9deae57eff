"""Names of classes and runs are written as they are, whatever letters they have."""

import pytest
import torch

from vae_lab import pictures
from vae_lab.data import Digits
from vae_lab.models import VAE
from vae_lab.verbs.explore_view import Codes, view


@pytest.fixture
def drawn(monkeypatch):
    """Return what has been said in the figures that were drawn, as they would show it."""
    figures = []
    draw = pictures.plane.part_names  # called when all is laid out
    monkeypatch.setattr(pictures.plane, "part_names", lambda f: (figures.append(f), draw(f)))
    return figures


NAMES = ["_hidden", "$5 to $6", r"$\nonsense$"]


def test_a_legend_holds_every_class_whatever_it_is_called(drawn):
    pictures.scatter(torch.randn(30, 2), torch.arange(30) % 3, NAMES, title=r"a$\run$")
    (axes,) = drawn[0].axes
    written = axes.get_legend().get_texts()
    assert [text.get_text().strip() for text in written] == NAMES
    assert not any(text.get_parse_math() for text in [axes.title, *axes.texts, *written])


def test_runs_are_named_above_all_figures_by_any_letters():
    name = r"costs $\much$"
    assert pictures.panels([pictures.Panel(name, {"a": [(1, 2.0), (90, 3.0)]})], "n", "x").ndim == 3
    assert pictures.beside_prior(torch.randn(9, 2), torch.randn(9, 2), title=name).ndim == 3


def test_long_names_do_not_cover_the_explorers_points():
    codes = Codes(torch.randn(9, 2), torch.arange(9) % 2, ("short", "a name of many words"))
    about = view(VAE((1, 8, 8), latent_dim=2), Digits(), codes)
    assert about["plane"]["names"] == ["short", "a name of many …"]


@pytest.mark.parametrize("name", ["é", "Ü", "ß", "Ж", "λ"])
def test_letters_beyond_ascii_are_no_boxes(name):
    missing = pictures.captioned(torch.ones(3, 40, 40), rows=["\N{CJK UNIFIED IDEOGRAPH-732B}"])
    written = pictures.captioned(torch.ones(3, 40, 40), rows=[name])
    assert not torch.equal(ink(written), ink(missing))


def ink(image):
    """Cut a picture down to where it is not white."""
    rows, columns = (image.amin(0) < 1).nonzero(as_tuple=True)
    return image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
