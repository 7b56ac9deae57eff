"""What `lab explore` writes, and where it gets its runtime; no network, no browser."""

import base64
import gzip
import hashlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
import tarfile
from functools import partial
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from PIL import Image

from vae_lab.codes import Categorical, Normal
from vae_lab.conditions import ClassCondition, PartialCondition
from vae_lab.contracts import Batch
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.models import CVAE, PCA, VAE, Autoencoder, GaussianMixture, InfoGAN, KMeans
from vae_lab.posteriors import BottomUp, GumbelSoftmax
from vae_lab.priors import MixtureOfGaussians, TopDown, Uniform
from vae_lab.verbs.exploring import onnx_runtime
from vae_lab.verbs.exploring.atlas import sheets
from vae_lab.verbs.exploring.explore import explore
from vae_lab.verbs.exploring.onnx_runtime import runtime
from vae_lab.verbs.exploring.view import Codes, check, codes_of, view

SHAPE = (1, 8, 8)
FILES = {"ort.wasm.bundle.min.mjs": b"export {};", "ort-wasm-simd-threaded.wasm": b"\0asm"}
PAGE = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def archive(path):
    """Write an archive like the registry's, and return its SHA-512 as the registry states it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {**FILES, "ort.webgpu.wasm": b"more"}.items():
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """An archive to fetch the runtime from, and an empty cache."""
    path = tmp_path / "runtime.tgz"
    monkeypatch.setattr(onnx_runtime, "INTEGRITY", archive(path))
    monkeypatch.setattr(onnx_runtime, "URL", path.as_uri())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


@pytest.fixture
def offline(registry):
    registry.unlink()


def about(folder):
    return json.loads(PAGE.search((folder / "index.html").read_text())[1])


def unpacked(script, name):
    coded = re.search(rf'\b{name} = "([^"]+)"', script.read_text())[1]
    return gzip.decompress(base64.b64decode(coded))


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """A run of a VAE with a two-dimensional code."""
    from conftest import FIT

    from vae_lab.cli import main

    folder = tmp_path_factory.mktemp("plane")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [*FIT, "--trainer.max_epochs=1", "--name=plane"]
        patch.setattr(sys, "argv", ["lab", *words])
        main(words)
    return folder / "runs/plane"


# The runtime


def test_the_runtime_is_fetched_once(registry, tmp_path):
    assert [*runtime()] == [*FILES.values()]
    kept = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(FILES)
    registry.unlink()
    assert [*runtime()] == [*FILES.values()]


def test_another_archive_than_the_published_one_is_refused(registry, tmp_path, monkeypatch):
    registry.write_bytes(registry.read_bytes()[:-1] + b"\1")
    with pytest.raises(LabError, match="SHA-512"):
        runtime()
    assert not (tmp_path / "cache").exists()


def test_half_a_cache_is_fetched_anew(registry, tmp_path):
    runtime()
    next((tmp_path / "cache").rglob("*.wasm")).unlink()
    assert [*runtime()] == [*FILES.values()]


def test_without_the_network_it_says_so(offline, tmp_path):
    with pytest.raises(LabError, match="could not be had"):
        runtime()
    assert not (tmp_path / "cache").exists()


# The folder


def test_the_scripts_hold_runtime_and_decoder(lab, trained, registry, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    assert lab("explore", trained / "VAE", "--output", out).split() == [str(out / "index.html")]
    assert {path.name for path in out.iterdir()} == {"index.html", "runtime.js", "decoder.js"}
    held = [unpacked(out / "runtime.js", name) for name in ("SCRIPT", "WASM")]
    assert held == [*FILES.values()]

    from vae_lab import runs

    z = torch.randn(3, 3)
    session = onnxruntime.InferenceSession(unpacked(out / "decoder.js", "DECODER"))
    with torch.inference_mode():
        wanted = runs.load_model(trained / "VAE").decode(z)
    np.testing.assert_allclose(session.run(None, {"z": z.numpy()})[0], wanted, atol=1e-5)
    page = about(out)
    assert (page["size"], page["shape"], page["plane"]) == (3, [1, 8, 8], None)
    assert page["title"] == "VAE of Digits, 3 dimensions"
    assert page["origin"] == "VAE/version_0, epoch 2"
    assert sorted(control["at"] for control in page["controls"]) == [0, 1, 2]


def test_without_the_runtime_the_plane_is_decoded_beforehand(plane, offline, tmp_path, capsys):
    explore(str(plane), output=str(tmp_path / "out"))
    assert "beforehand" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]
    page = about(tmp_path / "out")
    side, (url,) = page["atlas"]["side"], page["atlas"]["sheets"]
    sheet = np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))

    from vae_lab import runs

    model = runs.load_model(plane)
    (x0, y0), (x1, y1) = page["plane"]["low"], page["plane"]["high"]
    for column, row in [(0, 0), (side - 1, 0), (3, side - 1), (side // 2, 7)]:
        x, y = x0 + (column + 0.5) / side * (x1 - x0), y1 - (row + 0.5) / side * (y1 - y0)
        with torch.inference_mode():
            wanted = (model.decode(torch.tensor([[x, y]]))[0, 0] * 255).round().numpy()
        found = sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        np.testing.assert_allclose(found, wanted, atol=1)


def test_codes_are_shown_of_the_split_that_is_asked_for(plane, offline, tmp_path):
    explore(str(plane), split="test", output=str(tmp_path / "out"))
    assert len(about(tmp_path / "out")["plane"]["points"]) == 297


def test_without_the_runtime_other_codes_are_refused(trained, offline, tmp_path):
    with pytest.raises(LabError, match=r"only two-dimensional codes .* has 3 dimensions"):
        explore(str(trained / "VAE"), output=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_page_s_name_is_refused_for_the_folder(plane, tmp_path):
    with pytest.raises(LabError, match=r"--output is a folder, .* got '.*page\.html'\."):
        explore(str(plane), output=str(tmp_path / "page.html"))
    assert not [*tmp_path.glob("page.html")]


def test_without_the_packages_it_says_what_to_install(plane, registry, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(LabError, match=r"\.\[export\]"):
        explore(str(plane), output=str(tmp_path / "out"))


def test_without_the_data_the_plane_is_plain(plane, offline, tmp_path, monkeypatch, capsys):
    def gone(*args):
        raise LabError("No digits here.")

    monkeypatch.setattr(Digits, "images", gone)
    explore(str(plane), output=str(tmp_path / "out"))
    assert "no codes of images: No digits here." in capsys.readouterr().err
    shown = about(tmp_path / "out")["plane"]
    assert shown["points"] == []
    assert np.abs([shown["low"], shown["high"]]) == pytest.approx(3, abs=0.6)


# What the page is told


def told(model, codes=None):
    torch.manual_seed(0)
    with torch.inference_mode():
        return view(model.eval(), Digits(), codes)


@pytest.mark.parametrize(("kind", "lowest"), [(Autoencoder, 0), (VAE, -2)])
def test_a_plane_is_as_wide_as_its_codes_and_holds_them(kind, lowest):
    z = torch.tensor([[0.0, 0.0], [10.0, 1.0], [5.0, -1.0]])
    page = told(kind(SHAPE, 2), Codes(z, torch.tensor([0, 2, 1]), ("a", "b", "c")))
    plane = page["plane"]
    assert plane["points"] == z.tolist()
    assert plane["labels"] == [0, 2, 1]
    assert plane["names"] == [["a", 0, 0], ["b", 5, -1], ["c", 10, 1]]
    assert page["hint"].endswith("The dots are codes of 3 val images.")
    assert len(set(plane["colours"])) == 3
    sides = np.subtract(plane["high"], plane["low"])
    assert sides[0] == pytest.approx(sides[1])
    assert lowest - 2 < plane["low"][0] < lowest
    assert 10 < plane["high"][0] < 12


def test_sliders_come_by_variance_and_not_too_many():
    z = torch.randn(500, 30) * torch.arange(1, 31)
    page = told(VAE(SHAPE, 30), Codes(z, None, ()))
    assert len(page["controls"]) == 24
    assert {control["at"] for control in page["controls"][:4]} <= set(range(24, 30))
    assert {(control["low"], control["high"]) for control in page["controls"]} == {(-3, 3)}
    assert page["hint"] == (
        "24 dimensions of the code, a slider each, those first that vary most among images."
    )
    assert page["sampling"] == "new sample"
    assert [control["at"] for control in told(VAE(SHAPE, 30))["controls"]] == [*range(24)]
    assert told(VAE(SHAPE, 3))["hint"] == "All dimensions of the code, a slider each."


def test_a_prior_that_is_learned_says_how_far_codes_are_moved():
    model = VAE(SHAPE, 4, prior=partial(MixtureOfGaussians, components=2))
    model.prior.means.data = torch.tensor([[-20.0] * 4, [20.0] * 4])
    page = told(model)
    assert all(control["low"] < -20 < 20 < control["high"] for control in page["controls"])


def test_codes_without_a_prior_are_moved_as_far_as_they_go():
    z = torch.linspace(-1, 1, 1001)[:, None] * torch.tensor([1.0, 10.0, 100.0])
    page = told(Autoencoder(SHAPE, 3), Codes(z, None, ()))
    highs = {control["at"]: control["high"] for control in page["controls"]}
    assert highs == pytest.approx({0: 1.176, 1: 11.76, 2: 117.6})
    assert page["samples"][0] == [pytest.approx(code, abs=1e-3) for code in z[:200].tolist()]
    assert page["sampling"] == "code of another image"


def test_one_hot_groups_are_chosen_from():
    gumbel = VAE(
        SHAPE,
        6,
        prior=partial(Uniform, classes=3),
        posterior=partial(GumbelSoftmax, classes=3),
    )
    for model, groups in ((gumbel, [(0, 3), (3, 3)]), (KMeans(SHAPE, 4), [(0, 4)])):
        page = told(model)
        assert [(control["at"], control["size"]) for control in page["controls"]] == groups
        codes = torch.tensor(page["samples"][0])
        for at, size in groups:
            assert (codes[:, at : at + size].sum(1) == 1).all()


@pytest.mark.parametrize("kind", [KMeans, GaussianMixture])
def test_clusters_are_chosen_not_drawn(kind):
    assert told(kind(SHAPE, 4))["sampling"] == "another cluster"


def test_what_the_decoder_does_not_see_has_no_slider():
    prior, posterior = partial(TopDown, top=2), partial(BottomUp, top=2)
    page = told(VAE(SHAPE, 5, prior=prior, posterior=posterior))
    assert [control["at"] for control in page["controls"]] == [0, 1, 2]


def test_an_infogans_codes_come_before_its_noise():
    model = InfoGAN(SHAPE, 30, [partial(Categorical, 4), partial(Normal, name="width")])
    page = told(model)
    category, width, *noise = page["controls"]
    assert (category["kind"], category["name"], category["at"]) == ("choice", "c1", 30)
    assert (width["name"], width["at"], width["low"], width["high"]) == ("width", 34, -4, 4)
    assert [control["at"] for control in noise] == [*range(22)]
    # Noise was drawn between -1 and 1 in training.
    assert all(-1.3 < control["low"] < -1 < 1 < control["high"] < 1.3 for control in noise)
    assert (page["drawn"], page["sampling"]) == (30, "new noise")
    assert len(page["samples"][0][0]) == 35


@pytest.mark.parametrize("moved", [False, True])
def test_classes_are_chosen_and_have_codes_of_their_own(moved):
    model = CVAE(SHAPE, 3, condition=partial(ClassCondition, classes=4), conditional_prior=moved)
    if moved:
        torch.nn.init.normal_(model.place.weight)
    page = told(model)
    assert page["classes"] == ["0", "1", "2", "3"]
    assert len(page["samples"]) == 4
    assert (page["samples"][0] == page["samples"][1]) is not moved


def test_a_code_goes_where_the_class_moves_its_prior():
    model = CVAE(SHAPE, 3, condition=partial(ClassCondition, classes=4), conditional_prior=True)
    torch.nn.init.normal_(model.place.weight)
    places = told(model)["places"]
    z, (mean, scale) = torch.randn(3), (torch.tensor(places[name]) for name in ("mean", "scale"))
    moved = mean[3] + scale[3] * (z - mean[2]) / scale[2]
    wanted = model.transfer(z[None], torch.tensor([2]), torch.tensor([3]))[0]
    torch.testing.assert_close(moved, wanted, atol=1e-4, rtol=1e-4)
    assert told(VAE(SHAPE, 3))["places"] is None


def test_classes_are_called_by_their_names():
    model = CVAE(SHAPE, 3, condition=partial(ClassCondition, classes=2))
    page = told(model, Codes(torch.randn(9, 3), torch.zeros(9), ("shirt", "shoe", "bag")))
    assert page["classes"] == ["shirt", "shoe"]


def test_each_class_has_a_sheet_of_its_own():
    model = CVAE((3, 6, 5), 2, condition=partial(ClassCondition, classes=3)).eval()
    with torch.inference_mode():
        side, found = sheets(model, {"low": [-2, 0], "high": [2, 8]})
        assert len(found) == 3
        assert found[0].shape == (3, 6 * side, 5 * side)
        corner = torch.tensor([[2 - 2 / side, 8 - 4 / side]])
        wanted = model.decode(corner, torch.tensor([2]))[0]
    torch.testing.assert_close(found[2][:, :6, -5:], wanted)


def test_codes_of_images_keep_class_labels_alone():
    images = Batch(torch.rand(5, *SHAPE), torch.arange(5))
    found = codes_of(PCA(SHAPE, 2), images, ())
    assert found.z.shape == (5, 2)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    attributes = Batch(images.x, torch.zeros(5, 7))
    assert codes_of(PCA(SHAPE, 2), attributes, ()).labels is None
    with pytest.raises(LabError, match="diverged"):
        codes_of(PCA(SHAPE, 2), Batch(images.x / 0, images.y), ())


def test_what_cannot_be_steered_is_refused():
    with pytest.raises(LabError, match="decode"):
        check(object())
    with pytest.raises(LabError, match="PartialCondition"):
        check(CVAE(SHAPE, 2, condition=PartialCondition))


# Serving


@pytest.mark.usefixtures("interruptible")
def test_it_serves_this_machine_until_interrupted(tmp_path):
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "config.yaml").touch()  # which makes it a run
    code = (
        "from vae_lab import cli\n"
        "from vae_lab.verbs.exploring import explore as module\n"
        "def explore(run: str):\n"
        "    'Serve.'\n"
        "    with module.listening(module.Path(run), 0) as server:\n"
        "        module.answer(server)\n"
        "module.explore = explore\n"
        f"cli.main(['explore', {str(tmp_path)!r}])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        with urlopen(address, timeout=10) as answer:
            assert answer.read() == b"the page"
        with pytest.raises(URLError):  # at an address that is not the one it says
            urlopen(address.replace("127.0.0.1", "127.0.0.2"), timeout=10)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
    with pytest.raises(URLError):
        urlopen(address, timeout=10)


@pytest.mark.parametrize("port", [None, 99_999_999])
def test_a_port_that_cannot_be_had_is_named_before_anything_is_written(plane, tmp_path, port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = port or taken.getsockname()[1]
        with pytest.raises(LabError, match=f"Port {port}"):
            explore(str(plane), output=str(tmp_path / "out"), serve=True, port=port)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "served"), [([], 0), (["--serve"], 1), (["--serve", "true"], 1)])
def test_a_switch_needs_no_value(lab, plane, offline, tmp_path, monkeypatch, words, served):
    ports = []
    monkeypatch.setattr(f"{explore.__module__}.answer", lambda s: ports.append(s.server_port))
    lab("explore", *words, plane, "--output", tmp_path / "out")
    assert len(ports) == served
