"""Whatever a model makes lies where the model is, and the data lie there before.

No GPU is needed. Tensors on `meta` have shapes and no values, and gradients; what is put together
of two devices they refuse, but for products of matrices. Torch's fake tensors claim to lie on a GPU
and refuse all that a GPU would, but have no gradients where there is none.
"""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule
from test_models import batch, build, concrete
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vae_lab.adversarial_losses import R1, GradientPenalty
from vae_lab.conditions import AttributeCondition, ImageCondition, PartialCondition
from vae_lab.contracts import Batch, Bounds, Conditional, Decodes, Encodes, Samples
from vae_lab.corruptions import GaussianNoise, Masking, SaltAndPepper
from vae_lab.data import Digits
from vae_lab.likelihoods import DiscretizedLogisticMixture, Gaussian, Laplace
from vae_lab.models import CVAE, GAN, VAE, Autoencoder, GaussianMixture
from vae_lab.models.adversarial import Adversarial
from vae_lab.models.meter import Meter
from vae_lab.penalties import Contraction, KLSparsity
from vae_lab.posteriors import BottomUp, DiagonalGaussian, GumbelSoftmax
from vae_lab.precision import doubled
from vae_lab.priors import Mixture, MixtureOfGaussians, TopDown, Uniform, VampPrior

# Of a mixture torch.distributions checks the values.
KINDS = [kind for kind in concrete() if kind is not GaussianMixture]
PARTS = [
    (VAE, {"importance_samples": 3, "doubly_reparameterised": True}),
    (VAE, {"total_correlation": 1.0, "free_bits": 0.1}),
    *((VAE, {"prior": prior}) for prior in (MixtureOfGaussians, VampPrior)),
    (VAE, {"prior": partial(TopDown, top=2), "posterior": partial(BottomUp, top=2)}),
    (VAE, {"prior": partial(Uniform, classes=2), "posterior": partial(GumbelSoftmax, classes=2)}),
    *((VAE, {"likelihood": kind}) for kind in (DiscretizedLogisticMixture, Gaussian, Laplace)),
    *((Autoencoder, {"corruption": kind}) for kind in (GaussianNoise, Masking, SaltAndPepper)),
    (Autoencoder, {"penalty": KLSparsity, "activation": "Sigmoid"}),
]
CONDITIONS = [
    (partial(AttributeCondition, attributes=3), (3,)),
    (ImageCondition, (1, 8, 8)),
    (PartialCondition, (2, 8, 8)),
]


GPU = torch.device("cuda", 0)


def do_all(model, x, y):
    """Let a model do what it can of images and conditions on its device."""
    for training in (True, False):
        terms = model.train(training).terms(Batch(x, y))
        assert {term.device for term in terms.values()} == {x.device}
        if x.is_meta and "loss" in terms and terms["loss"].requires_grad:
            terms["loss"].mean().backward()
    if isinstance(model, Adversarial):
        play(model.train(), Batch(x, y))
    if isinstance(model, Bounds):
        assert model.log_weights(x, 3, y).device == x.device
    if isinstance(model, Samples):
        made = model.sample(len(x), y if isinstance(model, Conditional) else None)
        assert made.device == x.device
    if isinstance(model, Encodes) and isinstance(model, Decodes):
        assert model.decode(model.encode(x, y), y).device == x.device


def play(model, batch):
    """Let the opponents of a critic move, as far as that needs no optimiser."""
    drawn = model.draw(batch)
    pleased = model.opponents_loss(batch, model.fake(batch, drawn), drawn)
    assert pleased.device == batch.x.device
    if isinstance(model, GAN):
        model.critic_steps, model.trainer = 1, SimpleNamespace(global_step=10, world_size=1)
        model.after_opponents_step(batch)


def put(module):
    """Give a module fake weights on a GPU, where its own `to` cannot move real ones."""
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            moved = nn.Parameter(torch.empty_like(weight, device=GPU), weight.requires_grad)
            setattr(part, name, moved)
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.empty_like(buffer, device=GPU))
    return module


@pytest.fixture
def on_gpu(monkeypatch):
    """Return `do_all` of a model, for images of (1, 8, 8) and conditions of a shape, on a GPU."""

    def do(model, shape=None):
        monkeypatch.setattr(LightningModule, "device", property(lambda model: GPU))
        # What is asked for a gradient gets one of no value.
        monkeypatch.setattr("torch.autograd.grad", lambda y, x, **_: (torch.empty_like(x),))
        with FakeTensorMode(allow_non_fake_inputs=True):
            x, y = (part.to(GPU) for part in batch((1, 8, 8)))
            do_all(put(model), x, torch.empty(8, *shape, device=GPU) if shape else y)

    return do


@pytest.fixture(params=["meta", "gpu"])
def everywhere(request, on_gpu):
    """Return `do_all` likewise, on a GPU or of tensors that have no values."""

    def on_meta(model, shape=None):
        x, y = (part.to("meta") for part in batch((1, 8, 8)))
        do_all(model.to("meta"), x, torch.empty(8, *shape, device="meta") if shape else y)

    return on_meta if request.param == "meta" else on_gpu


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("nets", ["mlp", "conv"])
def test_every_model_stays_on_its_device(everywhere, kind, nets):
    everywhere(build(kind, nets))


@pytest.mark.parametrize(("kind", "settings"), PARTS)
def test_every_part_stays_on_its_model_s_device(everywhere, kind, settings):
    everywhere(build(kind, **settings))


@pytest.mark.parametrize(("condition", "shape"), CONDITIONS)
def test_every_condition_stays_on_its_model_s_device(everywhere, condition, shape):
    everywhere(build(CVAE, condition=condition), shape)


@pytest.mark.parametrize("penalty", [GradientPenalty, R1])
def test_what_a_critic_pays_stays_on_a_gpu(on_gpu, penalty):
    on_gpu(build(GAN, penalty=penalty))


def test_double_precision_is_not_asked_of_a_device_that_has_none():
    with FakeTensorMode():
        z, means, variances = (torch.empty(n, 3, device="mps") for n in (2, 4, 4))
        assert (doubled(z).device.type, doubled(z).dtype) == ("cpu", torch.float64)
        weights = torch.empty(4, device="mps")
        log_probs = Mixture(weights, DiagonalGaussian(means, variances)).log_prob(z)
        assert (log_probs.device, log_probs.dtype) == (z.device, torch.float32)


def test_a_penalty_stays_on_its_model_s_device():
    x, y = (part.to("meta") for part in batch((1, 8, 8)))
    do_all(build(Autoencoder, penalty=Contraction).to("meta"), x, y)


@pytest.mark.parametrize("binarize", ["none", "static"])
@pytest.mark.parametrize("room", [True, False])
def test_the_data_lie_on_a_gpu_that_has_room(monkeypatch, binarize, room):
    monkeypatch.setattr("vae_lab.data.base.has_room", lambda device, split: room)
    data = Digits(batch_size=32, binarize=binarize)
    data.prepare_data()
    data.setup("fit")
    data.trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=GPU), global_rank=0, world_size=1, current_epoch=0
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        for loader in (data.train_dataloader(), data.val_dataloader()):
            assert {part.device.type for part in next(iter(loader))} == {"cuda" if room else "cpu"}


def test_a_meter_saves_what_it_brought_from_a_checkpoint_and_what_a_gpu_added():
    meter = Meter()
    meter.load_state_dict({"pending": {"loss": torch.ones(2)}, "sums": {}, "count": 0})
    with FakeTensorMode(allow_non_fake_inputs=True):
        meter.add({"loss": torch.ones(3, device=GPU)})
        pending = meter.state_dict()["pending"]["loss"]
    assert (pending.device.type, pending.shape) == ("cpu", (5,))


def test_what_a_gpu_refuses_is_refused():
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match="device"):
        put(nn.Linear(2, 2))(torch.ones(1, 2))
