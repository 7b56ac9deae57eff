"""What several test files share."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from disks import mount
from hypothesis import settings
from PIL import Image

# Commands that run in this process must not change it for the tests that follow: hypothesis, for
# one, draws no floats where denormals are flushed.
os.environ["VAE_LAB_TUNE"] = "none"
# Tensors this small are slower on two threads, and much slower where those have to share a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a busy machine an example may take any time, and is no worse for that.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=64",
    "--data.val_size=100",
    "--data.batch_size=32",
    "--model=VAE",
    "--model.latent_dim=2",
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
]

# A trainer that trains, and leaves nothing behind.
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds the real MNIST, or a skip that says where it was looked for."""
    root = Path(os.environ.get("VAE_LAB_DATA", "data"))
    if not (root / "MNIST/raw/train-images-idx3-ubyte").exists():
        # Its numbers are of the real images, which no repository may hold and no test may fetch.
        pytest.skip(f"needs the real MNIST in {root}/MNIST/raw (VAE_LAB_DATA names another folder)")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty red and twenty blue images in two classes, of several sizes and kinds."""
    root = tmp_path / "photos"
    for k in range(40):
        colour, suffix = ("red", "png") if k % 2 else ("blue", "jpg")
        path = root / colour / f"deep/{k}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + k, 30), colour).save(path)
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, without the data of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    return tmp_path


@pytest.fixture
def lab(here, monkeypatch, capfd):
    """Run the command line in this process, and return what it printed."""
    from vae_lab.cli import main

    def run(*argv):
        argv = [str(word) for word in argv]
        # Lightning warns if it is called from within another command.
        monkeypatch.setattr(sys, "argv", ["lab", *argv])
        main(argv)
        return capfd.readouterr().out

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The run folders of a VAE and of an autoencoder, both of three code dimensions."""
    folder = tmp_path_factory.mktemp("trained")
    from vae_lab.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for model in ("VAE", "Autoencoder"):
            words = [*FIT, f"--model={model}", "--model.latent_dim=3", f"--name={model}"]
            patch.setattr(sys, "argv", ["lab", *words])
            main(words)
    return folder / "runs"


@pytest.fixture
def run(trained, here):
    """A copy of the VAE's run in the working folder, as `runs/VAE/version_0`."""
    shutil.copytree(trained, here / "runs")
    return Path("runs/VAE/version_0")


@pytest.fixture(autouse=True)
def terminable():
    """Forget the handler that Lightning leaves behind of a stopped training: forks would have it.

    It makes of SIGTERM a note for a training, and what was to end of it would live on.
    """
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def interruptible():
    """Hear SIGINT, which a shell lets its background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(request, tmp_path_factory):
    """The folder of an unbroken run of the module's FIT."""
    from vae_lab.cli import main

    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lab", *request.module.FIT])
        main(request.module.FIT)
    return folder


@pytest.fixture
def stopped(request, lab, monkeypatch):
    """Run the module's FIT until something is done in a training step; return what it ended in."""
    from vae_lab.models import VAE

    def run(error, step, action, *words):
        original = VAE.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                action()
            return original(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(VAE, "training_step", training_step)
            with pytest.raises(error) as stop:
                lab(*request.module.FIT, *words)
        return stop.value

    return run


@pytest.fixture
def disk(here):
    """A disk of its own of eight MiB, mounted in the working folder."""
    path = here / "disk"
    path.mkdir()
    # To fill the machine's own disk, or make it read-only, would spoil what else runs there.
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("needs a disk of its own to fill, which root alone may mount, on Linux")
    try:
        mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", path)
    except subprocess.CalledProcessError as error:
        # In a container root may lack the right; any other reason stands in the words of `mount`.
        pytest.skip(f"needs the right to mount a tmpfs: {error.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True, timeout=30)
