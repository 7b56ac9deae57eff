"""Logger of the run folder's `metrics.csv`."""

import csv
import io
import os
from pathlib import Path
from typing import cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from vae_lab.files import write_text

__all__ = ["History"]


class History(CSVLogger):
    """Lightning's CSV logger, except that a resumed run appends to its file."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            os.makedirs(self.log_dir, exist_ok=True)
            self._experiment = _Writer(self.log_dir)
        return cast(ExperimentWriter, self._experiment)


class _Writer(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        # Lightning would delete an existing file.
        file = Path(self.metrics_file_path)
        if file.is_file():
            # A kill may have left an incomplete last line, which is removed.
            os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
            with file.open(newline="") as lines:
                self.metrics_keys = next(csv.reader(lines), [])

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        # Lightning would empty the file first, which loses it if the disk is full.
        with open(self.metrics_file_path, newline="") as lines:
            rows = list(csv.DictReader(lines))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.metrics_file_path, text.getvalue())
