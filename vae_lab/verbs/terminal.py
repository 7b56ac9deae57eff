"""Where tables are printed."""

from rich.console import Console

__all__ = ["Terminal"]


class Terminal(Console):
    """A console that leaves a broken pipe to `vae_lab.cli`, as every other print does.

    Args:
        wide: Whether lines stay unwrapped where the output is no terminal.
    """

    def __init__(self, wide: bool = False) -> None:
        super().__init__(highlight=False)

        if wide and not self.is_terminal:
            self.width = 10_000  # whatever reads a pipe can scroll sideways

    def on_broken_pipe(self) -> None:
        raise  # the pipe's own error; rich would exit with a status of its choice
