"""The table that is published: its rows, its metrics, and whether the digits can fill it."""

from pathlib import Path

import pytest

from vae_lab.verbs.results.digits import quick
from vae_lab.verbs.results.index import read
from vae_lab.verbs.results.metrics import METRICS
from vae_lab.verbs.results.outcome import _number
from vae_lab.verbs.results.results import results
from vae_lab.verbs.results.shelf import Shelf

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def published():
    return read(ROOT / "experiments/results")


def test_the_published_table_has_every_experiment(published):
    files = {path.stem for path in (ROOT / "experiments").glob("*.yaml")}
    assert not files - {published.files(name)[0].stem for name in published.rows}


def test_its_metrics_are_those_that_are_measured():
    source = "".join(path.read_text() for path in (ROOT / "vae_lab/metrics").glob("*.py"))
    made = {"c1_error", "c1_information", "kmeans_accuracy", "cluster_accuracy"}
    made |= {"nll_bits_per_dim", "precision", "recall", "coverage"}
    assert not [name for name in METRICS.keys() - made if f'"{name}"' not in source]


def test_no_number_is_quoted_without_a_protocol_or_the_say_that_it_is_ours(published):
    for name, row in published.rows.items():
        for key, mark in row.metrics.items():
            known = mark.own or mark.protocol or key == "active_units"
            assert mark.published is None or known, name


def test_counts_that_all_seeds_agree_on_have_no_decimals():
    assert _number([10.0, 10.0, 10.0], "classes", None) == "10"
    assert _number([5.0, 6.0], "dimensions", None) == "5.50 ± 0.71"


@pytest.mark.parametrize("name", ["vae_mnist", "gan_mnist", "dreg_mnist"])
def test_what_was_measured_is_found_by_the_settings_of_today(published, tmp_path, name):
    assert Shelf(published, tmp_path).find(name, 0) is not None


@pytest.mark.slow
def test_the_digits_fill_a_table_for_real(here, capfd):
    results(("vae_digits", "pca_2d_mnist"), quick=True, index=str(ROOT / "experiments/results"))
    page = Path("runs/quick/RESULTS.md").read_text()
    assert page.count(" (1 seed) |") == 4
    assert "FAILED" not in page
    capfd.readouterr()
    results(("vae_digits",), quick=True, index=str(ROOT / "experiments/results"))
    assert not capfd.readouterr().err


@pytest.mark.slow
def test_every_row_can_be_trained_on_the_digits(published, tmp_path):
    shelf = Shelf(quick(published), tmp_path)
    for name in shelf.index.rows:
        assert shelf._settings_of(name)["data"] == "Digits", name
