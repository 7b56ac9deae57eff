"""Settings of the process, each tried in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

from vae_lab import process
from vae_lab.errors import LabError

TUNE = "from vae_lab import process; process.tune(); "
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
linux = pytest.mark.skipif(platform.system() != "Linux", reason="looks for Linux's device files")


def run(code, **environment):
    """Run `code` in a fresh Python and return what it printed."""
    hidden = ("VAE_LAB_TUNE", "CUDA_VISIBLE_DEVICES")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    command, environment = [sys.executable, "-c", code], inherited | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_denormals_are_flushed_in_every_thread():
    code = (
        "import torch; from vae_lab import process; tiny = torch.tensor([1e-39]);"
        "kept = (tiny * 0.5).item() > 0; process.tune();"
        "many = torch.full((2_000_000,), 1e-39) * 0.5;"
        "print(kept, process.applied(), torch.get_num_threads(), many.count_nonzero().item())"
    )
    environment = {"VAE_LAB_TUNE": "denormals", "OMP_NUM_THREADS": "2"}
    assert run(code, **environment) == "True ['denormals'] 2 0"


@glibc
@pytest.mark.parametrize(("tuning", "kept"), [("malloc", True), ("none", False)])
def test_malloc_keeps_the_pages_of_large_buffers(tuning, kept):
    code = (
        "import resource;"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
        "buffer = bytearray(2**24); del buffer; before = faults()\n"
        "for _ in range(10): buffer = bytearray(2**24); del buffer\n"
        "print(faults() - before)"
    )
    faults = int(run(TUNE + code, VAE_LAB_TUNE=tuning))
    assert (faults < 1000) == kept


@linux
@pytest.mark.parametrize(
    ("nodes", "devices", "after"),
    [
        ("()", {}, "['no-cuda'] ''"),
        ("('/dev/null',)", {}, "[] None"),
        ("()", {"CUDA_VISIBLE_DEVICES": "1"}, "[] '1'"),
    ],
    ids=["no GPU", "a GPU", "the user's choice"],
)
def test_devices_are_hidden_only_where_there_is_none(nodes, devices, after):
    code = (
        f"import os; from vae_lab import process; process.GPU_NODES = {nodes}; process.tune();"
        "print(process.applied(), repr(os.environ.get('CUDA_VISIBLE_DEVICES')))"
    )
    assert run(code, VAE_LAB_TUNE="no-cuda", **devices) == after


@glibc
@pytest.mark.parametrize(
    ("wanted", "applied"),
    [("none", []), ("", []), ("malloc", ["malloc"]), (" malloc, ", ["malloc"])],
)
def test_what_was_applied_is_reported(wanted, applied):
    assert run(TUNE + "print(process.applied())", VAE_LAB_TUNE=wanted) == str(applied)


def test_all_settings_are_wanted_where_nothing_is_said():
    # The one that loads torch comes last: the other two must be done before.
    assert run("from vae_lab import process; print(process._wanted())") == str(
        ["malloc", "no-cuda", "denormals"]
    )


def test_what_is_loaded_is_no_garbage():
    code = "import gc; from vae_lab import process; process.load('decimal');"
    assert run(f"{code} print(gc.isenabled(), gc.get_freeze_count() > 1000)") == "True True"


def test_what_is_loaded_already_freezes_nothing_more():
    # Python 3.12 itself begins with some hundred frozen.
    code = "import decimal, gc; from vae_lab import process; begun = gc.get_freeze_count();"
    assert run(f"{code} process.load('decimal'); print(gc.get_freeze_count() - begun)") == "0"


def test_an_unknown_setting_is_refused_and_changes_nothing(monkeypatch):
    before = process.applied()
    monkeypatch.setenv("VAE_LAB_TUNE", "malloc,turbo")
    with pytest.raises(LabError, match=r"turbo; it knows denormals, malloc, no-cuda\."):
        process.tune()
    assert process.applied() == before


def test_the_command_line_says_so_in_a_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "vae_lab", "fit"],
        env={**os.environ, "VAE_LAB_TUNE": "turbo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("lab fit: VAE_LAB_TUNE names turbo;")
    assert "Traceback" not in done.stderr
