"""What the verbs make of a model that is given a condition."""

import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import FIT
from PIL import Image

from vae_lab import pictures, runs
from vae_lab.metrics.samples import agreement

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)

# the verbs


@pytest.fixture(scope="module")
def trained_cvaes(tmp_path_factory):
    """Runs of a CVAE of classes, one of quadrants, and a classifier."""
    from vae_lab.cli import main

    folder = tmp_path_factory.mktemp("cvaes")
    part = ["--data.binarize=dynamic", "--data.quadrants=2", "--model.condition=PartialCondition"]
    wanted = {
        "classes": ["--model=CVAE", "--model.conditional_prior=true"],
        "parts": ["--model=CVAE", *part],
        "judge": ["--model=Classifier", "--model.encoder=Autoencoder", "--pictures.kinds=[]"],
    }
    plain = [word for word in FIT if not word.startswith("--model")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in wanted.items():
            argv = [*plain, words[0], *words[1:], f"--name={name}"]
            patch.setattr(sys, "argv", ["lab", *argv])
            main(argv)
    return folder / "runs"


def test_training_draws_what_the_condition_does(trained_cvaes):
    kinds = {
        name: {p.name.removesuffix("_0002.png") for p in trained_cvaes.glob(f"{name}/*/pictures/*")}
        for name in ("classes", "parts")
    }
    shared = {"reconstructions", "scatter", "traversals", "interpolation", "beside_prior"}
    assert kinds["classes"] == shared | {"samples", "class_rows", "transfer"}
    assert kinds["parts"] == shared | {"completions"}


def test_verbs_draw_given_a_condition(lab, trained_cvaes):
    classes, parts = trained_cvaes / "classes", trained_cvaes / "parts"
    assert lab("sample", classes, "--y=7", "--n=4") == "sample.png\n"
    seven = Path("sample.png").read_bytes()
    lab("sample", classes, "--y=8", "--n=4")
    assert Path("sample.png").read_bytes() != seven
    assert lab("sample", classes, "--y=all", "--output=all.png") == "all.png\n"
    assert lab("transfer", classes) == "transfer.png\n"
    assert lab("complete", parts) == "complete.png\n"


def test_a_class_called_02_is_asked_for_by_that_name(lab, trained_cvaes, monkeypatch):
    asked = []
    blank = torch.ones(3, 2, 2)
    monkeypatch.setattr(
        "vae_lab.verbs.draw.picture", lambda *_, label, **options: asked.append(label) or blank
    )
    lab("sample", trained_cvaes / "classes", "--y=02")
    assert asked == ["02"]


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (("neighbours", "--n=2"), "train images, samples of class 7, seed 0"),
        (("invert", "--data=2", "--steps=2"), "given class 7, seed 0"),
    ],
)
def test_what_is_drawn_under_a_class_says_of_which(lab, trained_cvaes, monkeypatch, words, about):
    said, sign = [], pictures.signed
    monkeypatch.setattr(pictures, "signed", lambda p, *w: said.append(", ".join(w)) or sign(p, *w))
    lab(words[0], trained_cvaes / "classes", "--y=7", *words[1:])
    assert said[0].endswith(about)


def test_codes_of_several_models_stand_side_by_side_with_how_well_they_tell_the_class(
    lab, trained_cvaes, monkeypatch
):
    titles = []
    draw = pictures.scatter
    monkeypatch.setattr(
        pictures,
        "scatter",
        lambda *a, title, **k: titles.append(title) or draw(*a, title=title, **k),
    )
    classes, judge = trained_cvaes / "classes", trained_cvaes / "judge"
    assert lab("scatter", classes, judge, "--n=100") == "scatter.png\n"
    names = [title.partition("\n")[0] for title in titles]
    assert names == ["classes/version_0, CVAE", "judge/version_0, Classifier"]
    assert all(re.search(r"linear probe 0\.\d+ on 50 codes", title) for title in titles)
    assert Image.open("scatter.png").width > 2 * 900
    lab("scatter", classes, classes, "--prior=true", "--n=100", "--output=prior.png")
    width, height = Image.open("prior.png").size
    assert width == 1400 < height - 2 * 16  # below one another, each over its origin


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("scatter", "judge", "--prior=true"), "Classifier cannot"),
        (("scatter", "classes", "--n=0"), "--n is at least 1"),
        (("sample", "classes", "--y=12"), "There is no class 12: this CVAE knows 0 to 9."),
        (("sample", "classes", "--y=-1"), "There is no class -1"),
        (("sample", "classes", "--y=cat"), "There is no class cat: this CVAE knows 0 to 9."),
        (("sample", "judge", "--y=1"), "Classifier cannot"),
        (("sample", "parts", "--y=1"), "PartialCondition, is no class, but comes with images"),
        (("sample", "parts", "--y=all"), "PartialCondition, is no class, but comes with images"),
        (("invert", "parts", "--images", "a.png"), "comes with the data only: --data N."),
        (("invert", "parts", "--data=2", "--y=3"), "comes with the data only: --data N."),
        (("invert", "classes", "--images", "a.png"), "give files a --y"),
        (("complete", "classes"), "`lab sample --y all`"),
        (("filters", "classes"), "models without a condition; CVAE has one"),
        (("evaluate", "parts", "--judge=JUDGE"), "--judge needs a model of classes"),
        (("evaluate", "judge", "--judge=JUDGE"), "Classifier cannot"),
        (("evaluate", "classes", "--judge=CLASSES"), "CVAE cannot"),
    ],
)
def test_verbs_refuse_in_one_sentence(lab, trained_cvaes, capfd, words, says):
    runs = {"JUDGE": str(trained_cvaes / "judge"), "CLASSES": str(trained_cvaes / "classes")}
    verb, run, *rest = words
    for name, path in runs.items():
        rest = [word.replace(name, path) for word in rest]
    with pytest.raises(SystemExit):
        lab(verb, trained_cvaes / run, *rest)
    said = capfd.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_a_judge_is_named_with_its_own_error(lab, trained_cvaes):
    classes, judge = trained_cvaes / "classes", trained_cvaes / "judge"
    words = (
        "evaluate",
        classes,
        "--importance_samples=2",
        f"--judge={judge}",
        "--samples=200",
    )
    assert "whose test error was not measured" in " ".join(lab(*words, "--limit=50").split())
    lab("evaluate", judge)
    lab(*words)
    metrics = json.loads((classes / "version_0/metrics.json").read_text())["metrics"]
    said = metrics["test/label_agreement"]["protocol"]
    digest = json.loads((judge / "version_0/metrics.json").read_text())["protocol"]["test"]
    assert f"judged by Classifier {digest['checkpoint_sha256']}, whose test error is 0." in said
    assert runs.find(classes).scores["test/nll"] > 0


def test_codes_that_were_told_the_class_are_not_probed_for_it(trained_cvaes, lab):
    lab("evaluate", trained_cvaes / "classes", "--importance_samples", 5)
    report = json.loads((runs.find(trained_cvaes / "classes").path / "metrics.json").read_text())
    known = {key.removeprefix("test/") for key in report["metrics"]}
    assert {"elbo", "nll", "squared_error", "active_units"} <= known
    assert not {key for key in known if "accuracy" in key or "nmi" in key}
    assert report["protocol"]["test"]["likelihood"] == "p(x|y) of grey pixels"


def test_shares_that_agree_have_the_errors_of_all_images_and_of_one_class():
    class Draws:
        """Draws of the second class half what a judge takes for it."""

        classes, device = 2, "cpu"

        def sample(self, n, y):
            return torch.where(torch.arange(n) % 2 == 0, y, 0)

    judge = SimpleNamespace(log_probs=lambda x: torch.eye(2)[x].log())
    found = agreement(Draws(), judge, 100, 0, "")
    assert found["label_agreement"].value == 0.75
    expected = math.sqrt(0.75 * 0.25 / 200)
    assert found["label_agreement"].standard_error == pytest.approx(expected)
    assert found["least_label_agreement"][::3] == (0.5, pytest.approx(0.05))
