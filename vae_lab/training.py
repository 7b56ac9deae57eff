"""Lightning's four verbs: LightningCLI with our run folders and loggers."""

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from glob import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from lightning import LightningModule
from lightning.pytorch.callbacks import ProgressBar, StochasticWeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.trainer import Trainer
from lightning_utilities.core.enums import StrEnum
from lightning_utilities.core.rank_zero import rank_zero_only

from vae_lab import runs
from vae_lab.callbacks import (
    AtomicCheckpointIO,
    Best,
    Last,
    Monitors,
    Pictures,
    Progress,
    Projector,
    Record,
)
from vae_lab.callbacks.attached import attached
from vae_lab.callbacks.finders import drop_finders, note_found
from vae_lab.callbacks.idle import NoProfiler, drop_idle_hooks
from vae_lab.callbacks.last import out_of_time
from vae_lab.checkpoints import read
from vae_lab.compiling import compile_networks
from vae_lab.data import ImageData
from vae_lab.endings import EndingLoop, disk, quiet_board, quieten, sentences, stopping
from vae_lab.errors import LabError
from vae_lab.evaluations import forget_outdated
from vae_lab.files import atomic, expanded, write_text
from vae_lab.going_on import check_same, held
from vae_lab.loggers import loggers
from vae_lab.models import Model
from vae_lab.parsing import LabParser, check_made, parameters
from vae_lab.run_folder import (
    checkpoint_for,
    experiment_name,
    first_process,
    removed_if_refused,
    run_folder,
)
from vae_lab.starting import initial_settings, settled
from vae_lab.summary import remedy, report, say_idle
from vae_lab.yaml_text import load_yaml

__all__ = ["LabCLI", "run"]

DEFAULTS = Path(__file__).with_name("defaults.yaml")

# jsonargparse cannot dump Lightning's enums, such as Timer's `step`.
yaml.SafeDumper.add_multi_representer(
    StrEnum, lambda dumper, word: dumper.represent_str(word.value)
)


class Parser(LabParser, LightningArgumentParser):
    """Lightning's parser with our errors."""

    def nested(self) -> Iterable[str]:
        return parameters({Model: "model", ImageData: "data"})


class SaveConfig(SaveConfigCallback):
    """Saves the configuration when training begins; until then a run may be refused."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write nothing yet, so that a refused run keeps its configuration."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Without loggers there is no run folder. `log_dir` is a collective call, so every rank
        # makes it.
        folder = trainer.log_dir if trainer.loggers else None
        if folder is not None and trainer.is_global_zero:
            note_found(self.config, trainer, pl_module)
            # Written atomically; Lightning would empty the file first.
            write_text(Path(folder, "config.yaml"), self.parser.dump(self.config, skip_none=False))


class LabCLI(LightningCLI):
    """LightningCLI over our models and data, with a run folder for each fit."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--name", type=str | None, help="Name of the experiment (default: the file's)."
        )
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument(
            "--wandb",
            type=Literal["offline", "online"] | None,
            help="Log to Weights & Biases too; without a key, online becomes offline.",
        )
        parser.add_argument(
            "--compile",
            type=bool,
            default=False,
            help="Compile the networks by torch.compile: minutes at the start, for a GPU.",
        )
        parser.add_argument(
            "--weights",
            type=str | None,
            help="A run or checkpoint whose weights the model begins with, all else anew; "
            "of the same networks, for another objective or other images.",
        )
        parser.add_lightning_class_args(Best, "checkpoint")
        # After the best one, whose score it saves.
        parser.add_lightning_class_args(Last, "last")
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.link_arguments("data.shape", "model.init_args.shape", apply_on="instantiate")

    def _set_seed(self) -> None:
        seed = self.config[self.subcommand].seed_everything
        if not 0 <= seed < 2**32:
            raise LabError(f"--seed_everything is from 0 to {2**32 - 1}; got {seed}.")
        super()._set_seed()

    def _parse_ckpt_path(self) -> None:
        """Keep the model's settings from the files and the command line.

        Lightning would silently override both by the checkpoint's settings.
        """

    def before_instantiate_classes(self) -> None:
        verb, config = str(self.subcommand), self.config[self.subcommand]
        check_made(config)
        config.name = experiment_name(config.name, config.get("config"))
        self.experiment = expanded(config.runs) / config.name
        self.checkpoint = checkpoint_for(verb, config.ckpt_path, self.experiment)
        config.ckpt_path = self.checkpoint and str(self.checkpoint)
        if verb != "fit":
            self.save_config_callback = None
        elif (
            self.checkpoint
            and config.weights
            and not initial_settings(self.checkpoint).get("weights")
        ):
            raise LabError("--ckpt_path goes on with its own weights: leave out --weights.")

    def instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        with settled(config, self.checkpoint) as self.source:
            super().instantiate_classes()
        if config.weights and not self.checkpoint:
            self.model.begin_with(read(Path(config.weights)))
        if config.compile:
            compile_networks(self.model)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config[self.subcommand]
        if str(config.trainer.precision) in ("16", "16-mixed"):
            # On a CPU Lightning would turn it into bf16-mixed before the model can refuse it.
            self.model.check_precision("16-mixed")
        if config.trainer.logger in (None, True):
            # A run's own loggers are added when its folder exists.
            kwargs["logger"] = False
        if self.checkpoint:
            # The sanity check could change the state that a run is resumed with.
            kwargs["num_sanity_val_steps"] = 0
        if config.trainer.plugins is None:
            kwargs["plugins"] = [AtomicCheckpointIO()]
        if config.trainer.profiler is None:
            kwargs["profiler"] = NoProfiler()
        own = [Monitors(), Projector(), Record(self.source), *self._bar()]
        self.trainer_defaults["callbacks"] = own
        trainer = super().instantiate_trainer(**kwargs)
        _check_average(trainer)
        if self.checkpoint:
            drop_finders(trainer, initial_settings(self.checkpoint))
        drop_idle_hooks([*attached(trainer), self.model])
        return trainer

    def _bar(self) -> list[Progress]:
        """Return our progress bar, unless it is switched off or the user gives one."""
        told = self._get(self.config_init, "trainer.callbacks") or []
        theirs = any(
            isinstance(c, ProgressBar) for c in (told if isinstance(told, list) else [told])
        )
        wanted = self.config[self.subcommand].trainer.enable_progress_bar is not False
        return [Progress()] if wanted and not theirs else []

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        # `after_validate` prints the results.
        quiet = {"verbose": False} if subcommand in ("validate", "test") else {}
        return super()._prepare_subcommand_kwargs(subcommand) | quiet | {"weights_only": True}

    def fit(self, **kwargs: Any) -> None:
        """Train in a run folder, unless logging is switched off."""
        config = self.config[self.subcommand]
        if config.trainer.fast_dev_run or config.trainer.logger is False:
            self.trainer.fit(**kwargs)
            return
        before, stopped = self._begun_at()
        self._check_limits()
        folder, made = run_folder(self.experiment, self.checkpoint)
        if not made:
            self._go_on(runs.Run(folder), stopped)
        refused = removed_if_refused(folder) if made else nullcontext()
        with held(folder), refused, stopping(folder), disk(folder), quiet_board():
            self._train(folder, **kwargs)
            idle = self.trainer.global_step == before
            why = f"{self.checkpoint} was at its end; {remedy(self.trainer)} goes on."
            if idle and made and first_process():
                raise LabError(why)
        if idle:
            say_idle(why)
        report(folder, [c for c in self.trainer.checkpoint_callbacks if isinstance(c, Best)])

    def _check_limits(self) -> None:
        """Refuse limits that leave nothing to train."""
        asked = self.config[self.subcommand].trainer
        limits = (asked.max_epochs, asked.max_steps, asked.limit_train_batches)
        if 0 in limits or out_of_time(self.trainer):
            raise LabError(
                "there is nothing to train in 0 epochs, steps, batches or seconds: give more."
            )

    def _go_on(self, begun: runs.Run, stopped: bool) -> None:
        """Check that a run goes on with the settings it began with, and ends where it ended."""
        config = self.config[self.subcommand]
        now = load_yaml(self._parser(self.subcommand).dump(config, skip_none=False))
        check_same(begun.path, now, getattr(self.datamodule, "listing", None))
        # config.yaml describes how the run began, not that it was resumed.
        config.ckpt_path = begun.config.get("ckpt_path")
        stopped &= self._would_stop_again(now, begun)
        EndingLoop.replace(self.trainer, stopped, begun.finished)

    def _train(self, folder: Path, **kwargs: Any) -> None:
        """Train and log in a run folder; scores of weights that were replaced are forgotten."""
        # The run's loggers, and those of the user.
        wandb = self.config[self.subcommand].wandb
        self.trainer.loggers = [*loggers(folder, wandb), *self.trainer.loggers]
        try:
            self.trainer.fit(**kwargs)
        finally:
            if first_process():
                forget_outdated(folder)

    def _would_stop_again(self, now: dict[str, Any], begun: runs.Run) -> bool:
        """Return whether an uninterrupted run would have stopped at the checkpoint too.

        With other callbacks it may train on, and so may a finished run that was not stopped by
        EarlyStopping.
        """
        told = begun.config.get("trainer", {}).get("callbacks")
        known = not begun.finished or bool(self.trainer.early_stopping_callbacks)
        return known and bool(now["trainer"]["callbacks"] == told)

    def _begun_at(self) -> tuple[int | None, bool]:
        """Return the checkpoint's step, and whether training was to stop there.

        A checkpoint that does not fit is refused here, before files are written.

        Raises:
            LabError: If training cannot be resumed from it, or its weights do not fit.
        """
        if self.checkpoint is None:
            return None, False
        saved = read(self.checkpoint)
        if "optimizer_states" not in saved:
            raise LabError(
                f"{self.checkpoint} holds weights alone, from which no training goes on: "
                "name the run's last.ckpt."
            )
        self.model.on_load_checkpoint(saved)
        return saved["global_step"], saved.get("should_stop", False)

    @rank_zero_only
    def after_validate(self) -> None:
        """Print the results."""
        for name, value in self.trainer.callback_metrics.items():
            print(f"{name:<22} {value:.4f}")

    after_test = after_validate

    def predict(self, **kwargs: Any) -> None:
        """Write the reconstructions of the test images to `predictions.npz`."""
        if self.trainer.world_size > 1:
            raise LabError("each process would write its own share: predict on one device.")
        batches = self.trainer.predict(**kwargs) or []
        restored = torch.cat([torch.as_tensor(batch) for batch in batches])
        with atomic("predictions.npz") as file:
            np.savez(file, x_hat=restored.float().numpy())
        print("predictions.npz")


def run(argv: list[str]) -> None:
    """Run one of Lightning's verbs; `argv` begins with its name."""
    quieten()
    with sentences():
        _cli(argv[0])(
            Model,
            ImageData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            parser_class=Parser,
            parser_kwargs={
                "prog": "lab",
                # Escaped, as the path is used as a pattern.
                argv[0]: {"default_config_files": [escape(str(DEFAULTS))]},
            },
            # Other processes of a run repeat the command line of the first.
            args=None if argv == sys.argv[1:] else argv,
        )


def _cli(verb: str) -> type[LabCLI]:
    """Return the CLI class with one verb; parsers of all four take a fifth of a second."""
    only = {verb: LightningCLI.subcommands()[verb] | {"verbose"}}
    return type("LabCLI", (LabCLI,), {"subcommands": staticmethod(lambda: only)})


def _check_average(trainer: Trainer) -> None:
    """Refuse an average of weights that Lightning makes after the last checkpoint is written."""
    if any(isinstance(callback, StochasticWeightAveraging) for callback in attached(trainer)):
        raise LabError(
            "StochasticWeightAveraging puts its average in place when training is over, so that "
            "no checkpoint would hold it: take EMAWeightAveraging, whose average is validated and "
            "saved."
        )
