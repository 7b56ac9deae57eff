"""`lab dashboard`: the content of `lab compare` as a workspace of Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError
from vae_lab.runs import Run, expand
from vae_lab.verbs.comparing.comparison import direction
from vae_lab.verbs.comparing.page import curves_of
from vae_lab.verbs.comparing.settings import union

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import ParallelCoordinatesPlotColumn
    from wandb_workspaces.workspaces import Section, Workspace

__all__ = ["dashboard", "workspace"]


def dashboard(
    wandb: bool = False, runs: str = "runs", project: str = "vae_lab", entity: str | None = None
) -> None:
    """Save a view of runs in W&B, for runs logged by `lab fit --wandb online`.

    It has a chart of all runs for each curve, pictures step by step, the settings that differ, and
    parallel coordinates. Scores of `lab evaluate` are not sent to W&B; `lab compare` shows them.

    Args:
        wandb: Save it in Weights & Biases, the only choice so far.
        runs: Local runs, a folder of them or a pattern, which determine the curves and pictures.
        project: The project that the runs were logged to.
        entity: The user or team of the project; by default the key's own.

    Raises:
        LabError: If there are no runs, the package or the key is missing, or W&B cannot be reached.
    """
    if not wandb:
        raise LabError(
            "say where: --wandb. `lab compare RUN... --html FILE` writes a page without an account."
        )
    if not find_spec("wandb_workspaces"):
        raise LabError("--wandb needs a package: `pip install -e '.[dashboard]'`.")
    found = expand([runs])
    print(_save(found, project, entity))


def _save(runs: Sequence[Run], project: str, entity: str | None) -> str:
    """Save a workspace and return its address."""
    import wandb

    if not wandb.login(prompt=False, verify=False):
        raise LabError("a workspace is saved with a key, and there is none; run `wandb login`.")
    try:
        owner = entity or wandb.Api(timeout=20).default_entity or ""
        url: str = workspace(runs, owner, project).save().url
    # Requests, W&B and its GraphQL client have errors of their own.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise LabError(f"W&B did not take the workspace: {reason}") from error
    return url


def workspace(runs: Sequence[Run], entity: str, project: str) -> Workspace:
    """Return a view of runs, without sending it.

    Args:
        runs: The runs, which W&B knows by their experiment and version.
        entity: The user or team.
        project: The project that they were logged to.

    Raises:
        LabError: If a run's metrics are damaged.
    """
    from wandb_workspaces.expr import And, Metric
    from wandb_workspaces.workspaces import RunsetSettings, Workspace

    names = Metric("displayName").isin([run.name for run in runs])
    return Workspace(
        entity=entity,
        project=project,
        name="lab compare",
        sections=list(_sections(runs)),
        runset_settings=RunsetSettings(filters=And(names)),
    )


def _sections(runs: Sequence[Run]) -> Iterator[Section]:
    from wandb_workspaces.reports import v2 as panels
    from wandb_workspaces.workspaces import Section

    keys, seen = curves_of(runs)
    axis = "images" if seen == "images seen" else "trainer/global_step"
    charts = [panels.LinePlot(title=key, x=axis, y=[key]) for key in keys]
    yield Section(name="Curves", panels=charts, is_open=True)

    kinds = union([run.pictures for run in runs])
    grids = [_pictures(kind) for kind in kinds]
    yield Section(name="Pictures", panels=grids, is_open=True)

    metric = next((key for key in keys if key.startswith("val/") and direction(key)), None)
    columns = [*_varied(runs), *([_column(metric)] if metric else [])]
    shown: list[Any] = [panels.RunComparer(diff_only=True)]
    if len(columns) > 1:
        shown.append(panels.ParallelCoordinatesPlot(columns=columns))
    if metric:
        shown.append(panels.ParameterImportancePlot(with_respect_to=metric))
    yield Section(name="Settings", panels=shown, is_open=True)


def _pictures(kind: str) -> Any:
    """Show runs below one another and steps side by side."""
    from wandb_workspaces.reports.v2 import MediaBrowser

    keys = [f"pictures/{kind}"]
    return MediaBrowser(
        title=kind, media_keys=keys, mode="grid", grid_x_axis="step", grid_y_axis="run"
    )


def _varied(runs: Sequence[Run]) -> Iterator[ParallelCoordinatesPlotColumn]:
    """Yield the settings of models and data that differ, named as `Record` logs them."""
    from wandb_workspaces.reports.v2 import Config

    tables = [dict(_logged(run)) for run in runs]
    for key in union(tables):
        if len({table.get(key) for table in tables}) > 1:
            yield _column(Config(key), key)


def _column(metric: Any, name: str | None = None) -> ParallelCoordinatesPlotColumn:
    from wandb_workspaces.reports.v2 import ParallelCoordinatesPlotColumn

    return ParallelCoordinatesPlotColumn(metric=metric, display_name=name)


def _logged(run: Run) -> Iterator[tuple[str, str]]:
    for part in ("model", "data"):
        given = run.config.get(part) or {}
        yield f"{part}.class", str(given.get("class_path")).rpartition(".")[2]
        yield from _leaves(given.get("init_args") or {}, part)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}")
    else:
        yield key, str(value)
