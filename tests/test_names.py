"""Names of classes and runs are written as they are, whatever letters they have."""

import os
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from matplotlib import get_data_path
from PIL.ImageDraw import ImageDraw

from vae_lab import checkpoints, pictures
from vae_lab.codes import Categorical
from vae_lab.conditions import ClassCondition
from vae_lab.contracts import Batch
from vae_lab.data import Digits
from vae_lab.drawings import DRAWINGS
from vae_lab.drawings.conditional import given_class
from vae_lab.errors import LabError
from vae_lab.models import CVAE, VAE, InfoGAN, KMeans
from vae_lab.nets import MLPCritic, MLPGenerator
from vae_lab.pictures import fonts
from vae_lab.verbs.exploring.view import Codes, view


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


@pytest.mark.parametrize("name", [r"costs $\much$", os.fsdecode(b"caf\xe9")])
def test_runs_are_named_above_all_figures_by_any_letters(name):
    assert pictures.panels([pictures.Panel(name, {"a": [(1, 2.0), (90, 3.0)]})], "n", "x").ndim == 3
    assert pictures.beside_prior(torch.randn(9, 2), torch.randn(9, 2), title=name).ndim == 3
    codes, labels = torch.randn(9, 2), torch.arange(9) % 2
    assert pictures.scatter(codes, labels, ["cat", name], title=name).ndim == 3


def test_long_names_do_not_cover_the_explorers_points():
    codes = Codes(torch.randn(9, 2), torch.arange(9) % 2, ("short", "a name of many words"))
    about = view(VAE((1, 8, 8), latent_dim=2), Digits(), codes)
    assert [name for name, *_ in about["plane"]["names"]] == ["short", "a name of many …"]


def test_names_stay_within_the_points_and_do_not_hide_them(drawn):
    codes = 1e-8 * torch.randn(200, 2)
    codes[0] = 1  # all others lie in a corner
    for k in (20, 21):
        pictures.scatter(codes, torch.arange(200) % k, [f"a class, {i}" for i in range(k)])
    few, many = (figure.axes[0] for figure in drawn)
    boxes = [text.get_window_extent().extents for text in few.texts]
    assert len(boxes) == 20
    assert all(few.bbox.contains(*box[:2]) and few.bbox.contains(*box[2:]) for box in boxes)
    assert not many.texts
    assert len(many.get_legend().get_texts()) == 21


@pytest.mark.parametrize("draw", ["scatter", "beside_prior"])
def test_a_legend_of_long_names_takes_no_room_from_the_points(drawn, draw):
    codes, labels, words = torch.randn(30, 2), torch.arange(30) % 3, {"n": 1, "name of a class": 4}
    for word, times in words.items():
        names = [word * times + str(k) for k in range(3)]
        if draw == "scatter":
            pictures.scatter(codes, labels, names)
        else:
            pictures.beside_prior(codes, codes, labels, names=names)
    short, long = ([axes.bbox for axes in figure.axes] for figure in drawn)
    for before, after in zip(short, long, strict=True):
        assert after.width > 0.95 * before.width
    assert drawn[1].axes[-1].get_legend().get_window_extent().x1 <= drawn[1].bbox.x1


def test_a_class_keeps_its_colour_where_others_are_absent(drawn):
    names = [f"{k}" for k in range(12)]
    for present in (names, names[:6]):
        pictures.scatter(torch.randn(36, 2), torch.arange(36) % len(present), names)
    every, few = (figure.axes[0].collections[0].get_facecolors()[:6] for figure in drawn)
    assert (every == few).all()


@pytest.mark.parametrize("name", ["é", "Ü", "ß", "Ж", "λ"])
def test_letters_beyond_ascii_are_no_boxes(name):
    missing = pictures.captioned(torch.ones(3, 40, 40), rows=["\N{CJK UNIFIED IDEOGRAPH-732B}"])
    written = pictures.captioned(torch.ones(3, 40, 40), rows=[name])
    assert not torch.equal(ink(written), ink(missing))


def test_letters_come_from_the_font_that_has_them(monkeypatch):
    folder = Path(get_data_path(), "fonts/ttf")
    own, other = (
        fonts._known(str(folder / f"{name}.ttf")) for name in ("DejaVuSans", "STIXGeneral")
    )
    letter = chr(min(other - own))
    monkeypatch.setattr(fonts, "_installed", lambda: [str(folder / "STIXGeneral.ttf")])
    fonts._having.cache_clear()
    assert fonts.families(["a", letter])[1] == "STIXGeneral"
    assert fonts.font_file([letter]).endswith("STIXGeneral.ttf")
    assert fonts.font_file(["é"]).endswith("DejaVuSans.ttf")


def test_letters_that_no_font_has_are_told_once(monkeypatch, capsys):
    monkeypatch.setattr(fonts, "_installed", list)
    monkeypatch.setattr(fonts, "_said", set())
    fonts._having.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for names in (["\u732b", "\u72d7"], ["\u732b", "a"]):
            pictures.scatter(torch.randn(30, 2), torch.arange(30) % 2, names)
            pictures.captioned(torch.ones(3, 40, 40), rows=names)
    assert capsys.readouterr().err.count("\n") == 1
    fonts._having.cache_clear()


def test_a_checkpoint_in_a_folder_whose_name_is_no_text_tells_its_epoch(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.ckpt")
    torch.save({"pytorch-lightning_version": "2.6", "epoch": 1, "state_dict": {}}, path)
    assert checkpoints.epoch(path) == 2


def ink(image):
    """Cut a picture down to where it is not white."""
    rows, columns = (image.amin(0) < 1).nonzero(as_tuple=True)
    return image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


@pytest.fixture
def written(monkeypatch):
    """Return the words that are written on sheets, with their height."""
    words, write = {}, ImageDraw.text

    def text(self, place, text, fill, font, anchor):
        words[text] = font.size
        write(self, place, text, fill, font, anchor)

    monkeypatch.setattr(ImageDraw, "text", text)
    return words


PETS = ("cat", "a dog, or something like it", "owl")
SHAPE = (1, 8, 8)


def cvae():
    return CVAE(SHAPE, 2, condition=partial(ClassCondition, classes=3))


def infogan():
    nets = {"generator": MLPGenerator, "critic": MLPCritic}
    return InfoGAN(SHAPE, 1, [partial(Categorical, 3)], **nets)


@pytest.mark.parametrize(
    ("kind", "make", "options", "said"),
    [
        ("transfer", cvae, {}, "owl"),
        ("samples", cvae, {"label": "2"}, "samples of class owl"),
        ("clusters", partial(KMeans, SHAPE, 3), {}, "owl: 100%"),
        ("sweeps", infogan, {}, "class owl"),
    ],
)
def test_sheets_call_classes_by_their_names(kind, make, options, said, written):
    batch = Batch(torch.rand(12, *SHAPE), torch.full((12,), 2))
    with torch.inference_mode():
        DRAWINGS[kind](make().eval(), batch, PETS, **options)
    assert said in written


def test_a_class_is_asked_for_by_its_name_or_its_number():
    model = cvae()
    for y, names, wanted in (("owl", PETS, 2), ("1", PETS, 1), ("02", ("01", "02", "03"), 1)):
        labels, called = given_class(model, y, 2, names)
        assert labels.tolist() == [wanted, wanted]
        assert called == f"class {names[wanted]}"
    with pytest.raises(LabError, match=r"no class emu: .* 0 to 2, which are cat, a dog"):
        given_class(model, "emu", 2, PETS)
    with pytest.raises(LabError, match="no class 02: this CVAE knows 0 to 2"):
        given_class(model, "02", 2)  # a name whose data are gone, which the number 2 is not


def test_columns_of_long_names_have_smaller_letters_until_none_could_be_read(written):
    names = [f"long name {k}" for k in range(30)]
    pictures.captioned(torch.ones(3, 50, 900), "title", columns=names[:9])
    assert {*names[:9]} < written.keys()
    assert 12 <= written["long name 3"] < written["title"]
    written.clear()
    pictures.captioned(torch.ones(3, 50, 900), "title", columns=names)
    assert 0 < len(written.keys() & {*names}) < 9
    assert written["long name 0"] == written["title"]
