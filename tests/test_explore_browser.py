"""The page of `lab explore` in a browser draws what the decoder in Python does."""

import re
import shutil
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from conftest import FIT

from tests.browser import Tab, look, needed
from vae_lab import runs
from vae_lab.cli import main
from vae_lab.models import CVAE
from vae_lab.verbs.exploring import onnx_runtime
from vae_lab.verbs.exploring.explore import explore

pytestmark = needed

MODELS = {
    "plane": ["--model=VAE", "--model.latent_dim=2"],
    "classes": ["--model=CVAE", "--model.latent_dim=2"],
    "styles": ["--model=CVAE", "--model.latent_dim=5"],
    "moved": [
        "--model=CVAE",
        "--model.latent_dim=2",
        "--model.conditional_prior=true",
        "--model.lr=0.1",  # in two steps the priors are to part
    ],
    "codes": [
        "--model=InfoGAN",
        "--model.noise=30",
        "--model.codes=[Categorical,Uniform,{class_path: Normal, init_args: {name: width}}]",
    ],
    "colours": [
        "--data.channels=3",
        "--data.resize=[12, 10]",
        "--model=VAE",
        "--model.encoder=ConvEncoder",
        "--model.decoder=ConvDecoder",
        "--model.latent_dim=30",
    ],
    "clusters": ["--model=KMeans", "--model.clusters=2"],
    "groups": [
        "--model=VAE",
        "--model.latent_dim=30",
        "--model.posterior=GumbelSoftmax",
        "--model.posterior.classes=3",
        "--model.prior=Uniform",
        "--model.prior.classes=3",
    ],
}
# The control of a name, and that of the classes.
SLIDER = """[...document.querySelectorAll("#sliders label")].find(
    label => label.firstChild.textContent === "{}").querySelector("input, select")"""
CLASS = "document.getElementById('class')"


class Explorer(Tab):
    """A page of the explorer."""

    async def open(self, folder, mark=""):
        """Open a folder's page from disk, and wait until it has drawn."""
        await self.send("Page.navigate", url=f"{(folder / 'index.html').as_uri()}{mark}")
        await self.wait_for("document.getElementById('link')?.hash.length > 1")

    async def pixels(self):
        """Return the image that is shown, shape (C, H, W), and what it is drawn of."""
        found = await self.ask("[...brush.getImageData(0, 0, width, height).data]")
        height, width = await self.ask("[height, width]")
        rgba = np.array(found).reshape(height, width, 4)
        assert (rgba[..., 3] == 255).all()
        mark = await self.ask("document.getElementById('link').hash")
        z = [float(v) for v in re.search(r"z=([^&]*)", mark)[1].split(",")]
        y = re.search(r"&y=(\d+)", mark)
        return rgba[..., :3].transpose(2, 0, 1), torch.tensor([z]), y and int(y[1])

    async def mouse(self, kind, across, down):
        """Move the mouse to a point of the plane, or press it there, by shares of its sides."""
        area = "document.getElementById('plane').getBoundingClientRect().toJSON()"
        box = await self.ask(area)
        x, y = box["left"] + across * box["width"], box["top"] + down * box["height"]
        button = "none" if kind == "mouseMoved" else "left"
        await self.send(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run folders of models of all kinds."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in MODELS.items():
            words = [*FIT, *words, "--trainer.max_epochs=1", f"--name={name}"]
            patch.setattr(sys, "argv", ["lab", *words])
            main(words)
    return folder / "runs"


@pytest.fixture(scope="module")
def pages(trained, tmp_path_factory):
    """A page of each, with the runtime that was fetched before."""
    if not list(onnx_runtime.folder().glob("*.wasm")):
        # Fetching it is 33 MB from the network, which no test may ask for.
        pytest.skip(
            f"needs ONNX Runtime Web in {onnx_runtime.folder()}: `lab explore` fetches it, once"
        )
    folder = tmp_path_factory.mktemp("pages")
    for name in MODELS:
        explore(str(trained / name), output=str(folder / name))
    return folder


async def assert_drawn(tab, model):
    """Compare the image that is shown with what Python decodes of its link."""
    pixels, z, y = await tab.pixels()
    with torch.inference_mode():
        image = model.decode(z, None if y is None else torch.tensor([y]))[0]
    wanted = (image.clamp(0, 1) * 255).round().expand(3, -1, -1).numpy()
    assert np.abs(pixels - wanted).max() <= 1
    assert wanted.max() > wanted.min()
    return pixels


@pytest.mark.parametrize("kind", MODELS)
def test_the_page_draws_what_python_does(kind, trained, pages):
    model = runs.load_model(trained / kind)

    async def visit(tab):
        await tab.open(pages / kind)
        images = [await assert_drawn(tab, model)]
        for seed in (1, 2):
            torch.manual_seed(seed)
            z = ",".join(f"{v:.3f}" for v in torch.randn(model.latent_dim).tolist())
            mark = f"#z={z}" + (f"&y={3 * seed}" if isinstance(model, CVAE) else "")
            await tab.ask(f"location.hash = {mark!r}")
            wanted = ",".join(f"{float(v):g}" for v in z.split(","))
            await tab.wait_for(f"document.getElementById('link').hash.startsWith('#z={wanted}')")
            images.append(await assert_drawn(tab, model))
        assert not any((images[0] == image).all() for image in images[1:])
        await tab.open(pages / kind, f"{mark[:3]}1,nonsense")
        assert "is not one of this model's codes" in await tab.words()

    look(visit, Explorer)


def test_names_stand_on_one_line(pages):
    async def visit(tab):
        await tab.open(pages / "groups")
        names = "[...document.querySelectorAll('#sliders span')]"
        assert await tab.ask(f"{names}.at(-1).textContent") == "group 10"
        assert len(set(await tab.ask(f"{names}.map(name => name.offsetHeight)"))) == 1

    look(visit, Explorer)


@pytest.mark.parametrize("corner", ["low", "high"])
def test_names_of_classes_that_lie_close_do_not_cover_each_other(pages, corner):
    async def visit(tab):
        await tab.open(pages / "plane")
        boxes = await tab.ask(
            "(() => { const found = [], pen = find('points').getContext('2d');"
            "pen.fillRect = (...box) => found.push(box);"
            f"plane.names = [...'abcdefgh'].map(k => ['a name ' + k, ...plane.{corner}]);"
            "paintPlane(); return [...found, [find('points').clientWidth]]; })()"
        )
        *boxes, (side,) = boxes
        assert len(boxes) == 8
        for (x, y, w, h), (a, b, c, d) in combinations(boxes, 2):
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y
        assert all(
            0 <= v <= v + extent <= side
            for *at, w, h in boxes
            for v, extent in zip(at, (w, h), strict=True)
        )

    look(visit, Explorer)


def test_a_long_name_of_a_class_keeps_to_the_page(pages):
    async def visit(tab):
        await tab.open(pages / "styles")
        await tab.ask(f"{CLASS}.options[0].textContent = 'a class of many words '.repeat(20)")
        assert await tab.ask("document.documentElement.scrollWidth <= window.innerWidth")

    look(visit, Explorer)


def test_a_mlp_is_decoded_thirty_times_a_second(pages):
    async def visit(tab):
        await tab.open(pages / "plane")
        times = await tab.ask(
            "(async () => { const times = [];"
            "for (let i = 0; i < 60; i++) { const start = performance.now();"
            "brush.putImageData(await decode([i / 30 - 1, 0.5], y), 0, 0);"
            "times.push(performance.now() - start); } return times; })()"
        )
        # The median: other programs may hold a few of them up.
        assert sorted(times)[30] < 1000 / 30

    look(visit, Explorer)


def test_pointer_and_keys_move_the_point(trained, pages):
    model = runs.load_model(trained / "plane")

    async def visit(tab):
        await tab.open(pages / "plane")
        low, high = await tab.ask("[plane.low, plane.high]")
        await tab.mouse("mouseMoved", 0.25, 0.1)
        await moved(
            tab, [low[d] + share * (high[d] - low[d]) for d, share in ((0, 0.25), (1, 0.9))]
        )
        await assert_drawn(tab, model)
        for kind in ("mousePressed", "mouseReleased"):
            await tab.mouse(kind, 0.25, 0.1)
        held = (await tab.pixels())[1]
        await tab.mouse("mouseMoved", 0.75, 0.75)
        await tab.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
        step = (high[0] - low[0]) / 100
        await moved(tab, [held[0, 0].item() + step, held[0, 1].item()])
        await assert_drawn(tab, model)

    async def moved(tab, z):
        near = f"Math.hypot(drawn[0] - {z[0]}, drawn[1] - {z[1]}) < 0.02"
        await tab.wait_for(
            "(drawn => " + near + ")"
            "(document.getElementById('link').hash.slice(3).split('&')[0].split(',').map(Number))"
        )

    look(visit, Explorer)


@pytest.mark.parametrize(
    ("kind", "control", "moved"),
    [
        ("colours", SLIDER.format("z4"), [3]),
        ("groups", SLIDER.format("group 2"), [3, 4, 5]),
        ("classes", CLASS, []),
        ("styles", CLASS, []),
        ("styles", SLIDER.format("z5"), [4]),
        ("codes", SLIDER.format("c1"), [*range(30, 40)]),
        ("codes", SLIDER.format("c2"), [40]),
        ("codes", SLIDER.format("width"), [41]),
        ("codes", SLIDER.format("z7"), [6]),
    ],
)
def test_sliders_lists_and_buttons_draw(kind, control, moved, trained, pages):
    model = runs.load_model(trained / kind)

    async def visit(tab):
        await tab.open(pages / kind)
        before, z, y = await assert_drawn(tab, model), *(await tab.pixels())[1:]
        await drawn_after(
            tab,
            f"(control => {{ control.value = control.max || (+control.value + 1) % control.length;"
            f"control.dispatchEvent(new Event('input')); }})({control})",
        )
        after, new_z, new_y = await assert_drawn(tab, model), *(await tab.pixels())[1:]
        assert (before != after).any()
        assert set((z != new_z)[0].nonzero().flatten().tolist()) <= set(moved)
        assert (y != new_y) == (not moved)
        await drawn_after(tab, "Math.random = () => 0.5, document.getElementById('sample').click()")
        assert ((await assert_drawn(tab, model)) != after).any()

    async def drawn_after(tab, action):
        await tab.ask("window.before = document.getElementById('link').hash")
        await tab.ask(action)
        await tab.wait_for("document.getElementById('link').hash !== before")

    look(visit, Explorer)


def test_another_class_moves_the_code_with_its_prior(trained, pages):
    model = runs.load_model(trained / "moved")

    async def visit(tab):
        await tab.open(pages / "moved", "#z=0.5,-0.5&y=1")
        z, of = (await tab.pixels())[1:]
        await tab.ask(f"{CLASS}.value = 4, {CLASS}.dispatchEvent(new Event('input'))")
        await tab.wait_for("document.getElementById('link').hash.endsWith('&y=4')")
        await assert_drawn(tab, model)
        with torch.inference_mode():
            wanted = model.transfer(z, torch.tensor([of]), torch.tensor([4]))
        assert (wanted - z).abs().min() > 0.01
        torch.testing.assert_close((await tab.pixels())[1], wanted, atol=0.001, rtol=0)

    look(visit, Explorer)


def test_another_cluster_is_never_the_same(pages):
    async def visit(tab):
        await tab.open(pages / "clusters")
        assert await tab.ask("document.getElementById('sample').textContent") == "another cluster"
        codes = await tab.ask("[...Array(9)].map(() => (find('sample').click(), z.join()))")
        assert codes == ["0,1", "1,0"] * 4 + ["0,1"]

    look(visit, Explorer)


def test_the_numbers_that_lists_and_sliders_steer_are_counted(pages):
    """A list steers as many numbers as it has values."""

    wanted = {"groups": "", "clusters": "", "codes": "42 numbers, 33 of them shown, "}
    wanted["colours"] = "30 numbers, 24 of them shown, "

    async def visit(tab):
        for kind, words in wanted.items():
            await tab.open(pages / kind)
            await tab.wait_for("document.getElementById('read').textContent")
            read = await tab.ask("document.getElementById('read').textContent")
            assert read.partition("decoded")[0] == words

    look(visit, Explorer)


def test_codes_of_the_chosen_class_are_dark_whatever_its_colour(pages):
    async def visit(tab):
        await tab.open(pages / "classes", "#z=0,0&y=1")
        shades = await tab.ask(
            "(() => { const {width: side} = find('points');"
            "const found = find('points').getContext('2d').getImageData(0, 0, side, side).data;"
            "const at = share => Math.max(0, Math.min(side - 1, Math.floor(share * side)));"
            "return plane.points.filter((_, i) => plane.labels[i] === y).map(p => {"
            "const k = 4 * (at(down(p[1])) * side + at(across(p[0])));"
            "return 255 - found[k + 3] + Math.max(...found.slice(k, k + 3)); }); })()"
        )
        # A few lie outside the plane.
        assert np.median(shades) < 80

    look(visit, Explorer)


@pytest.mark.parametrize("kind", ["plane", "classes"])
def test_without_the_runtime_the_nearest_image_is_shown(kind, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_runtime, "URL", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    explore(str(trained / kind), output=str(tmp_path / "page"))
    model = runs.load_model(trained / kind)

    async def visit(tab):
        await tab.open(tmp_path / "page")
        assert "images decoded beforehand" in await tab.words()
        low, high = (torch.tensor(end) for end in await tab.ask("[plane.low, plane.high]"))
        size = (high - low) / await tab.ask("atlas.side")
        near = [round(v, 3) for v in (low + torch.tensor([7.3, 2.6]) * size).tolist()]
        await tab.ask(f"location.hash = '#z={near[0]},{near[1]}&y={7 * (kind == 'classes')}'")
        await tab.wait_for(f"document.getElementById('link').hash.startsWith('#z={near[0]:g}')")
        pixels, _, y = await tab.pixels()
        middle = low + torch.tensor([[7.5, 2.5]]) * size
        with torch.inference_mode():
            image = model.decode(middle, None if y is None else torch.tensor([y]))[0]
        assert np.abs(pixels - (image * 255).round().numpy()).max() <= 1

    look(visit, Explorer)


def test_a_page_without_its_scripts_says_so(pages, tmp_path):
    shutil.copy(pages / "plane/index.html", tmp_path)

    async def visit(tab):
        await tab.send("Page.navigate", url=(tmp_path / "index.html").as_uri())
        await tab.wait_for("document.body?.innerText.includes('is not beside this page')")
        # The browser itself complains of the files.
        assert tab.complaints
        tab.complaints.clear()

    look(visit, Explorer)
