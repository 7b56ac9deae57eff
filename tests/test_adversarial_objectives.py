"""What each side minimises, term by term, and by which optimiser."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import QUIET
from lightning.pytorch import Trainer
from test_adversarial import NETS, ONE, SHAPE, build, fit, images
from torch.utils.data import DataLoader

from vae_lab.adversarial_losses import R1, GradientPenalty
from vae_lab.codes import Categorical, Uniform
from vae_lab.contracts import Batch
from vae_lab.models import GAN, VAEGAN, InfoGAN, adversarial, gan, vaegan


def turn(model):
    """Return a batch, what chance decides in its turn, and the images made."""
    batch = images()
    drawn = model.draw(batch)
    return batch, drawn, model.fake(batch, drawn).detach()


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 3.0)])
def test_both_sides_of_an_infogan_minimise_what_is_not_read_of_the_codes(weights):
    category, number = (
        partial(kind, weight=weight)
        for kind, weight in zip((Categorical, Uniform), weights, strict=True)
    )
    model = build(InfoGAN, codes=(category, number)).eval()
    batch, drawn, fake = turn(model)
    said = model.critic(fake)
    unread = torch.zeros(len(fake))
    for name, code in model.codes.items():
        place, weight = model.places[name], code.weight
        unread -= weight * code.log_prob(said[:, model._said[name]], drawn[:, place])
    plain = model.compare(model.score(model.critic(2 * batch.x - 1)), model.score(said))
    judged = model.critic_terms(batch, fake, drawn)
    torch.testing.assert_close(judged["critic_loss"], plain["critic_loss"] + unread)
    torch.testing.assert_close(judged["generator_loss"], plain["generator_loss"])
    torch.testing.assert_close(
        model.opponents_loss(batch, fake, drawn), plain["generator_loss"] + unread
    )
    assert unread.abs().min() > 0


def test_an_infogan_that_reads_its_codes_loses_less():
    model = build(InfoGAN, codes=(Categorical,)).eval()
    batch, drawn, fake = turn(model)
    truth = drawn[:, model.places["c1"]]
    losses = []
    for logits in (10 * truth, -10 * truth):
        said = torch.cat([torch.zeros(len(fake), 1), logits], 1)
        model.critic.forward = lambda x, said=said: said
        losses.append(model.opponents_loss(batch, fake, drawn).mean())
    assert losses[0] + 5 < losses[1]


@pytest.mark.parametrize("kind", [R1, GradientPenalty])
def test_a_critic_in_training_minimises_its_penalty_too(kind):
    penalty = partial(kind, weight=3.0)
    model, plain = build(penalty=penalty), build()
    batch, drawn, fake = turn(model)
    found, without = (m.critic_terms(batch, fake, drawn) for m in (model, plain))
    assert found["penalty"].min() > 0
    torch.testing.assert_close(found["critic_loss"], without["critic_loss"] + found["penalty"])
    torch.testing.assert_close(found["generator_loss"], without["generator_loss"])
    assert "penalty" not in model.eval().critic_terms(batch, fake, drawn)


@pytest.mark.parametrize("betas", [(0.5, 0.999), (0.0, 0.9)])
def test_each_player_has_an_adam_of_the_betas_and_rates_it_was_given(betas):
    trainer = fit(build(GAN, betas=betas, lr=1e-3, critic_lr=1e-4))
    assert [o.defaults["betas"] for o in trainer.optimizers] == [betas, betas]
    assert [o.defaults["lr"] for o in trainer.optimizers] == [1e-4, 1e-3]


@pytest.mark.parametrize("kind", [gan, vaegan])
def test_an_average_counts_the_steps_of_what_it_follows(kind, monkeypatch):
    counted = []
    monkeypatch.setattr(kind, "follow", lambda net, of, decay, steps, codes: counted.append(steps))
    model = build(critic_steps=2) if kind is gan else VAEGAN(SHAPE, 4, **NETS, critic_steps=2)
    fit(model, 16 * 6)
    assert counted == [1, 2, 3]


def test_an_infogan_reads_images_as_the_critic_saw_them_in_training():
    model = build(InfoGAN).eval()
    z = model.draw_codes(8)
    said = model.critic(model._generate(z))
    found = torch.cat([*model.read(model.decode(z)).values()], 1)
    torch.testing.assert_close(found, said[:, 1:])


def test_an_infogans_noise_lies_as_its_numbers_do_between_minus_one_and_one():
    model = build(InfoGAN)
    noise = model.draw_codes(1000)[:, : model.noise]
    assert -1 <= noise.min() < -0.99
    assert 0.99 < noise.max() < 1
    assert noise.mean().abs() < 0.05


def test_images_a_second_are_those_of_training_though_validation_comes_between(monkeypatch):
    model, clock, found = build(), [0.0], []
    monkeypatch.setattr(adversarial, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def taking(seconds, step):
        def timed(*given):
            clock[0] += seconds
            return step(*given)

        return timed

    model.training_step = taking(1, model.training_step)
    model.validation_step = taking(100, model.validation_step)
    model._write = lambda stage, means: found.append(means.get("images_per_second"))
    loader = DataLoader(images(16 * 8).x, 16, collate_fn=lambda x: Batch.unlabelled(torch.stack(x)))
    every = {"val_check_interval": 3, "log_every_n_steps": 2, "limit_val_batches": 1}
    Trainer(**{**QUIET, **ONE, **every}).fit(model, loader, loader)
    assert [rate for rate in found if rate] == [16] * 4
