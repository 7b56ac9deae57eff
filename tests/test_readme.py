"""The README is short and true."""

import re
import shutil
import subprocess
from pathlib import Path

import torch

from vae_lab import cli, models
from vae_lab.contracts import Batch
from vae_lab.verbs import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_it_is_under_150_lines():
    assert len(README.splitlines()) < 150


def test_its_example_of_a_model_trains():
    (code,) = [text for language, text in BLOCKS if language == "python"]
    module: dict[str, type] = {}
    exec(code, module)
    model = module["RegularisedAutoencoder"]((1, 8, 8), latent_dim=4)
    batch = Batch(torch.rand(16, 1, 8, 8), torch.zeros(16))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        losses.append(model.terms(batch)["loss"].mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_every_verb_and_experiment_it_names_exists():
    verbs = set(re.findall(r"\blab (\w+)", README))
    assert verbs <= {*VERBS, *cli.LIGHTNING}
    assert set(VERBS) <= verbs
    files = set(re.findall(r"experiments/[\w/]+\.yaml", README))
    files |= {
        f"experiments/{name}.yaml"
        for name in re.findall(r"`(\w+_(?:mnist|digits|frey|folder|cifar10))`", README)
    }
    assert files
    assert not [file for file in files if not (ROOT / file).is_file()]


def test_every_model_is_in_its_table():
    assert not [name for name in models.__all__ if name != "Model" and f"`{name}`" not in README]


def test_every_experiment_is_in_its_table():
    for file in (ROOT / "experiments").glob("*.yaml"):
        assert f"`{file.stem}`" in README, file


def test_make_knows_the_targets_it_names():
    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in re.findall(r"\bmake (demo|test|bench|help)\b", README):
        assert f"make {target}" in help_text


def test_a_make_demo_that_failed_is_not_taken_for_done(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    # What stands for a Python that makes .venv, but cannot reach what is to go into it.
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho $@ >> calls\nmkdir -p .venv/bin; cp $0 .venv/bin; test $2 = venv\n"
    )
    python.chmod(0o755)
    for times in (1, 2):
        done = subprocess.run(
            ["make", "demo", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert (tmp_path / "calls").read_text().count("-m venv") == times


def _cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_its_numbers_are_those_of_the_published_table():
    published, row = set(), ""
    for line in (ROOT / "RESULTS.md").read_text().partition("\n### ")[0].splitlines():
        if line.startswith("| "):
            name, _, measured, ours, mark, verdict, *_ = _cells(line)
            row = name.partition("](")[2] or row
            published.add((row, measured, ours, mark, verdict))
    lines = re.findall(r"^\| \[.*RESULTS\.md#.*$", README, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        name, *cells = _cells(line)
        assert (name.partition("RESULTS.md")[2], *cells) in published, line
