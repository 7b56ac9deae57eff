"""`lab sweep`: trials by several workers, through failures and kills, and what is shown of them."""

import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sweeping import SWEEP, study, written

from vae_lab import runs
from vae_lab.errors import LabError
from vae_lab.verbs.sweeps import file as sweep_file
from vae_lab.verbs.sweeps import sweep as verb
from vae_lab.verbs.sweeps import trials
from vae_lab.verbs.sweeps.report import summarise
from vae_lab.verbs.sweeps.study import open_study
from vae_lab.verbs.sweeps.sweep import sweep

pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture
def write(here, monkeypatch):
    """Write a sweep's file, without waiting long for its trainings, and return its path."""
    monkeypatch.setattr(trials, "POLL", 0.05)
    return written


def states():
    return [trial.state.name for trial in study().trials]


def test_a_grid_is_run_once_each_by_several_workers(write, capsys):
    sweep(write(), workers=3)
    said = capsys.readouterr().out
    points = [(t.params["x"], t.params["size"]) for t in study().trials]
    assert points == [(x, size) for x in (1.0, 2.5) for size in (0, 1, 2)]
    assert states() == ["COMPLETE"] * 6
    assert [t.value for t in study().trials] == pytest.approx([4.25, 5.25, 6.25, 0.5, 1.5, 2.5])
    assert said.count("\ntrial ") + said.startswith("trial ") == 6  # a line at the end of each
    assert "6 done" in said
    assert "best      trial 3, 0.5: runs/s/trial_3/version_0" in said
    assert len(runs.find_all("runs/s")) == 6


def test_the_best_is_the_highest_where_that_is_the_goal(write, capsys):
    highest = {"name": "val/loss", "goal": "maximize"}
    sweep(write(metric=highest, parameters={"x": {"values": [2.5, 1.0]}}))
    said = capsys.readouterr().out
    assert [t.value for t in study().trials] == [1.25, 5]  # where their curves begin
    assert "best      trial 1, 5: " in said
    assert re.findall(r"^ +(\d) +done", said, re.MULTILINE) == ["1", "0"]


def test_a_terminal_shows_a_live_table(write, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "9")  # room for one trial
    sweep(write(parameters={"x": {"values": [1.123456789, 2.0]}, "pause": {"value": 0.4}}))
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert re.search(r"0 +running .*1\.123 ", said)
    assert "1 running, 1 waiting; 1 more" in said
    assert "2 done" in said
    assert "trial 0  done" not in said  # the line that a pipe gets


def test_its_plots_need_no_network(write, capsys):
    sweep(write())
    page = Path("runs/s/sweep.html").read_text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r"<script[^>]+src=|<link", page)
    for title in ("Optimization History", "Slice", "Parallel Coordinate", "Importances"):
        assert title in page


def test_its_plot_counts_trials_in_whole_numbers(write, capsys):
    sweep(write())
    ticks = re.findall(r'"nticks": ?(\d+)', Path("runs/s/sweep.html").read_text())
    trials = [*Path("runs/s").glob("trial_*")]
    assert ticks == [str(len(trials))]


def test_its_plots_are_as_wide_as_a_phone(write, capsys):
    sweep(write())
    head = Path("runs/s/sweep.html").read_text().partition("<title>")[0]
    # Without this a phone lays the page out for a desk, and shrinks it.
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in head


def test_its_plots_have_a_heading_and_no_trial_as_white_as_the_page(write, capsys):
    sweep(write())
    page = Path("runs/s/sweep.html").read_text()
    assert ">s</h1>" in page
    worst = '"line":{"color":"rgb(247.0, 251.0, 255.0)"'
    (chart,) = [part for part in page.split("</script>") if worst in part]
    assert '"plot_bgcolor":"#a8a8a8"' in chart
    assert '"opacity":0.5' not in chart


def test_run_again_it_goes_on_to_what_is_wanted(write, capsys):
    sweep(write(), trials=2)
    assert len(states()) == 2
    sweep("s.yaml")
    sweep("s.yaml")
    assert states() == ["COMPLETE"] * 6


def test_as_many_trials_are_run_as_asked_for_whatever_the_file_says(write):
    sweep(write(run_cap=1), trials=2)
    assert states() == ["COMPLETE"] * 2


def test_how_long_a_trial_took_is_told_in_minutes(write, capsys):
    from optuna.distributions import FloatDistribution
    from optuna.trial import create_trial

    queue = trials.Trials(sweep_file.read(write()), "s.journal", Path("runs/s"))
    trial = create_trial(value=0.5, params={"x": 1}, distributions={"x": FloatDistribution(0, 2)})
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=90)
    queue.study.add_trial(trial)
    summarise(queue)
    assert re.search(r"^ +0 +done +0\.5 +1 +1\.5 *$", capsys.readouterr().out, re.MULTILINE)


def test_what_fails_is_told_and_the_rest_goes_on(write, capsys):
    with pytest.raises(
        LabError, match=r"^1 of 2 trials failed; what they said is in runs/s/logs\.$"
    ):
        sweep(write(parameters={"x": {"values": [-1.0, 2.0]}}))
    assert states() == ["FAIL", "COMPLETE"]
    said = capsys.readouterr().out
    assert "failed    trial 0: x must not be negative" in said
    assert "best      trial 1" in said
    assert Path("runs/s/sweep.html").exists()
    assert Path("runs/s/logs/trial_0.log").read_text() == "x must not be negative\n"
    with pytest.raises(LabError, match="no trial has come to an end"):
        sweep(write(parameters={"x": {"value": -1.0}}), storage="other.journal")


def test_a_sweep_with_failed_trials_has_no_good_status_while_another_process_runs(write):
    queue = trials.Trials(sweep_file.read(write()), "s.journal", Path("runs/s"))
    queue._fail(queue.study.ask(), "no room")
    queue.study.ask()
    with pytest.raises(LabError, match="1 of 2 trials failed"):
        summarise(queue)


def test_a_curve_that_is_never_finite_has_failed(write, capsys):
    with pytest.raises(LabError, match="1 of 2 trials failed"):
        sweep(write(parameters={"x": {"values": ["nan", 3.0]}}))
    assert states() == ["FAIL", "COMPLETE"]
    assert "val/loss was never a finite number" in capsys.readouterr().out


def test_hopeless_trials_are_given_up(write):
    parameters = {"x": {"values": [3.0, 9.0]}, "pause": {"value": 0.1}, "epochs": {"value": 5}}
    sweep(write(parameters=parameters, early_terminate={"type": "hyperband", "min_iter": 2}))
    assert states() == ["COMPLETE", "PRUNED"]
    assert 2 <= len(study().trials[1].intermediate_values) < 5


def test_what_ended_well_between_two_looks_is_done_and_each_rung_had_its_value(write, monkeypatch):
    monkeypatch.setattr(trials, "POLL", 60)
    parameters = {"x": {"values": [3.0, 9.0]}, "epochs": {"value": 5}}
    sweep(write(parameters=parameters, early_terminate={"type": "hyperband", "min_iter": 2}))
    assert states() == ["COMPLETE"] * 2
    assert [t.system_attrs["completed_rung_0"] for t in study().trials] == [0.5, 36.5]


def test_trials_that_were_given_up_are_no_result(write, capsys):
    from optuna.trial import TrialState

    path = write(early_terminate={"type": "hyperband", "min_iter": 1})
    queue = trials.Trials(sweep_file.read(path), "s.journal", Path("runs/s"))
    given_up = queue.study.ask()
    given_up.report(1.0, 1)
    queue.study.tell(given_up, state=TrialState.PRUNED)
    with pytest.raises(LabError, match="no trial has come to an end"):
        summarise(queue)
    queue.study.ask()
    summarise(queue)  # another process has one that may yet be the best
    assert "running   1 of other processes" in capsys.readouterr().out


def test_one_trial_of_eta_goes_on(write):
    path = write(early_terminate={"type": "hyperband", "min_iter": 2, "eta": 4})
    kept = open_study(sweep_file.read(path), "s.journal")
    for value in range(8, 0, -1):  # each one better than those before
        trial = kept.ask()
        trial.report(value, 1)
        assert not trial.should_prune()
        trial.report(value, 2)
        assert not trial.should_prune()
    for value, hopeless in ((2.5, True), (1.5, False)):  # 2 go on of 9, and of 10
        trial = kept.ask()
        trial.report(value, 2)
        assert trial.should_prune() is hopeless


def test_trials_of_a_process_that_died_are_run_again(write, here, capsys):
    path = write(parameters={"x": {"values": [2.0, 3.0]}, "pause": {"value": 5}})
    words = [sys.executable, "-m", "vae_lab", "sweep", path, "--workers=2"]
    process = subprocess.Popen(words)
    pids = [here / f"runs/s/trial_{n}/version_0/pid" for n in (0, 1)]
    wait_for(lambda: all(pid.exists() for pid in pids))
    process.kill()
    process.wait()
    assert states() == ["RUNNING", "RUNNING"]
    orphans = [int(pid.read_text()) for pid in pids]
    text = Path("trainer.py").read_text()
    Path("trainer.py").write_text(text.replace("time.sleep", "str"))
    sweep(path)
    assert states() == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert "2 done, 2 killed" in capsys.readouterr().out
    assert [t.params["x"] for t in study().trials] == [2.0, 3.0, 2.0, 3.0]
    wait_for(lambda: not any(map(lives, orphans)))
    sweep(path)
    assert len(states()) == 4


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_sweep_ends_its_trainings_and_goes_on(write, here, number):
    path = write(parameters={"x": {"values": [2.0, 3.0]}, "pause": {"value": 5}})
    words = [sys.executable, "-m", "vae_lab", "sweep", path]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    pid = here / "runs/s/trial_0/version_0/pid"
    wait_for(pid.exists)
    process.send_signal(number)
    assert "the same command goes on" in process.communicate()[1]
    assert process.returncode == 130
    assert not lives(int(pid.read_text()))
    assert states() == ["RUNNING", "WAITING"]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def lives(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_wrong_words_are_refused(lab, write, capfd):
    path = write()
    for words, message in (
        (["nowhere.yaml"], "There is no nowhere.yaml."),
        ([path, "--workers=0"], "at least 1"),
        ([path, "--trials=-1"], "at least 1"),
        ([path, "--storage=/proc/x.journal"], "/proc/x.journal cannot hold the trials"),
        ([path, "--storage=nodb://x"], "nodb://x cannot hold the trials"),
    ):
        with pytest.raises(SystemExit) as stop:
            lab("sweep", *words)
        assert stop.value.code == 2
        said = capfd.readouterr().err.strip()
        assert message in said
        assert "\n" not in said


@pytest.mark.parametrize("name", ["betas", "betas.yaml", "experiments/sweeps/beta.yaml"])
@pytest.mark.usefixtures("here")
def test_a_sweep_s_name_is_looked_for_among_the_sweeps(name):
    Path("experiments/sweeps").mkdir(parents=True)
    Path("experiments/sweeps/betas.yaml").touch()
    Path("beta").mkdir()
    meant = r"There is no .*; did you mean experiments/sweeps/betas\.yaml\?"
    with pytest.raises(LabError, match=meant):
        sweep(name)


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"x": {"value": 3.0}}},
        {"method": "random", "run_cap": 1},
        {"metric": {"name": "train/loss", "goal": "minimize"}},
        {"metric": {"name": "val/loss", "goal": "maximize"}},
        {"command": [*SWEEP["command"], "--epochs=2"]},
    ],
)
def test_another_sweep_of_the_same_name_is_refused(write, other):
    open_study(sweep_file.read(write()), "s.journal")
    with pytest.raises(LabError, match="holds trials of another"):
        sweep(write(**other), storage="s.journal")


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["--config", "e.yaml"], {}),
        (["--config=e.yaml"], {}),
        ([], {"config": {"values": ["other.yaml", "e.yaml"]}}),
    ],
)
def test_an_experiment_that_was_edited_since_makes_another_sweep(write, words, more):
    path = write(command=["lab", "fit", *words, "${args}"], parameters=SWEEP["parameters"] | more)
    Path("e.yaml").write_text("lr: 1")
    for _ in range(2):
        open_study(sweep_file.read(path), "s.journal")
    Path("e.yaml").write_text("lr: 2")
    with pytest.raises(LabError, match=r"s\.journal holds trials of another s\.yaml: move it"):
        sweep(path, storage="s.journal")


def test_a_storage_of_before_digests_goes_on(write):
    Path("e.yaml").write_text("lr: 1")
    path = write(command=["${env}", "python", "${program}", "--config=e.yaml", "${args}"])
    sweep(path, trials=1)
    kept = study()
    kept.set_user_attr(
        "sweep", {k: v for k, v in kept.user_attrs["sweep"].items() if k != "configs"}
    )
    sweep(path, trials=2)
    assert states() == ["COMPLETE"] * 2
    assert list(study().user_attrs["sweep"]["configs"]) == ["e.yaml"]


def test_runs_that_it_does_not_know_are_not_taken_for_its_own(write):
    sweep(write(), trials=1)
    Path("runs/s/sweep.journal").unlink()
    with pytest.raises(LabError, match="runs/s/trial_0 is of another sweep"):
        sweep("s.yaml", trials=1)


def test_without_optuna_it_says_what_is_missing(write, monkeypatch):
    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    with pytest.raises(LabError, match=r"needs Optuna: `pip install -e '\.\[sweep\]'`"):
        sweep(write())


def test_trials_can_be_kept_in_a_database(write):
    sweep(write(), trials=1, storage="sqlite:///x.db")
    assert Path("x.db").exists()


def test_its_runs_lie_where_a_shell_would_have_put_them(write, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    sweep(write(), trials=1, runs="~/runs")
    assert Path("home/runs/s/sweep.journal").exists()
    assert Path("home/runs/s/trial_0/version_0/metrics.csv").exists()
    assert not Path("~").exists()


@pytest.mark.slow
def test_it_trains_models(write):
    fit = ["fit", "--data=Digits", "--data.limit=64", "--data.val_size=100", "--model=VAE"]
    fit += ["--data.batch_size=32", "--trainer.max_epochs=2", "--wandb=online"]
    parameters = {"model.latent_dim": {"values": [2, 3]}}
    sweep(
        write(
            program="lab", command=["${env}", "${program}", *fit, "${args}"], parameters=parameters
        ),
        workers=2,
    )
    assert states() == ["COMPLETE"] * 2
    found = {run.config["model"]["init_args"]["latent_dim"] for run in runs.find_all("runs/s")}
    assert found == {2, 3}
    assert not list(Path("runs").rglob("wandb"))
