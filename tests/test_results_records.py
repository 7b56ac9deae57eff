"""What stays of a measured run once its weights are gone, and when that is not enough."""

import json
import shutil
from pathlib import Path

import pytest

from tests.test_results import FIGURES, calls, lay, trains
from tests.test_results_evidence import RUNS, rewrite
from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.runs import Run
from vae_lab.verbs.results.digits import quick
from vae_lab.verbs.results.index import read
from vae_lab.verbs.results.results import results
from vae_lab.verbs.results.shelf import Shelf
from vae_lab.verbs.results.training import Job, wanted

__all__ = ["lay", "trains"]  # fixtures

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

RECORDS = Path("experiments/results/measured")


def test_the_pages_outlive_the_runs(trains):
    trains()
    results()
    pages = [Path("RESULTS.md"), Path("docs/figures.md")]
    before = [page.read_text() for page in pages]
    shutil.rmtree("runs")
    results()
    assert [page.read_text() for page in pages] == before
    assert len(calls("fit")) == 4
    assert len(calls("sample")) == 2


def test_its_folder_of_runs_is_where_a_shell_would_have_put_it(trains, here, monkeypatch):
    trains()
    monkeypatch.setenv("SCRATCH", str(here / "scratch"))
    results(quick=True, page_only=True, root="$SCRATCH/quick")
    assert Path("scratch/quick/RESULTS.md").exists()


def test_what_is_named_is_trained_again(trains):
    trains()
    results()
    shutil.rmtree("runs")
    results(("judge",))
    assert calls("fit").count("judge") == 2
    assert len(calls("fit")) == 5


def test_what_others_start_from_is_trained_again_if_they_are_missing(trains, lay):
    trains()
    results()
    shutil.rmtree("runs")
    overrides = ["--model.lr=0.5"]
    shelf = Shelf(read(lay(heir={"overrides": overrides})), Path("runs/results"))
    names = ["judge", "vae_digits", "heir"]
    assert wanted(shelf, names) == [Job("vae_digits", 0), Job("heir", 0)]


def test_a_record_names_no_folder_of_the_machine(trains, here):
    trains()
    results()
    texts = [path.read_text() for path in RECORDS.rglob("*.*") if path.is_file()]
    assert len(texts) == 4 * 4
    assert not [text for text in texts if str(here) in text]
    assert not list(RECORDS.rglob("*.ckpt"))


def test_of_the_curves_each_epoch_keeps_its_end(trains):
    trains()
    results(("judge",))
    path = next(Path("runs/results/judge").rglob("metrics.csv"))
    head = "epoch,images,step,train/loss,val/loss\n"
    path.write_text(f"{head}0,64,1,4,\n0,128,2,,3\n0,128,2,3,\n1,256,4,,2\n1,256,4,1,\n9,1350")
    results(page_only=True)
    (record,) = (RECORDS / "judge").iterdir()
    assert Run(record).curves("images") == {
        "train/loss": [(128.0, 3.0), (256.0, 1.0)],
        "val/loss": [(128.0, 3.0), (256.0, 2.0)],
    }


def test_a_judge_on_record_still_judges(trains, lay):
    asked = {"importance_samples": 10, "judge": "judge", "samples": 300}
    trains(vae_digits={"evaluate": asked, "seeds": [0], "metrics": {"error": {}}})
    results(("judge", "vae_digits"))
    judge = next((RECORDS / "judge").iterdir()).name
    path = next(RUNS.rglob("metrics.json"))
    entry = json.loads(path.read_text())["metrics"]["test/error"]
    protocol = json.loads(path.read_text())["protocol"]["test"]
    rewrite(path, metrics={"test/recall": entry})
    rewrite(path, protocol={"test": protocol | {"judge": f"Classifier {judge}, 300 samples"}})
    lay(vae_digits={"evaluate": asked, "seeds": [0], "metrics": {"recall": {}}})
    shutil.rmtree("runs/results/judge")
    results(page_only=True)
    assert "| recall | 0.25 ± 0.50 (1 seed) |" in Path("RESULTS.md").read_text()


def test_a_damaged_run_is_not_put_on_record(trains):
    trains()
    results(("judge",))
    shutil.rmtree(RECORDS)
    next(Path("runs/results/judge").rglob("metrics.csv")).write_text("step,val/loss\n1,{\n")
    results(page_only=True)
    assert not RECORDS.exists()


def test_a_figure_outlives_its_runs_while_it_would_be_drawn_the_same_way(trains, lay):
    trains()
    results(("vae_digits",))
    shutil.rmtree("runs")
    results(page_only=True)
    assert "![Samples](figures/samples.png)" in Path("docs/figures.md").read_text()
    lay(figures={"samples": FIGURES["samples"] | {"arguments": ["--n=9"]}})
    results(page_only=True)
    assert "*Not drawn: no finished run of vae_digits yet.*" in Path("docs/figures.md").read_text()


def test_a_figure_of_other_settings_does_not_outlive_its_runs(trains, lay):
    trains()
    results(("vae_digits",))
    shutil.rmtree("runs")
    lay(vae_digits={"overrides": ["--model.latent_dim=4"]})
    results(page_only=True)
    assert "*Not drawn: no finished run of vae_digits yet.*" in Path("docs/figures.md").read_text()


@pytest.mark.parametrize("text", ["null", "{", '{"started": null}'])
def test_a_damaged_record_costs_its_own_number_alone(trains, text):
    trains()
    results()
    shutil.rmtree("runs")
    for path in (RECORDS / "judge").rglob("*.json"):
        path.write_text(text)
    results(page_only=True)
    page = Path("RESULTS.md").read_text()
    assert "| 20.5 ± 2.1 (2 seeds) |" in page
    assert "0.25 ± 0.50 (1 seed) | at most 0.1" in page
    assert "*Not drawn: no finished run of judge yet.*" in Path("docs/figures.md").read_text()


def test_a_record_stands_for_a_run_that_was_damaged_since(trains):
    trains()
    results(("vae_digits",))
    (RUNS / "version_0/metrics.csv").write_text("step,val/loss\n1,{\n")
    results(page_only=True)
    assert "| 20.5 ± 2.1 (2 seeds) |" in Path("RESULTS.md").read_text()


def test_a_new_training_that_failed_is_told_beside_the_number_on_record(trains):
    trains()
    results(("judge",))
    shutil.rmtree("runs")
    Path("broken").write_text("judge")
    with pytest.raises(LabError, match="1 failed"):
        results(("judge",))
    page = Path("RESULTS.md").read_text()
    assert "0.25 ± 0.50 (1 seed, **FAILED** for 1)" in page
    assert "**FAILED**, seed 0: lab fit: the disk is full." in page


def test_what_cannot_be_put_on_record_costs_no_page(trains, capfd):
    trains()
    RECORDS.write_text("a file in the folder's place")
    results(("judge",))
    assert "judge/version_0 is not on record: " in capfd.readouterr().err
    assert "0.25 ± 0.50 (1 seed)" in Path("RESULTS.md").read_text()
    assert Path("docs/figures.md").is_file()


def test_the_digits_are_not_put_on_record(lay):
    assert quick(read(lay())).records is None


def judged(seed, judge):
    """Say that an evaluation of a seed's run was by a judge of these weights."""
    path = RUNS / f"version_{seed}/metrics.json"
    report = json.loads(path.read_text())
    known = report["protocol"]["test"] | {"judge": f"Classifier {judge}, 300 samples"}
    metrics = {"test/recall": report["metrics"]["test/error"]}
    rewrite(path, protocol={"test": known}, metrics=metrics)


def recalls(lay):
    asked = {"importance_samples": 10, "judge": "judge", "samples": 300}
    lay(vae_digits={"evaluate": asked, "metrics": {"recall": {}}})
    results(page_only=True)
    page = Path("RESULTS.md").read_text()
    return next(line for line in page.splitlines() if "| recall |" in line)


def test_what_can_be_measured_is_held_against_the_judge_that_measures(trains, lay):
    trains()
    results(("judge", "vae_digits"))
    (first,) = [path.name for path in (RECORDS / "judge").iterdir()]
    weights = next(Path("runs/results/judge").rglob("best.ckpt"))
    weights.write_text("trained anew")
    judged(0, first), judged(1, digest(weights))
    assert "| 0.25 ± 0.50 (1 of 2 seeds) |" in recalls(lay)


def test_numbers_of_two_judges_are_not_averaged(trains, lay):
    trains()
    results(("judge", "vae_digits"))
    (first,) = (RECORDS / "judge").iterdir()
    shutil.copytree(first, first.with_name("second"))
    held = json.loads((first / "metrics.json").read_text())["protocol"]["test"]
    second = {"test": held | {"checkpoint_sha256": "second"}}
    rewrite(first.with_name("second") / "metrics.json", protocol=second)
    shutil.rmtree("runs/results/judge")
    judged(0, first.name), judged(1, first.name)
    assert "| 0.2500 ± 0.0000 (2 seeds) |" in recalls(lay)
    judged(1, "second")
    assert "| 0.25 ± 0.50 (1 of 2 seeds) |" in recalls(lay)
