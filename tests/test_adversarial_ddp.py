"""An InfoGAN, and a VAE/GAN under a gate, on two processes, through the real command line."""

import json

import pytest
import torch
from test_ddp import run

from vae_lab.runs import Run

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
# No cross-entropy comes near such an equilibrium: the critic has to rest.
GATED = [
    "--model=VAEGAN",
    "--model.latent_dim=4",
    "--model.encoder.hidden=[16]",
    "--model.generator.hidden=[16]",
    "--model.critic.hidden=[16,12]",
    "--model.gate=Gate",
    "--model.gate.equilibrium=100",
    "--model.gate.margin=0.01",
    "--trainer.max_epochs=2",
    "--trainer.log_every_n_steps=5",
    "--pictures.every=2",
]


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    """Leave the model to the test."""
    import test_ddp

    settings = [word for word in test_ddp.FIT if not word.startswith("--model")]
    monkeypatch.setattr(test_ddp, "FIT", settings)


@pytest.mark.slow
def test_a_gate_decides_for_all_processes_and_its_decisions_are_logged(tmp_path):
    first, second = run(tmp_path, *GATED)
    assert first["weights"] == second["weights"]
    assert first["weights"][0] != first["weights"][1]
    curves = Run(tmp_path / "runs/run/version_0").curves()
    for who, moves in (("critic", 0), ("generator", 1)):
        assert {value for _, value in curves[f"train/{who}_moves"]} == {moves}
    for key in ("real", "fake", "reconstructed", "feature_error", "pixel_error"):
        assert curves[f"train/{key}"]
        assert curves[f"val/{key}"]


@pytest.mark.slow
def test_processes_keep_the_same_weights_and_never_draw_the_same_noise(tmp_path):
    first, second = run(tmp_path, *WORDS)
    drawn = first["drawn"] + second["drawn"]
    assert len(set(drawn)) == len(drawn) == 40
    assert first["weights"] == second["weights"]
    assert first["weights"][0] != first["weights"][1]
    folder = tmp_path / "runs/run/version_0"
    assert json.loads((folder / "run.json").read_text())["processes"] == 2
    kept = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 20
