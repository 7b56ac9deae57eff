"""What `lab fit` prints once training has ended."""

import math
import sys
from pathlib import Path
from shlex import quote

from lightning.pytorch.trainer import Trainer
from lightning_utilities.core.rank_zero import rank_zero_only

from vae_lab.callbacks import Best
from vae_lab.callbacks.last import out_of_time
from vae_lab.runs import Run

__all__ = ["remedy", "report", "say_idle"]


def remedy(trainer: Trainer) -> str:
    """Return which change of the command would let a finished run train on."""
    if out_of_time(trainer):
        return "a longer --trainer.max_time, which counts from the run's beginning,"
    if trainer.should_stop:
        return "without EarlyStopping, or what else ended it, or with more patience, it"
    limit = "steps" if trainer.global_step == trainer.max_steps else "epochs"
    return f"a higher --trainer.max_{limit}"


@rank_zero_only
def say_idle(why: str) -> None:
    """Print that nothing was trained, and why."""
    print(f"lab fit: nothing was trained, as {why}", file=sys.stderr)


@rank_zero_only
def report(folder: Path, chosen: list[Best]) -> None:
    """Print the run folder, its best scores, its latest pictures and the command to run next."""
    run = Run(folder)
    print(f"run       {folder}")
    for best in filter(None, (_best(run, callback) for callback in chosen)):
        print(f"best      {best}")
    for picture in run.pictures.values():
        print(f"picture   {picture}")
    # Adversarial models have no loss to choose by, and a GAN cannot be evaluated without a judge.
    unscored = any(callback.monitor is None for callback in chosen)
    print(f"next      lab {'sample' if unscored else 'evaluate'} {quote(str(folder))}")


def _best(run: Run, chosen: Best) -> str:
    """Return the monitored metric's best value, its step, and the ELBO at that step."""
    if chosen.best_model_score is None:
        return ""
    score, curves = float(chosen.best_model_score), run.curves()
    # The curve's own best may be of another objective, see `Best`.
    points = curves.get(chosen.monitor or "", ())
    steps = [step for step, value in points if math.isclose(value, score, rel_tol=1e-6)]
    if not steps:
        return ""
    elbo = dict(curves.get("val/elbo", ())).get(steps[0])
    beside = "" if elbo is None or chosen.monitor == "val/elbo" else f"; val/elbo {elbo:.5g}"
    return f"{chosen.monitor} {score:.5g} at step {steps[0]:.0f}{beside}"
