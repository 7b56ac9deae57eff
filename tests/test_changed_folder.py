"""Runs on a folder of images to which others came after training had begun."""

import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

FIT = [
    "fit",
    *("--data=ImageFolder", "--data.folder=photos", "--data.resize=4", "--data.batch_size=16"),
    *("--model=VAE", "--model.encoder.hidden=[8]", "--model.decoder.hidden=[8]"),
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--pictures.kinds=[]"),
]
EVALUATE = ("evaluate", "runs/run", "--split=val", "--importance_samples=2")


@pytest.fixture
def run(lab, here, folder):
    lab(*FIT, "--data.root=.", "--trainer.max_epochs=1")
    return Path("runs/run/version_0")


def test_a_run_does_not_go_on_with_other_files(lab, run, folder, capfd):
    more = [*FIT, "--data.root=.", "--trainer.max_epochs=2", "--ckpt_path=last"]
    Image.new("RGB", (30, 30), "red").save(new := folder / "red/new.png")
    with pytest.raises(SystemExit) as stop:
        lab(*more)
    assert stop.value.code == 2
    assert f"{run} was begun with other image files" in capfd.readouterr().err
    new.unlink()
    lab(*more)
    assert json.loads((run / "run.json").read_text())["finished"]


def test_an_evaluation_on_other_files_says_so(lab, run, folder):
    def said():
        with redirect_stderr(StringIO()) as error:
            lab(*EVALUATE)
        return error.getvalue()

    assert "other image files" not in said()
    Image.new("RGB", (30, 30), "red").save(folder / "red/new.png")
    assert "was trained on other image files" in said()
