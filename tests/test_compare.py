"""`lab compare`: what differs, what is best, and a page that needs nothing else."""

import json
import re
import subprocess
import sys

import pytest
import torch
import yaml

from vae_lab.errors import LabError
from vae_lab.runs import find_all
from vae_lab.verbs.comparing.compare import compare
from vae_lab.verbs.comparing.comparison import Comparison, direction


def make_run(path, model, metrics, scores=None, images=True, **init):
    (path / "pictures").mkdir(parents=True)
    config = {
        "seed_everything": 0,
        "name": path.parent.name,
        **dict.fromkeys(("config", "runs", "wandb", "pictures"), str(path)),
        "trainer": {
            "max_epochs": 2,
            "logger": {"class_path": "CSVLogger", "init_args": {"version": path.name}},
            "callbacks": [{"class_path": "lightning.Timer", "init_args": {"duration": "1:0"}}],
        },
        "model": {
            "class_path": f"vae_lab.models.{model}",
            "init_args": {
                "lr": 0.001,
                "encoder": {"class_path": "vae_lab.nets.MLPEncoder", "init_args": {"width": 4}},
                **init,
            },
        },
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    axes = ["epoch", "step", "images"] if images else ["epoch", "step"]
    rows = [",".join([*axes, *metrics])]
    for i, values in enumerate(zip(*metrics.values(), strict=True), 1):
        rows.append(",".join(map(str, [i - 1, 10 * i, 1280 * i][: len(axes)] + list(values))))
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
    if scores is not None:
        entries = {k: {"value": v, "protocol": f"how {k} was measured"} for k, v in scores.items()}
        protocol = {"data": "MNIST", "images": 9, "seed": 0, "checkpoint": str(path)}
        report = {"protocol": {"test": protocol}, "metrics": entries}
        (path / "metrics.json").write_text(json.dumps(report))
    return path


@pytest.fixture
def three(tmp_path):
    """Two VAEs and an autoencoder, which shares one score with them."""
    losses = {"train/loss": [9, 8, 7], "val/loss": [120.0, 101.25, 110.5]}
    elbos = {"val/elbo": [-120.0, -101.25, -110.5]}
    make_run(
        tmp_path / "vae" / "version_0", "VAE", losses | elbos,
        {"test/elbo": -100.5, "test/knn_accuracy": 0.91}, latent_dim=20, beta=1.0,
    )  # fmt: skip
    make_run(
        tmp_path / "vae" / "version_1", "VAE", losses | elbos,
        {"test/elbo": -98.25, "test/knn_accuracy": 0.95}, latent_dim=20, beta=4.0,
    )  # fmt: skip
    make_run(
        tmp_path / "ae" / "version_0", "Autoencoder", losses, {"test/knn_accuracy": 0.93},
        latent_dim=2,
    )  # fmt: skip
    return tmp_path


def cells(text):
    return [line.split() for line in text.splitlines() if "version_" in line]


def test_settings_that_differ_and_no_others(three):
    settings = Comparison(find_all(three), metric="test/elbo").settings
    assert settings == {
        "model": ["VAE", "VAE", "Autoencoder"],
        "beta": ["4.0", "1.0", ""],
        "latent_dim": ["20", "20", "2"],
    }


def test_a_nested_class_is_the_value_of_its_key(three):
    runs = find_all(three)
    config = runs[0].config
    config["model"]["init_args"]["encoder"]["class_path"] = "vae_lab.nets.ConvEncoder"
    config["model"]["init_args"]["decoder"] = {"class_path": "a.B", "init_args": {"width": 9}}
    config["trainer"]["callbacks"].append({"class_path": "a.EMA", "init_args": {"decay": 0.9}})
    settings = Comparison(runs).settings
    assert set(settings["encoder"]) == {"ConvEncoder", "MLPEncoder"}
    assert set(settings["width"]) == {"9", ""}
    assert set(settings["decay"]) == {"0.9", ""}


def test_keys_keep_what_tells_them_apart(three):
    runs = find_all(three)
    for run, width in zip(runs, (1, 2, 3), strict=True):
        run.config["model"]["init_args"]["encoder"]["init_args"]["width"] = width
        run.config["model"]["init_args"]["decoder"] = {"width": width}
    assert {"encoder.width", "decoder.width"} <= set(Comparison(runs).settings)


def test_protocols_that_differ_are_shown(three):
    path = three / "vae" / "version_1" / "metrics.json"
    report = json.loads(path.read_text())
    report["protocol"]["test"]["seed"] = 1
    report["protocol"]["val"] = {"seed": 2}  # of another split, and alone in it
    path.write_text(json.dumps(report))
    settings = Comparison(find_all(three)).settings
    assert settings["evaluation.test.seed"] == ["1", "0", "0"]
    assert not [key for key in settings if ".val." in key]


@pytest.mark.parametrize(
    "other",
    [
        {"data": "KMNIST"},
        {"images": 8},
        {"shape": [1, 2, 3]},
        {"binarize": "dynamic"},
        {"split_seed": 1},
        {"quadrants": 3},
    ],
)
def test_no_best_is_named_of_different_images(three, other):
    path = three / "ae" / "version_0" / "metrics.json"
    report = json.loads(path.read_text())
    report["protocol"]["test"] |= other
    path.write_text(json.dumps(report))
    comparison = Comparison(find_all(three))
    columns = {c.key: c for c in comparison.columns}
    assert columns["test/knn_accuracy"].best is None
    assert columns["test/elbo"].best == -98.25  # which the other run does not have
    assert comparison.sorted_by is None  # as all that they share is a loss


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_path", "a.KMNIST"),
        ("binarize", "static"),
        ("pad", 2),
        ("val_size", 9),
        ("split_seed", 1),
        ("quadrants", 3),
    ],
)
def test_no_best_is_named_of_curves_on_different_images(three, key, value):
    make_run(three / "vae" / "version_2", "VAE", {"val/elbo": [-90.0]})
    runs = find_all(three / "vae")
    for run in runs:
        run.config["data"] = {"class_path": "a.MNIST", "init_args": {"pad": 0, "batch_size": 8}}
    runs[0].config["data"]["init_args"]["batch_size"] = 9
    columns = {c.key: c for c in Comparison(runs).columns}
    assert columns["val/elbo (best)"].best == -90
    data = runs[0].config["data"]
    (data if key == "class_path" else data["init_args"])[key] = value
    columns = {c.key: c for c in Comparison(runs).columns}
    assert columns["val/elbo (best)"].best is columns["val/elbo (last)"].best is None


@pytest.mark.parametrize(("source", "best"), [("MNIST", -90), ("ImageFolder", None)])
def test_a_root_tells_folders_of_files_apart_and_nothing_else(three, source, best):
    make_run(three / "vae" / "version_2", "VAE", {"val/elbo": [-90.0]})
    runs = find_all(three / "vae")
    for run, root in zip(runs, ("/cats", "/dogs", "/cats"), strict=False):
        folder = {"folder": "."} if source == "ImageFolder" else {}
        run.config["data"] = {"class_path": f"a.{source}", "init_args": {"root": root, **folder}}
    columns = {c.key: c for c in Comparison(runs).columns}
    assert columns["val/elbo (best)"].best == best


@pytest.mark.parametrize(
    ("other", "best"),
    [({"judge": "b"}, None), ({"samples": 9}, None), ({"seed": 1}, None), ({"every": 5}, 70.0)],
)
def test_curves_of_other_judges_or_samples_have_no_best(tmp_path, other, best):
    for version in range(2):
        make_run(
            tmp_path / "gan" / f"version_{version}",
            "GAN",
            {"val/frechet_distance": [70.0 + version]},
        )
    runs = find_all(tmp_path)
    for run, changed in zip(runs, ({}, other), strict=True):
        given = {"judge": "a", "every": 1, "samples": 8, "seed": 0, **changed}
        run.config["trainer"]["callbacks"].append({"class_path": "a.Likeness", "init_args": given})
    columns = {c.key: c for c in Comparison(runs).columns}
    assert columns["val/frechet_distance (best)"].best == best


def test_what_is_restored_of_unequal_damage_has_no_best(tmp_path):
    for version, level in enumerate((0.1, 0.1, 0.5)):
        corruption = {"class_path": "vae_lab.corruptions.Masking", "init_args": {"level": level}}
        errors = {"restored": 30.5, "corrupted": 40.0 + version, "pca": 20.0 + version}
        scores = {f"test/{name}_squared_error": error for name, error in errors.items()}
        scores["test/restored_squared_error"] += version
        make_run(
            tmp_path / "dae" / f"version_{version}", "Autoencoder",
            {"val/restored_squared_error": [errors["restored"] + version]}, scores,
            corruption=corruption,
        )  # fmt: skip
    runs, keys = find_all(tmp_path), ("test/restored_squared_error",)
    keys += tuple(f"val/restored_squared_error ({when})" for when in ("best", "last"))
    columns = {c.key: c for c in Comparison(runs).columns}
    assert [columns[key].best for key in keys] == [None] * 3
    columns = {c.key: c for c in Comparison(runs[:2]).columns}
    assert [columns[key].best for key in keys] == [30.5] * 3
    assert columns["test/corrupted_squared_error"].best is None
    assert columns["test/pca_squared_error"].best is None


def test_sorted_by_the_first_score_that_all_share(three):
    comparison = Comparison(find_all(three))
    assert comparison.sorted_by == "test/knn_accuracy"
    assert comparison.names == ["vae/version_1", "ae/version_0", "vae/version_0"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("test/elbo", ["vae/version_1", "vae/version_0", "ae/version_0"]),
        ("val/loss (last)", ["ae/version_0", "vae/version_0", "vae/version_1"]),
    ],
)
def test_sorted_by_a_metric_with_the_missing_last(three, sort, order):
    assert Comparison(find_all(three), sort).names == order


def test_a_loss_chooses_only_if_it_is_named(tmp_path, capsys):
    for version, loss in enumerate((9.0, 8.0)):
        make_run(tmp_path / "vae" / f"version_{version}", "VAE", {"val/loss": [loss]}, beta=version)
    assert Comparison(find_all(tmp_path)).names == ["vae/version_0", "vae/version_1"]
    with pytest.raises(LabError, match="No metric but a loss, if any, was measured alike"):
        compare([str(tmp_path)], best=1)
    compare([str(tmp_path)], metric="val/loss", best=1)
    assert [row[0] for row in cells(capsys.readouterr().out)] == ["vae/version_1"]


def test_an_unknown_metric_is_refused_with_the_nearest(three):
    with pytest.raises(LabError, match="'val/elb'; there is val/elbo"):
        compare([str(three)], metric="val/elb")


def test_best_and_last_follow_the_metric(three):
    columns = {c.key: c for c in Comparison(find_all(three), "val/elbo").columns}
    assert columns["val/elbo (best)"].values == (-101.25, -101.25, None)
    assert columns["val/elbo (last)"].values == (-110.5, -110.5, None)
    assert columns["val/loss (best)"].values == (101.25,) * 3
    assert columns["test/elbo"].best == -98.25
    assert columns["val/loss (best)"].best is None


@pytest.mark.parametrize(
    ("key", "way"),
    [
        ("val/elbo", 1), ("test/knn_accuracy", 1), ("test/active_units", 1),
        ("val/loss", -1), ("test/nll", -1), ("test/squared_error", -1), ("test/neg_elbo", -1),
        ("test/bits_per_dim", -1), ("val/kl", 0),
        ("test/restored_squared_error", -1), ("test/corrupted_squared_error", 0),
        ("test/pca_squared_error", 0), ("test/least_label_agreement", 1),
    ],
)  # fmt: skip
def test_direction(key, way):
    assert direction(key) == way


def test_table_has_a_row_a_run_and_empty_cells(three, capsys):
    compare([str(three / "*"), str(three / "vae" / "version_0")])
    rows = cells(capsys.readouterr().out)
    assert [row[0] for row in rows] == ["vae/version_1", "ae/version_0", "vae/version_0"]
    assert rows[0][1:4] == ["VAE", "4.0", "20"]
    assert rows[1][1:4] == ["Autoencoder", "2", "0.9300"]


def test_tables_fit_a_narrow_terminal(three, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    compare([str(three)])
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", s) for s in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 60
    assert sum("ae/version_0" in line for line in lines) > 1
    assert not any("…" in line for line in lines)


def test_a_run_that_has_just_begun(tmp_path, capsys):
    (tmp_path / "vae" / "version_0" / "checkpoints").mkdir(parents=True)
    compare([str(tmp_path / "vae")], html=str(tmp_path / "page.html"))
    assert "vae/version_0" in capsys.readouterr().out
    assert "None yet." in (tmp_path / "page.html").read_text()


def test_nothing_found_is_said(tmp_path):
    for runs in ([str(tmp_path)], [str(tmp_path / "no*")]):
        with pytest.raises(LabError, match=r"holds no run|There is no"):
            compare(runs)


def test_it_does_without_torch():
    code = "import sys, vae_lab.verbs.comparing.compare\n"
    code += "print({'torch', 'lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_bounds_are_drawn_a_panel_a_run_in_the_order_given(three, lab, monkeypatch):
    from vae_lab import pictures

    drawn = {}
    monkeypatch.setattr(
        pictures, "panels", lambda *args: drawn.update(args=args) or torch.zeros(3, 4, 4)
    )
    vaes = [str(three / "vae" / f"version_{k}") for k in (0, 1)]
    assert "curves.png" in lab("compare", *vaes, f"--curves={three}/curves.png")
    runs, name, axis, shared = drawn["args"]
    assert [run.title for run in runs] == ["beta 1.0", "beta 4.0"]  # best first it would be 4, 1
    assert runs[0].curves["validation"] == [(1280, -120.0), (2560, -101.25), (3840, -110.5)]
    assert (name, axis, shared) == ("elbo, nats", "images seen", True)
    lab("compare", *vaes, three / "ae", f"--curves={three}/curves.png")
    # The autoencoder has no bound, and losses are each of its own.
    assert drawn["args"][1::2] == ("loss", False)
    assert drawn["args"][0][2].curves["train"] == [(1280, 9), (2560, 8), (3840, 7)]


def test_a_run_without_curves_has_none_to_draw(tmp_path):
    (tmp_path / "vae" / "version_0" / "checkpoints").mkdir(parents=True)
    with pytest.raises(LabError, match="version_0 has neither an ELBO nor a loss to draw"):
        compare([str(tmp_path / "vae")], curves=str(tmp_path / "curves.png"))


def test_players_of_a_game_are_neither_ranked_nor_drawn_by_their_losses(three):
    for version in range(2):
        losses = {"val/critic_loss": [1.0 + version], "val/generator_loss": [2.0 - version]}
        make_run(three / "gan" / f"version_{version}", "GAN", losses)
    comparison = Comparison(find_all(three / "gan"))
    assert comparison.sorted_by is None
    assert [column.best for column in comparison.columns] == [None, None]
    with pytest.raises(LabError, match="gan/version_0 has neither an ELBO nor a loss to draw"):
        compare([str(three / "vae"), str(three / "gan")], curves=str(three / "curves.png"))
    with pytest.raises(LabError, match="measured alike for all runs; name one by --metric"):
        compare([str(three / "gan")], best=1)
    with pytest.raises(LabError, match="val/critic_loss \\(last\\), which ranks nobody"):
        compare([str(three / "gan")], metric="val/critic_loss", best=1)


def test_the_best_are_kept(three, capsys):
    compare([str(three)], metric="test/knn_accuracy", best=2)
    rows = cells(capsys.readouterr().out)
    assert [row[0] for row in rows] == ["vae/version_1", "ae/version_0"]
    with pytest.raises(LabError, match="--best is at least 1"):
        compare([str(three)], best=0)


def test_patterns_find_runs_at_any_depth_and_only_those(three, capsys):
    (three / "sweep.journal").write_text("a sweep's")
    (three / "vae" / "version_2" / "pictures").mkdir(parents=True)  # no run yet
    for pattern in (f"{three}/**", f"{three}/*", f"{three}/**/config.yaml"):
        compare([pattern])
        rows = cells(capsys.readouterr().out)
        assert [row[0] for row in rows] == ["vae/version_1", "ae/version_0", "vae/version_0"]
    compare([f"{three}/**/version_1"])
    assert [row[0] for row in cells(capsys.readouterr().out)] == ["vae/version_1"]
    with pytest.raises(LabError, match="matches no run"):
        compare([f"{three}/*.journal"])


@pytest.mark.parametrize(
    ("file", "text"),
    [("metrics.csv", "step,a\n1,abc\n"), ("metrics.json", '{"metrics"'), ("config.yaml", "a: [")],
)
def test_a_damaged_run_is_left_out_and_named(three, capsys, file, text):
    (three / "vae/version_0" / file).write_text(text)
    compare([str(three)])
    said = capsys.readouterr()
    assert [line[0] for line in cells(said.out)] == ["vae/version_1", "ae/version_0"]
    assert "vae/version_0 is left out: " in said.err
    assert file in said.err
    with pytest.raises(LabError, match="No run is left"):
        compare([str(three / "vae/version_0")])


def test_settings_that_are_unknown_are_no_difference(three, capsys):
    (three / "ae/version_0/config.yaml").unlink()
    found = [three / "vae/version_0", three / "ae/version_0"]
    compare([str(path) for path in found])
    assert "ae/version_0 does not say its settings" in capsys.readouterr().err
    assert Comparison(find_all(three / "vae/version_0") + find_all(found[1])).settings == {}


def test_a_run_that_is_not_finished_says_so(three, capsys):
    assert "finished" not in Comparison(find_all(three)).settings
    for run, state in (("vae/version_0", False), ("vae/version_1", True)):
        (three / run / "run.json").write_text(json.dumps({"finished": state}))
    comparison = Comparison(find_all(three), metric="test/elbo")
    assert comparison.settings["finished"] == ["yes", "no", ""]
    compare([str(three / "vae/version_0")], html=str(three / "page.html"))
    assert "finished" in capsys.readouterr().out
    assert "finished" in (three / "page.html").read_text()
