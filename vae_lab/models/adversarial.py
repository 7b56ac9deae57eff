"""Base of adversarial models: the alternating steps of a critic and its opponents."""

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Adam
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from vae_lab.arguments import above_zero, at_least, below_one, given
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.models.base import Model, Schedule
from vae_lab.randomness import reseed
from vae_lab.words import article, counted

__all__ = ["Adversarial", "Made"]

Made = Any
"""Generated images, possibly together with the codes and posteriors they were made from.

Its `detach()` returns the same, cut off from the graph.
"""


class Adversarial(Model):
    r"""Trains a critic on every batch, and its opponents, which make images, on some or all.

    One batch is one step on every axis: a step of the critic, which is what Lightning counts.
    Gradients are averaged over processes here, because Lightning's DDP would wait for those of
    networks that do not step, and so are batch-norm statistics, as one model is saved. Each
    player's latest gradient norm before clipping and the images per second are logged too.

    A subclass defines `critic`, and `opponents` by name.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        critic_steps: Critic steps, one per batch, for each step of its opponents.
        clip: Largest gradient norm of a player; larger gradients are scaled down to it.
        accumulate: Number of parts that a batch is split into to save memory, their gradients
            summed; each part has at least two images.
        lr: Learning rate of Adam for the opponents.
        critic_lr: Learning rate of Adam for the critic.
        betas: Adam's decay rates of the first and second moments.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler for each player, stepped
            once per epoch.

    Raises:
        LabError: If a setting is out of range; in training, if `critic_steps` exceeds the run's
            steps, the precision is 16-mixed or the Trainer is told to clip or accumulate
            gradients; see also `Model`.
    """

    optimiser_settings = ("lr", "critic_lr", "betas", "schedule")
    chosen_by_loss = False

    counted_player = "critic"
    """The player that steps on every batch, whose steps Lightning counts."""

    critic: nn.Module

    def __init__(
        self,
        shape: Shape,
        critic_steps: int = 1,
        clip: float | None = None,
        accumulate: int = 1,
        lr: float = 2e-4,
        critic_lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape)

        at_least(1, critic_steps=critic_steps, accumulate=accumulate)
        above_zero(lr=lr, critic_lr=critic_lr, **given(clip=clip))
        for beta in betas:
            below_one(betas=beta)
        self.automatic_optimization = False
        self.critic_steps = critic_steps
        self.clip = clip
        self.accumulate = accumulate
        self.lr = lr
        self.critic_lr = critic_lr
        self.betas = betas
        self.schedule = schedule

    @property
    @abstractmethod
    def opponents(self) -> dict[str, nn.Module]:
        """The networks trained against the critic, by name; each has its own optimiser."""

    @abstractmethod
    def draw(self, batch: Batch) -> Tensor:
        """Draw all random numbers that a batch needs, one row per image."""

    @abstractmethod
    def fake(self, batch: Batch, drawn: Tensor) -> Made:
        """Generate the images that the critic has to tell from real ones."""

    @abstractmethod
    def critic_terms(self, batch: Batch, fake: Made, drawn: Tensor) -> dict[str, Tensor]:
        """Return named terms per image, shape (B,); the critic minimises `critic_loss`."""

    @abstractmethod
    def opponents_loss(self, batch: Batch, fake: Made, drawn: Tensor) -> Tensor:
        """Return the opponents' loss per image, shape (B,)."""

    @property
    def opponents_due(self) -> bool:
        """Whether the opponents step after the critic's next step."""
        return (self.global_step + 1) % self.critic_steps == 0

    def after_opponents_step(self, batch: Batch) -> None:
        """Called after each step of the opponents; does nothing by default."""

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the critic's terms for a batch, without a step."""
        drawn = self.draw(batch)
        return self.critic_terms(batch, self.fake(batch, drawn), drawn)

    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        _check_trainer(self.trainer, type(self).__name__)
        return super().configure_callbacks()

    def check_precision(self, precision: str) -> None:
        super().check_precision(precision)
        if precision == "16-mixed":
            raise LabError(
                f"{article(self, 'A')} cannot learn in 16-mixed, where one scale has to fit the "
                "gradients of all players and penalties overflow: use --trainer.precision "
                "bf16-mixed or 32-true."
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        self._players = {"critic": list(self.critic.parameters())}
        self._players |= {name: list(net.parameters()) for name, net in self.opponents.items()}
        rates = [self.critic_lr] + [self.lr] * len(self.opponents)
        pairs = zip(self._players.values(), rates, strict=True)
        optimizers = [Adam(weights, rate, self.betas, fused=True) for weights, rate in pairs]
        if self.schedule is None:
            return optimizers
        schedulers = [self.schedule(optimizer) for optimizer in optimizers]
        if isinstance(schedulers[0], ReduceLROnPlateau):
            raise LabError("No loss of an adversarial model falls to a plateau: choose a schedule.")
        return optimizers, schedulers

    def on_train_start(self) -> None:
        _check_steps(self.trainer, self.critic_steps)
        self.on_train_epoch_start()  # Lightning skips it when it resumes within an epoch

    def on_train_epoch_start(self) -> None:
        self._norms: dict[str, Tensor] = {}
        self._window = self._step_ended = time.perf_counter(), self.images_seen

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        reseed(self.seed, self.global_rank, self.current_epoch, batch_idx)
        opponents_move = self.opponents_due
        # No part has a single image, which batch norm cannot normalise.
        count = max(1, min(self.accumulate, len(batch.x) // 2))
        parts = [Batch(*p) for p in zip(*(t.tensor_split(count) for t in batch), strict=True)]
        drawn = [self.draw(part) for part in parts]
        # One generator pass serves both sides, unless its graph is freed to save memory.
        one_pass = opponents_move and len(parts) == 1
        with self._lone_image_refused():
            fakes, terms = self._move_critic(parts, drawn, keep_graph=one_pass)
            if opponents_move:
                self._move_opponents(parts, drawn, fakes if one_pass else None)
        self._share_statistics()
        if self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._step_schedules()
        images = self.images_seen + len(batch.x) * self.trainer.world_size
        self._step_ended = time.perf_counter(), images
        self._record(batch, batch_idx, terms)

    def _move_critic(
        self, parts: list[Batch], drawn: list[Tensor], keep_graph: bool
    ) -> tuple[list[Made], dict[str, Tensor]]:
        """Step the critic; return the generated images, and its terms for all images."""
        self._forget_gradients("critic")
        fakes, found = [], []
        for part, chance in zip(parts, drawn, strict=True):
            with torch.set_grad_enabled(keep_graph):
                fakes.append(self.fake(part, chance))
            found.append(self.critic_terms(part, fakes[-1].detach(), chance))
            self._backward(found[-1]["critic_loss"], parts)
        self._step("critic")
        return fakes, {name: torch.cat([terms[name] for terms in found]) for name in found[0]}

    def _move_opponents(
        self, parts: list[Batch], drawn: list[Tensor], fakes: list[Made] | None
    ) -> None:
        """Step the opponents by one gradient, which flows through the frozen critic."""
        self._forget_gradients(*self.opponents)
        self.critic.requires_grad_(False)
        for i, (part, chance) in enumerate(zip(parts, drawn, strict=True)):
            fake = self.fake(part, chance) if fakes is None else fakes[i]
            self._backward(self.opponents_loss(part, fake, chance), parts)
        self.critic.requires_grad_(True)
        for name in self.opponents:
            self._step(name)
        self.after_opponents_step(parts[-1])

    def _backward(self, losses: Tensor, parts: list[Batch]) -> None:
        total = sum(len(part.x) for part in parts)
        torch.autograd.backward(losses.sum() / total)

    def _forget_gradients(self, *names: str) -> None:
        for name in names:
            for weight in self._players[name]:
                weight.grad = None

    def _step(self, name: str) -> None:
        weights = self._players[name]
        if self.trainer.world_size > 1:
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            _average(gradients, self.trainer.strategy)
        if self.clip is not None:
            self._norms[name] = clip_grad_norm_(weights, self.clip)
        self._advance(name)

    def _advance(self, name: str) -> None:
        """Take an optimiser step; weights without a gradient stay as they are."""
        optimizer = self._optimizers[name]
        # Lightning counts a step for each call of its own wrapper.
        (optimizer if name == self.counted_player else optimizer.optimizer).step()

    @property
    def _optimizers(self) -> dict[str, LightningOptimizer]:
        found: Any = self.optimizers()
        return dict(zip(self._players, found, strict=True))

    def _share_statistics(self) -> None:
        """Average batch-norm statistics over processes, since one model is saved and measured."""
        if self.trainer.world_size > 1:
            _average([b for b in self.buffers() if b.is_floating_point()], self.trainer.strategy)

    def _step_schedules(self) -> None:
        # On the epoch's last batch, so that a run resumed before it does not step twice.
        found = self.lr_schedulers()
        for scheduler in found if isinstance(found, list) else [found]:
            if isinstance(scheduler, LRScheduler):
                scheduler.step()

    def on_validation_model_zero_grad(self) -> None:
        # The rest of the logging window is written after validation, which clears gradients.
        self._norms = self._measure_gradients()
        super().on_validation_model_zero_grad()

    def on_validation_end(self) -> None:
        if self._fitting and not self.trainer.sanity_checking:
            # The window goes on within the epoch; the time of validation is no part of it.
            paused = time.perf_counter() - self._step_ended[0]
            (begun, before), (ended, seen) = self._window, self._step_ended
            self._window, self._step_ended = (begun + paused, before), (ended + paused, seen)

    def _read_window(self) -> dict[str, float]:
        means = super()._read_window()
        norms = self._measure_gradients().items() if means else ()
        gradients = {f"{name}_gradient": norm.item() for name, norm in norms}
        return means and {**means, **gradients, **self._speed()}

    def _measure_gradients(self) -> dict[str, Tensor]:
        """Return the norm of each player's latest gradient before clipping."""
        norms = dict(self._norms)
        for name, weights in self._players.items():
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            if gradients and self.clip is None:
                norms[name] = get_total_norm(gradients)
        return norms

    def _speed(self) -> dict[str, float]:
        (begun, before), (ended, seen) = self._window, self._step_ended
        self._window = self._step_ended
        return {"images_per_second": (seen - before) / (ended - begun)} if ended > begun else {}


def _check_trainer(trainer: Trainer, name: str) -> None:
    # Lightning would refuse both too, but could not say what to do instead.
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
        raise LabError(
            f"{name} steps its networks by itself: give --model.clip and --model.accumulate, not "
            "the Trainer's gradient_clip_val or accumulate_grad_batches."
        )
    if any(c.monitor == "val/loss" for c in trainer.early_stopping_callbacks):
        raise LabError(
            f"{article(name, 'A')} has no val/loss that falls: let EarlyStopping monitor something "
            "else."
        )


def _check_steps(trainer: Trainer, critic_steps: int) -> None:
    """Refuse a run that ends before the opponents' first step."""
    # Lightning returns -1 for a loader without a length; it does not declare `fast_dev_run`.
    steps, tried = trainer.estimated_stepping_batches, vars(trainer)["fast_dev_run"]
    if 0 <= steps < critic_steps and not tried:
        raise LabError(
            f"critic_steps is {critic_steps}, and training has {counted(int(steps), 'step')}: "
            "nobody but the critic would move."
        )


def _average(tensors: list[Tensor], strategy: Strategy) -> None:
    """Replace tensors by their means over processes, in one collective call."""
    if tensors:
        mean = strategy.reduce(torch.cat([t.flatten() for t in tensors]), reduce_op="mean")
        parts = mean.split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))
