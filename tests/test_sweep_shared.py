"""`lab sweep` in several processes at once, on a journal or a database, through kills."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest
import sweeping
import yaml
from disks import fill, read_only

from vae_lab.errors import LabError
from vae_lab.run_folder import run_folder
from vae_lab.verbs.sweeps import file as sweep_file
from vae_lab.verbs.sweeps import launcher, storage, study, trials
from vae_lab.verbs.sweeps.storage import Turns, open_storage
from vae_lab.verbs.sweeps.study import open_study
from vae_lab.verbs.sweeps.sweep import sweep

pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

# What stands for a training: a curve that falls, and a note of the process and its threads.
TRAINER = """
import os, pathlib, sys, time
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
folder = pathlib.Path(given["runs"], given["name"], "version_0")
folder.mkdir(parents=True)
(folder / "pid").write_text(str(os.getpid()))
(folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
with open(folder / "metrics.csv", "w") as file:
    print("step,images,val/loss", file=file, flush=True)
    for step in range(1, 4):
        time.sleep(float(given.get("pause", 0)))
        print(f"{step},{10 * step},{float(given['x']) + 1 / step}", file=file, flush=True)
"""
SWEEP = sweeping.SWEEP | {"parameters": {"x": {"values": [1, 2, 3, 4, 5, 6]}}}
STORAGES = {"journal": "runs/s/sweep.journal", "database": "sqlite:///x.db"}


@pytest.fixture
def write(here, monkeypatch):
    """Write a sweep's file that differs from the one above, and return its path."""
    monkeypatch.setattr(trials, "POLL", 0.05)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (here / "trainer.py").write_text(TRAINER)

    def write(**changes):
        (here / "s.yaml").write_text(yaml.safe_dump(SWEEP | changes, sort_keys=False))
        return "s.yaml"

    return write


def found(kept="runs/s/sweep.journal"):
    return open_study(sweep_file.read("s.yaml"), kept).trials


def begin(kept="runs/s/sweep.journal", wanted=None, workers=1):
    """Empty the queue in a process of its own, forked so that all begin in the same instant."""
    process = get_context("fork").Process(target=_empty, args=(kept, wanted, workers))
    process.start()
    return process


def _empty(kept, wanted, workers):
    folder = Path("runs/s")
    folder.mkdir(parents=True, exist_ok=True)
    queue = trials.Trials(sweep_file.read("s.yaml"), kept, folder)
    queue.fill(wanted)
    queue.run(workers)


def codes(*processes):
    """Return how processes have ended."""
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["journal", pytest.param("database", marks=pytest.mark.slow)])
def test_two_processes_share_one_queue(write, kind):
    write(parameters=SWEEP["parameters"] | {"pause": {"value": 0.1}})
    both = [begin(STORAGES[kind], workers=2) for _ in range(2)]
    assert codes(*both) == [0, 0]
    kept = found(STORAGES[kind])
    assert [trial.params["x"] for trial in kept] == [1, 2, 3, 4, 5, 6]
    assert {trial.state.name for trial in kept} == {"COMPLETE"}
    assert len(list(Path("runs/s/logs").glob("trial_*.log"))) == 6
    assert {trial.user_attrs["parent"] for trial in kept} == {process.pid for process in both}
    threads = {file.read_text() for file in Path("runs/s").rglob("threads")}
    assert threads == {"1"}


def test_a_trial_has_as_many_threads_as_its_user_wants(write, monkeypatch):
    path = write()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    sweep(path, trials=1)
    assert Path("runs/s/trial_0/version_0/threads").read_text() == "3"


def test_random_processes_draw_each_trial_once(write):
    write(method="random", parameters={"x": {"min": 0.0, "max": 1.0}})
    assert codes(begin(wanted=6), begin(wanted=6)) == [0, 0]
    drawn = [trial.params["x"] for trial in found()]
    assert len(drawn) == len(set(drawn)) == 6


def test_one_killed_the_other_goes_on_and_the_rest_is_taken_up_again(write):
    path = write(parameters={"x": {"values": [1, 2, 3, 4]}, "pause": {"value": 0.3}})
    killed, other = begin(), begin()
    pids = [Path(f"runs/s/trial_{n}/version_0/pid") for n in (0, 1)]
    wait_for(lambda: all(pid.exists() for pid in pids))
    killed.kill()
    assert codes(killed, other) == [-signal.SIGKILL, 0]
    assert Counter(t.state.name for t in found()) == {"RUNNING": 1, "COMPLETE": 3}
    sweep(path)
    assert Counter(t.state.name for t in found()) == {"FAIL": 1, "COMPLETE": 4}
    assert sorted(t.params["x"] for t in found() if t.state.name == "COMPLETE") == [1, 2, 3, 4]


def test_a_training_that_is_killed_has_failed_and_the_rest_goes_on(write, capsys):
    path = write(parameters={"x": {"values": [1, 2]}, "pause": {"value": 0.3}})

    def kill():
        pid = Path("runs/s/trial_0/version_0/pid")
        wait_for(lambda: pid.exists() and pid.read_text())
        os.kill(int(pid.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(LabError, match="1 of 2 trials failed"):
        sweep(path)
    killer.join()
    assert [trial.state.name for trial in found()] == ["FAIL", "COMPLETE"]
    said = capsys.readouterr().out
    assert "failed    trial 0: ended by SIGKILL; the same command runs it again" in said
    for _ in range(2):  # and only once
        sweep(path)
        assert [trial.state.name for trial in found()] == ["FAIL", "COMPLETE", "COMPLETE"]
        assert [trial.params["x"] for trial in found()] == [1, 2, 1]
    assert "failed" not in capsys.readouterr().out


@pytest.mark.parametrize(("status", "again"), [(143, True), (-signal.SIGHUP, True), (2, False)])
def test_a_training_that_was_told_to_end_is_run_again(write, status, again):
    queue = trials.Trials(sweep_file.read(write()), "s.journal", Path("runs/s"))
    queue.fill(1)
    queue._fail(queue._next(), "stopped", status)
    queue.fill(1)
    assert [trial.state.name for trial in found("s.journal")] == ["FAIL", *["WAITING"] * again]


@pytest.mark.parametrize(("seconds", "alive"), [(0, True), (2 * study.SILENCE, False)])
def test_another_machine_is_believed_for_a_while(write, monkeypatch, seconds, alive):
    queue = trials.Trials(sweep_file.read(write()), "s.journal", Path("runs/s"))
    queue.fill(1)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        queue._next()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    queue.fill(1)
    states = ["RUNNING"] if alive else ["FAIL", "WAITING"]
    assert [trial.state.name for trial in found("s.journal")] == states


def test_a_trial_that_is_run_again_takes_no_other_ones_place(write):
    path = write(method="random", parameters={"x": {"min": 0.0, "max": 1.0}})
    queue = trials.Trials(sweep_file.read(path), "s.journal", Path("runs/s"))
    queue.fill(2)
    queue._next().set_user_attr("left", True)  # as whoever is stopped does
    queue.fill(3)
    states = [trial.state.name for trial in found("s.journal")]
    assert states == ["FAIL", "WAITING", "WAITING", "WAITING"]


def test_a_trial_that_another_machine_gave_up_is_stopped_and_not_fatal(write):
    path = write(parameters={"x": {"values": [1, 2]}, "pause": {"value": 0.3}})
    queue = trials.Trials(sweep_file.read(path), "s.journal", Path("runs/s"))
    queue.folder.mkdir(parents=True)
    queue.fill(None)

    def give_up():
        wait_for(Path("runs/s/trial_0/version_0/pid").exists)
        open_study(queue.sweep, "s.journal").tell(0, state=trial_state("FAIL"))

    other = threading.Thread(target=give_up)
    other.start()
    queue.run(1)
    other.join()
    assert [trial.state.name for trial in found("s.journal")] == ["FAIL", "COMPLETE"]


def trial_state(name):
    from optuna.trial import TrialState

    return TrialState[name]


@pytest.mark.parametrize("kind", STORAGES)
def test_a_turn_is_one_processes_alone_and_taken_from_the_dead(here, monkeypatch, kind):
    Path("runs/s").mkdir(parents=True)
    ours, theirs = (Turns(open_storage(STORAGES[kind]), "s") for _ in range(2))
    order = []

    def wait():
        with theirs.turn():
            order.append("theirs")

    other = threading.Thread(target=wait)
    with ours.turn():
        other.start()
        time.sleep(0.3)
        order.append("ours")
    other.join()
    assert order == ["ours", "theirs"]
    killed = get_context("fork").Process(target=_take_and_die, args=(STORAGES[kind],))
    killed.start()
    killed.join()
    wait()
    monkeypatch.setattr(storage, "PATIENCE", 0.2)
    ours._take()  # on a machine that went down
    wait()
    assert len(order) == 4


def _take_and_die(kept):
    Turns(open_storage(kept), "s")._take()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_journal_cut_off_in_a_line_is_mended(write):
    sweep(write(), trials=1)
    journal = Path("runs/s/sweep.journal")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker_')
    sweep("s.yaml", trials=2)
    assert [trial.state.name for trial in found()] == ["COMPLETE"] * 2
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_full_disk_is_named_and_nothing_finished_is_lost(write, monkeypatch):
    # A turn that could not be given back is waited for.
    monkeypatch.setattr(storage, "PATIENCE", 0.5)
    path = write()
    Path("runs/s").mkdir(parents=True)
    queue = trials.Trials(sweep_file.read(path), "runs/s/sweep.journal", Path("runs/s"))
    queue.fill(None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = Path("runs/s/sweep.journal").stat().st_size + 4000
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(LabError, match=r"runs/s/sweep\.journal cannot hold the trials"):
            queue.run(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    done = [trial.params for trial in found() if trial.state.name == "COMPLETE"]
    assert 0 < len(done) < 6
    sweep(path)
    again = [trial.params for trial in found() if trial.state.name == "COMPLETE"]
    assert again[: len(done)] == done
    assert sorted(params["x"] for params in again) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "line", [b"what is this\n", b"\xa4\n", b"[1]\n", b"{}\n", b'{"op_code": 4}\n', b"null\n"]
)
def test_a_damaged_journal_is_named(write, line):
    sweep(write(), trials=1)
    journal = Path("runs/s/sweep.journal")
    journal.write_bytes(line * 2 + journal.read_bytes())
    with pytest.raises(LabError, match=r"runs/s/sweep\.journal cannot hold the trials"):
        sweep("s.yaml")


@pytest.mark.slow
def test_jobs_of_a_launcher_empty_the_queue(write, monkeypatch, capsys):
    monkeypatch.setattr(launcher, "POLL", 0.1)
    with pytest.raises(LabError, match="1 of 3 trials failed"):
        sweep(write(parameters={"x": {"values": [1, "no", 3]}}), workers=2, launcher="local")
    assert [trial.state.name for trial in found()] == ["COMPLETE", "FAIL", "COMPLETE"]
    said = capsys.readouterr().out
    assert re.search(r"^jobs      \d+ \d+: runs/s/jobs$", said, re.MULTILINE)
    assert "trial 2  done" in said
    assert "failed    trial 1: ValueError" in said
    assert "best      trial 0" in said
    # Each worker was a process of its own, and none of them this one.
    assert os.getpid() not in {trial.user_attrs["parent"] for trial in found()}


def test_a_worker_that_fails_is_named(here, capsys, monkeypatch):
    monkeypatch.setattr(launcher, "POLL", 0.1)
    import optuna

    jobs = launcher.submit("local", "s", [sys.executable, "-c", "1 / 0"], 1, here / "jobs")
    launcher.wait(jobs, optuna.create_study(), print)
    said = capsys.readouterr().out
    assert said.startswith(f"failed    worker {jobs[0].job_id}: ")
    assert "ZeroDivisionError" in Path(said.split()[-1]).read_text()


@pytest.mark.skipif(bool(shutil.which("srun")), reason="this machine has a cluster")
def test_without_a_cluster_or_submitit_it_says_so(write, monkeypatch):
    with pytest.raises(LabError, match="slurm takes no jobs from this machine"):
        sweep(write(), launcher="slurm")
    monkeypatch.setattr(launcher, "find_spec", lambda name: None)
    with pytest.raises(LabError, match=r"needs submitit: `pip install -e '\.\[sweep\]'`"):
        sweep("s.yaml", launcher="slurm")


def test_eight_runs_that_begin_at_once_get_eight_numbers(here):
    with get_context("fork").Pool(8) as pool:
        made = pool.map(_claim, [here / "runs" / "same"] * 8, chunksize=1)
    assert sorted(made) == [f"version_{n}" for n in range(8)]


def _claim(experiment):
    return run_folder(experiment, None)[0].name


@pytest.mark.parametrize("kept", ["disk/s.journal", "sqlite:///disk/s.db"])
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (fill, "No space left on device|database or disk is full"),
        (read_only, "Read-only file system|unable to open database file"),
    ],
)
def test_a_disk_that_takes_no_trials_is_named(write, disk, spoil, why, kept):
    path = write()
    spoil(disk)
    with pytest.raises(LabError, match=f"{re.escape(kept)} cannot hold the trials: .*({why})"):
        sweep(path, storage=kept)


def test_trials_that_find_no_room_for_their_runs_fail_and_the_sweep_ends(write, disk):
    path = write()
    fill(disk)
    with pytest.raises(LabError, match="no trial has come to an end"):
        sweep(path, trials=2, runs="disk", storage="s.journal")
    assert [trial.state.name for trial in found("s.journal")] == ["FAIL"] * 2
    (disk / "plug").unlink()
    with pytest.raises(LabError, match="2 of 4 trials failed"):
        sweep(path, trials=4, runs="disk", storage="s.journal")
    assert [trial.state.name for trial in found("s.journal")][2:] == ["COMPLETE"] * 2
