"""Output of a sweep: its running trials, and a summary at the end."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from html import escape
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError
from vae_lab.files import write_text
from vae_lab.verbs.sweeps.trials import Trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.table import Table

__all__ = ["shown", "summarise"]

STATES = {
    "RUNNING": "running",
    "COMPLETE": "done",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "WAITING": "waiting",
}


@contextmanager
def shown(study: "Study") -> Iterator[Callable[[int], object]]:
    """Show trials in a live table on a terminal, else in a line at the end of each."""
    from rich.live import Live

    from vae_lab.verbs.terminal import Terminal

    console = Terminal()
    if not console.is_terminal:
        yield lambda number: print(_line(study.trials[number]), flush=True)
        return
    rows = max(1, console.height - 8)
    with Live(
        get_renderable=lambda: _table(study, rows),
        console=console,
        refresh_per_second=1,
        transient=True,
    ):
        yield lambda number: None


def _line(trial: "FrozenTrial") -> str:
    chosen = " ".join(f"{name}={value}" for name, value in trial.params.items())
    return f"trial {trial.number}  {_state(trial)}  {_number(trial)}  {chosen}"


def _table(study: "Study", rows: int) -> "Table":
    """Return a table of the first trials, by state and then best first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    trials = _ordered(study)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    left = f"; {len(trials) - rows} more" if len(trials) > rows else ""
    table = Table(box=SIMPLE_HEAD, caption=f"{_counts(trials)}{left}", caption_justify="left")
    for head in ("trial", "", study.user_attrs["sweep"]["metric"], *map(_short, names), "minutes"):
        table.add_column(head, justify="right")
    for trial in trials[:rows]:
        chosen = (Text(_short_value(trial.params.get(name, ""))) for name in names)
        table.add_row(str(trial.number), _state(trial), _number(trial), *chosen, _minutes(trial))
    return table


def _ordered(study: "Study") -> list["FrozenTrial"]:
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    order = list(STATES)

    def rank(trial: "FrozenTrial") -> tuple[int, float]:
        place = order.index(trial.state.name)
        return place, trial.number if trial.value is None else sign * trial.value

    return sorted(study.trials, key=rank)


def _counts(trials: Iterable["FrozenTrial"]) -> str:
    found = Counter(map(_state, trials))
    return ", ".join(f"{count} {state}" for state, count in found.items())


def _state(trial: "FrozenTrial") -> str:
    given = trial.user_attrs
    if trial.state.name == "FAIL" and ("killed" in given or "reason" not in given):
        return "killed"
    return STATES[trial.state.name]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _short_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(trial: "FrozenTrial") -> str:
    """Return a trial's value or, if it has none yet, the last reported one."""
    value = trial.value
    if value is None and trial.last_step is not None:
        value = trial.intermediate_values[trial.last_step]
    return "" if value is None else f"{value:.5g}"


def _minutes(trial: "FrozenTrial") -> str:
    if trial.datetime_start is None:
        return ""
    spent = (trial.datetime_complete or datetime.now()) - trial.datetime_start
    return f"{spent.total_seconds() / 60:.1f}"


def summarise(queue: Trials) -> None:
    """Write the page of plots, and print all trials, why some failed, and the best.

    Raises:
        LabError: If a trial failed, or none is complete or running.
    """
    from vae_lab.verbs.terminal import Terminal

    study, page = queue.study, _drawn(queue)
    console = Terminal(wide=True)
    console.print(_table(study, len(study.trials)))
    failed = _say_failed(queue)
    running = sum(trial.state.name == "RUNNING" for trial in study.trials)
    if running:
        print(f"running   {running} of other processes; the same command waits for none of them")
    if page:
        _say_best(queue, page)
    elif not running:
        raise LabError(
            "no trial has come to an end that could be compared; mend what they say and remove "
            f"{queue.folder} to begin again."
        )
    if failed:
        # Raised last, as the other trials are worth showing all the same.
        raise LabError(
            f"{failed} of {len(study.trials)} trials failed; what they said is in {queue.logs}."
        )


def _drawn(queue: Trials) -> Path | None:
    """Write the page of plots, if any trial is complete, and return its path."""
    # Optuna gives pruned trials their last value.
    if not any(trial.state.name == "COMPLETE" for trial in queue.study.trials):
        return None
    page = queue.folder / "sweep.html"
    write_text(page, _page(queue.study))
    return page


def _say_failed(queue: Trials) -> int:
    """Print why trials failed, and return how many did."""
    trials = queue.study.trials
    again = {trial.user_attrs.get("repeats") for trial in trials}
    failed = [t for t in trials if "reason" in t.user_attrs and t.number not in again]
    for trial in failed:
        hint = "; the same command runs it again" if "killed" in trial.user_attrs else ""
        print(f"failed    trial {trial.number}: {trial.user_attrs['reason']}{hint}")
        print(f"          {queue.log(trial.number)}")
    return len(failed)


def _say_best(queue: Trials, page: Path) -> None:
    best = queue.study.best_trial
    print(f"best      trial {best.number}, {_number(best)}: {queue.path(best.number)}")
    print(f"plots     {page}")
    print(f"next      lab compare {quote(str(queue.folder))}")


def _page(study: "Study") -> str:
    """Return a self-contained page that plots the metric by trial and by parameter."""
    from optuna import visualization as plots
    from optuna.trial import TrialState

    plotted: list[Callable[..., Any]] = [
        plots.plot_optimization_history,
        plots.plot_slice,
        plots.plot_parallel_coordinate,
    ]
    # Pruned trials have a value too, which Optuna ignores here.
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in whole}) > 1:
        plotted.append(plots.plot_param_importances)
    name = study.user_attrs["sweep"]["metric"]
    charts = [plot(study, target_name=name) for plot in plotted]
    charts[0].update_xaxes(nticks=min(20, len(study.trials)))  # trial numbers are integers
    # Optuna draws the worst trial in a translucent white, nearly that of the page.
    charts[2].update_layout(plot_bgcolor="#a8a8a8").update_traces(opacity=1.0)
    charts[2].update_annotations(font_color="black")
    # The first chart includes the plotting library for all.
    bodies = [
        chart.to_html(full_html=False, include_plotlyjs=not i) for i, chart in enumerate(charts)
    ]
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(study.study_name)}</title>"
        f'<h1 style="font-family: sans-serif; margin: 1rem 3.5rem">{escape(study.study_name)}</h1>'
    )
    return head + "".join(bodies)
