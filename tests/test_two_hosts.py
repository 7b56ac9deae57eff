"""Training across two machines: network namespaces of this one, joined by a wire."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lightning_utilities.core.rank_zero import rank_zero_only
from test_ddp import FIT

from vae_lab.run_folder import run_folder

# What two machines are told in place of two devices.
TWO = [
    *FIT,
    "--trainer.devices=1",
    "--trainer.num_nodes=2",
    "--trainer.max_epochs=2",
    "--pictures.kinds=[]",
]
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture
def hosts():
    """The names of two namespaces that reach each other and nothing else."""
    # Two hosts need two network stacks, which this program alone makes of one machine.
    if not shutil.which("ip"):
        pytest.skip("needs `ip` of iproute2, which is not on this machine")
    names = [f"lab{os.getpid()}{end}" for end in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip(*f"link add wire netns {names[0]} type veth peer name wire netns {names[1]}".split())
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            for device in ("lo", "wire"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    except subprocess.CalledProcessError as error:
        # Only root may make them, and not in every container; `ip` says what it lacked.
        pytest.skip(f"needs network namespaces: {error.stderr.decode().strip()}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30)


def start(host, rank, folder):
    """Begin the training of one machine in a folder that both share."""
    where = {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29500", "NODE_RANK": str(rank)}
    here = {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        ["ip", "netns", "exec", host, sys.executable, "-m", "vae_lab", *TWO],
        cwd=folder,
        env={**os.environ, **where, **here, "GLOO_SOCKET_IFNAME": "wire"},
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_two_hosts_learn_the_same_weights_in_one_folder(hosts, tmp_path):
    # The second one first: it must not take the run's number.
    begun = [start(host, rank, tmp_path) for rank, host in reversed([*enumerate(hosts)])]
    try:
        for process in begun:
            said = process.communicate(timeout=300)[1].decode()
            assert process.returncode == 0, said[-2000:]
    finally:
        for process in begun:
            process.kill()
    first, second = (json.loads((tmp_path / f"rank{k}.json").read_text()) for k in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["weights"][0] != first["weights"][1]
    assert not set(first["drawn"]) & set(second["drawn"])
    assert len(first["seen"]) + len(second["seen"]) == 2 * 301
    assert os.listdir(tmp_path / "runs/run") == ["version_0"]
    assert json.loads((tmp_path / "runs/run/version_0/run.json").read_text())["processes"] == 2


def test_only_the_first_process_makes_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    run_folder(tmp_path / "run", None)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert run_folder(tmp_path / "run", None) == (tmp_path / "run/version_0", True)
    assert run_folder(tmp_path / "run", None) == (tmp_path / "run/version_1", True)
