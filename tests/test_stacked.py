"""Layer after layer, then the whole: the stacked autoencoder."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch.optim.lr_scheduler import StepLR

from tests.test_models import QUIET, batch
from vae_lab import runs, training
from vae_lab.callbacks import Best
from vae_lab.corruptions import Masking
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.models import Autoencoder, StackedAutoencoder
from vae_lab.nets import ConvEncoder, MLPEncoder
from vae_lab.penalties import Contraction

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)

SHAPE = (1, 8, 8)
layer = partial(Autoencoder, encoder=partial(MLPEncoder, hidden=()), activation="Sigmoid")


def build(**settings):
    """Return a small stack, the same at every call."""
    torch.manual_seed(0)
    known = {"widths": (12, 8, 4), "layers": (layer,), "pretrain_epochs": 1}
    return StackedAutoencoder(SHAPE, **known | settings)


class StopAt(Callback):
    """Ends training after so many epochs, of more that were asked for."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, model):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


class Saved(Callback):
    """Writes a checkpoint at every epoch's end, where the one of before was."""

    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, model):
        trainer.save_checkpoint(self.path)


class Weights(Callback):
    """Remembers each layer's weights at every epoch's end."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, model):
        self.on_train_epoch_end(trainer, model)

    def on_train_epoch_end(self, trainer, model):
        self.seen.append(
            [torch.cat([w.detach().flatten() for w in part.parameters()]) for part in model.layers]
        )


def fit(model, epochs, *callbacks, resume=None, **settings):
    """Train on the embedded digits."""
    data = Digits(batch_size=64, limit=256)
    quiet = {**QUIET, "enable_checkpointing": False, **settings}
    Trainer(max_epochs=epochs, callbacks=[*callbacks], **quiet).fit(model, data, ckpt_path=resume)


def test_each_epoch_trains_its_own_layer_and_the_last_all():
    weights = Weights()
    fit(build(), 4, weights)
    moved = [
        [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        for before, after in zip(weights.seen, weights.seen[1:], strict=False)
    ]
    assert moved == [[True, False, False], [False, True, False], [False, False, True], [True] * 3]


def test_a_layer_learns_the_codes_of_those_below_by_its_own_objective():
    model = build(layers=(layer, partial(layer, penalty=Contraction), layer))
    code = model.layers[0].encode(batch(SHAPE).x).view(-1, 12, 1, 1)
    own = model.layers[1].terms(batch(SHAPE)._replace(x=code))
    assert "penalty" in own
    torch.testing.assert_close(model._layer(1, batch(SHAPE)), own["loss"])
    code = model.layers[1].encode(code).view(-1, 8, 1, 1)
    own = model.layers[2].terms(batch(SHAPE)._replace(x=code))
    torch.testing.assert_close(model._layer(2, batch(SHAPE)), own["loss"])


def test_the_first_layer_is_an_autoencoder_by_itself():
    stack, alone = build(widths=(6,)), None
    torch.manual_seed(0)
    alone = layer(SHAPE, 6)
    torch.testing.assert_close(stack.encode(batch(SHAPE).x), alone.encode(batch(SHAPE).x))
    torch.testing.assert_close(stack(batch(SHAPE).x), alone(batch(SHAPE).x))
    torch.testing.assert_close(stack.terms(batch(SHAPE))["loss"], alone.terms(batch(SHAPE))["loss"])


def test_the_whole_is_all_layers_up_and_down():
    model, x = build(), batch(SHAPE).x
    z = x
    for part in model.layers:
        z = part.encode(z)
    torch.testing.assert_close(model.encode(x), z)
    for part in reversed(model.layers):
        z = part.decode(z.flatten(1))
    torch.testing.assert_close(model.decode(model.encode(x)), z)


def test_validation_judges_the_layer_and_the_whole_beside_it():
    model = build().eval()
    terms, whole = model.terms(batch(SHAPE)), build(pretrain_epochs=0).terms(batch(SHAPE))
    torch.testing.assert_close(terms["squared_error"], whole["squared_error"])
    torch.testing.assert_close(terms["loss"], model.train().terms(batch(SHAPE))["loss"])


def best_of(losses, folder, monkeypatch):
    """Return what keeps the best checkpoint, and give each epoch's validation its loss."""
    monkeypatch.setattr(
        StackedAutoencoder,
        "validation_step",
        lambda self, *_: self.log("val/loss", torch.tensor(losses[self.current_epoch])),
    )
    monkeypatch.setattr(StackedAutoencoder, "on_validation_epoch_end", lambda self: None)
    return Best(folder, "best", monitor="val/loss", save_on_train_epoch_end=True)


@pytest.mark.parametrize("epochs", [3, 4, 5])
def test_the_best_checkpoint_is_the_best_of_the_latest_stage(epochs, tmp_path, monkeypatch):
    model = build(pretrain_epochs=2)
    # Each stage begins with a larger loss than the one before has ended with.
    losses = [1.0, 0.5, 9.0, 8.0, 99.0, 98.0]
    best = best_of(losses, tmp_path, monkeypatch)
    fit(model, 6, best, StopAt(epochs), enable_checkpointing=True)
    found = torch.load(best.best_model_path, weights_only=True)
    assert found["epoch"] == epochs - 1


def test_a_stage_that_is_not_validated_yet_has_no_best_checkpoint(tmp_path, monkeypatch):
    best = best_of({2: 1.0, 5: 50.0, 8: 40.0}, tmp_path, monkeypatch)
    # The whole begins in the fourth epoch, and the loss of the third is a layer's.
    fit(build(), 9, best, enable_checkpointing=True, check_val_every_n_epoch=3)
    assert best.best_model_score == 40
    assert torch.load(best.best_model_path, weights_only=True)["epoch"] == 8


def test_the_best_layer_is_not_the_best_of_a_whole_that_goes_on_from_it(tmp_path, monkeypatch):
    losses = [1.0, 0.5, 0.1, 99.0, 98.0]
    first, second = (best_of(losses, tmp_path, monkeypatch) for _ in range(2))
    fit(build(), 5, first, StopAt(3), enable_checkpointing=True)
    fit(build(), 5, second, enable_checkpointing=True, resume=first.best_model_path)
    assert second.best_model_score == 98


def test_noise_is_for_a_layer_that_learns_by_itself_alone():
    noisy = (partial(layer, corruption=partial(Masking, 1.0)),)
    model = build(layers=noisy)
    assert not torch.equal(model._layer(1, batch(SHAPE)), build()._layer(1, batch(SHAPE)))
    fine, plain = build(layers=noisy, pretrain_epochs=0), build(pretrain_epochs=0)
    torch.testing.assert_close(fine.terms(batch(SHAPE)), plain.terms(batch(SHAPE)))


@pytest.mark.parametrize(
    "settings",
    [{"widths": ()}, {"layers": (layer, layer)}, {"layers": ()}, {"pretrain_epochs": -1}],
    ids=str,
)
def test_a_plan_that_does_not_match_is_refused(settings):
    with pytest.raises(LabError, match=r"match|at least 0"):
        build(**settings)


def test_codes_that_are_no_shares_of_one_are_refused_below_another_layer():
    linear = partial(layer, activation="Identity")
    with pytest.raises(LabError, match="activation Sigmoid"):
        build(layers=(layer, linear, layer))
    assert build(layers=(layer, layer, linear)).latent_dim == 4


def test_training_that_ends_before_the_last_layer_is_refused():
    with pytest.raises(LabError, match=r"need 3 epochs of 4 steps, more than"):
        fit(build(), 2)
    with pytest.raises(LabError, match=r"need 3 epochs of 4 steps, more than"):
        fit(build(), 3, max_steps=11)
    with pytest.raises(LabError, match=r"need 3 epochs of 2 steps, more than"):
        fit(build(), 3, max_steps=5, accumulate_grad_batches=2)
    fit(build(), 3, max_steps=6, accumulate_grad_batches=2)


def test_a_layer_has_no_learning_rate_of_its_own():
    for wrong in ({"lr": 0.5}, {"schedule": partial(StepLR, step_size=1)}):
        with pytest.raises(LabError, match="none of its own"):
            build(layers=(partial(layer, **wrong),))


def test_a_layer_that_wants_images_of_codes_is_refused_with_its_number():
    convolutions = partial(layer, encoder=ConvEncoder)
    with pytest.raises(LabError, match="Layer 2 sees the codes of layer 1, no image"):
        build(layers=(convolutions,))


def test_several_processes_need_a_strategy_that_knows_of_resting_layers():
    model = build()
    model.trainer = SimpleNamespace(
        precision="32-true", log_every_n_steps=1, world_size=2, strategy=SimpleNamespace()
    )
    with pytest.raises(LabError, match="ddp_find_unused_parameters_true"):
        model.setup("fit")


def test_a_stack_is_corrupted_and_activated_as_its_outer_layers_are():
    noisy, linear = partial(layer, corruption=Masking), partial(layer, activation="Identity")
    model = build(layers=(noisy, layer, linear))
    assert str(model.corruption) == "Masking 0.3"
    assert isinstance(model.activation, torch.nn.Identity)
    assert not torch.equal(model.corrupt(batch(SHAPE).x), batch(SHAPE).x)


# the command line

LAYER = (
    "{class_path: Autoencoder, init_args: {encoder: {class_path: MLPEncoder, init_args: "
    "{hidden: []}}, activation: Sigmoid, tied: true, corruption: {class_path: Masking}}}"
)
FIT = [
    "fit",
    "--model=StackedAutoencoder",
    "--model.widths=[12, 6]",
    f"--model.layers=[{LAYER}]",
    "--model.pretrain_epochs=2",
    "--data=Digits",
    "--data.limit=256",
    "--name=stack",
    "--trainer.enable_progress_bar=false",
    "--pictures.kinds=[reconstructions]",
]


def command(*arguments):
    training.run([*FIT, *arguments])


def weights(run):
    return torch.load(runs.Run(run).checkpoint("last"), weights_only=True)["state_dict"]


@pytest.mark.parametrize("stopped_at", [1, 3, 5])
def test_a_run_goes_on_in_the_middle_of_any_stage(stopped_at, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("--trainer.max_epochs=6")
    whole = weights(tmp_path / "runs/stack/version_0")

    class Stop(Exception):
        pass

    original = StackedAutoencoder.on_train_epoch_end

    def stop(self):
        original(self)
        if self.current_epoch == stopped_at:
            raise Stop

    monkeypatch.setattr(StackedAutoencoder, "on_train_epoch_end", stop)
    with pytest.raises(Stop):
        command("--trainer.max_epochs=6")
    monkeypatch.setattr(StackedAutoencoder, "on_train_epoch_end", original)
    command("--trainer.max_epochs=6", "--ckpt_path=last")
    found = weights(tmp_path / "runs/stack/version_1")
    torch.testing.assert_close(found, whole, rtol=0, atol=0)


def test_one_run_folder_holds_the_curve_of_every_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("--trainer.max_epochs=6", "--trainer.log_every_n_steps=1")
    (run,) = runs.find_all("runs/stack")
    curves = run.curves()
    steps = {name: [step for step, _ in curve] for name, curve in curves.items()}
    assert max(steps["train/layer_1"]) < min(steps["train/layer_2"])
    assert max(steps["train/layer_2"]) < min(steps["train/squared_error"])
    assert len(steps["val/squared_error"]) == 6
    # Losses of several objectives would be one curve, whose least is nobody's best.
    assert steps["val/loss"] == steps["val/squared_error"][4:]
    assert min(steps["train/loss"]) > max(steps["train/layer_2"])
    assert runs.load_model("runs/stack").encode(torch.rand(2, 1, 8, 8)).shape == (2, 6)


@pytest.mark.parametrize("epochs", [2, 4])
def test_a_checkpoint_is_validated_by_the_objective_that_it_was_trained_by(tmp_path, epochs):
    data, path = Digits(batch_size=64, limit=256), tmp_path / "stack.ckpt"
    quiet = {**QUIET, "enable_checkpointing": False}
    trainer = Trainer(max_epochs=4, callbacks=[StopAt(epochs), Saved(path)], **quiet)
    trainer.fit(build(), data)
    expected = trainer.callback_metrics["val/loss"]
    judge = Trainer(**quiet)
    judge.validate(build(), data, ckpt_path=path, verbose=False)
    assert judge.callback_metrics["val/loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_stopping_by_the_losses_of_several_objectives_is_refused():
    with pytest.raises(LabError, match="EarlyStopping monitor val/squared_error"):
        fit(build(), 4, EarlyStopping("val/loss"))
    fit(build(pretrain_epochs=0), 1, EarlyStopping("val/loss"))


def test_a_run_goes_on_with_its_own_stages_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("--trainer.max_epochs=4")
    with pytest.raises(LabError, match="layers take 2 epochs each"):
        command("--trainer.max_epochs=9", "--model.pretrain_epochs=1", "--ckpt_path=last")
