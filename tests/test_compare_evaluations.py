"""`lab compare` shows no evaluation of weights that a checkpoint no longer holds."""

import json
import re
import shutil

import pytest

from tests.test_compare import make_run, three
from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.runs import find_all
from vae_lab.verbs.comparing.compare import compare
from vae_lab.verbs.comparing.comparison import Column, Comparison
from vae_lab.verbs.evaluating.evaluate import evaluate

__all__ = ["three"]  # a fixture


def measured(three, version, key, value, protocol):
    """Write down that a run was evaluated."""
    path = three / f"vae/version_{version}/metrics.json"
    report = json.loads(path.read_text())
    report["metrics"][f"test/{key}"] = {"value": value, "protocol": protocol}
    path.write_text(json.dumps(report))


def weigh(run, weights, known=None):
    """Give a run weights, and say of its evaluation which ones it measured."""
    path = run / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    path.write_text(weights)
    report = json.loads((run / "metrics.json").read_text())
    about = {"checkpoint": "checkpoints/best.ckpt", "checkpoint_sha256": known or digest(path)}
    report["protocol"]["test"] |= about
    (run / "metrics.json").write_text(json.dumps(report))
    return path


def test_numbers_of_weights_that_are_no_more_are_left_out_and_named(three, capsys):
    weigh(three / "vae/version_0", "trained on", "0123456789ab")
    weigh(three / "vae/version_1", "evaluated")
    weigh(three / "ae/version_0", "gone since", "ba9876543210").unlink()
    page = three / "page.html"
    compare([str(three)], html=str(page), over="seed_everything")
    said = capsys.readouterr()
    assert said.err == (
        f"lab compare: {three}/vae/version_0 is shown without its test scores: they are of other "
        "weights than checkpoints/best.ckpt holds by now.\n"
    )
    for number, shown in (("-100.5", False), ("-98.25", True), ("0.91", False), ("0.93", True)):
        assert (number in said.out) == (number in page.read_text()) == shown


def test_another_split_keeps_the_numbers_that_are_of_the_weights(three, capsys):
    path = weigh(three / "vae/version_0", "trained on", "0123456789ab")
    report = json.loads((three / "vae/version_0/metrics.json").read_text())
    report["protocol"]["val"] = report["protocol"]["test"] | {"checkpoint_sha256": digest(path)}
    report["metrics"]["val/nll"] = {"value": 77.5}
    (three / "vae/version_0/metrics.json").write_text(json.dumps(report))
    compare([str(three)])
    out = capsys.readouterr().out
    assert "77.5" in out
    assert "-100.5" not in out


@pytest.mark.parametrize("key", ["elbo", "nll", "mc_nll", "ais_nll", "log_density"])
@pytest.mark.parametrize(("other", "ranked"), [("8-bit values", False), ("real numbers", True)])
def test_densities_are_not_ranked_with_probabilities(three, other, ranked, key):
    for version, kind in enumerate(("real numbers", other)):
        path = three / f"vae/version_{version}/metrics.json"
        report = json.loads(path.read_text())
        report["protocol"]["test"]["likelihood"] = f"p(x) of {kind}"
        report["metrics"][f"test/{key}"] = {"value": -91.0 + version}
        path.write_text(json.dumps(report))
    columns = {c.key: c for c in Comparison(find_all(three / "vae")).columns}
    assert columns[f"test/{key}"].ranks is ranked


@pytest.mark.parametrize(
    ("other", "best"),
    [
        ({"likelihood": {"class_path": "a.Gaussian"}}, None),
        ({"condition": {"class_path": "a.ClassCondition"}}, None),
        ({"latent_dim": 5}, -101.5),
    ],
)
def test_curves_of_densities_are_not_ranked_with_probabilities(tmp_path, other, best):
    for version, changed in enumerate(({}, other)):
        curves = {"val/elbo": [-102.5 + version], "val/squared_error": [30.5 + version]}
        init = {"likelihood": {"class_path": "a.Bernoulli"}, **changed}
        make_run(tmp_path / "vae" / f"version_{version}", "VAE", curves, **init)
    columns = {c.key: c for c in Comparison(find_all(tmp_path)).columns}
    assert columns["val/elbo (best)"].best == columns["val/elbo (last)"].best == best
    assert columns["val/squared_error (best)"].best == 30.5


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec")
@pytest.mark.parametrize(
    ("changed", "unranked"),
    [
        ({"seed": 1}, set()),
        ({"importance_samples": 3}, {"test/nll"}),
        ({"ais_images": 3}, {"test/ais_nll"}),
        ({"ais_chains": 3}, {"test/ais_nll"}),
        ({"ais_temperatures": 3}, {"test/ais_nll"}),
        ({"samples": 30}, {"test/parzen_log_density"}),
    ],
)
def test_estimates_by_more_draws_are_not_ranked_with_those_by_fewer(run, changed, unranked):
    how = {"importance_samples": 2, "samples": 20, "parzen": True}
    how |= {"ais": True, "ais_images": 2, "ais_chains": 2, "ais_temperatures": 2}
    other = run.with_name("version_1")
    shutil.copytree(run, other)
    evaluate(str(run), **how)
    evaluate(str(other), **how | changed)
    comparison = Comparison(find_all(run.parent))
    estimates = {"test/nll", "test/ais_nll", "test/parzen_log_density"}
    found = {c.key for c in comparison.columns if c.key in estimates and not c.comparable}
    assert found == unranked


@pytest.mark.parametrize(
    ("key", "note"),
    [
        ("nll_bits_per_dim", "of 64 8-bit values an image; -log p(x) by {} samples an image"),
        ("mc_nll", "-log p(x|y) by Monte Carlo, {} codes an image from the prior"),
    ],
)
def test_nor_are_they_in_bits_or_by_monte_carlo(three, key, note):
    for version, draws in enumerate((5, 500)):
        measured(three, version, key, 91.0 + version, f"{note.format(draws)}; images 9, seed 0")
    columns = {c.key: c for c in Comparison(find_all(three / "vae")).columns}
    assert columns[f"test/{key}"].best is None
    with pytest.raises(LabError, match=f"best by test/{key}, which was not measured alike for all"):
        compare([str(three / "vae")], metric=f"test/{key}", best=1)


@pytest.mark.parametrize(("samples", "best"), [(10_000, 204.5), (400, None)])
def test_a_parzen_windows_width_is_found_by_it_and_not_how_it_was_measured(three, samples, best):
    note = "log p(x) by a Parzen window around {} samples, sigma {} by 1000 other images; historic"
    for version, found in enumerate(((10_000, "0.167"), (samples, "0.215"))):
        how = f"{note.format(*found)}; data Digits"
        measured(three, version, "parzen_log_density", 203.5 + version, how)
    columns = {c.key: c for c in Comparison(find_all(three / "vae")).columns}
    assert columns["test/parzen_log_density"].best == best


def test_what_is_exact_is_ranked_with_estimates(three):
    for version, how in enumerate(("importance sampling, 5 samples an image", "exact")):
        measured(three, version, "nll", 91.0 + version, f"-log p(x), {how}; data Digits, seed 0")
    columns = {c.key: c for c in Comparison(find_all(three / "vae")).columns}
    assert columns["test/nll"].best == 91


@pytest.mark.parametrize("key", ["resize", "pad", "own", "listing", "split"])
def test_numbers_of_images_prepared_or_chosen_otherwise_have_no_best(three, key):
    path = three / "vae/version_1/metrics.json"
    report = json.loads(path.read_text())
    report["protocol"]["test"][key] = "other"
    path.write_text(json.dumps(report))
    columns = {c.key: c for c in Comparison(find_all(three / "vae")).columns}
    assert columns["test/elbo"].best is None


@pytest.mark.parametrize("key", ["resize", "channels", "crop", "folder", "of_my_own"])
def test_nor_have_curves_of_them(three, key):
    runs = find_all(three / "vae")
    for run in runs:
        run.config["data"] = {"class_path": "a.MNIST", "init_args": {}}
    make_run(three / "vae" / "version_2", "VAE", {"val/elbo": [-90.0]})
    better = find_all(three / "vae/version_2")[0]
    better.config["data"] = {"class_path": "a.MNIST", "init_args": {}}
    columns = {c.key: c for c in Comparison([*runs, better]).columns}
    assert columns["val/elbo (best)"].best == -90
    better.config["data"]["init_args"][key] = "other"
    columns = {c.key: c for c in Comparison([*runs, better]).columns}
    assert columns["val/elbo (best)"].best is None


def test_the_best_number_of_each_score_is_bold(three, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    compare([str(three)])
    bold = re.findall(r"\x1b\[1m *(-?[\d.]+) *\x1b", capsys.readouterr().out)
    assert bold == ["0.9500", "-98.25"]


def test_the_best_runs_stay_sorted_by_what_chose_them(three, capsys):
    measured(three, 0, "knn_accuracy", 0.97, "by neighbours")
    compare([str(three)], best=2)  # both have an ELBO, by which the other one is better
    said = capsys.readouterr().out
    assert re.findall(r"vae/version_\d", said) == ["vae/version_0", "vae/version_1"]
    assert "Sorted by test/knn_accuracy." in said


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.00123, None), ("0.00123", "")),
        ((-98.25, 100.5), ("-98.25", "100.50")),
        ((12345.5, 3.0), ("12346", "3")),
        ((12.0, 3.0), ("12", "3")),
    ],
)
def test_a_column_has_five_digits_or_so(values, texts):
    assert Column("a", values, 0).texts == texts
