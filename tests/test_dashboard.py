"""`lab dashboard --wandb`: the workspace is built from runs, and saved only with a key."""

from pathlib import Path

import pytest

from vae_lab import runs
from vae_lab.errors import LabError
from vae_lab.verbs.comparing import dashboard as verb
from vae_lab.verbs.comparing.dashboard import dashboard, workspace

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def two(here):
    """Two runs of different codes, with a curve and pictures of a kind each."""
    for size, kind in ((2, "manifold"), (9, "samples")):
        folder = Path(f"runs/vae/version_{size}")
        (folder / "pictures").mkdir(parents=True)
        (folder / "pictures" / f"{kind}_0001.png").touch()
        (folder / "config.yaml").write_text(
            f"model: {{class_path: vae_lab.models.VAE, init_args: {{latent_dim: {size}, lr: 1}}}}\n"
            "data: {class_path: vae_lab.data.Digits, init_args: {limit: 9}}\n"
        )
        (folder / "metrics.csv").write_text("step,images,train/loss,val/kl,val/loss\n1,10,3,1,2\n")
    return runs.find_all("runs")


@pytest.fixture
def nobody(monkeypatch):
    """W&B without a key, as on a fresh machine."""
    import wandb

    monkeypatch.setattr(wandb, "login", lambda **_: False)
    return wandb


def panels(view, name):
    sections = view._to_model().model_dump(by_alias=True)["spec"]["section"]["panelBankConfig"]
    (section,) = [s for s in sections["sections"] if s["name"] == name]
    return [panel["config"] for panel in section["panels"]]


def test_it_shows_what_the_runs_have(two):
    view = workspace(two, "me", "vae_lab")
    charts = panels(view, "Curves")
    assert [chart["metrics"] for chart in charts] == [["val/kl"], ["val/loss"], ["train/loss"]]
    assert {chart["xAxis"] for chart in charts} == {"images"}
    kinds = [grid["mediaKeys"] for grid in panels(view, "Pictures")]
    assert kinds == [["pictures/manifold"], ["pictures/samples"]]
    _, parallel, importance = panels(view, "Settings")
    accessors = [column["accessor"] for column in parallel["columns"]]
    assert accessors == ["config:model.value.latent_dim", "summary:val/loss"]
    assert "val/loss" in str(importance)


def test_curves_go_by_step_where_a_run_counted_no_images(two):
    (two[0].path / "metrics.csv").write_text("step,val/loss\n1,2\n")
    charts = panels(workspace(runs.find_all("runs"), "me", "vae_lab"), "Curves")
    assert {chart["xAxis"] for chart in charts} == {"trainer/global_step"}


def test_it_shows_these_runs_alone_by_the_names_that_wandb_gives_them(two):
    spec = workspace(two, "me", "vae_lab")._to_model().model_dump(by_alias=True)["spec"]
    (wanted,) = spec["section"]["runSets"][0]["filters"]["filters"]
    assert wanted["key"]["name"] == "displayName"
    assert wanted["value"] == ["vae/version_2", "vae/version_9"]


def test_with_a_key_it_is_saved(two, nobody, monkeypatch, capsys):
    from wandb_workspaces.workspaces import Workspace

    monkeypatch.setattr(nobody, "login", lambda **_: True)
    saved = []
    monkeypatch.setattr(Workspace, "save", lambda view: saved.append(view) or view)
    monkeypatch.setattr(Workspace, "url", "https://wandb.ai/me/vae_lab?nw=1")
    dashboard(wandb=True, entity="me", project="mine")
    assert capsys.readouterr().out == "https://wandb.ai/me/vae_lab?nw=1\n"
    assert [(view.entity, view.project) for view in saved] == [("me", "mine")]


def test_whatever_fails_online_is_a_sentence(two, nobody, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no\nroute to host")

    monkeypatch.setattr(nobody, "login", lambda **_: True)
    monkeypatch.setattr(nobody, "Api", fail)
    with pytest.raises(LabError, match=r"W&B did not take the workspace: no route to host"):
        dashboard(wandb=True)


def test_what_is_missing_is_said(two, nobody, monkeypatch):
    with pytest.raises(LabError, match="a key, and there is none; run `wandb login`"):
        dashboard(wandb=True)
    with pytest.raises(LabError, match="say where: --wandb"):
        dashboard()
    with pytest.raises(LabError, match="There is no elsewhere"):
        dashboard(wandb=True, runs="elsewhere")
    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    with pytest.raises(LabError, match=r"needs a package: `pip install -e '\.\[dashboard\]'`"):
        dashboard(wandb=True)
