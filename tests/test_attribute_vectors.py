"""Attribute vectors: where they lead, who judges that, and `lab attribute`."""

import json
from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything
from PIL import Image

from vae_lab import judges, pictures
from vae_lab.contracts import Batch
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.metrics.attributes import STROKES, Labelled, Stroke, attribute_vector, moved
from vae_lab.models import GAN, Autoencoder
from vae_lab.verbs import attribute as module

SHAPE = (1, 8, 8)


class Pixels:
    """Codes that are the pixels themselves, and classes that are told by the second one."""

    latent_dim = 64
    shape = SHAPE

    def encode(self, x, y=None):
        return x.flatten(1)

    def decode(self, z, y=None):
        return z.view(-1, *SHAPE)

    def log_probs(self, x):
        second = x.flatten(1)[:, 1]
        return torch.stack([1 - second, second], 1).log()


class Lit:
    """Whether the first pixel is bright, dark, or between."""

    about = "the first pixel"

    def of(self, images):
        return self.seen(images.x)

    def seen(self, x):
        first = x.flatten(1)[:, 0]
        return (first > 0.7).int() - (first < 0.3).int()


def images(firsts, seconds=0.1):
    x = torch.full((len(firsts), *SHAPE), 0.5)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = torch.tensor(firsts), seconds
    return Batch(x, torch.zeros(len(firsts), dtype=torch.long))


def test_the_vector_leads_from_the_mean_of_those_without_to_the_mean_of_those_with():
    known = images([0.0, 0.2, 0.5, 0.8, 1.0, 0.9])
    vector = attribute_vector(Pixels(), known, Lit().of(known))
    expected = torch.zeros(64)
    expected[0] = 0.9 - 0.1
    torch.testing.assert_close(vector, expected)
    with pytest.raises(LabError, match="none is without"):
        attribute_vector(Pixels(), known, torch.ones(6))


def test_success_is_counted_among_those_that_were_not_there_on_the_decoded_images():
    vector = torch.zeros(64)
    vector[0], vector[1] = 0.5, 0.6
    # A step forward lights the first, leaves the second between, and asks nothing of the last.
    held_out = images([0.4, 0.1, 0.9])
    found = moved(Pixels(), held_out, vector, Lit(), [-1, 0, 1, 2], Pixels())
    assert found["moved_up_1"].value == found["moved_down_1"].value == 0.5
    assert found["moved_up_2"].value == 1
    assert found["moved_up_0"].value == found["moved_down_0"].value == 0
    assert "2 images" in found["moved_up_1"].note
    # The judge's pixel leaves its class on the way.
    assert found["kept_up_0"].value == 1
    assert found["kept_up_1"].value == found["both_up_1"].value == 0
    assert "kept_up_1" not in moved(Pixels(), held_out, vector, Lit(), [1])


def test_what_decoding_alone_moves_is_told_and_is_no_merit_of_the_vector():
    class Brightens(Pixels):
        def decode(self, z, y=None):
            return super().decode(z, y) + 0.4

    vector = torch.zeros(64)
    vector[0] = 0.5
    found = moved(Brightens(), images([0.4, 0.1, 0.9]), vector, Lit(), [0, 1])
    assert found["moved_up_0"].value == 0.5
    assert found["moved_up_1"].value == 1
    assert found["gained_up_1"].value == 0.5
    assert found["gained_up_0"].value == 0
    assert found["gained_up_1"].standard_error == pytest.approx(0.5)


def test_strokes_are_told_by_the_thirds_of_the_training_images():
    x = torch.zeros(30, 1, 20, 20)
    for k in range(30):
        x[k, :, 8:12, 2 : 4 + k // 2] = 1
    stroke = Stroke("width", x)
    assert stroke.seen(x).tolist() == sorted(stroke.seen(x).tolist())
    assert 8 <= (stroke.seen(x) == 1).sum() <= 12
    assert 8 <= (stroke.seen(x) == -1).sum() <= 12
    torch.testing.assert_close(STROKES["width"](x), STROKES["width"](x.flip(2)))
    assert STROKES["width"](x)[-1] == pytest.approx(16, abs=0.1)
    assert STROKES["slant"] is not STROKES["thickness"]
    assert "colours" not in stroke.about
    assert "colours were averaged" in Stroke("width", x.expand(-1, 3, -1, -1)).about


def labelled(n):
    """Images of which the first attribute is noise, and the second a bright upper half."""
    torch.manual_seed(n)
    y = (torch.rand(n, 2) > 0.5).float()
    x = 0.3 * torch.rand(n, *SHAPE)
    x[:, :, :4] += 0.5 * y[:, 1].view(-1, 1, 1, 1)
    return Batch(x, y)


def test_labels_are_seen_in_edits_by_a_classifier_of_its_own():
    known, others = labelled(200), labelled(100)
    kind = Labelled("Bright", 1, Pixels(), known, others)
    assert torch.equal(kind.of(others), 2 * others.y[:, 1].int() - 1)
    assert torch.equal(kind.seen(others.x), kind.of(others))
    assert "errs on 0.0000 of 100 others" in kind.about
    found = moved(Pixels(), others, attribute_vector(Pixels(), known, kind.of(known)), kind, [0, 1])
    assert found["moved_up_0"].value == 0
    assert found["moved_up_1"].value == 1
    with pytest.raises(LabError, match="alike in all"):
        Labelled("Bright", 1, Pixels(), Batch(known.x, torch.ones(200, 2)), others)
    with pytest.raises(LabError, match="Bright has 200 values in 200 training images"):
        Labelled("Bright", 1, Pixels(), Batch(known.x, torch.rand(200, 2)), others)


def test_of_two_values_the_larger_one_is_the_attributes_whatever_they_are():
    known, others = (Batch(part.x, 2 + 6 * part.y) for part in (labelled(200), labelled(100)))
    kind = Labelled("Bright", 1, Pixels(), known, others)
    assert torch.equal(kind.of(others), torch.where(others.y[:, 1] == 8, 1, -1).int())
    assert torch.equal(kind.seen(others.x), kind.of(others))


# the verb


class Faces(Digits):
    """What stands for images with attributes."""

    classes = ("Noisy", "Bright")
    num_classes = None

    def read(self, split):
        x, y = labelled(300 if split == "train" else 100)
        return (x * 255).byte(), y


@pytest.fixture
def faces(here, monkeypatch):
    """Checkpoints of a model of faces, of a judge of such, and of a judge of digits."""
    quiet = {"accelerator": "cpu", "logger": False, "barebones": True}
    for name, size in (("run", 8), ("eye", 6), ("alien", 5)):
        seed_everything(size)
        trainer = Trainer(max_epochs=15, **quiet)
        trainer.fit(Autoencoder(SHAPE, size, lr=1e-2), Faces(val_size=60))
        trainer.save_checkpoint(f"{name}.ckpt")
    # A checkpoint names no class of data that a test made.
    monkeypatch.setattr(module, "load_data", lambda path: Faces(val_size=60))
    seen = {"run.ckpt": Faces, "eye.ckpt": Faces, "alien.ckpt": Digits}
    monkeypatch.setattr(judges, "load_data", lambda path: seen[path]())


def test_attributes_of_the_data_are_judged_by_a_classifier_on_a_judges_features(faces, capsys):
    found = {}
    for split in ("val", "test"):
        options = {"strength": 2.0, "n": 2, "steps": 3, "judge": "eye.ckpt", "split": split}
        module.attribute("run.ckpt", "Bright", **options)
        found[split] = json.loads(Path("attribute.json").read_text())
    report = found["val"]
    assert report["metrics"]["moved_up_2"]["value"] > 0.9
    assert report["metrics"]["moved_up_0"]["value"] < 0.1
    assert "logistic regression" in report["protocol"]["attribute"]
    assert report["protocol"]["judge"].startswith(f"Autoencoder {digest(Path('eye.ckpt'))}")
    assert [found[split]["protocol"]["split"] for split in found] == ["val", "test"]
    assert [found[split]["protocol"]["images"] for split in found] == [60, 100]
    assert report["metrics"] != found["test"]["metrics"]
    assert "moved" in capsys.readouterr().out
    for name, judge, why in (
        ("Bright", None, "Who sees Bright"),
        ("Bald", "eye.ckpt", "no attribute 'Bald'; .* these images Noisy, Bright"),
        ("Bright", "run.ckpt", "run.ckpt is the model itself"),
        ("Bright", "alien.ckpt", "learned from Digits and knows nothing of Faces"),
    ):
        with pytest.raises(LabError, match=why):
            module.attribute("run.ckpt", name, judge=judge)


def test_strokes_of_a_run_are_moved(lab, run):
    out = lab("attribute", run, "--attribute", "slant", "--steps=5", "--n=2")
    assert "up 2" in out
    assert "gained" in out
    assert Image.open("attribute.png").height < Image.open("attribute.png").width
    report = json.loads(Path("attribute.json").read_text())
    assert report["protocol"]["trained_on"] == 64
    assert "outer thirds of 64 training images" in report["protocol"]["attribute"]
    assert {"moved_up_2", "moved_down_1", "moved_up_0"} <= report["metrics"].keys()
    assert "parts" not in report["metrics"]["moved_up_2"]


def test_a_column_is_called_by_how_far_its_codes_were_moved(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "transfer", lambda *args: drawn.append(args))
    shown, vector = images([0.3, 0.6]), torch.zeros(64)
    vector[0] = 0.1
    module._draw(Pixels(), shown, vector, torch.tensor([-2.0, 0.0, 2.0]), "lit")
    ((left, moved, captions, _),) = drawn
    assert torch.equal(left, shown.x)
    assert captions == ["-2", "0", "2"]
    expected = torch.tensor([0.1, 0.3, 0.5, 0.4, 0.6, 0.8])
    torch.testing.assert_close(moved[:, 0, 0, 0], expected)


def test_images_that_are_moved_are_grey(run, monkeypatch):
    shown = []
    monkeypatch.setattr(module, "load_data", lambda run: Digits(binarize="static"))
    nothing = torch.ones(3, 8, 8)
    monkeypatch.setattr(module, "_draw", lambda model, batch, *_: shown.append(batch.x) or nothing)
    module.attribute(str(run), limit=100, n=3)
    assert torch.equal(shown[0], Digits().images("val", 3).x)


def test_what_cannot_be_moved_is_refused(run, monkeypatch):
    for options, why in (
        ({"attribute": "smile"}, "no attribute 'smile'; strokes have .* no others"),
        ({"strength": 0.0}, "--strength is a finite number above 0"),
        ({"judge": "inception"}, "Inception knows no class"),
        ({"steps": 1}, "--steps is odd and at least 3"),
        ({"steps": 4}, "--steps is odd and at least 3"),
        ({"n": 0}, "--n is at least 1"),
        ({"limit": -5}, "--limit is at least 1"),
    ):
        with pytest.raises(LabError, match=why):
            module.attribute(str(run), **options)
    monkeypatch.setattr(module, "load_model", lambda path: GAN(SHAPE))
    with pytest.raises(LabError, match="can encode; GAN cannot, and `lab invert`"):
        module.attribute(str(run))
