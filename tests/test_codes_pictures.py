"""What a model's own codes do, as it is drawn."""

import pytest
import torch

from vae_lab import pictures, runs
from vae_lab.codes import Categorical, Normal, Uniform
from vae_lab.contracts import Batch
from vae_lab.drawings import DRAWINGS
from vae_lab.errors import LabError
from vae_lab.models import GAN
from vae_lab.pictures import codes
from vae_lab.verbs.draw import traverse

SHAPE = (1, 4, 4)
KINDS = 4


class Painter:
    """Paints its codes into the pixels of the first row, and reads the first one from there."""

    device = "cpu"
    latent_dim = KINDS + 2
    category = "kind"

    def __init__(self):
        self.codes = {"kind": Categorical(KINDS), "size": Uniform()}
        self.places = {"kind": slice(1, KINDS + 1), "size": slice(KINDS + 1, KINDS + 2)}

    def draw_codes(self, n):
        return torch.randn(n, self.latent_dim)

    def decode(self, z, y=None):
        image = torch.zeros(len(z), *SHAPE)
        image[:, 0, 0] = z[:, self.places["kind"]]
        image[:, 0, 1, 0] = z[:, -1]
        image[:, 0, 1, 1] = z[:, 0]
        return image

    def read(self, x):
        return {"kind": x[:, 0, 0], "size": x[:, 0, 1, :1]}


class Plain(GAN):
    """Paints its input into pixels, and nothing can be read there."""

    def decode(self, z, y=None):
        return z.view(len(z), *SHAPE)


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return Plain(SHAPE, 16).eval()


@pytest.fixture
def drawn(monkeypatch):
    """Catch what sheets are made of."""
    seen = []
    for name in ("class_rows", "code_sweep"):
        monkeypatch.setattr(
            pictures, name, lambda *args, **_: seen.append(args) or torch.zeros(3, 4, 4)
        )
    return seen


def labelled(model, classes):
    """Return an image of each value of the code that is a category, with these labels."""
    z = torch.zeros(KINDS, model.latent_dim)
    z[:, model.places["kind"]] = torch.eye(KINDS)
    return Batch(model.decode(z), torch.tensor(classes))


def test_rows_are_sorted_by_the_class_that_each_value_matches(drawn):
    model, classes = Painter(), [2, 0, 3, 1]
    DRAWINGS["sweeps"].draw(model, labelled(model, classes))
    (images, names, title), (swept, *_, rows, _) = drawn
    assert title == "kind (rows' classes fit 100% of 4 validation images)"
    assert names == rows == ["class 0", "class 1", "class 2", "class 3"]
    values = images[:, 0, 0].argmax(1).view(KINDS, 10)
    assert values.tolist() == [[classes.index(k)] * 10 for k in range(KINDS)]
    noise = images[:, 0, 1, 1].view(KINDS, 10)
    assert torch.equal(noise, noise[:1].expand(KINDS, -1))
    assert len(noise[0].unique()) == 10
    assert swept[:, 0, 0].argmax(1)[::11].tolist() == [classes.index(k) for k in range(KINDS)]


def test_a_number_goes_through_twice_the_range_it_was_trained_in_and_nothing_else_moves(drawn):
    model = Painter()
    DRAWINGS["sweeps"].draw(model, labelled(model, range(KINDS)))
    images, values, trained, *_ = drawn[1]
    assert values == pytest.approx(torch.linspace(-2, 2, 11).tolist())
    assert trained == 1
    sizes = images[:, 0, 1, 0].view(KINDS, 11)
    torch.testing.assert_close(sizes, torch.tensor(values).expand(KINDS, -1))
    assert len(images[:, 0, 1, 1].unique()) == 1
    assert Normal().sweep(3).flatten().tolist() == [-4, 0, 4]


def test_without_labels_values_keep_their_order(drawn):
    nothing = Batch(torch.empty(0, *SHAPE), torch.empty(0, dtype=torch.long))
    DRAWINGS["sweeps"].draw(Painter(), nothing)
    assert drawn[0][1] == ["0", "1", "2", "3"]


def red(sheet):
    """Return the columns of pixels that are red from top to bottom."""
    line = torch.tensor([0.84, 0.15, 0.16]).view(3, 1)
    columns = (sheet - line[..., None]).abs().amax((0,)) < 0.01
    return columns.float().mean(0).gt(0.7).nonzero().flatten().tolist()


def test_red_lines_stand_around_what_training_has_seen_unless_that_is_all_or_nothing():
    images, values = torch.zeros(5, *SHAPE), [-2.0, -1.0, 0.0, 1.0, 2.0]
    found = red(pictures.code_sweep(images, values, 1.0, 1.0, ["row"], ""))
    assert len(found) == 6
    width = found[3] - found[0]
    assert width == pytest.approx(3 * 1200 / 5, rel=0.1)
    assert not red(pictures.code_sweep(images, values, 2.0, 1.0, ["row"], ""))
    assert not red(pictures.code_sweep(images[:2], [-2.0, 2.0], 1.0, 1.0, ["row"], ""))


def test_what_red_lines_mean_is_said_where_there_are_lines(monkeypatch):
    titles = []
    monkeypatch.setattr(codes, "captioned", lambda sheet, title, *_: titles.append(title))
    for values, share in (([-2.0, 0.0, 2.0], 1.0), ([-2.0, 0.0, 2.0], 0.954), ([-2.0, 2.0], 1.0)):
        pictures.code_sweep(torch.zeros(len(values), *SHAPE), values, 1.0, share, ["row"], "size")
    seen = "size; between the red lines"
    assert titles == [f"{seen} all that training sees", f"{seen} 95% of what training sees", "size"]


def test_the_input_of_a_plain_gan_is_swept_as_an_infogans_codes_are(plain, drawn):
    nothing = Batch(torch.empty(0), torch.empty(0))
    DRAWINGS["sweeps"].draw(plain, nothing)
    for place, (images, values, *_) in enumerate(drawn):
        z = images.view(10, 11, 16)
        assert values == pytest.approx(torch.linspace(-2, 2, 11).tolist())
        torch.testing.assert_close(z[..., place], torch.tensor(values).expand(10, -1))
        others = torch.cat([z[..., :place], z[..., place + 1 :]], -1)
        assert torch.equal(others, others[:, :1].expand_as(others))
        assert len(others[:, 0, 0].unique()) == 10
    assert len(drawn) == 2


def test_runs_are_traversed_side_by_side_under_their_names(plain, here, monkeypatch):
    from PIL import Image

    models = {"info/version_0": Painter(), "gan/version_3": plain}
    for name in models:
        (here / name / "checkpoints").mkdir(parents=True)

    class Data:
        label_names = ()

        def images(self, split, n):
            return labelled(Painter(), range(KINDS))

    said, below = [], []
    caption = pictures.captioned
    monkeypatch.setattr(pictures, "captioned", lambda i, t: said.append(t) or caption(i, t))
    sign = pictures.signed
    monkeypatch.setattr(pictures, "signed", lambda p, *w: below.append(w) or sign(p, *w))
    monkeypatch.setattr(runs, "load_model", lambda run: models[run])
    monkeypatch.setattr(runs, "load_data", lambda run: Data())
    monkeypatch.setattr("vae_lab.verbs.picture.origin", lambda run: run)
    widths = []
    for chosen in ([*models][:1], [*models][1:], [*models]):
        traverse(chosen)
        widths.append(Image.open("traverse.png").width)
    assert said == list(models)
    assert {words[1:] for words in below} == {("draw 0",)}  # no images: they are not looked at
    assert widths[2] >= widths[0] + widths[1]


@pytest.mark.parametrize("span", [0.0, -2.0, float("nan"), float("inf")])
def test_codes_are_moved_some_way(span):
    with pytest.raises(LabError, match=f"--span is a finite number above 0; got {span}"):
        traverse(["no run is looked for"], span=span)


def test_another_seed_walks_between_other_codes(plain, monkeypatch):
    ends = []
    monkeypatch.setattr(pictures, "interpolation", lambda *args: ends.append(args[1]))
    for seed in (0, 0, 1):
        DRAWINGS["walks"].draw(plain, None, seed=seed)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
