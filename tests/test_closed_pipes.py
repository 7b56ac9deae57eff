"""What reads the output goes away, as `head` does: nothing is said to have gone well."""

import subprocess
import sys
from pathlib import Path

import conftest
import pytest
from sweeping import written

from vae_lab.runs import find

# Where there is no terminal, the bar is a line an epoch.
FIT = [
    *conftest.FIT,
    "--trainer.enable_progress_bar=true",
    "--pictures.kinds=[]",
    "--trainer.max_epochs=10",
]

# Elsewhere only a filled disk gives the error that is tested, and the machine's own disk is not a
# test's to fill.
full_device = pytest.mark.skipif(
    not Path("/dev/full").exists(),
    reason="needs /dev/full, a device of Linux that refuses every write as a full disk does",
)


def lab(*words, lines=0, errors=subprocess.PIPE):
    """Run a command whose output nobody reads after so many lines; its status and its errors."""
    command = [sys.executable, "-m", "vae_lab", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read() if process.stderr else ""
    return process.returncode, said


@pytest.mark.parametrize("errors", [subprocess.PIPE, subprocess.STDOUT])
def test_a_verb_that_only_prints_ends_silently_by_a_broken_pipe(errors):
    assert lab("--help", errors=errors) == (141, "")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["attribute", "{}", "--n=2"], ["attribute.json", "attribute.png"]),
        (["gallery", "{}", "runs/Autoencoder/version_0"], ["gallery.md", "gallery.png"]),
        (["invert", "{}", "--data=2", "--steps=1"], ["inverse.npz", "invert.png"]),
        (["compare", "runs", "--html=c.html", "--curves=c.png"], ["c.html", "c.png"]),
    ],
)
def test_a_verb_has_written_its_files_before_it_prints(run, monkeypatch, words, written):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # the first print meets the closed pipe
    assert lab(*(word.format(run) for word in words)) == (141, "")
    assert [name for name in written if not Path(name).exists()] == []


def test_a_training_says_that_it_was_stopped_and_leaves_nothing_half_begun(here):
    said = "lab fit: stopped before the first checkpoint, nothing is kept.\n"
    assert lab(*FIT) == (141, said)
    assert not Path("runs").exists()


def test_a_training_says_how_it_goes_on(here):
    # Whoever has read a line may take a moment to go.
    status, said = lab(*FIT, "--trainer.max_epochs=1000", lines=3)
    assert (status, said.count("\n")) == (141, 1)
    assert "lab fit: stopped; the same command with --ckpt_path runs/run/version_0 goes" in said
    assert find("runs/run").checkpoint("last").exists()


def test_a_training_whose_words_all_go_into_one_pipe_does_not_end_well(here):
    assert lab(*FIT, errors=subprocess.STDOUT) == (141, "")


def test_a_sweep_says_that_it_was_stopped(here):
    pytest.importorskip("optuna")
    assert lab("sweep", written()) == (141, "lab sweep: stopped; the same command goes on.\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("where", "status", "says"),
    [
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        pytest.param(
            *(">/dev/full", 2, "lab --help: what it prints could not be written: No space left on"),
            marks=full_device,
        ),
    ],
)
def test_an_output_that_is_closed_or_full_costs_no_traceback(
    monkeypatch, unbuffered, where, status, says
):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = f"{sys.executable} -m vae_lab --help {where}"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert ended.returncode == status
    assert ended.stderr.startswith(says)
    assert ended.stderr.count("\n") == bool(says)


@full_device
def test_a_training_whose_words_find_no_room_does_not_blame_its_folder(here):
    words = " ".join([sys.executable, "-m", "vae_lab", *FIT]).replace("[]", "'[]'")
    ended = subprocess.run(f"{words} >/dev/full", shell=True, capture_output=True, text=True)
    said = "lab fit: what it prints could not be written: No space left on device.\n"
    assert (ended.returncode, ended.stderr) == (2, said)
    assert not Path("runs").exists()
