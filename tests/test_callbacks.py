"""What happens around training: means, histories, progress, records, pictures."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, LambdaCallback
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from vae_lab import process, runs
from vae_lab.callbacks import Last, Pictures, Progress
from vae_lab.callbacks.idle import BATCH_HOOKS, drop_idle_hooks
from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.loggers import History
from vae_lab.models import VAE
from vae_lab.models.meter import Meter
from vae_lab.pictures import to_png
from vae_lab.runs import Run, load_data
from vae_lab.verbs.picture import picture

FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=64",
    "--data.val_size=100",
    "--data.batch_size=32",
    "--model=VAE",
    "--model.latent_dim=2",
    "--trainer.accelerator=cpu",
]


def test_a_window_is_the_sum_over_images_since_the_last():
    meter = Meter()
    meter.add({"loss": torch.tensor([1.0, 2.0]), "kl": torch.tensor([0.0, 4.0])})
    meter.add({"loss": torch.tensor([6.0]), "kl": torch.tensor([5.0])})
    assert meter.window() == ({"loss": 9.0, "kl": 9.0}, 3)
    assert meter.window() == ({}, 0)
    meter.add({"loss": torch.tensor([7.0]), "kl": torch.tensor([1.0])})
    assert meter.window() == ({"loss": 7.0, "kl": 1.0}, 1)
    assert meter.sums() == {"loss": 16.0, "kl": 10.0}
    assert meter.count == 4
    meter.reset()
    assert (meter.sums(), meter.count) == ({}, 0)


def test_a_mean_keeps_no_graph():
    meter = Meter()
    meter.add({"loss": torch.ones(3, requires_grad=True) * 2})
    assert not meter.state_dict()["pending"]["loss"].requires_grad


steps = st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5), min_size=1)


@given(steps, st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_an_epochs_mean_does_not_depend_on_windows_nor_on_a_stop(steps, reads, stops):
    meter = Meter()
    for k, step in enumerate(steps):
        meter.add({"loss": torch.tensor(step)})
        if k in stops:
            state, meter = meter.state_dict(), Meter()
            meter.load_state_dict(state)
        if k in reads:
            meter.window()
    assert meter.sums()["loss"] == pytest.approx(sum(map(sum, steps)), rel=1e-9, abs=1e-6)
    assert meter.count == sum(map(len, steps))


def test_a_stop_within_a_window_does_not_change_its_sum_by_a_bit():
    whole, first, second = Meter(), Meter(), Meter()
    terms = [{"loss": torch.rand(7)} for _ in range(6)]
    for k, term in enumerate(terms):
        whole.add(term)
        if k == 3:
            second.load_state_dict(first.state_dict())
        (first if k < 3 else second).add(term)
    assert second.window() == whole.window()


def test_a_resumed_history_continues_its_file(tmp_path):
    for step, metrics in enumerate([{"a": 1.0}, {"a": 2.0}, {"b": 3.0}]):
        history = History(tmp_path, "x", "version_0")
        history.log_metrics(metrics, step)
        history.save()
    run = Run(tmp_path / "x/version_0")
    assert run.curves() == {"a": [(0, 1.0), (1, 2.0)], "b": [(2, 3.0)]}


@pytest.mark.parametrize("cut", ["3,4.", "3,4.5,6", "3"])
def test_a_line_that_a_kill_cut_off_does_not_spoil_the_next(tmp_path, cut):
    path = tmp_path / "x/version_0/metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(f"a,step\n1.0,1\n{cut}")
    history = History(tmp_path, "x", "version_0")
    history.log_metrics({"a": 2.0}, 2)
    history.save()
    assert Run(path.parent).curves()["a"] == [(1, 1.0), (2, 2.0)]


class Idle(Callback):
    pass


class Busy(Callback):
    def on_train_batch_end(self, *args, **kwargs):
        pass


class BusyModel(LightningModule):
    def on_before_zero_grad(self, optimizer):
        pass


def test_only_hooks_that_somebody_wrote_are_called():
    idle, busy, model = Idle(), Busy(), BusyModel()
    drop_idle_hooks([idle, busy, model])
    assert not any(callable(getattr(idle, hook)) for hook in BATCH_HOOKS)
    assert [hook for hook in BATCH_HOOKS if callable(getattr(busy, hook))] == ["on_train_batch_end"]
    assert callable(model.on_before_zero_grad)
    assert model.on_train_batch_end is None


def test_hooks_that_an_object_was_given_are_called():
    given = LambdaCallback(on_before_zero_grad=print)
    drop_idle_hooks([given])
    called = [hook for hook in BATCH_HOOKS if callable(getattr(given, hook))]
    assert called == ["on_before_zero_grad"]
    assert given.on_before_zero_grad is print


def other(urgency):
    """Return as much of a strategy, with another process that has so urgent a reason to save."""

    def reduce(mine, reduce_op):
        assert reduce_op == "max"
        return max(mine, torch.tensor(urgency))

    return SimpleNamespace(root_device="cpu", reduce=reduce)


def loop(**changes):
    """Return as much of a trainer's loop, in the middle of an epoch."""
    progress = SimpleNamespace(is_last_batch=False)
    epoch = SimpleNamespace(batch_progress=progress, _should_check_val_fx=lambda fetcher: False)
    counts = SimpleNamespace(current=_ProcessedTracker(), total=_ProcessedTracker())
    known = {"epoch_loop": epoch, "_data_fetcher": (), "_can_stop_early": True}
    known |= {"epoch_progress": counts}
    return SimpleNamespace(**known | {"restarted_on_epoch_end": False} | changes)


def trainer(**changes):
    """Return as much of a trainer as the last checkpoint asks for."""
    return SimpleNamespace(
        **{
            "fit_loop": loop(),
            "accumulate_grad_batches": 1,
            "received_sigterm": False,  # before training began
            "should_stop": False,
            "global_step": 7,
            "current_epoch": 0,
            "max_epochs": 2,
            "max_steps": -1,
            "world_size": 1,
            "strategy": other(0),
        }
        | changes
    )


@pytest.mark.parametrize(
    ("changes", "minutes", "batch_idx", "saved"),
    [
        ({}, 10, 3, False),
        ({}, 1e-9, 3, True),
        ({"should_stop": True}, 10, 3, True),
        ({"should_stop": True, "fit_loop": loop(_can_stop_early=False)}, 10, 3, False),
        ({"max_steps": 7}, 10, 3, True),
        ({"accumulate_grad_batches": 3}, 1e-9, 3, False),
        ({"accumulate_grad_batches": 3}, 1e-9, 5, True),
        ({"world_size": 2}, 10, 3, False),
        ({"world_size": 2}, 1e-9, 3, True),
        ({"world_size": 2, "strategy": other(1)}, 10, 3, True),
        ({"world_size": 2, "max_steps": 7}, 10, 3, True),
    ],
)
def test_when_the_last_checkpoint_is_due(monkeypatch, changes, minutes, batch_idx, saved):
    last, done = Last(minutes), []
    monkeypatch.setattr(last, "_save", done.append)
    last.on_train_start(trainer(), BusyModel())
    last.on_train_batch_end(trainer(**changes), BusyModel(), None, None, batch_idx)
    assert bool(done) == saved


@pytest.mark.parametrize("changes", [{}, {"world_size": 2}, {"accumulate_grad_batches": 3}])
def test_sigterm_is_answered_once_gradients_are_whole(monkeypatch, changes):
    last, done = Last(), []
    monkeypatch.setattr(last, "_save", done.append)
    last.on_train_start(trainer(), BusyModel())
    signal.raise_signal(signal.SIGTERM)
    if changes.get("accumulate_grad_batches"):
        last.on_train_batch_end(trainer(**changes), BusyModel(), None, None, 3)
        assert not done
    with pytest.raises(SIGTERMException):
        last.on_train_batch_end(trainer(**changes), BusyModel(), None, None, 5)
    assert done


@pytest.mark.parametrize("early", [True, False])
def test_sigterm_of_another_process_or_of_before_training_counts(monkeypatch, early):
    last, done = Last(), []
    monkeypatch.setattr(last, "_save", done.append)
    last.on_train_start(trainer(received_sigterm=early), BusyModel())
    others = {} if early else {"world_size": 2, "strategy": other(2)}
    with pytest.raises(SIGTERMException):
        last.on_train_epoch_end(trainer(**others), BusyModel())
    assert done


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_minutes_are_positive(minutes):
    with pytest.raises(LabError, match="above 0"):
        Last(minutes)


def test_pictures_come_every_so_many_epochs_and_at_the_end(lab):
    lab(*FIT, "--trainer.max_epochs=5", "--pictures.every=2", "--pictures.kinds=[samples,scatter]")
    pictures = {path.name for path in Path("runs/run/version_0/pictures").iterdir()}
    epochs = (2, 4, 5)
    assert pictures == {f"{kind}_000{k}.png" for kind in ("samples", "scatter") for k in epochs}


def test_under_mixed_precision_pictures_and_codes_are_as_single_as_the_verbs(lab):
    mixed = "--trainer.precision=bf16-mixed"
    kinds = ("samples", "manifold", "beside_pca", "beside_prior", "traversals")
    lab(*FIT, "--trainer.max_epochs=1", mixed, f"--pictures.kinds=[{','.join(kinds)}]")
    run = Path("runs/run/version_0")
    for kind in kinds:
        drawn = to_png(picture(kind, run / "checkpoints/last.ckpt", ("val", 100)))
        # The line below included: run, epoch, images and seed.
        assert (run / f"pictures/{kind}_0001.png").read_bytes() == drawn, kind
    lab("encode", run)
    (projected,) = run.glob("*/codes/tensors.tsv")
    np.testing.assert_allclose(np.loadtxt(projected), np.load("codes.npz")["codes"], 1e-5, 1e-6)


class Resting(VAE):
    """A VAE with a part that stays in evaluation mode."""

    def __init__(self, shape: Shape, latent_dim: int) -> None:
        super().__init__(shape, latent_dim)
        self.judge = nn.Dropout().eval()

    def terms(self, batch):
        terms = super().terms(batch)
        return terms | {"awake": torch.full_like(terms["loss"], self.judge.training)}


def test_pictures_do_not_wake_what_rests(lab):
    lab(*FIT, f"--model={__name__}.Resting", "--trainer.max_epochs=3", "--pictures.every=1")
    assert {value for _, value in runs.find("runs/run").curves()["train/awake"]} == {0}


def test_what_is_checked_before_training_is_no_part_of_the_curves(lab):
    lab(*FIT, "--trainer.num_sanity_val_steps=2", "--trainer.max_epochs=1", "--pictures.kinds=[]")
    assert [step for step, _ in runs.find("runs/run").curves()["val/elbo"]] == [2]


def test_no_picture_is_a_choice(lab):
    lab(*FIT, "--trainer.max_epochs=1", "--pictures.kinds=[]")
    assert not Path("runs/run/version_0/pictures").exists()


@pytest.mark.parametrize(("every", "images"), [(0, 10), (1, 1)])
def test_pictures_refuse_what_cannot_be_drawn(every, images):
    with pytest.raises(LabError, match="is at least"):
        Pictures(every=every, images=images)


def test_without_a_terminal_progress_is_a_few_lines(lab):
    printed = lab(*FIT, "--trainer.max_epochs=30", "--pictures.kinds=[]")
    lines = [line for line in printed.splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in lines] == [f"{k}/30" for k in (1, *range(3, 31, 3))]
    assert all("images/s" in line and "val/loss" in line for line in lines)


def test_no_other_epochs_score_stands_beside_an_epoch_without_validation(lab):
    said = lab(*FIT, "--trainer.max_epochs=3", "--trainer.check_val_every_n_epoch=2")
    lines = [line for line in said.splitlines() if line.startswith("epoch")]
    assert ["val/loss" in line for line in lines] == [False, True, False]


@pytest.fixture
def bar(monkeypatch):
    """The states of the bar on what seems to be a terminal: images so far, and in all."""
    states, refresh = [], Progress._refresh

    def record(self, trainer):
        refresh(self, trainer)
        states.append((self._bar.n, self._bar.total, self._bar.desc))

    monkeypatch.setattr(Progress, "_refresh", record)
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr("vae_lab.callbacks.progress.sys", SimpleNamespace(stderr=terminal))
    return states


def test_on_a_terminal_progress_is_one_bar_over_all_epochs(lab, bar):
    printed = lab(*FIT, "--trainer.max_epochs=20", "--pictures.kinds=[]")
    assert "epoch " not in printed
    assert bar[0] == (32, 20 * 64, "epoch 1/20: ")
    assert all(images <= total == 20 * 64 for images, total, _ in bar)


def test_a_resumed_bar_counts_what_is_left(lab, bar):
    lab(*FIT, "--trainer.max_epochs=1", "--pictures.kinds=[]")
    lab(*FIT, "--trainer.max_epochs=4", "--pictures.kinds=[]", "--ckpt_path=last")
    assert bar[-1][1] == 3 * 64


def test_another_bar_takes_the_place_of_ours(lab):
    bar = ["--trainer.callbacks=TQDMProgressBar", "--trainer.enable_progress_bar=null"]
    assert "images/s" not in lab(*FIT, "--pictures.kinds=[]", *bar)


def test_progress_takes_training_without_an_end(lab, bar):
    lab(*FIT, "--trainer.max_epochs=-1", "--trainer.max_time=00:00:00:01", "--pictures.kinds=[]")
    assert len(bar) > 2


def test_a_record_says_whether_the_run_came_to_its_end(lab, monkeypatch):
    def crash(self, trainer, pl_module):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "on_train_end", crash)
        with pytest.raises(ZeroDivisionError):
            lab(*FIT, "--trainer.max_epochs=1")
    lab(*FIT, "--trainer.max_epochs=1", "--pictures.kinds=[]")
    first, second = (json.loads(Path(f"runs/run/version_{k}/run.json").read_text()) for k in (0, 1))
    assert not first["finished"]
    assert second["finished"]
    assert second["images_per_second"] > 0
    assert 64 < second["peak_memory_mib"] < 65_536  # torch alone takes more than the first
    assert second["versions"]["torch"] == torch.__version__
    assert second["tuned"] == process.applied()


def test_the_projector_has_a_code_a_label_and_a_thumbnail_for_each_image(lab):
    lab(*FIT, "--trainer.max_epochs=1", "--pictures.kinds=[]")
    (codes,) = Path("runs/run/version_0").glob("*/codes")
    assert int(codes.parent.name) == 2  # steps
    assert len((codes / "tensors.tsv").read_text().splitlines()) == 100
    labels = load_data("runs/run").images("val").y
    assert (codes / "metadata.tsv").read_text().split() == [f"{k}" for k in labels]
    assert (codes / "sprite.png").stat().st_size > 1000
