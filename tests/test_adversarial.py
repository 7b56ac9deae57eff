"""Networks that play against each other: who moves when, by which gradient, and what is kept."""

import math
from functools import partial

import pytest
import torch
from conftest import QUIET
from going_on import STATE, last, rows, same
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from vae_lab import runs
from vae_lab.adversarial_losses import (
    R1,
    GradientPenalty,
    Hinge,
    LeastSquares,
    NonSaturating,
    Saturating,
    Wasserstein,
)
from vae_lab.contracts import Batch
from vae_lab.errors import LabError
from vae_lab.models import GAN, InfoGAN
from vae_lab.models.average import averaged, follow
from vae_lab.nets import ConvCritic, ConvGenerator, MLPCritic, MLPDecoder, MLPGenerator

SHAPE = (1, 8, 8)
LOSSES = [NonSaturating, Saturating, LeastSquares, Hinge, Wasserstein]
NETS = {
    "generator": partial(MLPGenerator, hidden=(16, 16)),
    "critic": partial(MLPCritic, hidden=(16,)),
}
ONE = {"max_epochs": 1, "log_every_n_steps": 1, "num_sanity_val_steps": 0}
FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=150",
    "--data.val_size=50",
    "--data.batch_size=15",
    "--model=InfoGAN",
    "--model.noise=4",
    "--model.generator.channels=[8]",
    "--model.critic.channels=[8]",
    "--model.features=16",
    "--model.schedule=ExponentialLR",
    "--model.schedule.gamma=0.7",
    "--model.critic_steps=2",
    "--model.clip=1",
    "--trainer.max_epochs=3",
    "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=4",
    "--trainer.enable_progress_bar=false",
    "--pictures.kinds=[]",
]

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)


def build(kind=GAN, **settings):
    torch.manual_seed(0)
    small = {**NETS, "latent_dim": 4} if kind is GAN else {**NETS, "noise": 4, "features": 16}
    return kind(SHAPE, **small | settings)


def images(n=16):
    x = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(n) % 10)


def fit(model, n=64, **trainer):
    """Train on batches of 16, and return the trainer."""
    batch = images(n)
    loader = DataLoader(
        list(zip(*batch, strict=True)),
        16,
        collate_fn=lambda items: Batch(*map(torch.stack, zip(*items, strict=True))),
    )
    trainer = Trainer(**{**QUIET, **ONE, **trainer})
    trainer.fit(model, loader)
    return trainer


def moves(model):
    """Note who moves at each batch, by how its weights differ from those before."""
    noted, step = [], model.training_step
    nets = {"critic": model.critic, **model.opponents}

    def weights():
        return {name: [w.detach().clone() for w in net.parameters()] for name, net in nets.items()}

    def training_step(batch, batch_idx):
        before = weights()
        step(batch, batch_idx)
        after = weights()
        changed = {
            name
            for name in nets
            if any(not torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
        }
        noted.append((changed, model.global_step))

    model.training_step = training_step
    return noted


class NineByNine(MLPDecoder):
    """Makes images of one size whatever the data's."""

    def __init__(self, features, shape):
        super().__init__(features, (1, 9, 9))


# who moves, and what is counted


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_one_batch_is_one_step_and_the_generator_moves_at_every_so_many(critic_steps):
    model = build(critic_steps=critic_steps)
    noted = moves(model)
    trainer = fit(model, 16 * 7)
    both, one = {"critic", "generator"}, {"critic"}
    expected = [(one if k % critic_steps else both, k) for k in range(1, 8)]
    assert noted == expected
    assert trainer.global_step == 7
    assert model.images_seen == 16 * 7


def test_max_steps_counts_batches():
    model = build()
    assert fit(model, max_steps=3).global_step == 3
    assert model.images_seen == 48


def test_schedules_step_once_an_epoch():
    model = build(schedule=partial(StepLR, step_size=1, gamma=0.1), lr=1e-3, critic_lr=1e-4)
    trainer = fit(model, max_epochs=2)
    found = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
    assert found == pytest.approx([1e-6, 1e-5])


def test_parts_of_a_batch_add_up_to_its_gradient():
    gradients = []
    for parts in (1, 3):  # of six images, six and four
        model = build(generator=partial(MLPGenerator, batch_norm=False), accumulate=parts)
        # Noise is drawn part by part, so it has to be the same whatever the parts are.
        model.draw = lambda batch: batch.x.flatten(1)[:, :4]
        fit(model, 16)
        nets = (model.critic, model.generator)
        gradients.append([w.grad for net in nets for w in net.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-6)


def test_gradients_are_clipped_and_their_norms_are_those_before():
    clip = 1e-3
    model = build(clip=clip)
    fit(model, 16)
    for net in (model.critic, model.generator):
        norm = torch.nn.utils.get_total_norm([w.grad for w in net.parameters()])
        assert norm == pytest.approx(clip, rel=1e-3)
    assert min(model._measure_gradients().values()) > 10 * clip


@pytest.mark.parametrize("kind", [GAN, InfoGAN])
def test_one_pass_of_the_generator_serves_a_step(kind):
    model, passes = build(kind), []
    model.generator.register_forward_hook(lambda *_: passes.append(1))
    fit(model, 16 * 3)
    assert len(passes) == 3


# where gradients go


@pytest.mark.parametrize(
    ("kind", "penalty"), [(GAN, None), (GAN, R1), (GAN, GradientPenalty), (InfoGAN, None)]
)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_reach_those_who_move_and_nobody_else(kind, loss, penalty):
    settings = {"penalty": penalty} if penalty else {}
    model, batch = build(kind, loss=loss, **settings), images()
    drawn = model.draw(batch)
    fake = model.fake(batch, drawn)
    model.critic_terms(batch, fake.detach(), drawn)["critic_loss"].mean().backward()
    assert all(w.grad is None for w in model.generator.parameters())
    # An offset of the score is no slope; a Wasserstein critic's offset changes nothing at all.
    assert all(w.grad is not None for w in model.critic.parameters())
    assert any(w.grad.any() for w in model.critic.parameters())
    kept = [w.grad.clone() for w in model.critic.parameters()]
    model.critic.requires_grad_(False)
    model.opponents_loss(batch, fake, drawn).mean().backward()
    for before, weight in zip(kept, model.critic.parameters(), strict=True):
        assert torch.equal(before, weight.grad)
    assert all(w.grad.isfinite().all() and w.grad.any() for w in model.generator.parameters())
    assert all(w.grad is None for w in model.averaged.parameters())


@pytest.mark.parametrize("loss", LOSSES)
def test_one_side_gains_by_what_the_other_loses(loss):
    """A generator's step raises the critic's score of its images, and a critic's lowers it."""
    score = torch.zeros(4, requires_grad=True)
    (down,) = torch.autograd.grad(loss().critic(torch.zeros(4), score).sum(), score)
    (up,) = torch.autograd.grad(loss().generator(score).sum(), score)
    assert (down >= 0).all()
    assert (up < 0).all()
    real = torch.zeros(4, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss().critic(real, torch.zeros(4)).sum(), real)
    assert (gradient < 0).all()


def test_an_infogan_reads_its_codes_in_both_steps():
    model, batch = build(InfoGAN), images()
    drawn = model.draw(batch)
    fake = model.fake(batch, drawn)
    heads = model.critic[-1].codes
    model.critic_terms(batch, fake.detach(), drawn)["critic_loss"].mean().backward()
    assert all(w.grad.any() for w in heads.parameters())
    (gradient,) = torch.autograd.grad(
        model._information_loss(model.critic(fake), drawn).mean(), fake
    )
    assert gradient.any()


# the average


def test_an_average_follows_weights():
    torch.manual_seed(0)
    net = MLPGenerator(4, SHAPE, (8, 8))
    average, codes = averaged(net), torch.randn(32, 4)
    start = [w.clone() for w in average.parameters()]
    for part in net.parameters():
        part.data += 1
    follow(average, net, 0.9, 10_000, lambda: codes)
    for before, now in zip(start, average.parameters(), strict=True):
        torch.testing.assert_close(now, before + 0.1)
    follow(average, net, 0.999, 0, lambda: codes)
    torch.testing.assert_close(average[0].bias, net[0].bias - 0.9 * 0.1)


def test_an_averages_statistics_are_its_own_and_not_those_of_what_it_follows():
    """Weights that change their sign at every step have an average near zero, and it no spread."""
    torch.manual_seed(0)
    net = MLPGenerator(4, SHAPE, (8, 8))
    average, spread = averaged(net), net[3].running_var
    for step in range(2000):
        net[2].weight.data *= -1
        net(torch.randn(32, 4))
        follow(average, net, 0.99, step, lambda: torch.randn(32, 4))
    with torch.no_grad():
        given = average[2](average[1](average[0](torch.randn(2000, 4))))
    assert 0 < average[3].running_var.mean() < 1e-3 * spread.mean()
    torch.testing.assert_close(average[3].running_mean, given.mean(0), rtol=0.05, atol=2e-4)
    torch.testing.assert_close(average[3].running_var, given.var(0), rtol=0.5, atol=0)


def test_samples_are_the_averages_and_training_is_the_generators():
    model = build(average=0.9)
    fit(model)
    z = torch.randn(5, 4)
    expected = 0.5 + 0.5 * model.eval().averaged(z).tanh()
    torch.testing.assert_close(model.decode(z), expected)
    assert not torch.equal(model.averaged[0].weight, model.generator[0].weight)
    assert build(average=0).averaged is None


# a run that goes on


@pytest.mark.parametrize("steps", [10, 13])
def test_a_run_goes_on_to_the_same_bits(lab, whole, steps):
    lab(*FIT, f"--trainer.max_steps={steps}")
    assert last()["global_step"] == steps
    lab(*FIT, "--ckpt_path=last")
    mine, theirs = last(), last(root=whole)
    assert {key: same(mine[key], theirs[key]) for key in STATE} == dict.fromkeys(STATE, True)
    assert len(mine["optimizer_states"]) == len(mine["lr_schedulers"]) == 2
    unbroken = rows(root=whole)
    # The window that the stop cut off is one row more.
    assert [r for r in rows() if r in unbroken or r["step"] != str(steps)] == unbroken


def test_the_latest_weights_are_the_ones_that_every_verb_takes(whole):
    folder = whole / "runs/run/version_0/checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert best["global_step"] == 30
    curves = runs.Run(folder.parent).curves()
    wanted = {"train/real", "train/fake", "train/critic_gradient", "train/generator_gradient"}
    assert {*wanted, "train/images_per_second", "val/c1_information"} <= curves.keys()
    assert [step for step, _ in curves["train/real"]][:3] == [4, 8, 10]


# what is refused


def test_mixed_precision_trains_and_half_is_refused(monkeypatch):
    model = build()
    fit(model, precision="bf16-mixed")
    assert all(w.isfinite().all() for w in model.parameters())
    monkeypatch.setattr(Trainer, "precision", "16-mixed")
    with pytest.raises(LabError, match=r"cannot learn in 16-mixed.*bf16-mixed"):
        fit(build())


@pytest.mark.parametrize("flag", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}])
def test_the_trainers_clipping_and_accumulation_are_refused(flag):
    with pytest.raises(LabError, match=r"--model\.clip and --model\.accumulate"):
        fit(build(), **flag)


def test_a_generator_that_would_never_move_is_refused():
    with pytest.raises(LabError, match="critic_steps is 5, and training has 4 steps"):
        fit(build(critic_steps=5))
    assert fit(build(critic_steps=5), max_epochs=2).global_step == 8
    assert fit(build(critic_steps=4)).global_step == 4
    assert fit(build(critic_steps=5), fast_dev_run=True).global_step == 1


def test_an_unknown_code_is_refused_in_a_sentence(lab, capfd):
    with pytest.raises(SystemExit):
        lab("fit", "--data=Digits", "--model=InfoGAN", "--model.codes=[Categorical, Unifrom]")
    said = capfd.readouterr().err
    assert said.endswith("there is no class 'Unifrom'; did you mean 'Uniform'?\n")
    assert said.count("\n") == 1


def test_one_image_left_for_batch_norm_is_refused():
    with pytest.raises(LabError, match="A batch of one image"):
        fit(build(), 17)
    assert fit(build(accumulate=16)).global_step == 4  # in parts of two, which are no fewer


def test_waiting_for_a_loss_that_never_falls_is_refused():
    with pytest.raises(LabError, match="EarlyStopping"):
        fit(build(), callbacks=[EarlyStopping("val/loss")])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"critic": partial(MLPCritic, dropout=1.5)}, "dropout"),
        ({"critic": partial(ConvCritic, slope=math.nan)}, "slope"),
        ({"critic_steps": 0}, "critic_steps"),
        ({"accumulate": 0}, "accumulate"),
        ({"clip": 0.0}, "clip"),
        ({"critic_lr": math.nan}, "critic_lr is a finite number above 0; got nan"),
        ({"betas": (0.5, 1.0)}, "betas"),
        ({"average": 1.0}, "average"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"generator": NineByNine}, r"returned \(1, 1, 9, 9\) .* one tensor of \(1, 1, 8, 8\)"),
        ({"generator": partial(ConvGenerator, channels=(8,) * 4)}, "at least 16 x 16"),
        ({"critic": ConvCritic, "penalty": R1}, "batch_norm false"),
        ({"penalty": partial(R1, weight=0.0)}, "above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, why):
    with pytest.raises(LabError, match=why):
        build(**wrong)


def test_a_loss_that_is_no_number_stops_training():
    model = build()
    judge = model.critic_terms
    model.critic_terms = lambda *given: {k: math.nan * v for k, v in judge(*given).items()}
    with pytest.raises(LabError, match="stopped being finite in epoch 1"):
        fit(model)


def test_a_schedule_that_waits_for_a_plateau_is_refused():
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    with pytest.raises(LabError, match="plateau"):
        fit(build(schedule=ReduceLROnPlateau))


def test_spectral_norm_bounds_each_layer_of_the_critic():
    model = build(spectral_norm=True)
    for _ in range(50):
        model.critic(images().x)
    for layer in (m for m in model.critic.modules() if isinstance(m, torch.nn.Linear)):
        norm = torch.linalg.matrix_norm(layer.weight.detach(), 2)
        assert norm.item() == pytest.approx(1, abs=0.02)
    fit(model)
