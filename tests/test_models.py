"""What every model has to do, walked over all of them."""

import math
from functools import partial
from inspect import isabstract, signature
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

import vae_lab.models
from vae_lab import runs, training
from vae_lab.contracts import Batch, Decodes, Encodes, Samples
from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, Gaussian
from vae_lab.models import VAE, Autoencoder, Classifier, FeedForward, Model
from vae_lab.models.single import SingleObjective
from vae_lab.nets import (
    ConvCritic,
    ConvDecoder,
    ConvEncoder,
    ConvGenerator,
    MLPCritic,
    MLPDecoder,
    MLPEncoder,
    MLPGenerator,
)
from vae_lab.randomness import reseed

NETS = {
    "mlp": {
        "encoder": partial(MLPEncoder, hidden=(32,)),
        "decoder": partial(MLPDecoder, hidden=(32,)),
        "generator": partial(MLPGenerator, hidden=(32, 32)),
        "critic": partial(MLPCritic, hidden=(32,)),
    },
    "conv": {
        "encoder": partial(ConvEncoder, channels=(16, 32), hidden=64),
        "decoder": partial(ConvDecoder, channels=(32, 16), hidden=64),
        "generator": partial(ConvGenerator, channels=(16, 8)),
        "critic": partial(ConvCritic, channels=(8, 16)),
    },
}
SMALL = {
    "latent_dim": 4,
    "widths": (64, 32),
    "pretrain_epochs": 0,
    "clusters": 4,
    "components": 4,
    "pca_dim": 4,
    "noise": 4,
    "features": 16,
}
QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
}


def concrete(kind=Model):
    """Return all models of the house that can be made, so that a new one is in the walk too."""
    found = [] if isabstract(kind) else [kind]
    for child in kind.__subclasses__():
        found += [c for c in concrete(child) if c.__module__.startswith(vae_lab.models.__name__)]
    return found


def build(kind, nets="mlp", shape=(1, 8, 8), **settings):
    """Return a small model of `kind`, the same at every call."""
    small = {**SMALL, **NETS[nets]}
    if kind is Classifier:
        small["encoder"] = partial(Autoencoder, **suited(Autoencoder, small))
    torch.manual_seed(0)
    return kind(shape, **suited(kind, small) | settings)


def suited(kind, settings):
    """Return those of the settings that a model of `kind` has."""
    return {name: value for name, value in settings.items() if name in signature(kind).parameters}


def batch(shape, n=8):
    """Return black and white images of three by three random patches."""
    patches = torch.rand(n, shape[0], 3, 3, generator=torch.Generator().manual_seed(1)).round()
    return Batch(torch.nn.functional.interpolate(patches, shape[1:]), torch.arange(n) % 10)


# Lightning and jsonargparse have much to say of each other, and of being called from a test.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)
every_model = pytest.mark.parametrize("kind", concrete(), ids=lambda kind: kind.__name__)
# What has no learning rate is fitted without gradients, in one epoch.
by_gradient = [kind for kind in concrete() if "lr" in signature(kind).parameters]
with_one_objective = [kind for kind in by_gradient if issubclass(kind, SingleObjective)]
every_objective = pytest.mark.parametrize(
    "kind", with_one_objective, ids=lambda kind: kind.__name__
)
every_gradient_model = pytest.mark.parametrize("kind", by_gradient, ids=lambda kind: kind.__name__)
every_net = pytest.mark.parametrize("nets", NETS)
every_shape = pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)], ids=["grey", "odd colour"])


def test_the_walk_knows_the_models():
    assert {Autoencoder, VAE} <= set(concrete())
    assert Model not in concrete()


# every model


@every_model
@every_net
@every_shape
def test_terms_are_one_number_an_image(kind, nets, shape):
    terms = build(kind, nets, shape).terms(batch(shape))
    assert "loss" in terms or not kind.chosen_by_loss
    for term in terms.values():
        assert term.shape == (8,)
        assert term.dtype == torch.float32
        assert term.isfinite().all()


@every_objective
@every_net
@every_shape
def test_every_parameter_gets_a_gradient(kind, nets, shape):
    model = build(kind, nets, shape)
    model.terms(batch(shape, 64))["loss"].mean().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


@every_objective
@every_net
@every_shape
def test_a_batch_can_be_learned_by_heart(kind, nets, shape):
    model, images = build(kind, nets, shape), batch(shape)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for step in range(150):
        reseed(step)
        adam.zero_grad()
        loss = model.terms(images)["loss"].mean()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.5 * losses[0]


@every_model
@every_net
@every_shape
def test_capabilities_give_images_and_codes(kind, nets, shape):
    model, (x, y) = build(kind, nets, shape).eval(), batch(shape)
    images = []
    if isinstance(model, Encodes):
        assert model.encode(x, y).shape == (8, model.latent_dim)
    if isinstance(model, Decodes):
        images.append(model.decode(3 * torch.randn(8, model.latent_dim), y))
    if isinstance(model, Samples):
        images += [model.sample(8), model.sample(8, y)]
    for image in images:
        assert image.shape == x.shape
        assert image.min() >= 0
        assert image.max() <= 1


@every_model
def test_draws_are_told_by_their_keys(kind):
    model, images = build(kind), batch((1, 8, 8))
    draw = model.sample if isinstance(model, Samples) else lambda n: model.terms(images)["loss"]
    first, second, other = (reseed(key) or draw(5) for key in (3, 3, 4))
    assert torch.equal(first, second)
    if isinstance(model, Samples):
        assert not torch.equal(first, other)


@every_model
@every_net
def test_mixed_precision_gives_nearly_the_same_terms_in_single(kind, nets):
    model, images = build(kind, nets), batch((1, 8, 8))
    reseed(0)
    expected = model.terms(images)
    reseed(0)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.terms(images)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    torch.testing.assert_close(terms, expected, rtol=0.03, atol=0.03)


def fit(model, folder, *callbacks, n=32, **trainer):
    """Train on two batches of 16 an epoch, and return the checkpoint."""
    examples = list(zip(*batch(model.shape, n), strict=True))
    loader = DataLoader(
        examples, 16, collate_fn=lambda items: Batch(*map(torch.stack, zip(*items, strict=True)))
    )
    keep = ModelCheckpoint(folder, "last", enable_version_counter=False)
    epochs = 2 if type(model) in by_gradient else 1
    settings = {"max_epochs": epochs, "log_every_n_steps": 1, **QUIET, **trainer}
    Trainer(callbacks=[keep, *callbacks], **settings).fit(model, loader, weights_only=True)
    return folder / "last.ckpt"


class Rate(Callback):
    """Keeps the learning rate of each step."""

    def __init__(self):
        self.found = []

    def on_train_batch_start(self, trainer, pl_module, *args):
        self.found.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("kind", [VAE, Autoencoder, Classifier])
def test_the_learning_rate_is_what_was_asked_for_and_falls_by_its_schedule(kind, tmp_path):
    rate = Rate()
    schedule = partial(StepLR, step_size=1, gamma=0.1)
    fit(build(kind, lr=0.02, schedule=schedule), tmp_path, rate)
    assert rate.found == pytest.approx([0.02, 0.02, 0.002, 0.002])


class Largest(Callback):
    """Keeps the largest norm and the largest entry that gradients had when they were used."""

    norm, entry = 0.0, 0.0

    def on_train_batch_end(self, trainer, pl_module, *args):
        found = torch.cat([p.grad.flatten() for p in pl_module.parameters()])
        self.norm = max(self.norm, found.norm().item())
        self.entry = max(self.entry, found.abs().max().item())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("algorithm", [None, "norm", "value"])
def test_gradients_are_clipped(tmp_path, precision, algorithm):
    largest, limit = Largest(), 1e-3
    flags = {"gradient_clip_val": limit, "gradient_clip_algorithm": algorithm}
    fit(build(VAE), tmp_path, largest, precision=precision, **flags)
    found = largest.entry if algorithm == "value" else largest.norm
    assert found == pytest.approx(limit, rel=1e-3)


def test_gradients_that_are_scaled_cannot_be_clipped():
    model = build(VAE)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    model.trainer = SimpleNamespace(precision_plugin=plugin)
    with pytest.raises(LabError, match="gradient_clip_val needs"):
        model.configure_gradient_clipping(model.configure_optimizers(), 1.0)


def same(loaded, model):
    """Compare two models by their settings, weights and results."""
    assert type(loaded) is type(model)
    assert loaded.hparams == model.hparams
    images = batch(model.shape)
    reseed(0)
    expected = model.eval().terms(images)
    reseed(0)
    torch.testing.assert_close(loaded.terms(images), expected, rtol=0, atol=0)


@every_model
@every_net
def test_a_model_built_in_python_comes_back_from_its_checkpoint(kind, nets, tmp_path):
    known = kind in by_gradient
    schedule = {"schedule": partial(StepLR, step_size=1)} if known else {}
    model = build(kind, nets, (3, 9, 7), **schedule)
    loaded = runs.load_model(fit(model, tmp_path))
    same(loaded, model)
    assert loaded.images_seen == (64 if known else 32)
    assert not loaded.training
    # What a loaded model saves is as good.
    same(runs.load_model(fit(loaded.train(), tmp_path / "again")), loaded)


def train_by_command(*arguments):
    """Run `lab fit` for one short epoch, in this process."""
    argv = ["fit", "--data=Digits", "--data.limit=128", "--name=cli", "--trainer.max_epochs=1"]
    quiet = ["--trainer.enable_progress_bar=false", "--pictures.kinds=[]"]
    training.run([*argv, *quiet, *arguments])


@every_model
@every_net
def test_a_model_built_by_the_command_line_comes_back(kind, nets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = build(kind, nets)
    names = {*SMALL, *NETS[nets]} & made.hparams.keys()
    train_by_command(f"--model={kind.__name__}", *(f"--model.{n}={made.hparams[n]}" for n in names))
    loaded = runs.load_model("runs/cli")
    assert str(loaded) == str(made)
    stored = torch.load(runs.checkpoint_of("runs/cli"), weights_only=True)["state_dict"]
    torch.testing.assert_close(loaded.state_dict(), stored, rtol=0, atol=0)
    # What a loaded model saves is as good.
    same(runs.load_model(fit(loaded.train(), tmp_path / "again")), loaded)


WRONG = [
    *(("lr", lr) for lr in (0.0, -1.0, math.nan, math.inf)),
    ("shape", (0, 8, 8)),
    ("latent_dim", 0),
    ("latent_dim", -3),
    ("likelihood", lambda: Bernoulli()),
]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        pytest.param(
            kind, {name: value}, id=f"{kind.__name__}-{name}-{getattr(value, '__name__', value)}"
        )
        for kind in concrete()
        for name, value in WRONG
        if name in signature(kind).parameters
    ],
)
def test_what_no_model_can_be_is_refused(kind, wrong):
    with pytest.raises(LabError):
        build(kind, **wrong)


@every_objective
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    kind, tmp_path, monkeypatch
):
    model = build(kind)
    good = model.terms

    def terms(images):
        sick = math.nan if model.current_epoch == 1 else 1.0
        return {name: sick * term for name, term in good(images).items()}

    monkeypatch.setattr(model, "terms", terms)
    with pytest.raises(LabError, match=r"stopped being finite in epoch 2\..*--model\.lr"):
        fit(model, tmp_path, max_epochs=3)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())


@every_model
@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_weights_in_other_than_single_precision_are_refused(kind, precision, tmp_path):
    with pytest.raises(LabError, match="bf16-mixed"):
        fit(build(kind), tmp_path, precision=precision)


# what a checkpoint stores of a model


def test_a_partials_arguments_are_all_stored(tmp_path):
    model = build(Autoencoder, likelihood=partial(Gaussian, 0.25, learned="pixel"))
    init_args = {"scale": 0.25, "learned": "pixel"}
    assert model.hparams["likelihood"] == {
        "class_path": "vae_lab.likelihoods.real.Gaussian",
        "init_args": init_args,
    }
    same(runs.load_model(fit(model, tmp_path)), model)


# the autoencoder


def test_the_autoencoder_of_a_fixed_scale_minimises_the_squared_error():
    model = build(Autoencoder, likelihood=partial(Gaussian, scale=1.0))
    terms = model.terms(batch((1, 8, 8)))
    constant = 64 * 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(terms["loss"], 0.5 * terms["squared_error"] + constant)
    restored = model(batch((1, 8, 8)).x)
    expected = (restored - batch((1, 8, 8)).x).square().flatten(1).sum(1)
    torch.testing.assert_close(terms["squared_error"], expected)


def test_the_guess_from_a_condition_tells_the_squared_error_of_its_mean_image():
    model, images = build(FeedForward).eval(), batch((1, 8, 8))
    images = images._replace(y=torch.arange(len(images.x)) % 10)
    expected = (model(images.y) - images.x).square().flatten(1).sum(1)
    torch.testing.assert_close(model.terms(images)["squared_error"], expected)
