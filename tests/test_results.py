"""The published table: its index, which run is whose, what is trained, and what the pages say."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from vae_lab.errors import LabError
from vae_lab.verbs import workers
from vae_lab.verbs.results.index import Mark, read
from vae_lab.verbs.results.outcome import _verdict
from vae_lab.verbs.results.results import results
from vae_lab.verbs.results.shelf import Shelf
from vae_lab.verbs.results.training import Job, wanted

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

VAE = {"class_path": "VAE", "init_args": {"latent_dim": 2}}
TABLE = {
    "judge": {"system": "a judge", "experiment": "vae_digits", "metrics": {"error": {}}},
    "vae_digits": {
        "system": "a VAE",
        "seeds": [0, 1],
        "overrides": ["--model.latent_dim=3"],
        "metrics": {"nll": {"published": 20.0, "goal": "at most", "source": "Someone, 2014"}},
        "evaluate": {"importance_samples": 10},
    },
    "heir": {
        "system": "made from another",
        "experiment": "classifier_digits",
        "needs": {"model.encoder": "vae_digits"},
        "metrics": {"error": {"published": 0.1, "goal": "at most", "source": "Someone, 2016"}},
    },
}
FIGURES = {
    "samples": {"title": "Samples", "verb": "sample", "rows": ["vae_digits"]},
    "judged": {"title": "Judged", "verb": "sample", "rows": ["judge"], "arguments": ["--n=4"]},
}

# What stands for `lab`: a fit notes the settings it is to have, an evaluation some numbers.
LAB = """
import json, os, pathlib, sys
from hashlib import sha256
import yaml
verb, *words = sys.argv[1:]
given = dict(w[2:].split("=", 1) for w in words if w.startswith("--") and "=" in w)
with open("calls", "a") as calls:
    print(verb, given.get("name", ""), given.get("ckpt_path", ""), file=calls)
if verb == "fit":
    name, seed = given["name"], int(given["seed_everything"])
    if pathlib.Path("broken").exists() and pathlib.Path("broken").read_text() == name:
        sys.exit("lab fit: the disk is full.")
    config = yaml.safe_load(pathlib.Path(f"{name}.resolved").read_text())
    config["seed_everything"] = seed
    if "model.encoder" in given:
        encoder = pathlib.Path(given["model.encoder"]).absolute() / "checkpoints/best.ckpt"
        config["model"]["init_args"]["encoder"] = str(encoder)
    folder = pathlib.Path(given.get("ckpt_path") or f"{given['runs']}/{name}/version_{seed}")
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for kind in ("best", "last"):
        (folder / f"checkpoints/{kind}.ckpt").write_text(f"{name} {seed}")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.csv").write_text("epoch,images,step,val/loss\\n9,13500,50,3.0\\n")
    record = {"finished": not os.environ.get("KILLED"), "seconds": 61.0, "threads": 1}
    record |= {"commit": "abc", "device": "a machine", "versions": {"torch": "2.11"}}
    if "model.encoder" in given:
        record["source_sha256"] = sha256(encoder.read_bytes()).hexdigest()[:12]
    (folder / "run.json").write_text(json.dumps(record))
elif verb == "evaluate":
    folder = pathlib.Path(words[0])
    known = sha256((folder / "checkpoints/best.ckpt").read_bytes()).hexdigest()[:12]
    samples = int(given.get("importance_samples", 5000))
    seed = yaml.safe_load((folder / "config.yaml").read_text())["seed_everything"]
    entry = {"standard_error": 0.5, "protocol": "how; seed 0, checkpoint best"}
    metrics = {
        "test/nll": {"value": 19.0 + 3 * seed, "unit": "nats", **entry},
        "test/error": {"value": 0.25, "unit": "share", **entry},
    }
    protocol = {"test": {"checkpoint_sha256": known, "importance_samples": samples}}
    report = {"protocol": protocol, "metrics": metrics}
    (folder / "metrics.json").write_text(json.dumps(report))
else:
    pathlib.Path(given["output"]).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(given["output"]).write_text("a picture")
"""


@pytest.fixture
def lay(here, monkeypatch):
    """Write experiments and an index, changed as asked, and return the index's folder."""
    monkeypatch.setattr(workers, "LAB", (sys.executable, str(here / "lab.py")))
    folder = here / "experiments/results"
    folder.mkdir(parents=True)
    digits = {"data": {"class_path": "Digits"}, "trainer": {"max_epochs": 10}}
    heir = {"class_path": "Classifier", "init_args": {"encoder": {"class_path": "Autoencoder"}}}
    for name, model in (("vae", VAE), ("classifier", heir)):
        path = folder.parent / f"{name}_digits.yaml"
        path.write_text(yaml.safe_dump({"model": model, **digits}))
    (here / "lab.py").write_text(LAB)

    def lay(figures=FIGURES, **changes):
        table = {name: {**row, **changes.get(name, {})} for name, row in TABLE.items()}
        table |= {name: row for name, row in changes.items() if name not in table}
        (folder / "table.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
        (folder / "figures.yaml").write_text(yaml.safe_dump(figures, sort_keys=False))
        return folder

    return lay


@pytest.fixture
def trains(lay, here):
    """Lay the index out so that `results` finds what the stand-in for `lab` trains."""
    from vae_lab.verbs.results.shelf import _resolved

    def prepare(**changes):
        index = read(lay(**changes))
        shelf = Shelf(index, here / "runs/results")
        for name in index.rows:
            needs = [f"--{o}=runs/{row}" for o, row in index.rows[name].needs.items()]
            config = _resolved([*shelf.words(name), *needs])
            (here / f"{name}.resolved").write_text(yaml.safe_dump(config))
        return shelf

    return prepare


def forget():
    """Remove what is on record, so that the runs themselves are all there is."""
    shutil.rmtree("experiments/results/measured", ignore_errors=True)


def calls(verb):
    lines = Path("calls").read_text().splitlines() if Path("calls").exists() else []
    return [line.split(" ", 1)[1].strip() for line in lines if line.startswith(verb)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"sead": 3}, "table.yaml, vae_digits: there is no setting 'sead'"),
        ({"experiment": "vae_digit"}, "no experiment 'vae_digit'; did you mean 'vae_digits'"),
        ({"overlays": ["full/burde"]}, "row vae_digits: there is no experiment 'burde'"),
        ({"metrics": {"nl": {}}}, "row vae_digits: there is no metric 'nl'; did you mean 'nll'"),
        ({"metrics": {"nll": {"published": 3.0}}}, "needs a source and a goal"),
        ({"metrics": {"nll": {"goal": "below"}}}, "one of 'at most', 'at least', 'about'"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [1, 1]}, "each once"),
        ({"needs": {"model.gan": "gan"}}, "there is no row 'gan'"),
        ({"needs": {"model.gan": "heir"}}, "need each other"),
        ({"metrics": 3}, "expected dict"),
    ],
)
def test_a_wrong_row_is_refused_in_a_sentence(lay, row, message):
    with pytest.raises(LabError, match=re.escape(message)) as refusal:
        read(lay(vae_digits=row))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"verb": "smaple"}, "no verb 'smaple'; did you mean 'sample'"),
        ({"rows": ["vae"]}, "figure samples: there is no row 'vae'"),
    ],
)
def test_a_wrong_figure_is_refused(lay, figure, message):
    with pytest.raises(LabError, match=re.escape(message)):
        read(lay(figures={"samples": {**FIGURES["samples"], **figure}}))


def test_words_that_are_none_of_a_fits_are_refused(lay):
    lay(judge={"overrides": ["--model.latentdim=3"]})
    with pytest.raises(LabError, match=r"row judge: there is no setting 'model\.latentdim'"):
        results(page_only=True)


def test_names_and_groups_bring_what_they_need(lay):
    index = read(lay(judge={"groups": ["some"]}, vae_digits={"groups": ["some"]}))
    assert index.chosen(["heir"]) == ["vae_digits", "heir"]
    assert index.chosen(["some"]) == ["judge", "vae_digits"]
    assert index.chosen([]) == ["judge", "vae_digits", "heir"]
    with pytest.raises(LabError, match="no row or group 'hair'; did you mean 'heir'"):
        index.chosen(["hair"])


def test_what_is_costly_is_trained_by_name_only(lay):
    index = read(lay(judge={"by_name": True}))
    assert "judge" not in index.chosen([])
    assert index.chosen(["judge"]) == ["judge"]


def test_a_judge_that_is_a_row_comes_first(lay):
    index = read(lay(vae_digits={"evaluate": {"judge": "judge"}}))
    assert index.chosen(["vae_digits"]) == ["judge", "vae_digits"]


@pytest.mark.parametrize(
    ("goal", "ours", "verdict"),
    [
        ("at most", 2.5, "met by 0.5"),
        ("at most", 3.0, "met by 0"),
        ("at most", 3.05, "met within its tolerance"),
        ("at most", 3.5, "**MISSED** by 0.5"),
        ("at least", 3.5, "met by 0.5"),
        ("at least", 2.5, "**MISSED** by 0.5"),
        ("about", 3.05, "met"),
        ("about", 2.5, "**MISSED** by 0.5"),
    ],
)
def test_a_number_is_held_against_the_mark(goal, ours, verdict):
    assert _verdict(Mark(3.0, goal, tolerance=0.1), ours) == verdict


def test_everything_missing_is_trained_once_and_the_pages_say_so(trains, here):
    trains()
    results(workers=2)
    assert sorted(calls("fit")) == ["heir", "judge", "vae_digits", "vae_digits"]
    assert calls("fit")[-1] == "heir"
    page = Path("RESULTS.md").read_text()
    # 19 and 22, of two seeds: 20.5 and sqrt(4.5)
    ours, held = "20.5 ± 2.1 (2 seeds)", "at most 20, Someone, 2014 | **MISSED** by 0.5"
    assert f"| {ours} | {held} | 10 epochs, 13,500 images | 61 s a seed |" in page
    assert "0.25 ± 0.50 (1 seed) | at most 0.1, Someone, 2016 | **MISSED** by 0.15" in page
    assert "3 numbers: 2 **MISSED**, 1 without a mark." in page
    assert "commit abc; torch 2.11" in page
    assert "61 s a seed; on a machine, threads: 1" in page
    fit = "lab fit --config experiments/results/../vae_digits.yaml --model.latent_dim=3"
    assert fit.replace("results/../", "") in page
    assert str(here) not in page
    results()
    assert len(calls("fit")) == 4
    assert len(calls("evaluate")) == 4


def test_a_run_whose_settings_were_being_written_is_no_other_rows(trains, monkeypatch):
    shelf = trains()
    results(names=("judge",))
    shelf.look()
    path = next(shelf.root.rglob("config.yaml"))
    text = path.read_text()
    path.write_text("")
    settings = Shelf._settings

    def late(self, run, today=False):
        # Its training writes the rest between the two looks at it.
        if today:
            path.write_text(text)
        return settings(self, run, today)

    monkeypatch.setattr(Shelf, "_settings", late)
    assert shelf.find("vae_digits", 0) is None  # a code of 3, where the judge's is of 2


def test_figures_are_drawn_of_the_runs_that_are_there(trains):
    trains()
    results(("vae_digits",))
    page = Path("docs/figures.md").read_text()
    assert "![Samples](figures/samples.png)" in page
    assert "*Not drawn: no finished run of judge yet.*" in page
    assert "`lab sample judge --n=4`" in page
    results(page_only=True)
    assert len(calls("sample")) == 1
    results(("judge",))
    assert len(calls("sample")) == 2
    results(page_only=True)
    assert len(calls("sample")) == 2


def test_a_failure_is_a_failure_on_the_page_and_the_rest_goes_on(trains):
    trains()
    Path("broken").write_text("vae_digits")
    with pytest.raises(
        LabError, match=r"3 failed: vae_digits, seed 0; vae_digits, seed 1; heir, seed 0\.$"
    ):
        results(workers=1)
    page = Path("RESULTS.md").read_text()
    assert "**FAILED**, seed 1: lab fit: the disk is full." in page
    assert "**FAILED**, seed 0: it needs a run of vae_digits, and there is none" in page
    assert "2 **FAILED**" in page
    assert "| 0.25 ± 0.50 (1 seed)" in page
    Path("broken").unlink()
    results()
    assert "FAILED" not in Path("RESULTS.md").read_text()


def test_what_was_never_run_says_so(trains):
    trains()
    results(page_only=True)
    page = Path("RESULTS.md").read_text()
    assert "3 numbers: 3 not run." in page
    assert "| not run | at most 20, Someone, 2014 |  |  |  |" in page
    assert not calls("fit")


def test_a_killed_training_goes_on_from_its_last_checkpoint(trains, monkeypatch):
    shelf = trains()
    monkeypatch.setenv("KILLED", "1")
    results(("vae_digits",))
    assert "stopped early" in Path("RESULTS.md").read_text()
    assert len(wanted(shelf, ["vae_digits"])) == 2
    monkeypatch.delenv("KILLED")
    results(("vae_digits",))
    folder = Path("runs/results/vae_digits")
    places = {f"vae_digits {folder.absolute()}/version_{seed}" for seed in (0, 1)}
    assert {line.replace(" runs", f" {Path.cwd()}/runs") for line in calls("fit")[2:]} == places
    assert not wanted(Shelf(shelf.index, shelf.root), ["vae_digits"])


def test_a_run_made_elsewhere_under_another_name_is_found(trains):
    shelf = trains()
    results(("heir",))
    root = Path("runs/results")
    (root / "vae_digits").rename(root / "older")
    (root / "deeper").mkdir()
    (root / "older").rename(root / "deeper/vae_digits")
    again = Shelf(shelf.index, root)
    run = again.find("vae_digits", 1)
    assert run is not None
    assert run.path == root / "deeper/vae_digits/version_1"
    assert not wanted(again, ["vae_digits", "heir"])


def test_other_settings_are_another_row(trains, lay):
    trains()
    results(("heir",))
    index = read(lay(vae_digits={"overrides": ["--model.latent_dim=4"]}))
    shelf = Shelf(index, Path("runs/results"))
    # What is made from a run that is no row's any more is none either.
    assert wanted(shelf, ["vae_digits", "heir"]) == [
        Job("vae_digits", 0),
        Job("vae_digits", 1),
        Job("heir", 0),
    ]


def test_settings_that_a_run_knew_nothing_of_are_read_as_todays(trains):
    shelf = trains()
    results(("vae_digits",))
    forget()
    path = Path("runs/results/vae_digits/version_0/config.yaml")
    config = yaml.safe_load(path.read_text())
    del config["model"]["init_args"]["free_bits"]
    path.write_text(yaml.safe_dump(config))
    assert Shelf(shelf.index, shelf.root).find("vae_digits", 0) is not None
    config["model"]["init_args"]["beta"] = 2.0
    path.write_text(yaml.safe_dump(config))
    assert Shelf(shelf.index, shelf.root).find("vae_digits", 0) is None


def test_where_it_ran_and_what_it_showed_are_no_settings(trains):
    shelf = trains()
    results(("vae_digits",))
    forget()
    path = Path("runs/results/vae_digits/version_0/config.yaml")
    config = yaml.safe_load(path.read_text())
    config["trainer"]["accelerator"] = "gpu"
    config["data"]["init_args"]["root"] = "/elsewhere"
    config["pictures"]["every"] = 1
    path.write_text(yaml.safe_dump(config))
    assert Shelf(shelf.index, shelf.root).find("vae_digits", 0) is not None


def test_numbers_of_other_weights_or_of_fewer_samples_are_not_the_rows(trains, lay):
    shelf = trains()
    results(("vae_digits",))
    forget()
    more = read(lay(vae_digits={"evaluate": {"importance_samples": 20}}))
    assert len(wanted(Shelf(more, shelf.root), ["vae_digits"])) == 2
    Path("runs/results/vae_digits/version_0/checkpoints/best.ckpt").write_text("other weights")
    assert wanted(Shelf(shelf.index, shelf.root), ["vae_digits"]) == [Job("vae_digits", 0)]


def test_a_metric_that_the_evaluation_lacks_is_a_failure(trains):
    trains(judge={"metrics": {"c1_error": {}}})
    with pytest.raises(LabError, match="1 failed: judge, seed 0"):
        results(("judge",))
    assert "measured no test/c1_error; there is test/error" in Path("RESULTS.md").read_text()


def test_digits_have_a_page_of_their_own_and_no_marks(trains):
    trains()
    results(page_only=True)
    results(quick=True, page_only=True)
    page = Path("runs/quick/RESULTS.md").read_text()
    assert page.startswith("# Results of the embedded digits")
    assert "published" not in page
    assert "--data=Digits --data.resize=28" in page
    assert Path("runs/quick/figures.md").exists()
    before = Path("RESULTS.md").read_text()
    with pytest.raises(LabError, match="name another file"):
        results(quick=True, page_only=True, output="RESULTS.md")
    assert Path("RESULTS.md").read_text() == before
