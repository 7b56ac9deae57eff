"""The page of `lab compare --html` in a browser: it opens, sorts, slides and marks."""

import json
from itertools import combinations, pairwise

import pytest
import torch

from tests.browser import look, needed
from tests.test_compare import make_run
from vae_lab.pictures import save_png
from vae_lab.verbs.comparing.compare import compare

pytestmark = needed

WIDTHS = {"desktop": 1300, "phone": 390}
RUNS = 12
# Reds of the pictures, by epoch and, below, by run.
REDS = {2: 40, 4: 80, 6: 120}


@pytest.fixture
def page(tmp_path):
    """The page of a dozen runs of a sweep, all drawn at epochs 2 and 6, the odd ones at 4 too."""
    for k in range(RUNS):
        elbos = [-130.0, -120.0, -110.0, -105.0, -101.0, -100.0 + 7 * ((5 * k) % RUNS)]
        run = make_run(
            tmp_path / "sweep" / f"trial_{k}" / "version_0", "VAE",
            {"val/elbo": elbos, "val/kl": [float(k)] * 6, "train/loss": [9.0] * 6},
            {"test/elbo": -98.5 + k} if k else None,
            latent_dim=2 + k, lr=10.0 ** -(k % 4), activation=("ReLU", "Tanh")[k % 2],
        )  # fmt: skip
        for epoch in (2, 4, 6) if k % 2 else (2, 6):
            picture = torch.full((3, 8, 8), (REDS[epoch] + k) / 255)
            save_png(picture, run / "pictures" / f"samples_{epoch:04d}.png")
    compare([str(tmp_path / "sweep")], html=str(tmp_path / "page.html"), metric="val/elbo")
    return tmp_path / "page.html"


def opened(page, visit, width="desktop"):
    """Visit the page, in a window so wide."""

    async def run(tab):
        size = {"width": WIDTHS[width], "height": 844, "deviceScaleFactor": 1}
        await tab.send("Emulation.setDeviceMetricsOverride", **size, mobile=width == "phone")
        await tab.send("Page.navigate", url=page.as_uri())
        await tab.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")
        await visit(tab)

    look(run)


async def press(tab, key):
    # A button hears a key by the sign that it types.
    typed = {"text": sign} if (sign := {"Enter": "\r", " ": " "}.get(key)) else {}
    await tab.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **typed)
    await tab.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)


async def point(tab, kind, x, y):
    button = "none" if kind == "mouseMoved" else "left"
    await tab.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)


async def reds(tab):
    """Return the red of every picture that is shown, by the number of its run."""
    found = await tab.ask("""Promise.all([...document.querySelectorAll(".row figure")]
        .filter(f => !f.hidden && !f.querySelector("button").hidden).map(async f => {
            const image = f.querySelector("img");
            await image.decode();
            const brush = document.createElement("canvas").getContext("2d");
            brush.drawImage(image, 0, 0);
            return [f.dataset.run, brush.getImageData(4, 4, 1, 1).data[0]];
        }))""")
    return {int(run): red for run, red in found}


async def column(tab, table, k):
    return await tab.ask(
        f"[...document.querySelectorAll('table')[{table}].tBodies[0].rows]"
        f".map(row => row.cells[{k}].textContent)"
    )


@pytest.fixture
def trials(page):
    """The trial of each run, in the order of the page."""
    data = page.read_text().split('id="data">')[1].split("</script>")[0]
    names = json.loads(data)["names"]
    return [int(name.partition("trial_")[2].partition("/")[0]) for name in names]


def test_the_slider_moves_the_pictures_of_all_runs(page, trials):
    async def visit(tab):
        async def wanted(at):
            drawn = [max(e for e in ((2, 4, 6) if k % 2 else (2, 6)) if e <= at) for k in trials]
            reached = {i: REDS[e] + k for i, (e, k) in enumerate(zip(drawn, trials, strict=True))}
            captions = await tab.ask(
                "[...document.querySelectorAll('.row figcaption')].map(c => c.textContent)"
            )
            for caption, epoch in zip(captions, drawn, strict=True):
                assert caption.endswith(f"step {10 * epoch}, epoch {epoch}")
            return reached

        assert await reds(tab) == await wanted(6)
        await tab.ask("document.getElementById('slider').focus()")
        for key, at in (("ArrowLeft", 4), ("ArrowLeft", 2), ("ArrowRight", 4), ("End", 6)):
            await press(tab, key)
            assert await reds(tab) == await wanted(at)
            spoken = await tab.ask("document.getElementById('slider').ariaValueText")
            assert spoken == f"step {10 * at} ({at // 2} of 3)"
            assert spoken in await tab.words()

    opened(page, visit)


def test_columns_sort_by_number_and_back_with_what_is_missing_last(page):
    async def visit(tab):
        heads = await tab.ask(
            "[...document.querySelectorAll('table')[1].tHead.rows[0].cells].map(c => c.textContent)"
        )
        k = heads.index("test/elbo")
        button = f"document.querySelectorAll('table')[1].tHead.rows[0].cells[{k}]"
        for way, sign in (("ascending", 1), ("descending", -1)):
            await tab.ask(f"{button}.querySelector('button').focus()")
            await press(tab, "Enter")
            cells = await column(tab, 1, k)
            numbers = [float(cell) for cell in cells[:-1]]
            assert numbers == sorted(numbers, key=lambda v: sign * v)
            assert cells[-1] == ""
            assert await tab.ask(f"{button}.ariaSort") == way
        means = ["-94.1 ± 0.2", "-100.3 ± 0.1 (n = 2)", "", "nan", "9 ± 1"]
        assert await tab.ask(f"{json.dumps(means)}.sort((a, b) => before(a, b, 1))") == [
            means[k] for k in (1, 0, 4, 3, 2)
        ]
        # Names have numbers in them, words have none.
        await tab.ask("document.querySelector('table thead button').click()")
        names = await column(tab, 0, 0)
        assert [int(name.partition(".")[0]) for name in names] == list(range(1, RUNS + 1))

    opened(page, visit)


def test_a_run_stands_out_wherever_it_is(page, trials):
    async def visit(tab):
        await tab.ask("document.querySelector('#parallel svg').scrollIntoView({block: 'center'})")
        # The ends of a line are its own: no other run has this metric.
        spot = """(() => {
            const path = document.querySelector("#parallel g[data-run='3'] path.hit");
            const box = path.ownerSVGElement.getBoundingClientRect();
            const p = path.getPointAtLength(path.getTotalLength() - 1);
            return [box.left + p.x, box.top + p.y];
        })()"""
        x, y = await tab.ask(spot)
        await point(tab, "mouseMoved", x, y)
        marked = "[...new Set([...document.querySelectorAll('.marked')].map(n => n.dataset.run))]"
        assert await tab.ask(marked) == ["3"]
        said = await tab.ask("document.querySelector('#parallel .read').textContent")
        assert said.startswith(f"4. trial_{trials[3]}/version_0: ")
        assert f"latent_dim {2 + trials[3]}" in said
        faint = "getComputedStyle(document.querySelector(`#parallel g[data-run='5']`)).opacity"
        await tab.wait_for(f"{faint} < 0.2")
        for kind in ("mousePressed", "mouseReleased"):
            await point(tab, kind, x, y)
        await point(tab, "mouseMoved", 5, 5)
        assert await tab.ask(marked) == ["3"]  # it was pressed
        await tab.ask("document.querySelector('#parallel h2').click()")
        assert await tab.ask(marked) == []
        await tab.ask("document.querySelector(`.legend input[value='7']`).focus()")
        assert await tab.ask(marked) == ["7"]

    opened(page, visit)


def test_axes_and_the_metric_are_chosen(page):
    async def visit(tab):
        names = "[...document.querySelectorAll('#parallel .axes input')].map(b => b.value)"
        assert {*await tab.ask(names)} == {"latent_dim", "lr", "activation"}
        chosen = "document.querySelector('#parallel select').value"
        assert await tab.ask(chosen) == "val/elbo (best)"
        paths = "[...document.querySelectorAll('#parallel path.hit')].map(p => p.getAttribute('d'))"
        before = await tab.ask(paths)
        assert [path.count("L") for path in before] == [3] * RUNS
        await tab.ask(
            "(s => { s.value = 'test/elbo'; s.dispatchEvent(new Event('change', {bubbles: true}))})"
            "(document.querySelector('#parallel select'))"
        )
        after = await tab.ask(paths)
        assert before != after
        starts = [[path.rpartition("L")[0] for path in found] for found in (before, after)]
        assert starts[0] == starts[1]
        # One run was not evaluated, so its line ends below the axis.
        assert "none" in await tab.ask("document.querySelector('#parallel svg').textContent")
        await tab.ask("document.querySelector('#parallel .axes input').click()")
        assert [path.count("L") for path in await tab.ask(paths)] == [2] * RUNS

    opened(page, visit)


@pytest.mark.parametrize("width", WIDTHS)
def test_words_of_two_axes_do_not_cover_each_other(tmp_path, width):
    for k, prior in enumerate(["StandardNormal", "VampPrior"]):
        curves, settings = {"val/elbo": [-27.5471 - k]}, {f"prior_{i}": prior for i in range(8)}
        make_run(tmp_path / f"run_{k}" / "version_0", "VAE", curves, **settings)
    compare([str(tmp_path)], html=str(tmp_path / "page.html"), metric="val/elbo")
    words = """[...document.querySelectorAll("#parallel svg text")].map(text => {
        const box = text.getBBox();
        return [text.firstChild.data, box.x, box.x + box.width, box.y, box.y + box.height];
    })"""

    async def visit(tab):
        found = await tab.ask(words)
        room = await tab.ask("+document.querySelector('#parallel svg').getAttribute('width')")
        assert {"StandardNormal", "-27.5471", "1"} <= {word for word, *_ in found}
        for (_, left, right, top, low), (_, a, b, c, d) in combinations(found, 2):
            assert right <= a or b <= left or low <= c + 2 or d <= top + 2
        assert all(0 <= left < right <= room for _, left, right, *_ in found)

    opened(tmp_path / "page.html", visit, width)


def test_a_hidden_run_is_nowhere(page):
    async def visit(tab):
        for run in range(2, RUNS):
            await tab.ask(f"document.querySelector(`.legend input[value='{run}']`).click()")
        assert sorted(await reds(tab)) == [0, 1]
        drawn = "[...new Set([...document.querySelectorAll('{} g')].map(g => +g.dataset.run))]"
        for place in (".chart", "#parallel"):
            assert sorted(await tab.ask(drawn.format(place))) == [0, 1]
        # Neither a hidden run nor what is drawn anew leaves the others faint.
        bright = "[...document.querySelectorAll('svg g[data-run]')].filter(g => " + (
            "!document.body.matches('.marking') || g.matches('.marked')).length"
        )
        await tab.ask("document.querySelector(`.legend input[value='1']`).focus()")
        for shown in (False, True):
            await press(tab, " ")
            assert (1 in await reds(tab)) == shown
            assert await tab.ask(bright) > 0
        assert await tab.ask("document.body.matches('.marking')")
        await tab.ask("document.querySelector(`.legend input[value='5']`).click()")
        assert sorted(await reds(tab)) == [0, 1, 5]

    opened(page, visit)


def test_a_picture_is_enlarged_and_put_back_by_the_keyboard(page):
    async def visit(tab):
        await tab.ask("document.querySelector('.row button').focus()")
        await press(tab, "Enter")
        large = "document.querySelectorAll('figure.large').length"
        assert await tab.ask(large) == 1
        await press(tab, "Escape")
        assert await tab.ask(large) == 0

    opened(page, visit)


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_as_wide_as_its_window_and_every_line_has_its_number(page, width):
    async def visit(tab):
        # A phone's window would widen itself for what is wider.
        assert await tab.ask("document.documentElement.scrollWidth") <= WIDTHS[width]
        assert await tab.ask("document.querySelector('.legend').open") == (width == "desktop")
        boxes = """[...document.querySelectorAll(".chart svg, #parallel svg")].map(root =>
            [...root.querySelectorAll("text.run")].map(text => {
                const {left, right, top, bottom} = text.getBoundingClientRect();
                return {run: text.textContent, left, right, top, bottom};
            }))"""
        for chart in await tab.ask(boxes):
            assert sorted(int(box["run"]) for box in chart) == list(range(1, RUNS + 1))
            middles = sorted((box["top"] + box["bottom"]) / 2 for box in chart)
            gaps = [b - a for a, b in pairwise(middles)]
            assert min(gaps) > 6, "numbers lie on one another"

    opened(page, visit, width)


def laid(path, curves, pictures=1):
    """Write the page of a run of these curves and of as many pictures."""
    make_run(path / "vae" / "version_0", "VAE", curves)
    for epoch in range(1, pictures + 1):
        picture = torch.zeros(3, 2, 2)
        save_png(picture, path / "vae/version_0/pictures" / f"samples_{epoch:04d}.png")
    compare([str(path / "vae")], html=str(path / "page.html"))
    return path / "page.html"


def test_pictures_open_at_the_last_of_many_stops(tmp_path):
    async def visit(tab):
        assert "step 1,200 (120 of 120)" in await tab.words()

    opened(laid(tmp_path, {"val/elbo": [-9.0] * 120}, 120), visit)


TICKS = """[...document.querySelectorAll(".chart svg")].map(root =>
    [...root.querySelectorAll("text:not(.run)")].map(text => {
        const box = text.getBBox();
        return [text.textContent, box.x, box.x + box.width, text.getAttribute("text-anchor")];
    }))"""


@pytest.mark.parametrize("width", WIDTHS)
def test_ticks_are_told_apart_and_lie_within_the_chart(tmp_path, width):
    curves = {
        "val/elbo": [-12650.0, -11900.0],
        "val/kl": [-123451.0, -123459.0],
        "val/mse": [-0.000123452, -0.000123458],
        "val/nll": [-1.23451e-5, -1.23459e-5],
        "val/tc": [-12650000.0, -11900000.0],
    }

    async def visit(tab):
        charts = await tab.ask(TICKS)
        for chart in charts:
            assert all(left >= 0 and right <= 460 for _, left, right, _ in chart)
            # They end at the frame of the curves.
            ticks = [(text, right) for text, _, right, side in chart if side == "end"]
            assert len({text for text, _ in ticks}) == len(ticks) > 2
            assert all(right < 58 for _, right in ticks)
        written = [[text for text, *_, side in chart if side == "end"] for chart in charts]
        assert written[0] == ["-12600", "-12400", "-12200", "-12000"]
        assert written[-1] == ["-1.26e7", "-1.24e7", "-1.22e7", "-1.2e7"]

    opened(laid(tmp_path, curves), visit, width)


def test_a_number_is_written_as_short_as_six_digits_allow(page):
    numbers = [0, 12500, 12900, 9999999, 12650000, 1e-4, -0.00005, 123456789, 0.30000000000000004]

    async def visit(tab):
        assert await tab.ask(f"{json.dumps(numbers)}.map(short)") == [
            "0", "12500", "12900", "10000000", "1.265e7", "0.0001", "-5e-5", "1.23457e8", "0.3",
        ]  # fmt: skip

    opened(page, visit)


def test_the_dot_of_a_single_epoch_is_whole(tmp_path):
    inside = """[...document.querySelectorAll(".chart svg")].map(root => {
        const dot = root.querySelector("circle").getBBox();
        const frame = root.querySelector("clipPath rect").getBBox();
        return dot.x >= frame.x && dot.x + dot.width <= frame.x + frame.width;
    })"""

    async def visit(tab):
        assert await tab.ask(inside) == [True]

    opened(laid(tmp_path, {"val/elbo": [-9.0]}), visit)
