"""Corruptions, penalties and tied weights: what makes an autoencoder a special one."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from vae_lab.contracts import Batch
from vae_lab.corruptions import GaussianNoise, Masking, SaltAndPepper
from vae_lab.errors import LabError
from vae_lab.likelihoods import Gaussian
from vae_lab.losses import bernoulli_kl, hutchinson_norm, keep_largest, sigmoid_jacobian_norm
from vae_lab.models import Autoencoder
from vae_lab.nets import ConvEncoder, MLPDecoder, MLPEncoder
from vae_lab.penalties import Contraction, KLSparsity, L1Sparsity
from vae_lab.randomness import reseed

SHAPE = (1, 4, 5)
layer = partial(MLPEncoder, hidden=())
deep = partial(MLPEncoder, hidden=(12, 8), activation="Tanh")


def build(**settings):
    """Return a small autoencoder, the same at every call."""
    torch.manual_seed(0)
    return Autoencoder(SHAPE, **{"latent_dim": 6, "encoder": layer} | settings)


def images(n=7):
    """Return grey images."""
    x = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(n))


def exact_norms(model, x):
    """Return each image's squared Jacobian norm, entry by entry."""
    jacobians = torch.func.vmap(torch.func.jacrev(lambda one: model.encode(one[None])[0]))(x)
    return jacobians.flatten(1).square().sum(1)


# corruptions


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_masking_blackens_its_share_and_leaves_the_rest(level):
    x = torch.rand(100, 1, 50, 50) * 0.9 + 0.05
    masked = Masking(level)(x)
    lost = masked == 0
    assert lost.float().mean().item() == pytest.approx(level, abs=0.01)
    assert torch.equal(masked[~lost], x[~lost])


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_salt_and_pepper_are_as_much_of_each(level):
    x = torch.rand(100, 1, 50, 50) * 0.9 + 0.05
    noisy = SaltAndPepper(level)(x)
    for colour in (0.0, 1.0):
        assert (noisy == colour).float().mean().item() == pytest.approx(level / 2, abs=0.01)
    kept = (noisy > 0) & (noisy < 1)
    assert torch.equal(noisy[kept], x[kept])


def test_gaussian_noise_has_its_scale_and_no_bias():
    noise = GaussianNoise(0.4)(torch.full((100, 1, 50, 50), 0.5)) - 0.5
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.4, abs=0.005)


@pytest.mark.parametrize("kind", [Masking, SaltAndPepper, GaussianNoise])
@pytest.mark.parametrize("level", [-0.1, 1.1, math.nan])
def test_a_level_outside_its_range_is_refused(kind, level):
    with pytest.raises(LabError, match="between 0 and 1"):
        kind(level)


def test_a_corrupted_image_is_restored_to_the_clean_one():
    model = build(corruption=partial(Masking, 1.0))
    terms = model.terms(images())
    black = model.decoder(model.encode(torch.zeros_like(images().x)))
    torch.testing.assert_close(terms["loss"], -model.likelihood.log_prob(black, images().x))


def test_only_the_encoder_sees_the_damage_and_never_encode():
    model = build(corruption=partial(Masking, 0.5))
    torch.testing.assert_close(model.encode(images().x), build().encode(images().x))


def test_the_squared_error_is_of_undamaged_images_and_the_restored_one_of_damaged():
    plain, model = build(), build(corruption=partial(Masking, 1.0))
    assert "squared_error" not in model.terms(images())
    terms, clean = model.eval().terms(images()), plain.terms(images())
    torch.testing.assert_close(terms["squared_error"], clean["squared_error"])
    black = plain.restoration(plain.decoder(plain.encode(torch.zeros(7, *SHAPE))), images().x)
    torch.testing.assert_close(terms["restored_squared_error"], black["squared_error"])


# sparse


def test_the_divergence_of_coins_is_that_of_torch():
    target, mean = torch.tensor(0.1), torch.tensor([0.01, 0.1, 0.5, 0.99])
    coins = torch.distributions.Bernoulli
    expected = torch.distributions.kl_divergence(coins(target), coins(mean))
    torch.testing.assert_close(bernoulli_kl(0.1, mean), expected, rtol=1e-4, atol=1e-6)
    assert bernoulli_kl(0.1, torch.tensor([0.0, 1.0])).isfinite().all()


def test_kl_sparsity_is_of_the_mean_over_the_batch():
    model = build(activation="Sigmoid", penalty=partial(KLSparsity, 0.2, 2.0))
    terms = model.terms(images())
    means = model.encode(images().x).mean(0)
    torch.testing.assert_close(terms["penalty"], 2 * bernoulli_kl(0.2, means).sum().expand(7))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + terms["penalty"])


def test_l1_sparsity_adds_absolute_values():
    model = build(penalty=partial(L1Sparsity, 0.5))
    code = model.encode(images().x)
    torch.testing.assert_close(model.terms(images())["penalty"], 0.5 * code.abs().sum(1))


@pytest.mark.parametrize("target", [0.1, 0.25])
def test_training_holds_each_units_mean_activation_near_its_target(target):
    model = build(activation="Sigmoid", tied=True, penalty=partial(KLSparsity, target, 30.0))
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(400):
        adam.zero_grad()
        terms = model.terms(images(64))
        terms["loss"].mean().backward()
        adam.step()
    assert terms["activation"].mean().item() == pytest.approx(target, abs=0.02)
    units = model.encode(images(64).x).mean(0)
    torch.testing.assert_close(units, torch.full_like(units, target), rtol=0, atol=0.03)


def test_the_largest_units_stay_and_others_get_no_gradient():
    code = torch.tensor([[3.0, -1.0, 2.0, 0.5]], requires_grad=True)
    kept = keep_largest(code, 2)
    assert kept.tolist() == [[3.0, 0.0, 2.0, 0.0]]
    kept.sum().backward()
    assert code.grad.tolist() == [[1.0, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_k_sparse_code_has_k_units(k):
    code = build(top_k=k).encode(images().x)
    assert ((code != 0).sum(1) == k).all()


@pytest.mark.parametrize("k", [0, -1, 7])
def test_more_units_than_the_code_has_are_refused(k):
    with pytest.raises(LabError, match="between 1 and all 6 units"):
        build(top_k=k)


def test_kl_sparsity_of_what_is_no_probability_is_refused():
    with pytest.raises(LabError, match="activation Sigmoid"):
        build(penalty=KLSparsity)


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, math.nan])
def test_a_target_that_is_no_mean_of_a_sigmoid_is_refused(target):
    with pytest.raises(LabError, match="between 0 and 1"):
        KLSparsity(target)


@pytest.mark.parametrize("kind", [KLSparsity, L1Sparsity, Contraction])
@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_a_weight_that_is_none_is_refused(kind, weight):
    with pytest.raises(LabError, match="finite and not negative"):
        kind(weight=weight)


# contractive


def test_the_closed_form_of_a_sigmoid_layer_is_autograds_jacobian():
    model = build(activation="Sigmoid", penalty=partial(Contraction, 0.5))
    torch.testing.assert_close(
        model.terms(images())["penalty"], 0.5 * exact_norms(model, images().x)
    )


def test_hutchinsons_estimate_is_unbiased():
    model, x = build(encoder=deep), images(3).x
    estimates = torch.stack([hutchinson_norm(model.encode, x) for _ in range(2000)]).detach()
    error = estimates.std(0) / 2000**0.5
    assert ((estimates.mean(0) - exact_norms(model, x)).abs() < 4 * error).all()


def test_a_deep_encoder_is_estimated_and_its_weights_feel_it():
    model = build(encoder=deep, penalty=partial(Contraction, 1.0, probes=500))
    penalty = model.terms(images())["penalty"]
    torch.testing.assert_close(penalty, exact_norms(model, images().x), rtol=0.3, atol=0)
    penalty.mean().backward()
    assert all(weight.grad.any() for weight in model.encoder.parameters() if weight.ndim == 2)


def test_the_gradient_of_the_closed_form_is_that_of_many_probes():
    model = build(activation="Sigmoid")
    x, weight = images().x, model.encoder[1].weight
    exact = sigmoid_jacobian_norm(model.encode(x), weight).mean()
    estimate = hutchinson_norm(model.encode, x, 2000).mean()
    gradients = [torch.autograd.grad(norm, weight)[0] for norm in (exact, estimate)]
    assert (gradients[0] - gradients[1]).norm() < 0.05 * gradients[0].norm()


def test_a_contraction_is_measured_where_gradients_are_switched_off():
    model = build(encoder=deep, penalty=Contraction)
    with torch.inference_mode():
        assert model.terms(Batch(images().x.clone(), images().y))["penalty"].isfinite().all()


def test_no_probe_is_refused():
    with pytest.raises(LabError, match="probes is at least 1"):
        Contraction(probes=0)


# tied weights


def test_tied_weights_decode_by_the_transpose():
    model = build(tied=True)
    weight = model.encoder[1].weight
    z = torch.randn(3, 6)
    expected = (z @ weight + model.decoder.biases[0]).view(3, *SHAPE)
    torch.testing.assert_close(model.decoder(z), expected)


def test_a_deep_tied_decoder_passes_the_layers_in_reverse():
    model = build(encoder=deep, tied=True)
    one, two, three = (part for part in model.encoder if isinstance(part, nn.Linear))
    z = torch.randn(3, 6)
    expected = ((z @ three.weight).tanh() @ two.weight).tanh() @ one.weight
    torch.testing.assert_close(model.decoder(z), expected.view(3, *SHAPE))


def test_tied_weights_are_counted_and_trained_once():
    model = build(tied=True)
    assert sum(weight.numel() for weight in model.parameters() if weight.ndim == 2) == 6 * 20
    copied = torch.load(_saved(model), weights_only=True)
    other = build(tied=True)
    other.load_state_dict(copied)
    with torch.no_grad():
        other.encoder[1].weight.zero_()
    assert not other.decoder(torch.ones(1, 6)).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": partial(ConvEncoder, channels=(8,))},
        {"likelihood": partial(Gaussian, learned="pixel")},
    ],
    ids=["convolutions", "two outputs a pixel"],
)
def test_what_cannot_be_tied_is_refused(settings):
    with pytest.raises(LabError, match=r"tied|Tied"):
        build(tied=True, **settings)


def test_nothing_is_tied_by_default():
    assert isinstance(build().decoder, MLPDecoder)


# noise


def test_the_damage_is_drawn_from_the_seed():
    model = build(corruption=GaussianNoise)
    losses = [reseed(seed) or model.terms(images())["loss"] for seed in (0, 0, 1)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def _saved(model):
    import io

    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    return file
