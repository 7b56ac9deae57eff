"""VAE/GAN: whose loss reaches whom, with which sign; and who rests under a gate."""

import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from test_adversarial import SHAPE, fit, images, moves

from vae_lab.contracts import Decodes, Encodes, Samples
from vae_lab.drawings.kinds import _first_layer
from vae_lab.errors import LabError
from vae_lab.losses import gaussian_kl
from vae_lab.models import VAEGAN
from vae_lab.models.gate import Gate
from vae_lab.nets import (
    ConvCritic,
    ConvEncoder,
    ConvGenerator,
    Encoder,
    MLPCritic,
    MLPEncoder,
    MLPGenerator,
)
from vae_lab.pictures.filters import first_layer
from vae_lab.posteriors import DiagonalGaussian

NETS = {
    "mlp": {
        "encoder": partial(MLPEncoder, hidden=(16,)),
        "generator": partial(MLPGenerator, hidden=(16, 16)),
        "critic": partial(MLPCritic, hidden=(16, 12)),
    },
    "conv": {
        "encoder": partial(ConvEncoder, channels=(8,), hidden=16),
        "generator": partial(ConvGenerator, channels=(8,)),
        "critic": partial(ConvCritic, channels=(8, 8)),
    },
}
# Of each critic a layer of weights, a gate that writes over its input, and the last but one.
LAYERS = [("mlp", 0), ("mlp", 1), ("mlp", 2), ("mlp", 4)]
LAYERS += [("conv", 0), ("conv", 1), ("conv", 2), ("conv", 3), ("conv", 5)]

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)


def build(nets="mlp", **settings):
    torch.manual_seed(0)
    return VAEGAN(SHAPE, **{"latent_dim": 4, **NETS[nets], **settings})


def gradients(loss, net):
    found = torch.autograd.grad(loss, [*net.parameters()], retain_graph=True, allow_unused=True)
    return [torch.zeros(()) if g is None else g for g in found]


def written_out(model, batch, drawn):
    """Return the three losses of the paper, each a plain graph of its own from x to its end."""
    x, (noise, z_p) = 2 * batch.x - 1, drawn.chunk(2, 1)
    chain = list(model.critic)

    def critic(image):
        features = None
        for i, part in enumerate(chain):
            image = part(image.clone())
            features = image.clone() if i == model.layer else features
        return features.flatten(1), image[:, 0]

    mean, log_variance = DiagonalGaussian.from_features(model.encoder(batch.x))
    codes = torch.cat([mean + (log_variance / 2).exp() * noise, z_p])
    restored, made = model.generator(codes).tanh().chunk(2)
    (features, real), (restored_features, score), (_, made_score) = map(critic, (x, restored, made))
    likelihood = 0.5 * (features - restored_features).square().sum()
    fakes = [made_score, score] if model.judge_reconstructions else [made_score]
    fooled = sum(-score.sigmoid().log().sum() for score in fakes) / len(fakes)
    caught = sum(-(1 - score.sigmoid()).log().sum() for score in fakes) / len(fakes)
    kl = gaussian_kl(mean, log_variance).sum()
    return {
        "encoder": kl + likelihood,
        "generator": model.gamma * likelihood + fooled,
        "critic": -real.sigmoid().log().sum() + caught,
    }


# where gradients go


@pytest.mark.parametrize("judged", [True, False])
@pytest.mark.parametrize("gamma", [1e-6, 1.0])
@pytest.mark.parametrize(("nets", "layer"), LAYERS)
def test_each_network_gets_the_gradient_of_its_own_loss_and_of_no_other(nets, layer, gamma, judged):
    model = build(nets, layer=layer, gamma=gamma, judge_reconstructions=judged)
    batch = images()
    drawn = model.draw(batch)
    losses = written_out(model, batch, drawn)
    players = {"critic": model.critic, **model.opponents}
    expected = {name: gradients(losses[name], net) for name, net in players.items()}

    fake = model.fake(batch, drawn)
    model.critic_terms(batch, fake.detach(), drawn)["critic_loss"].sum().backward()
    for net in model.opponents.values():
        assert all(w.grad is None for w in net.parameters())
    model.critic.requires_grad_(False)
    model.opponents_loss(batch, fake, drawn).sum().backward()
    for name, net in players.items():
        for gradient, weight in zip(expected[name], net.parameters(), strict=True):
            found = torch.zeros_like(weight) if weight.grad is None else weight.grad
            torch.testing.assert_close(found, gradient.expand_as(found), rtol=1e-3, atol=1e-4)
        assert any(gradient.any() for gradient in expected[name])


def test_the_generator_learns_to_pass_and_the_critic_to_catch_it():
    model, batch = build(gamma=1e-9, lr=1e-2, critic_lr=1e-2), images()
    drawn = model.draw(batch)

    def score():
        fake = model.fake(batch, drawn)
        return model.score(model.critic(torch.cat([fake.restored, fake.sampled]))).mean()

    def step(net, loss):
        with torch.no_grad():
            for weight, gradient in zip(net.parameters(), gradients(loss, net), strict=True):
                weight -= 1e-3 * gradient

    before = score()
    step(model.generator, model.opponents_loss(batch, model.fake(batch, drawn), drawn).sum())
    passed = score()
    assert passed > before
    fake = model.fake(batch, drawn).detach()
    step(model.critic, model.critic_terms(batch, fake, drawn)["critic_loss"].sum())
    assert score() < passed


def test_the_generator_makes_both_kinds_of_image_in_one_pass_a_step():
    model, passes = build(), []
    model.generator.register_forward_hook(lambda net, codes, made: passes.append(len(made)))
    fit(model, 16 * 3)
    assert passes == [2 * 16] * 3


def test_terms_are_named_and_reconstructions_are_what_the_pixel_error_is_of():
    model, batch = build().eval(), images()
    drawn = model.draw(batch)
    terms = model.critic_terms(batch, fake := model.fake(batch, drawn), drawn)
    assert {"kl", "feature_error", "pixel_error", "real", "fake", "reconstructed"} <= set(terms)
    restored = 0.5 + 0.5 * fake.restored
    expected = (restored - batch.x).square().flatten(1).sum(1)
    torch.testing.assert_close(terms["pixel_error"], expected)
    means = torch.zeros_like(drawn)
    torch.testing.assert_close(0.5 + 0.5 * model.fake(batch, means).restored, model(batch.x))


def test_the_divergence_is_the_posteriors_and_the_error_of_features_is_whole():
    model, batch = build().eval(), images()
    drawn = model.draw(batch)
    terms = model.critic_terms(batch, fake := model.fake(batch, drawn), drawn)
    torch.testing.assert_close(terms["kl"], gaussian_kl(*fake.posterior).sum(1))
    seen = model.perceive(batch.x) - model.perceive(0.5 + 0.5 * fake.restored)
    torch.testing.assert_close(terms["feature_error"], seen.square().flatten(1).sum(1))


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_of_a_batch_add_up(parts):
    whole, cut = (
        build(generator=partial(MLPGenerator, batch_norm=False), accumulate=count)
        for count in (1, parts)
    )
    for model in (whole, cut):
        model.draw = lambda batch: batch.x.flatten(1)[:, :8]
        fit(model, 16)
    for name in ("encoder", "generator", "critic"):
        pairs = zip(getattr(whole, name).parameters(), getattr(cut, name).parameters(), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-6)


# capabilities


def test_it_encodes_decodes_and_samples_by_the_averages():
    model = build(average=0.9)
    fit(model)
    model.eval()
    for capability in (Encodes, Decodes, Samples):
        assert isinstance(model, capability)
    x = images().x
    expected = model.averaged_encoder(x).chunk(2, 1)[0]
    torch.testing.assert_close(model.encode(x), expected)
    assert not torch.equal(model.encoder(x).chunk(2, 1)[0], expected)
    assert model.predict_step(images(), 0).shape == x.shape
    assert torch.equal(_first_layer(model), first_layer(model.averaged_encoder, SHAPE))
    assert build(average=0).averaged_encoder is None


def test_codes_of_images_are_decoded_as_in_training_however_far_from_the_prior_they_are():
    model = build("conv", average=0.9)
    torch.nn.init.zeros_(model.encoder[-1].weight)
    with torch.no_grad():
        model.encoder[-1].bias.copy_(torch.tensor([5.0] * 4 + [-9.0] * 4))
        model.averaged_encoder.load_state_dict(model.encoder.state_dict())
    batch, shown = images(), []
    model.averaged.register_forward_pre_hook(lambda net, codes: shown.append(codes[0]))
    for _ in range(50):
        model.after_opponents_step(batch)
    from_prior, of_images = shown[0].chunk(2)
    assert from_prior.mean().abs() < 0.5
    assert (of_images - 5).abs().max() < 0.2
    restored, *_ = model.fake(batch, model.draw(batch))
    model.eval()
    assert (model.decode(model.encode(batch.x)) * 2 - 1 - restored).abs().mean() < 0.02


# the gate


@pytest.mark.parametrize(
    ("real", "fake", "critic", "generator"),
    [
        (0.68, 0.68, True, True),
        (0.30, 0.68, False, True),
        (0.68, 0.30, False, True),
        (1.10, 0.68, True, False),
        (0.68, 1.10, True, False),
        (0.30, 1.10, True, True),
    ],
)
def test_who_is_ahead_rests(real, fake, critic, generator):
    assert Gate()(real, fake) == {"critic": critic, "generator": generator}


@pytest.mark.parametrize(
    ("equilibrium", "resting"), [(100.0, "critic"), (1e-3, "generator"), (0.68, None)]
)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_side_that_rests_does_not_move_and_the_step_is_counted(equilibrium, resting, clip):
    model = build(gate=partial(Gate, equilibrium, 1e-3 if resting else 100.0), clip=clip)
    noted = moves(model)
    means = []
    record = model._record
    model._record = lambda batch, i, terms: means.append(terms) or record(batch, i, terms)
    trainer = fit(model, 16 * 3)
    who = {"critic", "encoder", "generator"} - {resting}
    assert noted == [(who, k) for k in (1, 2, 3)]
    assert trainer.global_step == 3
    for side in ("critic", "generator"):
        assert (means[0][f"{side}_moves"] == float(side != resting)).all()
    assert not any(key.endswith("_moves") for key in model.terms(images()))


def test_a_gate_is_told_the_cross_entropies_of_what_the_critic_says():
    model, batch = build(gate=Gate), images()
    torch.nn.init.constant_(model.critic[-1].bias, 3.0)
    drawn = model.draw(batch)
    terms = model.critic_terms(batch, model.fake(batch, drawn), drawn)
    fakes = torch.cat([terms["fake"], terms["reconstructed"]])
    expected = torch.stack([-terms["real"].log().mean(), -(1 - fakes).log().mean()])
    assert model._entropies[0][0] == len(batch.x)
    torch.testing.assert_close(model._entropies[0][1], expected)


def test_a_generator_that_is_not_due_has_not_moved():
    model = build(gate=partial(Gate, margin=100.0), critic_steps=2)
    noted, shown = moves(model), []
    record = model._record
    model._record = lambda batch, i, terms: shown.append(terms) or record(batch, i, terms)
    fit(model, 16 * 4)
    for side in ("critic", "generator"):
        told = [terms[f"{side}_moves"].mean().item() for terms in shown]
        assert told == [float(side in moved) for moved, _ in noted]
    assert ["generator" in moved for moved, _ in noted] == [False, True] * 2


def test_the_gates_decision_is_that_of_all_processes(monkeypatch):
    model = build(gate=Gate)
    model._trainer = type("Trainer", (), {"world_size": 2})()
    seen = []
    model._trainer.strategy = type("Strategy", (), {})()
    model._trainer.strategy.reduce = lambda mean, reduce_op: seen.append(reduce_op) or mean + 1
    # Parts of a batch: their mean over images, of which the first has three times as many.
    model._entropies = [(6, torch.tensor([0.1, 0.2])), (2, torch.tensor([0.3, 0.4]))]
    assert model._read_entropies() == pytest.approx([1.15, 1.25])
    assert seen == ["mean"]
    assert model._entropies == []


# what is refused


class NoChain(Encoder):
    def __init__(self, shape, features):
        super().__init__()
        self.inner = MLPEncoder(shape, features)

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"gamma": 0.0}, "gamma is a finite number above 0; got 0"),
        ({"gamma": -1e-3}, "gamma is a finite number above 0"),
        ({"gamma": math.nan}, "gamma is a finite number above 0"),
        ({"layer": 5}, "no layer 5 .* 0 Flatten, 1 Linear, 2 LeakyReLU, 3 Linear, 4 LeakyReLU"),
        ({"layer": -1}, "no layer -1"),
        ({"critic": NoChain}, "NoChain is no nn.Sequential"),
        ({"gate": partial(Gate, margin=0.0)}, "margin is a finite number above 0"),
        ({"latent_dim": 0}, "latent_dim"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, why):
    with pytest.raises(LabError, match=why):
        build(**wrong)


def test_half_precision_is_refused_and_mixed_trains(monkeypatch):
    model = build("conv")
    fit(model, precision="bf16-mixed")
    assert all(w.isfinite().all() for w in model.parameters())
    monkeypatch.setattr(Trainer, "precision", "16-mixed")
    with pytest.raises(LabError, match="16-mixed"):
        fit(build())
