"""What is measured of an InfoGAN's codes, on images and models of which the answer is known."""

import math
from functools import partial

import pytest
import torch

from vae_lab.codes import Categorical, Normal, Uniform
from vae_lab.contracts import Batch
from vae_lab.errors import LabError
from vae_lab.metrics import reading
from vae_lab.metrics.reading import code_errors, code_meanings
from vae_lab.metrics.strokes import correlations, height, slant, stroke_width
from vae_lab.metrics.suite import measure
from vae_lab.models import InfoGAN
from vae_lab.verbs.evaluating.evaluate import _reading


def bar(width, tall, shear=0.0):
    """Return an image of an upright bar, or of one that leans to the right."""
    image = torch.zeros(1, 40, 40)
    for row in range(tall):
        left = 15 + round(shear * (tall / 2 - row))
        image[0, 5 + row, left : left + width] = 1
    return image


def test_height_and_width_of_a_bar_are_its_own():
    bars = torch.stack([bar(3, 20), bar(6, 30)])
    torch.testing.assert_close(height(bars), torch.tensor([20.0, 30.0]))
    assert stroke_width(bars).tolist() == pytest.approx([3, 6], rel=0.25)
    assert stroke_width(torch.cat([bars, 0.5 * bars]))[:2].tolist() == pytest.approx(
        stroke_width(torch.cat([bars, 0.5 * bars]))[2:].tolist()
    )


@pytest.mark.parametrize("shear", [-0.5, 0.0, 0.3])
def test_slant_is_the_shear(shear):
    assert slant(bar(4, 30, shear)[None]).item() == pytest.approx(shear, abs=0.02)


def test_a_single_row_does_not_lean():
    torch.manual_seed(0)
    rows = torch.zeros(4, 1, 28, 28)
    rows[0, 0, 13, 5:20], rows[1, 0, 17, 3:25] = torch.rand(15), torch.rand(22)
    rows[2:, 0, 20] = torch.rand(28)
    rows[3] += 1e-20  # of a sigmoid's dark pixels, none is quite zero
    assert slant(rows).tolist() == [0, 0, 0, 0]


def test_an_image_without_light_has_finite_measures():
    dark = torch.zeros(2, 1, 8, 8)
    for stroke in (slant, height, stroke_width):
        assert stroke(dark).isfinite().all()


def test_correlations_are_those_within_groups():
    shears = torch.linspace(-0.5, 0.5, 11)
    images = torch.stack([bar(w, 30, s) for w in (2, 6) for s in shears.tolist()])
    groups = torch.arange(2).repeat_interleave(11)[:, None]
    found = correlations(shears.repeat(2), groups, images)
    assert found["slant"] > 0.99
    assert abs(found["height"]) < 0.1
    # A code that says no more than the group does nothing within it.
    assert correlations(groups[:, 0].float(), groups, images)["stroke_width"] == 0


class Perfect:
    """Paints its codes into pixels, from which it reads them again."""

    device = "cpu"
    latent_dim = 5
    category = "kind"

    def __init__(self):
        self.codes = {"kind": Categorical(4), "size": Uniform()}
        self.places = {"kind": slice(0, 4), "size": slice(4, 5)}

    def draw_codes(self, n):
        return torch.cat([c.sample(n, torch.device("cpu")) for c in self.codes.values()], 1)

    def decode(self, z):
        image = torch.zeros(len(z), 1, 4, 4)
        image[:, 0, 0] = z[:, :4]
        image[:, 0, 1, 0] = (z[:, 4] + 1) / 2
        return image

    def read(self, x):
        return {"kind": 50 * x[:, 0, 0], "size": 2 * x[:, 0, 1, :1] - 1}


def test_a_perfect_reader_errs_never_and_knows_all():
    model = Perfect()
    z = model.draw_codes(200)
    labels = (z[:, :4].argmax(1) + 1) % 4
    images = Batch(model.decode(z), labels)
    assert code_errors(model, images, images)["kind_error"].value == 0
    assert code_errors(model, Batch(images.x, torch.rand(200, 2)), images) == {}
    unlabelled = Batch(images.x, torch.zeros_like(labels))
    assert code_errors(model, unlabelled, unlabelled) == {}
    found = code_meanings(model, 0)
    assert found["kind_information"].value == pytest.approx(math.log(4), abs=1e-3)
    assert found["size_information"].value > 5


def test_nothing_is_said_of_strokes_in_colour():
    class Coloured(Perfect):
        def decode(self, z):
            return super().decode(z).expand(-1, 3, -1, -1)

    names = {"kind_information", "size_information"}
    assert code_meanings(Coloured(), 0).keys() == names
    assert code_meanings(Perfect(), 0).keys() > names


def test_codes_that_are_all_numbers_make_no_groups():
    model = InfoGAN((1, 8, 8), noise=4, codes=[Uniform]).eval()
    images = Batch(torch.rand(20, 1, 8, 8), torch.arange(20) % 10)
    assert measure(model, images, lambda: images, 0, 0) == {}


def test_a_value_matched_on_other_images_keeps_its_class():
    model = Perfect()
    z = torch.eye(5)[:4]
    known = Batch(model.decode(z), torch.tensor([1, 2, 3, 0]))
    swapped = Batch(known.x, torch.tensor([1, 2, 0, 3]))
    assert code_errors(model, swapped, known)["kind_error"].value == 0.5


@pytest.mark.parametrize("code", [Categorical(3), Uniform(), Normal()])
def test_codes_know_their_entropy_and_density(code):
    torch.manual_seed(0)
    drawn = code.sample(20_000, torch.device("cpu"))
    assert drawn.shape == (20_000, code.size)
    if isinstance(code, Categorical):
        torch.testing.assert_close(drawn.mean(0), torch.full((3,), 1 / 3), rtol=0.05, atol=0)
        blind = code.log_prob(torch.zeros(20_000, 3), drawn)
        torch.testing.assert_close(blind, torch.full((20_000,), -code.entropy))
    else:
        expected = torch.distributions.Normal(0.5, 1.0).log_prob(drawn[:, 0])
        torch.testing.assert_close(code.log_prob(torch.full_like(drawn, 0.5), drawn), expected)
        assert code.sweep(5)[-1].item() == 2 * code.extent
        within = (drawn.abs() <= code.extent).float().mean()
        torch.testing.assert_close(within, torch.tensor(code.share), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("codes", "why"),
    [((), "needs a code"), ((partial(Uniform, name="c2"), Uniform), "same name")],
)
def test_codes_that_cannot_be_told_apart_are_refused(codes, why):
    with pytest.raises(LabError, match=why):
        InfoGAN((1, 8, 8), codes=codes)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Categorical(1), "values is at least 2"),
        (lambda: Uniform(weight=0), "above 0"),
        (lambda: Normal(name="my code"), "word of letters"),
    ],
)
def test_a_code_that_cannot_be_is_refused(make, why):
    with pytest.raises(LabError, match=why):
        make()


class Sheared(Perfect):
    """Draws a bar that leans as its number says, thicker for a larger category."""

    latent_dim = 3

    def __init__(self):
        self.codes = {"kind": Categorical(2), "lean": Uniform()}
        self.places = {"kind": slice(0, 2), "lean": slice(2, 3)}

    def decode(self, z):
        return torch.stack([bar(3 + 3 * int(kind), 30, lean) for _, kind, lean in z.tolist()])

    def read(self, x):
        return {"kind": torch.zeros(len(x), 2), "lean": 2 * slant(x)[:, None]}


def test_what_a_number_does_is_its_correlation_within_each_category(monkeypatch):
    monkeypatch.setattr(reading, "SAMPLES", 300)
    found = code_meanings(Sheared(), 0)
    assert found["lean_slant"].value > 0.99
    assert abs(found["lean_height"].value) < 0.2
    assert "within each category" in found["lean_slant"].note
    assert not {"kind_slant", "kind_height"} & found.keys()


def test_values_are_matched_on_validation_and_scored_on_test():
    """The labels of validation are moved by one, so whoever matched on test would never err."""
    model = Perfect()

    class Data:
        splits = ("train", "val", "test")

        def images(self, split, n=None):
            z = torch.eye(5)[:4]
            return Batch(model.decode(z), (torch.arange(4) + (split == "val")) % 4)

    images = Data().images("test")
    found = _reading(model, Data(), "test", images, 0)
    assert found["kind_error"].value == 1
    assert "on 4 val images" in found["kind_error"].note
    # What is tried out on validation is matched on train: no image is both.
    assert _reading(model, Data(), "val", Data().images("val"), 0)["kind_error"].value == 1


class TwoKinds(Sheared):
    """Draws two categories whose numbers add up alike: one leans to the left, one to the right."""

    latent_dim = 5

    def __init__(self):
        self.codes = {"kind": Categorical(2), "side": Categorical(2), "lean": Uniform()}
        self.places = {"kind": slice(0, 2), "side": slice(2, 4), "lean": slice(4, 5)}

    def decode(self, z):
        leans = (z[:, 1] - z[:, 3]) / 2 + 0.2 * z[:, 4]
        return torch.stack([bar(4, 30, lean) for lean in leans.tolist()])

    def read(self, x):
        return super().read(x) | {"side": torch.zeros(len(x), 2)}


class TenKinds(TwoKinds):
    """Has eight more categories, as Chen et al. had ten of ten on CelebA: no two samples agree."""

    latent_dim = 85

    def __init__(self):
        super().__init__()
        more = [f"more{i}" for i in range(8)]
        self.codes |= {name: Categorical(10) for name in more}
        self.places |= {name: slice(5 + 10 * i, 15 + 10 * i) for i, name in enumerate(more)}

    def read(self, x):
        return super().read(x) | {f"more{i}": torch.zeros(len(x), 10) for i in range(8)}


@pytest.mark.parametrize("model", [TwoKinds, TenKinds])
def test_what_each_of_several_categories_does_is_not_the_numbers(monkeypatch, model):
    monkeypatch.setattr(reading, "SAMPLES", 400)
    # Of groups thrown together, most of the slant would be the categories' and not the number's.
    assert code_meanings(model(), 0)["lean_slant"].value > 0.95


def test_what_a_reading_that_errs_knows_of_a_number_is_that_of_a_gaussian():
    class Errs(Perfect):
        def read(self, x):
            said = super().read(x)
            return said | {"size": said["size"] + 0.1 * (-1) ** torch.arange(len(x))[:, None]}

    found = code_meanings(Errs(), 0)["size_information"].value
    entropy_of_errors = 0.5 * math.log(2 * math.pi * math.e * 0.01)
    assert found == pytest.approx(math.log(2) - entropy_of_errors, abs=1e-3)


def test_a_blind_reading_of_a_choice_tells_nothing_of_it():
    code = Categorical(3)
    found = code.reading(torch.zeros(5, 3), code.sample(5, torch.device("cpu")))
    torch.testing.assert_close(found["information"], torch.zeros(5))
