"""Where tables are printed."""

from rich.console import Console

__all__ = ["Terminal"]


class Terminal(Console):
    """A console whose broken pipe is the front door's to answer, as that of any other print is."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        raise  # the pipe's own error; rich would exit with a status of its choice
