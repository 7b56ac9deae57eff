"""What is exported computes what the model computes, for batches of any size."""

import json
import sys
from functools import partial
from itertools import product

import onnxruntime
import pytest
import torch
from conftest import FIT

from vae_lab import runs
from vae_lab.codes import Categorical, Normal
from vae_lab.codes import Uniform as UniformCode
from vae_lab.conditions import AttributeCondition, ClassCondition, PartialCondition
from vae_lab.data import ImageFolder
from vae_lab.errors import LabError
from vae_lab.models import (
    CVAE,
    GAN,
    PCA,
    VAE,
    VAEGAN,
    Autoencoder,
    GaussianMixture,
    InfoGAN,
    KMeans,
)
from vae_lab.nets import ConvDecoder, ConvEncoder, ResidualDecoder, ResidualEncoder
from vae_lab.posteriors import BottomUp, GumbelSoftmax
from vae_lab.priors import TopDown, Uniform
from vae_lab.verbs.export import export, export_part

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

CONV = {"encoder": ConvEncoder, "decoder": ConvDecoder}
SHAPE = (1, 12, 10)
MODELS = {
    "mlp": partial(VAE, SHAPE, 3),
    "plane": partial(VAE, SHAPE, 2),
    "conv": partial(Autoencoder, (3, 12, 10), 4, **CONV),
    "residual": partial(VAE, SHAPE, 3, ResidualEncoder, ResidualDecoder),
    "sparse": partial(Autoencoder, SHAPE, 8, top_k=3),
    "two layers": partial(
        VAE, SHAPE, 5, prior=partial(TopDown, top=2), posterior=partial(BottomUp, top=2)
    ),
    "gumbel": partial(
        VAE,
        SHAPE,
        6,
        prior=partial(Uniform, classes=3),
        posterior=partial(GumbelSoftmax, classes=3),
    ),
    "class": partial(CVAE, SHAPE, 3, condition=ClassCondition),
    "attributes": partial(CVAE, SHAPE, 3, condition=partial(AttributeCondition, attributes=2)),
    "part": partial(CVAE, SHAPE, 3, condition=PartialCondition),
    "gan": partial(GAN, SHAPE, 4),
    "infogan": partial(
        InfoGAN, SHAPE, 5, [Categorical, UniformCode, partial(Normal, name="width")]
    ),
    "vaegan": partial(VAEGAN, SHAPE, 4),
}
ONNX = ("mlp", "conv", "class", "gan", "infogan", "vaegan", "KMeans")


def clusters(kind):
    """Return a model whose centroids or means are as those of a fit, apart from each other."""
    model = kind(SHAPE)
    torch.nn.init.uniform_(model.centroids if kind is KMeans else model.means)
    return model


MODELS |= {kind.__name__: partial(clusters, kind) for kind in (KMeans, GaussianMixture)}


def arguments(model, name, n):
    """Return what `encode` or `decode` takes for `n` images."""
    first = torch.rand(n, *model.shape) if name == "encode" else torch.randn(n, model.latent_dim)
    condition = getattr(model, "condition", None)
    return (first,) if condition is None else (first, condition.example(n))


def run_onnx(path, inputs):
    session = onnxruntime.InferenceSession(str(path))
    feed = {name: value.numpy() for name, value in inputs.items()}
    return torch.from_numpy(session.run(None, feed)[0])


def run_pt2(path, inputs):
    return torch.export.load(path).module()(*inputs.values())


# The same operations in torch; another library's rounding in ONNX.
PROGRAMS = {"pt2": (run_pt2, {}), "onnx": (run_onnx, {"atol": 1e-5, "rtol": 1e-7})}


@pytest.mark.parametrize(
    ("kind", "written", "part"),
    [
        (kind, written, part)
        for kind, written in [*product(MODELS, ["pt2"]), *product(ONNX, ["onnx"])]
        for part in (("decode",) if kind in ("gan", "infogan") else ("encode", "decode"))
    ],
)
def test_a_program_computes_what_the_model_does(kind, written, part, tmp_path):
    torch.manual_seed(0)
    run, tolerance = PROGRAMS[written]
    model = MODELS[kind]().eval()
    about = export_part(model, part, written, tmp_path)
    for n in (1, 5):
        inputs = arguments(model, part, n)
        with torch.inference_mode():
            wanted = getattr(model, part)(*inputs)
            found = run(tmp_path / about["file"], dict(zip(about["inputs"], inputs, strict=True)))
        torch.testing.assert_close(found, wanted, **tolerance)
        assert [*wanted.shape[1:]] == about["output"]["shape"][1:]


def test_the_verb_says_what_goes_in_and_comes_out(lab, trained, tmp_path):
    out = tmp_path / "out"
    printed = lab("export", trained / "VAE", "--output", out)
    assert [line.rpartition("/")[2] for line in printed.split()] == [
        "encoder.onnx",
        "decoder.onnx",
        "model.json",
    ]
    about = json.loads((out / "model.json").read_text())
    assert (about["model"], about["prior"], about["latent_dim"]) == ("VAE", "StandardNormal", 3)
    assert about["trained_on"]["data"] == "Digits"
    assert about["labels"] == [str(k) for k in range(10)]
    encode, decode = about["parts"]["encode"], about["parts"]["decode"]
    assert encode["inputs"]["x"] == {
        "type": "float32",
        "shape": ["batch", 1, 8, 8],
        "range": [0, 1],
    }
    assert decode["inputs"]["z"]["shape"] == ["batch", 3]
    assert decode["output"]["shape"] == ["batch", 1, 8, 8]
    assert decode["output"]["range"] == [0, 1]


def test_an_export_that_is_stopped_leaves_no_parts_of_two_runs(trained, tmp_path, monkeypatch):
    export(str(trained / "VAE"), output=str(tmp_path / "out"))
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def stop(model, name, format, folder):
        (folder / "encoder.onnx").write_text("of another run")
        if name == "decode":
            raise KeyboardInterrupt

    monkeypatch.setattr("vae_lab.verbs.export.export_part", stop)
    with pytest.raises(KeyboardInterrupt):
        export(str(trained / "Autoencoder"), output=str(tmp_path / "out"))
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_a_file_is_no_folder_to_export_to(trained, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(LabError, match="out could not be filled: File exists"):
        export(str(trained / "VAE"), output=str(tmp_path / "out"))


def test_a_checkpoint_alone_is_enough(trained, tmp_path, monkeypatch):
    model = runs.load_model(trained / "VAE")
    monkeypatch.setattr(runs, "load_model", lambda path: model)
    monkeypatch.setattr(runs, "load_data", lambda path: ImageFolder("/nowhere", binarize="static"))
    export(str(trained / "VAE"), "pt2", str(tmp_path))
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["format"] == "pt2"
    assert about["trained_on"]["data"] == "ImageFolder"
    assert about["trained_on"]["binarize"] == "static"
    assert "root" not in about["trained_on"]
    assert about["labels"] == []


def test_images_of_a_linear_decoder_have_no_range(tmp_path):
    found = export_part(PCA((1, 4, 4), 2).eval(), "decode", "pt2", tmp_path)
    assert "range" not in found["output"]


def test_what_onnx_lacks_is_a_sentence(tmp_path):
    model = MODELS["GaussianMixture"]().eval()
    with pytest.raises(LabError, match=r"ONNX lacks an operation of encoder\.onnx.*--format pt2"):
        export_part(model, "encode", "onnx", tmp_path / "exported")
    assert not list(tmp_path.iterdir())


class Counting(Autoencoder):
    """Tells how many images there are by a number that a tracer takes for a constant."""

    def encode(self, x, y=None):
        return super().encode(x).view(len(x), -1)


def test_an_own_model_that_cannot_be_traced_is_a_sentence(tmp_path):
    model = Counting((1, 4, 4), 2).eval()
    with pytest.raises(LabError, match=r"the `encode` of a Counting .*x\.shape\[0\].*`len\(x\)`"):
        export_part(model, "encode", "pt2", tmp_path / "exported")
    assert not list(tmp_path.iterdir())


def given(kind, tmp_path, part="decode"):
    return export_part(MODELS[kind]().eval(), part, "pt2", tmp_path)["inputs"]


def test_it_says_where_an_infogans_codes_lie_and_what_they_may_be(tmp_path):
    assert given("infogan", tmp_path)["z"]["parts"] == {
        "noise": {"from": 0, "size": 5, "range": [-1, 1]},
        "c1": {"from": 5, "size": 10, "one_hot": True},
        "c2": {"from": 15, "size": 1, "range": [-1, 1]},
        "width": {"from": 16, "size": 1, "range": [-2, 2]},
    }


def test_it_says_what_conditions_and_groups_may_be(tmp_path):
    assert given("class", tmp_path)["y"]["range"] == [0, 9]
    assert given("class", tmp_path)["y"]["type"] == "int64"
    assert given("part", tmp_path)["y"]["range"] == [0, 1]
    assert "range" not in given("attributes", tmp_path)["y"]
    assert given("gumbel", tmp_path)["z"]["probabilities_in_groups_of"] == 3
    assert given("mlp", tmp_path)["z"] == {"type": "float32", "shape": ["batch", 3]}


def test_it_names_what_codes_are_drawn_from(lab, tmp_path):
    words = [*FIT, "--trainer.max_epochs=1", "--pictures.kinds=[]", "--model=GAN", "--name=gan"]
    lab(*(word for word in words if "latent" not in word))
    lab("export", "runs/gan", "--format=pt2", "--output", tmp_path / "out")
    about = json.loads((tmp_path / "out/model.json").read_text())
    assert (about["prior"], [*about["parts"]]) == ("StandardNormal", ["decode"])
    assert about["parts"]["decode"]["inputs"]["z"]["shape"] == ["batch", 100]


@pytest.mark.parametrize(
    ("make", "prior"),
    [(MODELS["infogan"], None), (partial(CVAE, SHAPE, 3, conditional_prior=True), "Moved")],
)
def test_no_normal_is_named_where_codes_are_drawn_otherwise(
    trained, tmp_path, monkeypatch, make, prior
):
    monkeypatch.setattr(runs, "load_model", lambda path: make().eval())
    export(str(trained / "VAE"), "pt2", str(tmp_path))
    assert json.loads((tmp_path / "model.json").read_text())["prior"] == prior


def test_without_the_packages_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(LabError, match=r"\.\[export\]"):
        export_part(MODELS["mlp"]().eval(), "decode", "onnx", tmp_path)
    assert not list(tmp_path.iterdir())
