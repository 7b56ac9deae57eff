"""The page of `lab compare --html`: all of it in one file, and no more than a file should hold."""

import json
import math
import os
import re
import subprocess
import sys
from base64 import b64decode

import pytest
import torch

from tests.test_compare import make_run, three
from vae_lab.errors import LabError
from vae_lab.pictures import save_png
from vae_lab.runs import find_all
from vae_lab.verbs.comparing.compare import compare
from vae_lab.verbs.comparing.page import thinned
from vae_lab.verbs.comparing.pictures import SIGNATURE, timeline

__all__ = ["three"]  # a fixture


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_page_holds_settings_scores_curves_and_pictures(three, capsys):
    for run in ("vae/version_0", "ae/version_0"):
        for epoch in (1, 2):
            save_png(torch.rand(3, 4, 4), three / run / "pictures" / f"samples_{epoch:04d}.png")
    compare([str(three)], html=str(three / "page.html"))
    assert capsys.readouterr().out.endswith(f"{three / 'page.html'}\n")
    page = (three / "page.html").read_text()
    pictures = data_of(page)["pictures"]
    assert (pictures["axis"], pictures["stops"]) == ("step", [10, 20])
    first, second, third = pictures["kinds"]["samples"]
    assert first == []  # no pictures of vae/version_1
    assert [at[:2] for at in second] == [at[:2] for at in third] == [[10, 1], [20, 2]]
    last = three / "vae" / "version_0" / "pictures" / "samples_0002.png"
    assert b64decode(third[1][2]) == last.read_bytes()
    assert '<td class=best title="how test/elbo was measured">-98.25</td>' in page
    assert data_of(page)["axis"] == "images seen"
    assert data_of(page)["charts"]["val/elbo"][1] == []  # the autoencoder
    assert data_of(page)["charts"]["train/loss"][0] == [[1280, 9], [2560, 8], [3840, 7]]
    elbos = {"values": [-98.25, None, -100.5], "better": 1}
    assert data_of(page)["metrics"]["test/elbo"] == elbos
    assert [p.name for p in three.iterdir() if p.name.startswith(".")] == []


def test_page_asks_nothing_of_the_network(three, capsys):
    compare([str(three)], html=str(three / "page.html"))
    page = (three / "page.html").read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)|<link|src=(?!\"data:)", page)


def test_a_name_that_is_no_text_is_printed_and_on_the_page(three):
    (three / "ae").rename(three / os.fsdecode(b"caf\xe9"))
    words = [sys.executable, "-m", "vae_lab", "compare", three, f"--html={three}/page.html"]
    # What the locale of most machines makes of the output.
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(words, env=strict, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf\xe9/version_0" in done.stdout
    assert "caf?/<wbr>version_<wbr>0" in (three / "page.html").read_text()


def test_names_cannot_break_out_of_the_page(three, capsys):
    bad = "<img src=x onerror=alert(1)><!--data-->&"
    metrics = {"val/<script>elbo</script>": [1.0, float("nan")]}
    make_run(three / bad / "version_0", bad, metrics, {"</script>": 1.0})
    compare([str(three)], html=str(three / "page.html"))
    page = (three / "page.html").read_text()
    assert "<img src=x" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert [[1280, 1.0], [2560, None]] in data_of(page)["charts"]["val/<script>elbo</script>"]


def test_curves_go_by_step_unless_all_runs_counted_images(three, capsys):
    make_run(three / "old" / "version_0", "VAE", {"val/elbo": [1, 2]}, images=False)
    compare([str(three)], html=str(three / "page.html"))
    data = data_of((three / "page.html").read_text())
    assert data["axis"] == "step"
    assert [[10, 1], [20, 2]] in data["charts"]["val/elbo"]


def test_an_unwritable_page_is_said(three, capsys):
    (three / "page.html").mkdir()
    with pytest.raises(LabError, match=r"page\.html"):
        compare([str(three)], html=str(three / "page.html"))


def draw(path, epochs, size=1000):
    """Make pictures of a run, each of so many bytes."""
    for epoch in epochs:
        (path / "pictures" / f"samples_{epoch:04d}.png").write_bytes(SIGNATURE.ljust(size))


def shown(found):
    """Return the epochs of the pictures of samples that are on a page, run by run."""
    return [[p.epoch for p in kinds.get("samples", [])] for kinds in found.series]


@pytest.fixture
def long(tmp_path):
    """Two runs of nine epochs, drawn at different ones."""
    for version, epochs in enumerate([range(1, 10), (3, 9)]):
        run = make_run(tmp_path / "vae" / f"version_{version}", "VAE", {"val/elbo": [-9.0] * 9})
        draw(run, epochs)
    return find_all(tmp_path)


def test_pictures_stand_at_the_step_that_their_epoch_ended_at(long):
    found = timeline(long, 11_000)
    assert found.axis == "step"
    assert found.stops == [10 * k for k in range(1, 10)]
    assert shown(found) == [list(range(1, 10)), [3, 9]]
    assert found.left_out == ""


def test_pictures_stand_at_epochs_where_a_run_knows_no_step(long):
    draw(long[1].path, [12])
    found = timeline(long, 12_000)
    assert (found.axis, found.stops) == ("epoch", [*range(1, 10), 12])


@pytest.mark.parametrize(
    ("limit", "stops", "epochs"),
    [
        (11_000, list(range(10, 100, 10)), [list(range(1, 10)), [3, 9]]),
        (10_000, [10, 20, 30, 40, 50, 60, 70, 90], None),
        (5_000, [10, 50, 90], [[1, 5, 9], [3, 9]]),
        (2_000, [90], [[9], [9]]),
        (1_999, [90], [[9], []]),
        (999, [90], [[], []]),
    ],
)
def test_a_page_holds_no_more_pictures_than_its_limit(long, limit, stops, epochs):
    found = timeline(long, limit)
    assert sum(map(len, shown(found))) * 1000 <= limit
    if epochs is None:
        assert len(found.stops) == len(stops)
        assert found.stops[-1] == 90
    else:
        assert (found.stops, shown(found)) == (stops, epochs)
    assert bool(found.left_out) == (limit < 11_000)


def test_what_is_left_out_is_said_on_the_page(three, capsys, monkeypatch):
    monkeypatch.setattr("vae_lab.verbs.comparing.page.LIMIT", 5_500)
    for version in range(2):
        draw(three / "vae" / f"version_{version}", [1, 2, 3], 2000)
    compare([str(three)], html=str(three / "page.html"))
    page = (three / "page.html").read_text()
    assert "These are 1 of 3 steps, for all would make the page too large" in page
    assert len(data_of(page)["pictures"]["stops"]) == 1


def test_a_long_curve_keeps_its_ends_peaks_and_gaps():
    curve = [(float(i), math.sin(i / 100)) for i in range(10_000)]
    curve[5_001] = (5_001.0, 99.0)
    curve[7_003] = (7_003.0, math.nan)
    curve[8_005] = (8_005.0, -99.0)
    kept = thinned(curve)
    assert len(kept) <= 803
    assert kept == sorted(kept, key=lambda p: p[0])
    assert (kept[0], kept[-1]) == (curve[0], curve[-1])
    assert {curve[5_001], curve[8_005]} <= {*kept}
    assert sum(math.isnan(y) for _, y in kept) == 1
    assert thinned(curve[:800]) == curve[:800]


def test_what_is_no_picture_is_left_out_and_named(three, capsys):
    folder = three / "vae/version_0/pictures"
    save_png(torch.rand(3, 4, 4), folder / "samples_0001.png")
    (folder / "samples_0002.png").write_text("no picture")
    (folder / "samples_0003.png").mkdir()
    compare([str(three)], html=str(three / "page.html"))
    said = capsys.readouterr().err
    assert "samples_0002.png is left out: it is no PNG." in said
    assert "samples_0003.png is left out: Is a directory." in said
    page = (three / "page.html").read_text()
    (kept,) = (p for p in data_of(page)["pictures"]["kinds"]["samples"] if p)
    assert [epoch for _, epoch, _ in kept] == [1]


def test_a_page_is_not_left_behind_by_curves_that_are_refused(tmp_path):
    (tmp_path / "vae" / "version_0" / "checkpoints").mkdir(parents=True)
    with pytest.raises(LabError, match="neither an ELBO nor a loss"):
        compare(
            [str(tmp_path / "vae")],
            html=str(tmp_path / "page.html"),
            curves=str(tmp_path / "curves.png"),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["vae"]
