"""Pictures of models that are given real-valued attributes."""

from functools import partial

import pytest
import torch

from vae_lab import pictures
from vae_lab.conditions import AttributeCondition
from vae_lab.contracts import Batch
from vae_lab.drawings import DRAWINGS
from vae_lab.drawings.attributes import _moved
from vae_lab.errors import LabError
from vae_lab.models import CVAE, VAE

SHAPE = (1, 4, 5)


class Shows(CVAE):
    """Images whose brightness is the first attribute, and whose first pixel is the code."""

    def decode(self, z, y=None):
        images = y[:, :1, None, None].expand(-1, *SHAPE).clone()
        images[:, 0, 0, 0] = z[:, 0]
        return images


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Shows(SHAPE, 3, condition=partial(AttributeCondition, attributes=2)).eval()


@pytest.fixture
def batch():
    y = torch.stack([torch.linspace(0, 1, 51), torch.linspace(5, -5, 51)], 1)
    return Batch(torch.rand(51, *SHAPE), y)


@pytest.fixture
def drawn(monkeypatch):
    """Catch what sheets are made of."""
    seen = []
    for name in ("class_rows", "transfer"):
        monkeypatch.setattr(pictures, name, lambda *args: seen.append(args) or torch.zeros(3, 4, 4))
    return seen


def test_rows_go_from_low_to_high_and_columns_share_a_code(model, batch, drawn):
    DRAWINGS["attribute_rows"].draw(model, batch, n=6)
    images, captions, *_ = drawn[0]
    grid = images.view(2, 5, 6, *SHAPE)
    brightness, codes = grid[..., 0, 3, 4], grid[..., 0, 0, 0]
    assert torch.allclose(brightness[0, :, 0], torch.linspace(0.02, 0.98, 5))
    assert torch.allclose(brightness[1], torch.tensor(0.5))  # while the other attribute moves
    assert torch.equal(codes, codes[:1, :1].expand_as(codes))
    assert len(codes[0, 0].unique()) == 6
    assert captions[0] == "y1 = 0.02"
    DRAWINGS["attribute_rows"](model, batch, ["bright", "dark"], n=6)
    assert drawn[1][1][0] == "bright = 0.02"
    assert captions[5:] == ["y2 = -4.8", "y2 = -2.4", "y2 = 0", "y2 = 2.4", "y2 = 4.8"]


def test_walks_keep_an_images_code_and_its_other_attributes(model, batch, drawn):
    DRAWINGS["attribute_walks"].draw(model, batch, n=3)
    codes = model.encode(batch.x[:3], batch.y[:3])[:, 0]
    first, second = (args[1].view(3, 9, *SHAPE) for args in drawn)
    for walk in (first, second):
        assert torch.allclose(walk[..., 0, 0, 0], codes[:, None].expand(-1, 9))
    assert torch.allclose(first[..., 0, 3, 4], torch.linspace(0.02, 0.98, 9).expand(3, -1))
    assert torch.allclose(second[..., 0, 3, 4], batch.y[:3, :1].expand(-1, 9))
    assert torch.equal(drawn[0][0], batch.x[:3])
    ends = [(args[2][0], args[2][-1]) for args in drawn]
    assert ends == [("0.02", "0.98"), ("-4.8", "4.8")]


def test_a_rare_attribute_goes_from_absent_to_there():
    known = torch.zeros(200, 2)
    known[0, 0] = 1
    known[:, 1] = torch.arange(200)
    found = list(_moved(torch.zeros(1, 2), known, 3))
    assert [value for k, value, _ in found if k == 1] == [0, 0.5, 1]
    assert next(value for k, value, _ in found if k == 2) == pytest.approx(0.02 * 199)


def test_they_are_of_attributes_alone(model):
    for kind in ("attribute_rows", "attribute_walks"):
        DRAWINGS[kind].check(model, kind)
        with pytest.raises(LabError, match="condition, ClassCondition, has no attributes"):
            DRAWINGS[kind].check(CVAE(SHAPE, 3), kind)
        with pytest.raises(LabError, match="VAE cannot"):
            DRAWINGS[kind].check(VAE(SHAPE, 3), kind)


def test_every_picture_of_attributes_can_be_drawn(batch):
    model = CVAE(SHAPE, 3, condition=partial(AttributeCondition, attributes=2)).eval()
    for kind in ("attribute_rows", "attribute_walks", "beside_prior", "traversals", "scatter"):
        DRAWINGS[kind].check(model, kind)
        picture = DRAWINGS[kind].draw(model, batch)
        assert picture.shape[0] == 3


def test_verbs_draw_attributes_where_there_are_no_classes(model, batch, drawn, monkeypatch, here):
    from vae_lab import runs
    from vae_lab.verbs.draw import sample, transfer

    class Data:
        label_names = ()

        def images(self, split, n):
            return Batch(*(part[:n] for part in batch))

    monkeypatch.setattr(runs, "load_model", lambda run: model)
    monkeypatch.setattr(runs, "load_data", lambda run: Data())
    monkeypatch.setattr("vae_lab.verbs.picture.origin", lambda run: "")
    sample(["run"], y="all")
    assert drawn[0][-1] == "value of an attribute"
    transfer("run")
    assert drawn[1][-1].startswith("the style of the image on the left, y1 of the column")
    with pytest.raises(LabError, match=r"AttributeCondition, is no class, .*`lab sample --y all`"):
        sample(["run"], y="7")


def test_attributes_that_have_no_room_are_counted(batch, drawn):
    model = CVAE(SHAPE, 3, condition=partial(AttributeCondition, attributes=8)).eval()
    many = batch._replace(y=torch.rand(51, 8))
    for kind, place in (("attribute_rows", 2), ("attribute_walks", 3)):
        DRAWINGS[kind].draw(model, many, n=2)
        assert drawn[-1][place].endswith(" (the first 6 of 8 attributes)")
