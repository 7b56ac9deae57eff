"""What docs/extending.md shows works as it stands."""

import re
import shlex
from pathlib import Path

import yaml

from vae_lab.verbs.picture import origin

TEXT = (Path(__file__).parent.parent / "docs/extending.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_its_examples_run(lab, here, monkeypatch):
    (here / "my_lab.py").write_text("\n".join(blocks("python")))
    monkeypatch.syspath_prepend(here)
    for line in "".join(blocks("bash")).splitlines():
        program, *words = shlex.split(line)
        assert program == "lab"
        lab(*words)
    assert (here / "scatter.png").is_file()
    import my_lab

    assert my_lab.from_python()["nll"].value > 0
    assert "elbo" in lab("evaluate", "digits.ckpt", "--importance-samples=2")
    # Saved after the end of training, which Lightning takes for the beginning of a third.
    assert origin("digits.ckpt") == "digits.ckpt, epoch 2"


def test_its_configuration_trains(lab, here):
    (here / "mine.yaml").write_text("".join(blocks("yaml")))
    lab("fit", "--config=mine.yaml", "--model=VAE", "--data=Digits", "--pictures.kinds=[samples]")
    assert yaml.safe_load((here / "runs/mine/version_0/config.yaml").read_text())
    assert any(here.glob("mine/**/metrics.csv"))
