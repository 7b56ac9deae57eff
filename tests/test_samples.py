"""What measures samples: against closed forms, torchmetrics, definitions and published values."""

import math
import re
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.metrics import neighbours
from vae_lab.metrics.distances import frechet_distance, kernel_distance
from vae_lab.metrics.inception import WEIGHTS, Inception
from vae_lab.metrics.modes import modes
from vae_lab.metrics.neighbours import fidelity, nearest
from vae_lab.metrics.parzen import parzen, parzen_log_prob
from vae_lab.metrics.samples import Drawn, draw, likeness, variety, window


def normal(n, d, seed=0, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


class Flat(nn.Module):
    """An extractor that leaves features as they are."""

    num_features = 6

    def forward(self, x):
        return x.flatten(1)


# distances


def test_frechet_distance_of_moved_and_widened_features_has_a_closed_form():
    x = normal(500, 6).double()
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(4 * 6)
    spread = x.var(0).sum() + x.mean(0).square().sum()
    assert frechet_distance(x, 3 * x) == pytest.approx(4 * spread.item())


def test_frechet_distance_is_that_of_torchmetrics():
    x, y = normal(300, 6) @ normal(6, 6, 2), normal(200, 6, 1, shift=0.5)
    metric = FrechetInceptionDistance(feature=Flat())
    metric.update(x, real=True)
    metric.update(y, real=False)
    assert frechet_distance(x, y) == pytest.approx(metric.compute().item(), rel=1e-5)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))


def test_features_that_never_vary_do_no_harm():
    x = torch.cat([normal(50, 3), torch.zeros(50, 2)], 1)
    assert frechet_distance(x, x + 1) == pytest.approx(5)
    assert all(frechet_distance(scale * x, scale * x) >= 0 for scale in range(1, 101))


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kernel_distance_is_that_of_torchmetrics():
    x, y = normal(200, 6), normal(200, 6, 1, shift=0.3)
    metric = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=200)
    metric.update(x, real=True)
    metric.update(y, real=False)
    expected = metric.compute()[0].item()
    values = kernel_distance(x, y, subsets=3, size=200)
    assert values.tolist() == pytest.approx([expected] * 3, rel=1e-4)


def test_kernel_distance_is_unbiased_and_its_seed_decides_it():
    x, y = normal(2000, 6), normal(2000, 6, 1)
    values = kernel_distance(x, y, size=50)
    assert abs(values.mean()) < 3 * values.std() / 10
    assert kernel_distance(x, y + 1, size=50).mean() > 20 * abs(values.mean())
    torch.testing.assert_close(values, kernel_distance(x, y, size=50), rtol=0, atol=0)
    assert not torch.equal(values, kernel_distance(x, y, size=50, seed=1))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: frechet_distance(normal(6, 6), normal(9, 6)), "more than 6 .* there are 6 and 9"),
        (lambda: frechet_distance(normal(9, 6), normal(9, 5)), r"not \(9, 6\) and \(9, 5\)"),
        (lambda: kernel_distance(normal(9, 6), normal(9, 6), size=10), "more than 9"),
        (lambda: kernel_distance(normal(9, 6), normal(9, 6), size=1), "of 2 features"),
        (lambda: fidelity(normal(5, 2), normal(9, 2)), "5 neighbours need 6 .* 5 and 9"),
        (lambda: modes(torch.empty(0, dtype=torch.long), 10), "one sample"),
        (lambda: parzen(normal(2, 2), normal(0, 2), normal(2, 2)), "validation"),
    ],
)
def test_too_few_are_refused(call, reason):
    with pytest.raises(LabError, match=reason):
        call()


# neighbours


def by_definition(real, fake, k):
    """Precision, recall, density and coverage, one pair at a time."""

    def reach(points):
        return [sorted(math.dist(a, b) for b in points)[k] for a in points]

    real, fake = real.double().tolist(), fake.double().tolist()
    r, f = reach(real), reach(fake)
    pairs = [[math.dist(a, b) for b in fake] for a in real]
    rows, columns = range(len(real)), range(len(fake))
    inside = [[pairs[i][j] <= r[i] for j in columns] for i in rows]
    return (
        sum(any(inside[i][j] for i in rows) for j in columns) / len(fake),
        sum(any(pairs[i][j] <= f[j] for j in columns) for i in rows) / len(real),
        sum(map(sum, inside)) / len(fake) / k,
        sum(map(any, inside)) / len(real),
    )


@pytest.mark.parametrize("k", [1, 5])
def test_fidelity_is_what_its_definition_says_however_it_is_cut(k, monkeypatch):
    real, fake = normal(40, 3), normal(55, 3, 1, shift=0.7)
    expected = pytest.approx(by_definition(real, fake, k))
    assert tuple(fidelity(real, fake, k)) == expected
    monkeypatch.setattr(neighbours, "ROWS", 7)
    assert tuple(fidelity(real, fake, k)) == expected


def test_fidelity_of_the_same_of_a_copy_and_of_elsewhere():
    x = normal(100, 3)
    same = fidelity(x, x)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density > 1
    # Of each pair both distances come out of products, which round differently.
    far = normal(1000, 64, shift=7) * 3
    assert fidelity(far, far.clone()).density == pytest.approx(6 / 5, abs=1e-9)
    assert tuple(fidelity(x, x + 100)) == (0, 0, 0, 0)
    copies = fidelity(x, x[:1].expand(100, -1))
    assert copies.precision == 1
    assert copies.recall < 0.1
    assert copies.coverage < 0.2
    # Black images alone: each lies in the neighbourhood of all, which has no extent.
    assert fidelity(torch.zeros(9, 2), torch.zeros(9, 2)).precision == 1


@pytest.mark.slow
def test_fidelity_is_the_published_one():
    """The example of github.com/clovaai/generative-evaluation-prdc, which names no seed.

    Over four seeds here: precision .463 to .473, recall .462 to .488, density .91 to 1.08,
    coverage .956 to .978.
    """
    found = fidelity(normal(10_000, 1000), normal(10_000, 1000, 1))
    assert found.precision == pytest.approx(0.4772, abs=0.02)
    assert found.recall == pytest.approx(0.4705, abs=0.025)
    assert found.density == pytest.approx(1.0555, abs=0.15)
    assert found.coverage == pytest.approx(0.9735, abs=0.025)


def test_the_nearest_image_is_found_in_whichever_batch_it_lies():
    images = torch.rand(30, 1, 4, 4)
    x = images[[29, 3, 17]] + 0.01
    torch.testing.assert_close(nearest(x, images.split(8)), images[[29, 3, 17]], rtol=0, atol=0)
    torch.testing.assert_close(nearest(images, [images[:1]]), images[:1].expand(30, -1, -1, -1))


# classes


def test_modes_of_all_of_one_and_of_a_few_classes():
    assert modes(torch.arange(1000) % 10, 10) == (10, pytest.approx(math.log(10)))
    assert modes(torch.full((1000,), 3), 10) == (1, 0)
    assert modes(torch.arange(1000) % 2, 10) == (2, pytest.approx(math.log(2)))


def test_errors_of_the_judge_cover_no_class():
    labels = torch.zeros(10_000, dtype=torch.long)
    labels[:99] = 7
    assert modes(labels, 10).covered == 1
    labels[99] = 7
    assert modes(labels, 10).covered == 2
    # At the very limit, whose share is rounded below it.
    assert modes(torch.arange(3000) // 4 % 75, 75).covered == 75
    at_limit = torch.cat([torch.zeros(2996, dtype=torch.long), torch.full((4,), 7)])
    assert modes(at_limit, 75).covered == 2


# Parzen windows


def test_a_window_around_one_sample_is_a_gaussian():
    x, centre, width = normal(20, 5), normal(1, 5, 1), torch.tensor([0.7])
    expected = Independent(Normal(centre[0].double(), 0.7), 1).log_prob(x.double())
    torch.testing.assert_close(parzen_log_prob(x, centre, width)[0], expected, rtol=1e-6, atol=0)


def test_a_window_is_a_mixture_however_it_is_cut(monkeypatch):
    x, samples = normal(20, 5).double(), normal(12, 5, 1).double()
    widths = torch.tensor([0.1, 0.4], dtype=torch.float64)
    monkeypatch.setattr(neighbours, "ROWS", 7)
    found = parzen_log_prob(x, samples, widths)
    for width, nats in zip(widths, found, strict=True):
        parts = Independent(Normal(samples, width), 1)
        mixture = MixtureSameFamily(Categorical(torch.ones(12)), parts)
        torch.testing.assert_close(nats, mixture.log_prob(x), rtol=1e-5, atol=1e-5)


def test_validation_images_choose_the_width():
    samples = torch.zeros(10, 400)
    for width in (0.1, 10 ** (-5 / 9), 1.0):
        images = width * normal(50, 400)
        found = parzen(images, width * normal(50, 400, 1), samples)
        assert found.sigma == pytest.approx(width)
        expected = Normal(0.0, width).log_prob(images).sum(1).double()
        torch.testing.assert_close(found.nats, expected, rtol=1e-5, atol=0)


# samples of a model


class Generator:
    """Draws images that are black but for some shade of grey in the corner of one class."""

    def __init__(self, classes=(0, 1, 2), likelihood=False):
        self.classes = torch.tensor(classes)
        if likelihood:
            self.likelihood = None

    def sample(self, n, y=None):
        x = torch.zeros(n, 1, 2, 2)
        k = self.classes[torch.randint(len(self.classes), (n,))]
        x.flatten(1)[torch.arange(n), k] = 0.5 + torch.rand(n) / 2
        return x


class Corner:
    """Sees the pixels, and takes the brightest for the class."""

    latent_dim = 4

    def encode(self, x, y=None):
        return x.flatten(1)

    def log_probs(self, x):
        return x.flatten(1)[:, :3].log_softmax(1)


def test_drawn_images_have_grey_levels_of_8_bits_and_leave_the_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = draw(Generator(), 1203, seed=1).images
    assert torch.equal(torch.rand(1), expected)
    assert first.shape == (1203, 1, 2, 2)
    assert torch.equal(first, (first * 255).round() / 255)
    assert torch.equal(first, draw(Generator(), 1203, seed=1).images)
    assert not torch.equal(first, draw(Generator(), 1203, seed=2).images)
    # Neither cut down to the level below, nor wrapped around.
    model = Generator()
    model.sample = lambda n: torch.tensor([-0.01, 0.9999, 1.01, 0.502]).view(1, 1, 2, 2)
    assert draw(model, 1, 0).images.flatten().tolist() == pytest.approx([0, 1, 1, 128 / 255])


def test_a_model_that_diverged_is_refused():
    model = Generator()
    model.sample = lambda n: torch.full((n, 1, 2, 2), torch.nan)
    with pytest.raises(LabError, match="diverged"):
        draw(model, 4, 0)


def test_likeness_stands_beside_its_floor():
    real, known = (draw(Generator(), n, seed).images for n, seed in ((120, 1), (100, 2)))
    good = likeness(Corner(), draw(Generator(), 150, 3), real, known, 0, "as they are")
    keys = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")
    assert list(good) == [prefix + key for key in keys for prefix in ("", "real_")]
    note = good["frechet_distance"].note
    assert note == "100 samples against 120 images, as they are"
    assert good["real_frechet_distance"].note == note.replace("samples", "training images")
    subsets = re.match("mean of 100 subsets of 50, spread (.*); 100", good["kernel_distance"].note)
    assert float(subsets[1]) > 0.01 * good["kernel_distance"].value  # they are not all the same
    assert good["frechet_distance"].value < 10 * good["real_frechet_distance"].value
    poor = likeness(Corner(), draw(Generator([0]), 150, 3), real, known, 0, "")
    for key, way in zip(keys, (1, 1, 0, -1, 0, -1), strict=True):
        assert poor[f"real_{key}"].value == good[f"real_{key}"].value
        assert way * poor[key].value >= way * good[key].value, key
    assert poor["frechet_distance"].value > 100 * poor["real_frechet_distance"].value


def test_likeness_leaves_out_what_needs_more_images():
    x = draw(Generator(), 6, 0)
    found = {n: likeness(Corner(), x, x.images, x.images[:n], 0, "") for n in (1, 4, 5, 6)}
    assert {n: len(measures) for n, measures in found.items()} == {1: 0, 4: 2, 5: 4, 6: 12}


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2], [1]])
def test_a_generator_that_collapsed_is_told_by_its_classes(classes):
    real = draw(Generator(), 300, 1).images
    samples = draw(Generator(classes, likelihood=True), 3000, 0)
    found = variety(Corner(), samples, real, "judged by its corner")
    assert found["classes_covered"].value == len(classes)
    assert found["class_entropy"].value == pytest.approx(math.log(len(classes)), abs=0.01)
    note = found["class_entropy"].note
    for part in ("3000 samples (means given codes)", "judged by its corner", "real images: 1.09"):
        assert part in note


def test_a_window_says_that_it_is_of_no_use():
    samples = Drawn(torch.zeros(10, 1, 2, 2), "samples")
    found = window(samples, torch.rand(20, 1, 2, 2), torch.rand(5, 1, 2, 2))["parzen_log_density"]
    assert found.standard_error > 0
    assert "sigma 0." in found.note
    assert "historic table alone" in found.note


# the images that samples are compared with


@pytest.mark.parametrize("binarize", ["static", "dynamic"])
def test_what_was_drawn_black_or_white_is_grey_again(binarize):
    data, grey = Digits(binarize=binarize), Digits()
    black = data.images("test").x
    for split in ("train", "val", "test"):
        assert torch.equal(data.undrawn().images(split).x, grey.images(split).x)
    assert data.undrawn().protocol("test")["binarize"] == "none"
    assert torch.equal(data.images("test").x, black)
    assert set(black.unique().tolist()) == {0, 1}


def test_what_was_not_drawn_stays_as_it_is():
    for binarize in ("none", "threshold"):
        data = Digits(binarize=binarize)
        assert data.undrawn() is data


# Inception


class Net(nn.Module):
    """Stands for torchmetrics' network; its features are the pixels."""

    def __init__(self, name, features, antialias):
        super().__init__()
        assert (name, features, antialias) == ("inception-v3-compat", ["2048"], False)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        assert x.dtype == torch.uint8
        return x.float().flatten(1)


def test_inception_sees_rounded_colour_and_is_known_by_its_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", Net)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints" / WEIGHTS).write_bytes(b"weights")
    judge = Inception()
    assert len(judge.digest) == 12
    assert not any(weight.requires_grad for weight in judge.parameters())
    assert judge.to("meta").device.type == "meta"
    pixels = torch.tensor([-0.01, 0.9999, 1.01, 0.502]).view(1, 1, 2, 2)
    assert judge.encode(pixels)[0].tolist() == [0, 255, 255, 128] * 3


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ModuleNotFoundError("torch_fidelity"), r"\.\[inception\]"),
        (URLError("no network"), rf"no network.* put the file of .*{WEIGHTS} at .*{WEIGHTS}\.$"),
    ],
)
def test_without_inception_one_sentence_says_what_is_missing(error, sentence, monkeypatch):
    def fail(*args, **settings):
        raise error

    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", fail)
    with pytest.raises(LabError, match=sentence):
        Inception()
