"""`lab compare --over`: runs that differ by seeds alone, taken together."""

import json
import math

import numpy as np
import pytest
import yaml

from tests.test_compare import make_run
from vae_lab.errors import LabError
from vae_lab.runs import find_all
from vae_lab.verbs.comparing.compare import compare
from vae_lab.verbs.comparing.comparison import Comparison
from vae_lab.verbs.comparing.grouping import Groups, Spread, deviation, plus_minus


@pytest.fixture
def draws(tmp_path):
    """Four draws of labels for each of two weights, one draw without an evaluation."""
    numbers = np.random.default_rng(0).normal(0.1, 0.01, (2, 4)).round(4)
    for weights, errors in zip(("trained", "random"), numbers, strict=True):
        for seed, error in enumerate(errors.tolist()):
            path = tmp_path / "few" / f"version_{weights}_{seed}"
            scores = {"test/error": error} if (weights, seed) != ("random", 3) else None
            make_run(path, "Classifier", {"val/error": [0.5, error]}, scores, weights=weights)
            edit(path / "config.yaml", lambda config, seed=seed: config.update(
                seed_everything=seed, data={"class_path": "a.MNIST", "init_args": {"limit": seed}}
            ))  # fmt: skip
            if scores is not None:
                edit(path / "metrics.json", lambda report, seed=seed: report["protocol"]["test"]
                    .update(limit=seed, checkpoint_sha256=seed))  # fmt: skip
    return tmp_path / "few", numbers


def edit(path, change):
    """Change what a file of YAML or JSON holds."""
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


OVER = ["data.limit", "seed_everything"]


def test_groups_are_of_runs_that_differ_in_nothing_else(draws):
    folder, numbers = draws
    comparison = Comparison(find_all(folder))
    groups = Groups(comparison, OVER)
    means = numbers.mean(1)
    first = int(means.argmin())
    assert groups.settings == {
        "runs": ["4", "4"],
        "weights": [("trained", "random")[i] for i in (first, 1 - first)],
    }
    assert groups.names == ["few", "few"]
    columns = {c.key: c for c in groups.columns}
    column = columns["val/error (last)"]
    assert column.values == pytest.approx(means[[first, 1 - first]])
    assert column.deviations == pytest.approx(numbers.std(1, ddof=1)[[first, 1 - first]])
    assert column.best == column.values[0]
    assert len(Groups(comparison, ["limit"]).names) == 8


def test_trials_are_named_in_the_order_of_their_numbers(tmp_path):
    for trial in (10, 9):
        path = tmp_path / f"trial_{trial}/version_0"
        make_run(path, "VAE", {"val/loss": [1.0]}, None)
        edit(path / "config.yaml", lambda config, k=trial: config.update(seed_everything=k))
    assert Groups(Comparison(find_all(tmp_path)), OVER).names == ["trial_9 + trial_10"]


def test_a_group_says_where_runs_lack_a_number(draws):
    folder, numbers = draws
    groups = Groups(Comparison(find_all(folder)), OVER)
    row = groups.settings["weights"].index("random")
    column = next(c for c in groups.columns if c.key == "test/error")
    assert column.values[row] == pytest.approx(numbers[1, :3].mean())
    assert column.deviations[row] == pytest.approx(numbers[1, :3].std(ddof=1))
    assert column.texts[row].endswith(" (n = 3)")
    assert "(n" not in column.texts[1 - row]


def test_numbers_of_another_protocol_are_not_averaged(draws):
    folder, _ = draws
    path = folder / "version_trained_2" / "metrics.json"
    edit(path, lambda report: report["protocol"]["test"].update(images=5))
    groups = Groups(Comparison(find_all(folder)), OVER)
    assert sorted(groups.settings["runs"]) == ["1", "3", "4"]
    assert set(groups.settings["evaluation.test.images"]) == {"5", "9"}


def test_the_best_are_rows_and_not_the_luckier_runs_of_each(draws, capsys):
    folder, numbers = draws
    for best in (1, 2):
        compare([str(folder)], metric="val/error", over=",".join(OVER), best=best)
        rows = [line for line in capsys.readouterr().out.splitlines() if "few" in line]
        assert [row.split()[1] for row in rows] == ["4"] * best
        assert f"{numbers.mean(1).min():.4f}" in rows[0]


def test_the_best_rows_need_not_have_the_settings_that_others_differ_by(tmp_path, capsys):
    make_run(tmp_path / "a" / "version_0", "Autoencoder", {"val/error": [1.0]})
    for version in (1, 2):
        path = tmp_path / "a" / f"version_{version}"
        make_run(path, "VAE", {"val/error": [2.0]}, beta=version)
    compare([str(tmp_path)], metric="val/error", over="beta", best=1)
    said = capsys.readouterr().out.split()
    assert ("1" in said, "2" in said) == (True, False)


def test_a_mean_has_the_digits_of_its_spread():
    means = (0.01234, 98.7654, 3.0, 2.5, None, 7.0)
    deviations = (0.00042, 1.26, 0.0, None, None, math.nan)
    column = Spread("a", means, 0, True, deviations, (None, 2, None, None, None, None))
    assert column.texts == (
        "0.01234 ± 0.00042", "98.8 ± 1.3 (n = 2)", "3.0000 ± 0.0000", "2.5", "", "7",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "spread", "said"),
    [(1.0, 0.0994, "1.000 ± 0.099"), (1.0, 0.0996, "1.00 ± 0.10"), (20.0, 9.96, "20 ± 10")],
)
def test_a_spread_has_two_digits_also_where_rounding_adds_one(mean, spread, said):
    assert plus_minus(mean, spread) == said


def test_groups_are_printed_and_on_the_page(draws, capsys):
    folder, numbers = draws
    compare([str(folder)], over="limit,seed_everything", html=str(folder / "page.html"))
    out, page = capsys.readouterr().out, (folder / "page.html").read_text()
    mean, deviation = numbers[0].mean(), numbers[0].std(ddof=1)
    digits = int(1 - np.floor(np.log10(deviation)))
    text = f"{mean:.{digits}f} ± {deviation:.{digits}f}"
    assert text in out
    assert f"<td>{text}</td>" in page
    assert "version_trained_0" not in out
    assert "version_trained_0" in page.replace("<wbr>", "")


@pytest.mark.parametrize(
    ("over", "nearest"),
    [("data.limt", "data.limit"), ("limt", "data.limit"), ("sed_everything", "seed_everything")],
)
def test_an_unknown_setting_is_refused_with_the_nearest(draws, over, nearest):
    with pytest.raises(LabError, match=f"No run has a setting '{over}'; did you mean {nearest}?"):
        compare([str(draws[0])], over=f"seed_everything,{over}")


def stack(run, *layers):
    """Let a run's model be a stack of these classes, each with the noise it trains with."""
    run.config["model"]["init_args"]["layers"] = [
        {"class_path": f"a.{name}", "init_args": {"noise": noise}} for name, noise in layers
    ]


@pytest.mark.parametrize(
    ("layers", "differs"),
    [
        ([("A", 0.5), ("A", 0.2)], {"noise": ["0.1", "0.5"]}),
        ([("A", 0.1), ("A", 0.5)], {"noise": ["0.2", "0.5"]}),
        ([("A", 0.5), ("A", 0.5)], {"A[0].noise": ["0.1", "0.5"], "A[1].noise": ["0.2", "0.5"]}),
        ([("A", 0.1), ("B", 0.2)], {"layers": ["A, A", "A, B"], "A.noise": ["", "0.1"]}),
    ],
)
def test_every_layer_of_a_stack_has_its_settings(draws, layers, differs):
    first, second = find_all(draws[0])[:2]
    stack(first, ("A", 0.1), ("A", 0.2))
    stack(second, *layers)
    comparison = Comparison([first, second], metric="val/error (last)")
    row = comparison.runs.index(first)
    found = comparison.settings
    for key, cells in differs.items():
        assert [found[key][row], found[key][1 - row]] == cells
    assert len(Groups(comparison, OVER).names) == 2


def test_the_order_of_layers_tells_runs_apart(draws):
    runs = find_all(draws[0])[:2]
    stack(runs[0], ("A", 0.1), ("B", 0.1))
    stack(runs[1], ("B", 0.1), ("A", 0.1))
    assert len(Groups(Comparison(runs), OVER).names) == 2


def test_the_rounding_of_equal_numbers_is_no_spread():
    assert deviation([0.9485, 0.9485, 0.9485]) == 0
    assert deviation([0.1, 0.1, 0.1]) == 0
    assert deviation([1.0, 1.0 + 1e-9]) > 0


def test_a_run_that_repeats_another_one_is_no_second_draw(tmp_path):
    for version, (seed, error) in enumerate([(0, 0.3), (0, 0.1), (1, 0.2)]):
        path = tmp_path / "twice" / f"version_{version}"
        make_run(path, "Classifier", {"val/error": [0.5, error]})
        edit(path / "config.yaml", lambda config, seed=seed: config.update(seed_everything=seed))
    groups = Groups(Comparison(find_all(tmp_path / "twice")), ["seed_everything"])
    assert groups.settings["runs"] == ["2 (1 repeated)"]
    column = next(c for c in groups.columns if c.key == "val/error (last)")
    assert column.values == pytest.approx([0.15])


@pytest.mark.parametrize(
    ("started", "scored", "stays"),
    [(("2026-02", "2026-01"), (), 0.3), (("", ""), (0,), 0.3)],
)
def test_of_runs_that_repeat_each_other_the_newest_stays_or_one_that_was_evaluated(
    tmp_path, started, scored, stays
):
    for version, (begun, error) in enumerate(zip(started, (0.3, 0.1), strict=True)):
        scores = {"test/error": error} if version in scored else None
        path = tmp_path / "twice" / f"version_{version}"
        make_run(path, "Classifier", {"val/error": [0.5, error]}, scores)
        (path / "run.json").write_text(json.dumps({"started": begun}))
    groups = Groups(Comparison(find_all(tmp_path / "twice")), ["seed_everything"])
    column = next(c for c in groups.columns if c.key == "val/error (last)")
    assert column.values == (stays,)


def test_where_runs_were_evaluated_tells_none_apart(draws):
    folder, _ = draws
    tools = ("checkpoint", "commit", "torch", "device", "threads", "seconds")
    for k, path in enumerate(folder.glob("*/metrics.json")):
        edit(path, lambda report, k=k: report["protocol"]["test"].update(dict.fromkeys(tools, k)))
    assert Groups(Comparison(find_all(folder)), OVER).settings["runs"] == ["4", "4"]


def test_a_run_that_was_stopped_is_not_averaged_with_whole_ones(draws):
    folder, numbers = draws
    for seed in range(4):
        record = json.dumps({"finished": seed != 1})
        (folder / f"version_trained_{seed}" / "run.json").write_text(record)
    groups = Groups(Comparison(find_all(folder)), OVER)
    rows = zip(*(groups.settings[key] for key in ("runs", "weights", "finished")), strict=True)
    assert sorted(rows) == [("1", "trained", "no"), ("3", "trained", "yes"), ("4", "random", "")]
    column = next(c for c in groups.columns if c.key == "val/error (last)")
    whole = groups.settings["runs"].index("3")
    assert column.values[whole] == pytest.approx(numbers[0, [0, 2, 3]].mean())


def test_a_run_that_went_on_from_another_ones_weights_repeats_none(draws):
    folder, _ = draws
    config = folder / "version_trained_1" / "config.yaml"
    edit(config, lambda config: config.update(ckpt_path="runs/other/last.ckpt"))
    groups = Groups(Comparison(find_all(folder)), OVER)
    rows = zip(*(groups.settings[key] for key in ("runs", "weights", "ckpt_path")), strict=True)
    other = ("1", "trained", "runs/other/last.ckpt")
    assert sorted(rows) == [other, ("3", "trained", ""), ("4", "random", "")]
