"""Random numbers named by keys."""

import itertools

import pytest
import torch
from conftest import QUIET
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from vae_lab.contracts import Batch
from vae_lab.models import GAN, VAE
from vae_lab.randomness import reseed

KEYS = [*itertools.product((0, 1), (0, 1), (0, 1, 2), (0, 1, 2)), (0,), (0, 0), (2**40, 1)]


def draw(*keys):
    reseed(*keys)
    return torch.rand(4).tolist()


def test_the_same_keys_draw_the_same_numbers_whatever_was_drawn_before():
    expected = draw(3, 1, 4)
    torch.rand(1000)
    torch.manual_seed(99)
    assert draw(3, 1, 4) == expected


def test_other_keys_draw_other_numbers():
    drawn = [tuple(draw(*keys)) for keys in KEYS]
    assert len(set(drawn)) == len(KEYS)


def test_neighbours_are_not_correlated():
    streams = []
    for batch in range(50):
        reseed(0, 0, 0, batch)
        streams.append(torch.randn(2000))
    correlations = torch.corrcoef(torch.stack(streams)).fill_diagonal_(0)
    # Five standard errors of 1 / sqrt(2000).
    assert correlations.abs().max() < 0.112


def test_the_numbers_are_the_same_in_every_process_and_python():
    reseed(7, 8)
    assert torch.initial_seed() == 1_270_259_710


def test_each_step_of_a_long_run_has_its_own_seed():
    seeds = set()
    for epoch, batch in itertools.product(range(100), range(500)):
        reseed(0, 0, epoch, batch)
        seeds.add(torch.initial_seed())
    # Of 50,000 draws from 2^32, 0.3 meet by chance.
    assert len(seeds) > 49_990


def test_apples_stream_starts_afresh_as_well(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "manual_seed", seeds.append)
    reseed(1, 2)
    reseed(1, 2)
    assert seeds == [torch.initial_seed()] * 2


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec")
@pytest.mark.parametrize("kind", [VAE, GAN])
def test_every_epoch_trains_with_noise_of_its_own_and_validates_with_the_same(kind):
    """Else a batch that is met again would be met with the very codes of the epoch before."""
    model, drawn = kind((1, 8, 8), 2), {True: [], False: []}
    name = "draw" if kind is GAN else "terms"
    own = getattr(model, name)
    setattr(model, name, lambda batch: drawn[model.training].append(torch.rand(1)) or own(batch))
    batch = Batch(torch.rand(4, 1, 8, 8), torch.zeros(4))
    loader = DataLoader([batch], batch_size=None)
    Trainer(max_epochs=2, num_sanity_val_steps=0, **QUIET).fit(model, loader, loader)
    assert drawn[True][0] != drawn[True][1]
    assert drawn[False][0] == drawn[False][1]
