"""How far codes are drawn, of which models, and what a drawing waits for."""

import shutil
from functools import partial

import pytest
import torch
from PIL import Image

from vae_lab import pictures, runs
from vae_lab.callbacks import Pictures
from vae_lab.codes import Uniform
from vae_lab.contracts import Batch
from vae_lab.drawings import DRAWINGS
from vae_lab.errors import LabError
from vae_lab.models import (
    CVAE,
    GAN,
    VAE,
    Autoencoder,
    FeedForward,
    GaussianMixture,
    InfoGAN,
    KMeans,
)
from vae_lab.nets import MLPCritic, MLPGenerator
from vae_lab.posteriors import BottomUp, GumbelSoftmax
from vae_lab.priors import MixtureOfGaussians, TopDown, VampPrior
from vae_lab.priors import Uniform as UniformPrior
from vae_lab.verbs.picture import picture

SHAPE = (1, 8, 8)
NOTHING = Batch(torch.empty(0), torch.empty(0))
EDGE = 1.96  # of the standard normal, which 20 images a side cut into equal shares
NETS = {"generator": MLPGenerator, "critic": MLPCritic}


def mixture():
    model = VAE(SHAPE, 2, prior=partial(MixtureOfGaussians, components=2))
    model.prior.means.data = torch.tensor([[-20.0, 0.0], [20.0, 0.0]])
    return model


def vamp():
    model = VAE(SHAPE, 2, prior=partial(VampPrior, pseudo_inputs=3))
    torch.nn.init.zeros_(model.encoder[-1].weight)
    model.encoder[-1].bias.data = torch.tensor([30.0, 0.0, 0.0, 0.0])
    return model


def gumbel():
    choice = partial(GumbelSoftmax, classes=2)
    return VAE(SHAPE, 2, posterior=choice, prior=partial(UniformPrior, classes=2))


@pytest.fixture
def decoded(monkeypatch):
    """Draw of a model in evaluation, and return the codes that it decoded."""

    def draw(kind, model, batch, **options):
        seen, decode = [], model.decode
        with monkeypatch.context() as patch, torch.inference_mode():
            patch.setattr(model, "decode", lambda z, y=None: seen.append(z) or decode(z, y))
            DRAWINGS[kind].draw(model.eval(), batch, **options)
        return seen[0]

    return draw


@pytest.mark.parametrize(
    ("make", "low", "high"),
    [
        (mixture, -21.5, 21.5),
        (vamp, 30 - 1.96, 30 + 1.96),
        (partial(InfoGAN, SHAPE, 1, [Uniform], **NETS), -0.95, 0.95),
        (partial(VAE, SHAPE, 2), -EDGE, EDGE),
        (partial(GAN, SHAPE, 2, **NETS), -EDGE, EDGE),
    ],
    ids=["mixture", "vamp", "infogan", "vae", "gan"],
)
def test_a_plane_is_drawn_as_far_as_the_prior_goes(decoded, make, low, high):
    torch.manual_seed(0)
    model = make()
    z = decoded("manifold", model, NOTHING)
    assert (z[:, 0].min().item(), z[:, 0].max().item()) == pytest.approx((low, high), abs=0.4)
    assert torch.equal(z, decoded("manifold", model, NOTHING))


@pytest.mark.parametrize("kind", ["manifold", "traversals", "interpolation"])
@pytest.mark.parametrize(
    "make", [gumbel, partial(GaussianMixture, SHAPE, 2, 2), partial(KMeans, SHAPE, 2)]
)
def test_codes_that_are_a_choice_are_not_moved(kind, make):
    model = make()
    with pytest.raises(LabError, match=f"{kind}.*real codes.*{type(model).__name__} are discrete"):
        DRAWINGS[kind].check(model, f"The picture {kind!r}")
    assert not Pictures()._wanted(kind, model)


@pytest.mark.parametrize("kind", ["completions", "class_rows", "attribute_rows", "transfer"])
def test_a_guess_is_refused_for_what_it_cannot_do(kind):
    with pytest.raises(LabError, match=r"can (sample|encode); FeedForward cannot"):
        DRAWINGS[kind].check(FeedForward(SHAPE), kind)


def test_only_what_the_decoder_sees_is_moved(decoded, monkeypatch):
    model = VAE(SHAPE, 5, prior=partial(TopDown, top=2), posterior=partial(BottomUp, top=2))
    codes = torch.randn(50, 5) * torch.tensor([1.0, 0.1, 2.0, 10.0, 10.0])
    monkeypatch.setattr(model, "encode", lambda x, y=None: codes)
    z = decoded("traversals", model, Batch(torch.rand(50, *SHAPE), torch.zeros(50)), rows=2)
    assert z.view(2, 11, 5).std(1).gt(0.1).nonzero().tolist() == [[0, 0], [1, 2]]


@pytest.mark.parametrize(("make", "far"), [(partial(VAE, SHAPE, 2), False), (mixture, True)])
def test_codes_of_a_learned_prior_go_as_far_as_images_do(decoded, monkeypatch, make, far):
    model = make()
    codes = torch.linspace(-20, 20, 100).expand(2, -1).T
    monkeypatch.setattr(model, "encode", lambda x, y=None: codes)
    z = decoded("traversals", model, Batch(torch.rand(100, *SHAPE), torch.zeros(100)))
    assert z[:11, 0].max().item() == pytest.approx(19.6 if far else 3.0, abs=0.1)


def test_one_dimension_is_counted_as_one():
    with pytest.raises(LabError, match=r"this VAE has 1 dimension\."):
        DRAWINGS["manifold"].check(VAE(SHAPE, 1), "manifold")
    with pytest.raises(LabError, match=r"this VAE has 3 dimensions\."):
        DRAWINGS["manifold"].check(VAE(SHAPE, 3), "manifold")


def test_filters_wait_for_no_images(monkeypatch):
    monkeypatch.setattr(runs, "load_model", lambda run: Autoencoder(SHAPE, 3))
    monkeypatch.setattr(runs, "load_data", lambda run: pytest.fail("images were loaded"))
    monkeypatch.setattr("vae_lab.verbs.picture.origin", lambda run: run)
    assert picture("filters", "run").shape[0] == 3


def test_classes_are_called_by_name_in_training_and_after(lab, tmp_path, monkeypatch):
    for k, name in enumerate(("cats", "dogs")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for n in range(20):
            Image.new("L", (8, 8), 100 * k + n).save(tmp_path / "pets" / name / f"{n}.png")
    told = []
    monkeypatch.setattr(
        pictures, "scatter", lambda *a, **k: told.append(a[2]) or torch.zeros(3, 4, 4)
    )
    data = ("--data=ImageFolder", f"--data.folder={tmp_path / 'pets'}", "--data.channels=1")
    small = ("--data.batch_size=8", "--data.val_size=10", "--trainer.max_epochs=1")
    lab("fit", "--model=VAE", *data, *small, "--pictures.kinds=[scatter]", "--name=pets")
    lab("scatter", "runs/pets")
    shutil.rmtree(tmp_path / "pets")
    lab("sample", "runs/pets")  # needs no data
    assert told == [("cats", "dogs")] * 2


class Marked(CVAE):
    """Paints code and class into pixels, and reads the code there; it differs under each class."""

    def encode(self, x, y=None):
        return x[:, 0, 0, :2]

    def decode(self, z, y=None):
        images = torch.zeros(len(z), *SHAPE)
        images[:, 0, 0, :2], images[:, 0, 1, 0] = z, y.float()
        return images

    def transfer(self, z, y, to):
        return z + 100.0 * (to - y)[:, None]

    def sample(self, n, y=None):
        return self.decode(torch.randn(n, 2), y)


@pytest.fixture
def tiled(monkeypatch):
    """Draw of a model of classes, and return the codes and classes of all tiles, row by row."""

    def draw(kind, batch, **options):
        seen = []

        def tile(images, columns, *args, **more):
            seen.append(images.unflatten(0, (-1, columns)))
            return torch.zeros(3, 8, 8)

        for module in (pictures.sheets, pictures.conditional):
            monkeypatch.setattr(module, "grid", tile)
        DRAWINGS[kind].draw(Marked(SHAPE, 2).eval(), batch, **options)
        return seen[0][..., 0, 0, :2], seen[0][..., 0, 1, 0]

    return draw


@pytest.fixture
def labelled():
    torch.manual_seed(0)
    return Batch(torch.rand(6, *SHAPE), torch.tensor([3, 1, 4, 0, 5, 9]))


def test_a_class_has_its_column_and_its_row(tiled, labelled):
    z, y = labelled.x[:, 0, 0, :2], labelled.y
    codes, classes = tiled("transfer", labelled, n=4)
    assert torch.equal(classes[:, 1:], torch.arange(10.0).expand(4, 10))
    moved = 100.0 * (torch.arange(10) - y[:4, None])
    torch.testing.assert_close(codes[:, 1:], z[:4, None] + moved[..., None])
    codes, classes = tiled("class_rows", NOTHING, n=3)
    assert torch.equal(classes, torch.arange(10.0)[:, None].expand(10, 3))
    assert torch.equal(codes, codes[:1].expand_as(codes))  # a column is of one code
    assert len(codes[0, :, 0].unique()) == 3


def test_under_a_prior_that_moves_columns_share_noise_and_rows_a_style(labelled, monkeypatch):
    titles, drawn = [], []
    monkeypatch.setattr(
        pictures.conditional, "captioned", lambda sheet, title, **_: titles.append(title) or sheet
    )
    model = CVAE(SHAPE, 2, conditional_prior=True).eval()
    torch.nn.init.normal_(model.place.weight)
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z, y: drawn.append((z, y)) or decode(z, y))
    DRAWINGS["class_rows"].draw(model, NOTHING, n=3)
    DRAWINGS["transfer"].draw(model, labelled, n=3)
    codes = [z for z, _ in drawn]
    noise = [model.prior_given(y).back(z) for z, y in drawn]
    assert not torch.allclose(codes[0], codes[1])
    torch.testing.assert_close(noise[0], noise[1])
    style = noise[-1].view(3, 10, 2)
    torch.testing.assert_close(style, style[:, :1].expand_as(style))
    assert titles[0].endswith("one row a class, one column a noise")
    assert titles[1].startswith("style transfer: the style of the image on the left")


def test_a_walk_is_under_the_class_of_its_first_image(tiled, labelled):
    z, y = labelled.x[:, 0, 0, :2], labelled.y
    codes, classes = tiled("interpolation", labelled, pairs=3, steps=5)
    assert torch.equal(classes, y[:3, None].expand(3, 5).float())
    torch.testing.assert_close(codes[:, 0], z[:3])
    torch.testing.assert_close(codes[:, -1], z[3:] + 100.0 * (y[:3] - y[3:])[:, None])


def test_a_traversal_begins_with_the_image_that_was_asked_for(tiled, labelled):
    codes, classes = tiled("traversals", labelled, image=2)
    assert (classes == 4).all()
    z = labelled.x[2, 0, 0, :2]
    assert torch.equal(codes[0, :, 1], z[1].expand(11))
    assert torch.equal(codes[1, :, 0], z[0].expand(11))


def test_another_seed_draws_other_samples(tiled):
    first, again, other = (tiled("samples", NOTHING, n=4, label="7", seed=s)[0] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_title_of_codes_says_how_a_line_does_on_those_it_has_not_seen(monkeypatch):
    said = []
    monkeypatch.setattr(pictures, "scatter", lambda *a, **k: said.append(k) or torch.zeros(3, 4, 4))
    # In the half that is learned from the labels are the other way round.
    y = (torch.arange(40) % 2).where(torch.arange(40) < 20, 1 - torch.arange(40) % 2)
    model = Autoencoder(SHAPE, 3)
    codes = (torch.arange(40) % 2)[:, None] + torch.zeros(40, 3)
    monkeypatch.setattr(model, "encode", lambda x, y=None: codes)
    batch = Batch(torch.rand(40, *SHAPE), y)
    DRAWINGS["scatter"].draw(model, batch, "tsne", name="run")
    assert said[0]["title"].endswith("linear probe 0.000 on 20 codes, learned from 20 others")
    assert said[0]["method"] == "tsne"


def test_codes_are_drawn_of_the_split_and_by_the_projection_that_are_asked_for(
    lab, run, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        pictures, "scatter", lambda *a, **k: drawn.append((a, k)) or torch.zeros(3, 4, 4)
    )
    lab("scatter", run, "--split=test", "--projection=tsne")
    [((codes, *_), options)] = drawn
    assert (len(codes), options["method"]) == (297, "tsne")


def test_what_is_known_stands_over_the_image_and_its_draws(monkeypatch):
    said = {}
    monkeypatch.setattr(
        pictures.conditional, "captioned", lambda x, _, rows: said.update(rows=rows)
    )
    monkeypatch.setattr(pictures.conditional, "grid", lambda x, n: said.update(x=x, n=n))
    known, truth, draws = torch.zeros(3, *SHAPE), torch.ones(3, *SHAPE), torch.ones(2, 3, *SHAPE)
    pictures.completions(known, truth, draws * torch.tensor([2.0, 3.0]).view(2, 1, 1, 1, 1))
    assert said["rows"] == ["known", "truth", "draw 1", "draw 2"]
    assert said["x"].mean((1, 2, 3)).view(-1, said["n"])[:, 0].tolist() == [0, 1, 2, 3]
