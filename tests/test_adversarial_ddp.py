"""An InfoGAN on two processes, through the real command line."""

import json

import pytest
import torch
from test_ddp import run

WORDS = [
    "--model=InfoGAN",
    "--model.noise=4",
    "--model.generator=ConvGenerator",
    "--model.generator.channels=[8]",
    "--model.critic=ConvCritic",
    "--model.critic.channels=[8]",
    "--model.features=16",
    "--model.critic_steps=2",
    "--trainer.max_epochs=2",
]


@pytest.mark.slow
def test_processes_keep_the_same_weights_and_never_draw_the_same_noise(tmp_path, monkeypatch):
    import test_ddp

    settings = [word for word in test_ddp.FIT if not word.startswith("--model")]
    monkeypatch.setattr(test_ddp, "FIT", settings)
    first, second = run(tmp_path, *WORDS)
    drawn = first["drawn"] + second["drawn"]
    assert len(set(drawn)) == len(drawn) == 40
    assert first["weights"] == second["weights"]
    assert first["weights"][0] != first["weights"][1]
    folder = tmp_path / "runs/run/version_0"
    assert json.loads((folder / "run.json").read_text())["processes"] == 2
    kept = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 20
