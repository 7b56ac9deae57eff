"""The samples of a run: `lab evaluate` with `--judge` and `--parzen`, and `lab neighbours`."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from vae_lab import judges, pictures, runs
from vae_lab.data import Digits, FashionMNIST, ImageFolder
from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.models import CVAE, VAE
from vae_lab.runs import Run
from vae_lab.verbs.comparing.comparison import Comparison, direction
from vae_lab.verbs.evaluating import evaluate as module
from vae_lab.verbs.evaluating.evaluate import evaluate
from vae_lab.verbs.neighbours import neighbours

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)

DISTANCES = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")


class Generator(nn.Module):
    """Draws some of the training images, and can do nothing else."""

    shape = (1, 8, 8)
    device = torch.device("cpu")

    def __init__(self, digits=range(10)):
        super().__init__()
        images = Digits().images("train")
        self.images = images.x[torch.isin(images.y, torch.tensor([*digits]))]

    def sample(self, n, y=None):
        return self.images[torch.randint(len(self.images), (n,))]


class Judge(nn.Module):
    """Takes an image for the class whose mean is nearest; sixteen numbers are its features."""

    shape = (1, 8, 8)
    latent_dim = 16

    def __init__(self):
        super().__init__()
        x, y = Digits().images("train")
        self.means = torch.stack([x[y == k].mean(0) for k in range(10)]).flatten(1)

    def encode(self, x, y=None):
        return nn.functional.avg_pool2d(x, 2).flatten(1)

    def log_probs(self, x):
        return (-10 * torch.cdist(x.flatten(1), self.means)).log_softmax(1)


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """Lay out a run whose checkpoint is `loaded["model"]`, and one whose is `loaded["judge"]`."""
    for name in ("gan", "judge"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints/best.ckpt").write_text(name)
    loaded = {"model": Generator(), "judge": Judge(), "data": Digits(binarize="static")}
    loaded["seen"] = Digits(shift=2)
    monkeypatch.setattr(module, "load_model", lambda path: loaded["model"])
    monkeypatch.setattr(module, "load_data", lambda path: loaded["data"])
    monkeypatch.setattr(judges, "load_model", lambda path: loaded["judge"])
    monkeypatch.setattr(judges, "load_data", lambda path: loaded["seen"])
    return tmp_path / "gan", str(tmp_path / "judge"), loaded


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())["metrics"]


def test_what_can_only_sample_is_measured_by_a_judge(staged, capsys):
    folder, judge, _ = staged
    evaluate(str(folder), judge=judge, samples=500, parzen=True)
    found = metrics(folder)
    expected = {f"test/{prefix}{key}" for key in DISTANCES for prefix in ("", "real_")}
    parts = {"test/classes_covered", "test/class_entropy", "test/parzen_log_density"}
    assert found.keys() == expected | parts
    name = f"Judge {digest(Path(judge, 'checkpoints/best.ckpt'))}"
    for key in expected:
        what = "training images" if "real_" in key else "samples"
        said = found[key]["protocol"]
        for part in (f"500 {what} against 297 images, binarize none", f"features of {name}"):
            assert part in said
        for part in ("split test", "seed 0"):
            assert part in said
    assert found["test/classes_covered"]["value"] == 10
    assert "150 other images" in found["test/parzen_log_density"]["protocol"]
    assert "test/frechet_distance" in capsys.readouterr().out
    protocol = json.loads((folder / "metrics.json").read_text())["protocol"]["test"]
    assert protocol["judge"] == f"{name}, 500 samples"


def test_a_generator_that_collapsed_is_reported(staged):
    folder, judge, loaded = staged
    evaluate(str(folder), judge=judge, samples=500)
    whole = metrics(folder)
    loaded["model"] = Generator(digits=[0])
    loaded["model"].images = loaded["model"].images[:40]
    evaluate(str(folder), judge=judge, samples=500)
    few = metrics(folder)
    assert few["test/classes_covered"]["value"] == 1 < whole["test/classes_covered"]["value"]
    assert few["test/class_entropy"]["value"] < 0.2 < 2.2 < whole["test/class_entropy"]["value"]
    for key, way in zip(DISTANCES, (1, 1, 0, -1, 0, -1), strict=True):
        assert way * few[f"test/{key}"]["value"] >= way * whole[f"test/{key}"]["value"], key
        assert few[f"test/real_{key}"]["value"] == whole[f"test/real_{key}"]["value"]


def test_reconstructions_are_compared_by_the_judges_features(staged):
    folder, judge, loaded = staged

    class Faded(Generator):
        latent_dim = 64

        def encode(self, x, y=None):
            return x.flatten(1)

        def decode(self, z, y=None):
            return z.view(-1, *self.shape) / 2

    loaded["model"] = Faded()
    evaluate(str(folder), judge=judge, samples=100)
    found = metrics(folder)["test/judge_feature_error"]
    x = Digits().images("test").x
    expected = (loaded["judge"].encode(x) / 2).square().sum(1).mean().item()
    assert found["value"] == pytest.approx(expected, rel=1e-5)
    assert "sum over 16 features, binarize none, by the features of Judge" in found["protocol"]


def test_the_seed_decides_and_no_more_are_compared_than_were_trained_on(staged):
    folder, judge, loaded = staged

    def distance(seed):
        evaluate(str(folder), judge=judge, samples=100, seed=seed)
        return metrics(folder)["test/frechet_distance"]["value"]

    assert distance(1) == distance(1) != distance(2)
    loaded["data"] = Digits(limit=60)
    evaluate(str(folder), judge=judge, samples=100)
    said = metrics(folder)["test/frechet_distance"]["protocol"]
    assert "60 samples against 297 images" in said


def test_a_judge_sees_the_images_that_the_data_were_drawn_from(staged):
    folder, judge, loaded = staged
    evaluate(str(folder), judge=judge, samples=100, parzen=True)
    drawn = metrics(folder)
    loaded["data"] = Digits(binarize="none")
    evaluate(str(folder), judge=judge, samples=100, parzen=True)
    for key in ("test/frechet_distance", "test/parzen_log_density"):
        assert metrics(folder)[key]["value"] == drawn[key]["value"]


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        ({"model": nn.Identity()}, {}, "--judge needs a model that can sample; Identity cannot"),
        ({"model": nn.Identity()}, {"judge": None, "parzen": True}, "--parzen .* Identity cannot"),
        ({"judge": Generator()}, {}, "--judge needs a model that can classify; Generator cannot"),
        ({}, {"samples": 0}, "--samples is at least 1; got 0"),
        ({}, {"judge": None}, "Generator can neither bound .* measured by a --judge"),
        ({}, {"judge": "nowhere"}, "There is no nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_judged_is_refused(staged, change, options, reason):
    folder, judge, loaded = staged
    loaded |= change
    with pytest.raises(LabError, match=reason):
        evaluate(str(folder), **{"judge": judge, **options})
    assert not (folder / "metrics.json").exists()


def test_a_judge_that_needs_a_condition_is_refused(staged):
    _, judge, loaded = staged
    loaded["judge"] = CVAE((1, 8, 8), 2)
    with pytest.raises(LabError, match="--judge sees images alone; a CVAE needs a condition"):
        judges.load_judge(judge, loaded["model"], loaded["data"], classifies=False)


def test_a_judge_of_other_images_is_refused(staged):
    folder, judge, loaded = staged
    loaded["judge"].shape = (1, 28, 28)
    with pytest.raises(LabError, match="takes images of 1 x 28 x 28; these are 1 x 8 x 8"):
        evaluate(str(folder), judge=judge)


@pytest.mark.parametrize(
    ("seen", "name"),
    [(FashionMNIST(resize=8), "FashionMNIST"), (ImageFolder(folder="cats"), "ImageFolder cats")],
)
def test_a_judge_that_learned_from_other_data_is_refused(staged, seen, name):
    folder, judge, loaded = staged
    loaded["seen"] = seen
    with pytest.raises(LabError, match=f"learned from {name} and knows nothing of Digits"):
        evaluate(str(folder), judge=judge)


def test_a_distance_that_too_few_images_have_is_left_out_aloud(staged, capsys):
    folder, judge, _ = staged
    evaluate(str(folder), judge=judge, samples=17)
    assert "left out" not in capsys.readouterr().err
    evaluate(str(folder), judge=judge, samples=16)
    said = "of 16 features it needs more than 16 samples and real images; there are 16 and 297."
    assert said in capsys.readouterr().err
    assert "test/frechet_distance" not in metrics(folder)


@pytest.mark.parametrize(
    ("key", "way"),
    [
        ("test/frechet_distance", -1),
        ("test/kernel_distance", -1),
        ("test/precision", 1),
        ("test/recall", 1),
        ("test/density", 1),
        ("test/coverage", 1),
        ("test/classes_covered", 1),
        ("test/real_frechet_distance", 0),
        ("test/surreal_error", -1),
        ("val/critic_loss", 0),
        ("val/generator_loss", 0),
        ("val/feature_error", 0),
        ("test/judge_feature_error", -1),
    ],
)
def test_which_way_is_better(key, way):
    assert direction(key) == way


def test_numbers_of_two_judges_or_of_fewer_samples_are_not_ranked(staged, tmp_path):
    folder, judge, loaded = staged
    runs = []
    for k, digits in enumerate(([1, 2], range(10), range(10), range(10))):
        loaded["model"] = Generator(digits=digits)
        # No more samples are compared than there are training images.
        loaded["data"] = Digits(limit=80 if k == 2 else None)
        if k == 3:
            Path(judge, "checkpoints/best.ckpt").write_text("another")
        evaluate(str(folder), judge=judge, samples=100)
        runs.append(Run(tmp_path / f"run_{k}"))
        runs[-1].path.mkdir()
        (folder / "metrics.json").rename(runs[-1].path / "metrics.json")

    def best(*chosen):
        columns = {column.key: column for column in Comparison(chosen).columns}
        return columns["test/frechet_distance"].best

    assert best(*runs[:2]) == runs[1].scores["test/frechet_distance"]
    assert best(runs[0], runs[2]) is None
    assert best(runs[0], runs[3]) is None


def test_what_fewer_samples_cannot_give_is_not_kept_of_more(staged):
    folder, judge, _ = staged
    evaluate(str(folder), judge=judge, samples=100)
    before = metrics(folder).keys()
    assert {"test/frechet_distance", "test/real_frechet_distance"} <= before
    evaluate(str(folder), judge=judge, samples=4)
    assert not {"test/frechet_distance", "test/real_frechet_distance"} & metrics(folder).keys()


# neighbours


def test_neighbours_are_drawn_of_a_run(lab, run):
    assert lab("neighbours", run, "--n=3") == "neighbours.png\n"
    first = Path("neighbours.png").read_bytes()
    assert Image.open("neighbours.png").width > 100
    lab("neighbours", run, "--n=3", "--output=again.png")
    assert Path("again.png").read_bytes() == first
    lab("neighbours", run, "--n=3", "--seed=1")
    assert Path("neighbours.png").read_bytes() != first


def test_an_error_that_was_measured_on_other_weights_is_not_told(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.ckpt").touch()
    protocol, metrics = {"test": {"checkpoint_sha256": "0123"}}, {"test/error": {"value": 0.05}}
    report = json.dumps({"protocol": protocol, "metrics": metrics})
    (tmp_path / "metrics.json").write_text(report)
    told = [judges._error(str(tmp_path), known) for known in ("0123", "4567")]
    assert told[0] == ", whose test error is 0.0500 by its metrics.json"
    assert told[1] == ", whose test error was not measured"


def test_neighbours_are_looked_for_among_the_grey_images(run, monkeypatch):
    # Samples are means: of images drawn black and white none is like them.
    known = Digits().images("train").x
    monkeypatch.setattr(VAE, "sample", lambda self, n, y=None: known[:n])
    monkeypatch.setattr(runs, "load_data", lambda run: Digits(binarize="static"))
    found = []
    monkeypatch.setattr(pictures, "neighbours", lambda *a: found.extend(a) or torch.zeros(3, 2, 2))
    neighbours(str(run), n=4)
    assert torch.equal(*found)


def test_neighbours_are_those_of_samples_of_the_class_that_is_asked_for(run, monkeypatch):
    asked = []
    model = CVAE((1, 8, 8), 3).eval()
    monkeypatch.setattr(runs, "load_model", lambda run: model)
    monkeypatch.setattr(model, "sample", lambda n, y: asked.append(y) or torch.rand(n, 1, 8, 8))
    neighbours(str(run), n=2, y="7")
    assert [y.tolist() for y in asked] == [[7, 7]]


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("runs/Autoencoder", {}, "`lab neighbours` needs a model that can sample"),
        ("runs/VAE", {"n": 0}, "--n is at least 1"),
        ("runs/VAE", {"y": "3"}, "Class 3 needs a model that can be given a condition"),
    ],
)
def test_neighbours_that_cannot_be_drawn_are_refused(run, path, options, reason):
    with pytest.raises(LabError, match=reason):
        neighbours(path, **options)
