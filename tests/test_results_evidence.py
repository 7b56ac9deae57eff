"""What counts for a row of the published table: its own judge, its protocol, every seed."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.test_results import FIGURES, calls, forget, lay, trains
from vae_lab.errors import LabError
from vae_lab.verbs.results.index import Mark, Row, read
from vae_lab.verbs.results.outcome import Outcome, _verdict
from vae_lab.verbs.results.protocol import as_asked
from vae_lab.verbs.results.results import results
from vae_lab.verbs.results.shelf import Shelf

__all__ = ["lay", "trains"]  # fixtures

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

RUNS = Path("runs/results/vae_digits")
JUDGED = {"judge": "Classifier 93a72468fcb7, 10000 samples"}
WINDOW = "log p(x) by a Parzen window around 10000 samples, sigma 0.2; data MNIST, seed 0"


def rewrite(path, **changes):
    """Change a JSON file: a dictionary is merged, None removes a key."""
    held = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del held[key]
        else:
            held[key] = held[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(held))


def measure(seed, **metrics):
    """Put other numbers into the evaluation of a seed's run."""
    entry = {"unit": "", "standard_error": None, "protocol": "how; data Digits, seed 0"}
    found = {f"test/{key}": {"value": value, **entry} for key, value in metrics.items()}
    rewrite(RUNS / f"version_{seed}/metrics.json", metrics=found)


def page():
    """Return the page that the runs give, whatever is on record."""
    forget()
    results(page_only=True)
    return Path("RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("key", "said", "protocol", "asked", "judges", "counts"),
    [
        ("squared_error", "how; seed 0", {}, {}, set(), True),
        ("squared_error", "how; split_seed 0, seed 1", {}, {}, set(), False),
        ("squared_error", "how; split_seed 0, seed 1", {}, {"seed": 1}, set(), True),
        ("squared_error", "", {}, {}, set(), False),
        ("nll", "how; seed 0", {"importance_samples": 500}, {}, set(), False),
        ("nll", "how; seed 0", {"importance_samples": 5000}, {}, set(), True),
        (
            "mc_nll",
            "how; seed 0",
            {"importance_samples": 99},
            {"importance_samples": 100},
            set(),
            0,
        ),
        ("nll", "exact; seed 0", {}, {}, set(), True),
        ("recall", "how; seed 0", JUDGED, {}, {"93a72468fcb7", "other"}, True),
        ("recall", "how; seed 0", JUDGED, {}, {"93a72468"}, False),
        ("recall", "how; seed 0", JUDGED, {}, set(), False),
        ("recall", "how; seed 0", JUDGED, {"samples": 1000}, {"93a72468fcb7"}, False),
        ("recall", "how; seed 0", JUDGED, {"samples": 20000}, {"93a72468fcb7"}, False),
        ("recall", "how; seed 0", {"judge": "Inception 1, 10000 samples"}, {}, {"Inception"}, True),
        ("parzen_log_density", WINDOW, {}, {}, set(), True),
        ("parzen_log_density", WINDOW, {}, {"samples": 1000}, set(), False),
    ],
)
def test_a_number_counts_if_it_rests_on_what_its_row_asks(
    key, said, protocol, asked, judges, counts
):
    assert as_asked(key, {"protocol": said}, protocol, asked, judges) == bool(counts)


MARK = {"published": 20.0, "goal": "at most", "source": "Someone, 2014"}


def test_a_judge_that_was_never_trained_judges_nothing(trains, lay):
    trains()
    results(("vae_digits",))
    asked = {"importance_samples": 10, "judge": "judge", "samples": 300}
    lay(vae_digits={"metrics": {"frechet_distance": MARK}, "evaluate": asked, "seeds": [0]})
    measure(0, frechet_distance=3.0)
    path = RUNS / "version_0/metrics.json"
    protocol = json.loads(path.read_text())["protocol"]["test"]
    rewrite(path, protocol={"test": protocol | {"judge": "Classifier 93a72468fcb7, 300 samples"}})
    assert "| Fréchet distance | not evaluated |" in page()
    results(("judge",))
    assert "| Fréchet distance | not evaluated |" in page()
    rewrite(path, protocol={"test": protocol | {"judge": f"Classifier {weights()}, 300 samples"}})
    assert "met by 17" in page()


def weights():
    from vae_lab.files import digest

    return digest(Path("runs/results/judge/version_0/checkpoints/best.ckpt"))


def test_the_page_says_how_each_seed_was_measured(trains):
    trains()
    results(("vae_digits",))
    entry = {"value": 3.0, "protocol": "5000 samples an image; seed 0"}
    rewrite(RUNS / "version_1/metrics.json", metrics={"test/nll": entry})
    text = page()
    assert "negative log-likelihood, seed 0: nats, how" in text
    assert "negative log-likelihood, seed 1: , 5000 samples an image" in text


@pytest.mark.parametrize("what", ["absent", "unfinished", "failed"])
def test_some_of_the_seeds_meet_no_mark(trains, what):
    shelf = trains()
    results(("vae_digits",))
    measure(0, nll=3.0), measure(1, nll=3.0)
    assert "met by 17" in page()
    if what == "absent":
        (RUNS / "version_1").rename("elsewhere")
    elif what == "unfinished":
        rewrite(RUNS / "version_1/run.json", finished=False)
    else:
        from vae_lab.verbs.results.training import Job, Queue

        (RUNS / "version_1/metrics.json").unlink()
        Queue(shelf, [])._fail(Job("vae_digits", 1), "the disk is full")
    text = page()
    assert "| incomplete, 1 of 2 seeds |" in text
    assert "1 incomplete" in text
    assert "met by" not in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_a_failure(trains, value):
    trains(vae_digits={"metrics": {"nll": MARK | {"goal": "at least"}}, "seeds": [0]})
    results(("vae_digits",))
    measure(0, nll=value)
    text = page()
    assert "1 **FAILED**" in text
    assert "met" not in text.partition("###")[0].partition("| row")[2]


def test_a_run_of_two_processes_is_no_rows(trains):
    shelf = trains()
    results(("vae_digits",))
    forget()
    rewrite(RUNS / "version_0/run.json", processes=1)
    assert Shelf(shelf.index, shelf.root).find("vae_digits", 0) is not None
    rewrite(RUNS / "version_0/run.json", processes=2)
    assert Shelf(shelf.index, shelf.root).find("vae_digits", 0) is None


def test_what_was_made_of_weights_that_are_no_more_is_no_rows(trains):
    from vae_lab.files import digest

    shelf = trains()
    results(("heir",))
    forget()
    weights = RUNS / "version_0/checkpoints/best.ckpt"
    record = RUNS.with_name("heir") / "version_0/run.json"
    rewrite(record, source_sha256=None)
    assert Shelf(shelf.index, shelf.root).find("heir", 0) is not None
    rewrite(record, source_sha256=digest(weights))
    assert Shelf(shelf.index, shelf.root).find("heir", 0) is not None
    weights.write_text("trained anew")
    assert Shelf(shelf.index, shelf.root).find("heir", 0) is None


def test_a_failure_of_other_settings_is_forgotten(trains, lay):
    trains()
    Path("broken").write_text("vae_digits")
    with pytest.raises(LabError, match="2 failed"):
        results(("vae_digits",))
    assert "**FAILED**, seed 1: lab fit: the disk is full." in page()
    for change in ({"overrides": ["--model.latent_dim=4"]}, {"evaluate": {"samples": 3}}):
        lay(vae_digits=change)
        assert "FAILED" not in page()


def test_a_figure_is_drawn_anew_when_anything_that_it_reads_has_changed(trains, lay):
    trains()
    results(("vae_digits",))
    assert len(calls("sample")) == 1
    for i, name in enumerate(("metrics.json", "run.json", "metrics.csv", "checkpoints/best.ckpt")):
        path = RUNS / "version_0" / name
        path.write_text(path.read_text() + "\n")
        page()
        assert len(calls("sample")) == 2 + i, name
    page()
    assert len(calls("sample")) == 5
    asked = {"arguments": ["--n=9", "--table={folder}/beside.md"]}
    lay(figures={"samples": FIGURES["samples"] | asked})
    page()
    assert len(calls("sample")) == 6
    # The table that the command also writes is not there.
    page()
    assert len(calls("sample")) == 7
    Path("docs/figures/beside.md").touch()
    page()
    assert len(calls("sample")) == 7


def test_another_run_of_the_row_is_another_picture(trains):
    trains()
    results(("vae_digits",))
    RUNS.rename(RUNS.with_name("another"))
    page()
    assert len(calls("sample")) == 2


@pytest.mark.parametrize("option", ["output", "figures"])
def test_a_page_is_no_folder_and_no_picture(trains, option):
    trains()
    Path("picture.png").write_bytes(b"\x89PNG\r\n")
    Path("folder").mkdir()
    for name in ("picture.png", "folder"):
        with pytest.raises(LabError, match=f"{name} is no page called"):
            results(page_only=True, **{option: name})


@pytest.mark.parametrize("option", ["output", "figures"])
def test_where_no_page_can_lie_is_told_before_anything_is_trained(trains, option):
    trains()
    with pytest.raises(LabError, match="/proc/nowhere takes no page: "):
        results(**{option: "/proc/nowhere/page.md"})
    assert not calls("fit")


@pytest.mark.parametrize(
    "wrong", [{"seconds": "long"}, {"versions": "2.11"}, {"source_sha256": [1]}, {"commit": 3}]
)
def test_what_a_record_says_in_other_types_is_left_out(trains, wrong):
    trains()
    results(("heir",))
    for path in Path("runs").rglob("run.json"):
        rewrite(path, **wrong)
    assert "| 0.25 ± 0.50 (1 seed)" in page()


def test_a_needed_row_is_looked_for_once_and_not_for_every_run_of_others(trains, monkeypatch):
    shelf, known, asked = trains(), Shelf.known, []
    results(("heir",))
    forget()
    shelf.look()
    monkeypatch.setattr(Shelf, "known", lambda self, name: asked.append(name) or known(self, name))
    assert shelf.find("heir", 0) is not None
    assert asked == ["vae_digits"]


def test_an_evaluation_of_fewer_keys_still_makes_a_page(trains):
    trains()
    results(("vae_digits",))
    path = RUNS / "version_0/metrics.json"
    rewrite(path, metrics={"test/nll": {"value": 3.0, "protocol": "how; seed 0"}})
    assert "| 12 ± 13 (2 seeds) |" in page()
    rewrite(path, metrics={"test/nll": {"value": 3.0}})
    assert "(1 of 2 seeds) | at most 20, Someone, 2014 | incomplete, 1 of 2 seeds |" in page()


@pytest.mark.parametrize("name", ["metrics.json", "metrics.csv"])
def test_a_damaged_run_is_a_failure_of_its_row_alone(trains, name):
    trains()
    results(("vae_digits", "judge"))
    (RUNS / "version_0" / name).write_text("step,val/loss\n1,{\n")
    text = page()
    assert f"**FAILED**, seed 0: {RUNS}/version_0/{name} is" in text
    assert "incomplete, 1 of 2 seeds" in text
    assert "| 0.25 ± 0.50 (1 seed)" in text


def test_a_folder_of_runs_may_have_brackets_in_its_name(trains):
    shelf = trains()
    results(("vae_digits",))
    moved = Path("runs/[results]")
    shelf.root.rename(moved)
    assert Shelf(shelf.index, moved).find("vae_digits", 0) is not None


@pytest.mark.parametrize(
    ("mark", "ours", "verdict"),
    [
        (Mark(13.87, "about", 0.01), 13.88, "met"),
        (Mark(0.0128, "at most"), 1 - 0.9872, "met by 0"),
        (Mark(1 - 0.9872, "at most"), 0.0128, "met by 0"),
        (Mark(0.9, "at least", 0.1), 0.8, "met within its tolerance"),
        (Mark(13.87, "at most", 0.01), 13.8801, "**MISSED** by 0.0101"),
    ],
)
def test_a_tie_of_decimals_is_no_miss(mark, ours, verdict):
    assert _verdict(mark, ours) == verdict


def test_our_own_aims_are_told_from_published_numbers(trains):
    own = {"published": 20.0, "goal": "at least", "own": True}
    trains(vae_digits={"metrics": {"nll": own}}, judge={"metrics": {"error": own}})
    results(("vae_digits", "judge"))
    text = page()
    assert "1 met our own aim, 1 **MISSED** our own aim" in text
    assert "| at least 20, our own aim | met by 0.5 |" in text
    assert "| ours | mark | verdict |" in text
    assert "published" not in text.partition("| row")[2]


def test_an_index_that_cannot_be_read_says_where_and_what_to_do(lay):
    folder = lay()
    (folder / "table.yaml").write_text("row:\n  system: a\n  metrics: {nll\n")
    with pytest.raises(LabError, match=re.escape("table.yaml is not YAML, line 4.")):
        read(folder)
    with pytest.raises(LabError, match=r"call this from the repository's .* by --index"):
        read("nowhere")


def test_two_at_once_in_one_folder_are_refused(trains, here):
    import fcntl

    trains()
    root = here / "runs/results"
    root.mkdir(parents=True)
    with (root / ".lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LabError, match="still trains"):
            results()


def outcome(key, values, judges=(None, None, None), **mark):
    """Return what became of a row of three seeds that were measured so, whoever made them."""
    found = Outcome.__new__(Outcome)
    row = Row(
        "a VAE", {key: Mark(20.0, "at most", source="Someone, 2014", **mark)}, seeds=[0, 1, 2]
    )
    found.shelf, found.name, found.row = SimpleNamespace(measured=lambda *args: True), "vae", row
    found.failures, found.runs = {}, {}
    for seed, (value, judge) in enumerate(zip(values, judges, strict=True)):
        metrics, protocol = {f"test/{key}": {"value": value}}, {"test": {"judge": judge}}
        evaluation = {"metrics": metrics, "protocol": protocol}
        found.runs[seed] = SimpleNamespace(finished=True, evaluation=evaluation)
    return found


@pytest.mark.parametrize(
    ("over", "verdict"), [("mean", "**MISSED** by 10"), ("median", "met by 5")]
)
def test_the_median_of_seeds_is_held_against_a_mark_of_it(over, verdict):
    assert outcome("nll", (10.0, 15.0, 65.0), over=over).verdict("nll") == verdict


def test_numbers_of_two_judges_are_not_averaged():
    found = outcome("frechet_distance", (3.0, 5.0, 90.0), ("A, 9 samples", "A, 9 samples", "B"))
    assert [*found.entries("frechet_distance")] == [0, 1]
    assert found.verdict("frechet_distance") == "incomplete, 2 of 3 seeds"
    assert [*outcome("nll", (3.0, 5.0, 90.0), ("A", "A", "B")).entries("nll")] == [0, 1, 2]
