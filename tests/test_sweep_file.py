"""What a sweep's file may say: points, draws, commands as W&B has them, and what is refused."""

import math
import re
import shutil
from datetime import date
from pathlib import Path

import pytest
import yaml
from sweeping import SWEEP, study, written

from vae_lab.errors import LabError
from vae_lab.verbs.sweeps import file as sweep_file
from vae_lab.verbs.sweeps import trials
from vae_lab.verbs.sweeps.space import distribution
from vae_lab.verbs.sweeps.study import sampler
from vae_lab.verbs.sweeps.sweep import sweep

pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

FILES = sorted((Path(__file__).parents[1] / "experiments/sweeps").glob("*.yaml"))


@pytest.fixture
def write(here, monkeypatch):
    """Write a sweep's file, without waiting long for its trainings, and return its path."""
    monkeypatch.setattr(trials, "POLL", 0.05)
    return written


def test_a_grid_steps_by_q(write):
    steps = {"distribution": "q_uniform", "min": -4, "max": 4, "q": 4}
    given = sweep_file.read(write(parameters={"x": steps}))
    assert str(given.points) == "[{'x': -4}, {'x': 0}, {'x': 4}]"


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_random_and_bayes_draw_from_every_distribution(write, method):
    parameters = {
        "x": {"min": 1.0, "max": 5.0},
        "size": {"min": 0, "max": 5},
        "q": {"distribution": "q_uniform", "min": 5, "max": 10, "q": 5},
        "step": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.5},
        "rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
        "old": {"distribution": "log_uniform", "min": -3, "max": 0},
        "layers": {"values": [[4, 4], [8]]},
        "epochs": {"value": 2},
    }
    sweep(write(method=method, parameters=parameters, run_cap=5), workers=2)
    found = [trial.params for trial in study().trials]
    assert len({p["x"] for p in found}) == 5
    for p in found:
        assert 1 <= p["x"] <= 5
        assert p["size"] in range(6)
        assert str(p["q"]) in ("5", "10")  # which an option of type int can read
        assert p["step"] in (0.0, 0.5, 1.0)
        assert 1e-4 <= p["rate"] <= 1
        assert 0.0497 < p["old"] <= 1
        assert p["layers"] in ("[4, 4]", "[8]")
        assert "epochs" not in p


@pytest.mark.parametrize(
    ("kind", "low"), [("log_uniform_values", 1e-4), ("log_uniform", math.log(1e-4))]
)
def test_each_order_of_magnitude_is_drawn_as_often(kind, low):
    import optuna

    given = {"distribution": kind, "min": low, "max": 1.0 if low > 0 else 0.0}
    space = {"x": distribution("x", given)}
    study = optuna.create_study(sampler=sampler("random", 0))
    drawn = [study.ask(space).params["x"] for _ in range(100)]
    assert 30 < sum(x < 0.01 for x in drawn) < 70


def test_bayes_draws_where_earlier_trials_were_good():
    import optuna

    study = optuna.create_study()
    for begun in range(40):
        study.sampler = sampler("bayes", begun)
        trial = study.ask()
        study.tell(trial, (trial.suggest_float("x", 0, 100) - 30) ** 2)
    assert sum(abs(trial.params["x"] - 30) < 10 for trial in study.trials[10:]) > 12  # of 30


def test_every_file_that_the_command_names_is_known(write):
    for name in ("a.yaml", "b=4.yaml"):  # whose equals sign is its own
        Path(name).write_text("{}")
    given = sweep_file.read(write(command=["--config=a.yaml", "--config", "b=4.yaml"]))
    assert list(given.configs) == ["a.yaml", "b=4.yaml"]


def test_a_value_is_written_as_a_command_line_takes_it(write):
    chosen = {"a": [None, "None", True, 1e-5, [None, "x"], date(2026, 1, 2)], 3: [4]}
    given = sweep_file.read(write(parameters={k: {"values": v} for k, v in chosen.items()}))
    written = [given.words(point)[-2:] for point in given.points]
    words = ["null", "None", "True", "1e-05", '[null, "x"]', '"2026-01-02"']
    assert written == [[f"--a={word}", "--3=4"] for word in words]


def test_the_same_sweep_draws_the_same(write):
    space = {"x": {"min": 0.0, "max": 1.0}}
    found = []
    for _ in range(2):
        sweep(write(method="random", parameters=space), trials=2)
        found.append([trial.params for trial in study().trials])
        shutil.rmtree("runs")
    assert found[0] == found[1]


def early(**keys):
    return {"early_terminate": {"type": "hyperband", **keys}}


def drawn(distribution, low, high, **keys):
    x = {"distribution": distribution, "min": low, "max": high, **keys}
    return {"method": "random", "run_cap": 2, "parameters": {"x": x}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": None}, "no parameters, so there is nothing"),
        ({"parameters": {}}, "no parameters, so there is nothing"),
        ({"parameters": {"x": {"min": 0}}}, "x needs a value, values, or a min and a max"),
        ({"parameters": {"x": {"values": []}}}, "x needs a value"),
        ({"parameters": {"x": {"parameters": {"y": {"value": 1}}}}}, "x needs a value"),
        ({"parameters": {"x": {"min": 0, "max": 1, "distribution": "normal"}}}, "not 'normal'"),
        ({"parameters": {"x": {"mu": 0, "distribution": "normal"}}}, "not 'normal'"),
        ({"parameters": {"x": {"min": "1e-5", "max": 1}}}, r"x's min is the text '1e-5'.* 1\.0e-5"),
        ({"parameters": {"x": {"values": [1], "probabilities": [1]}}}, "only W&B itself"),
        ({"parameters": {"x": {"min": 2, "max": 1}}}, "x: "),
        ({"parameters": {"x": {"min": 0.0, "max": 1.0}}}, "A grid needs values; x has a min"),
        ({"method": "gird"}, "method is one of grid, random, bayes, not 'gird'"),
        ({"method": "random"}, "add --trials or a run_cap"),
        ({"metric": None}, "names no metric"),
        ({"metric": {"name": "val/loss", "goal": "most"}}, "goal is one of minimize"),
        ({"metric": {"name": "val/los"}}, r"wrote no 'val/los'; there is val/loss\."),
        ({"command": None}, "has no command"),
        ({"command": ["${args_json}"]}, r"the command holds \$\{args_json\}"),
        ({"command": ["nowhere-to-be-found"]}, "nowhere-to-be-found cannot be run"),
        ({"run_cap": 0}, "run_cap is a whole number, at least 1, not 0"),
        ({"run_cap": "two"}, "run_cap is a whole number, at least 1, not 'two'"),
        ({"early_terminate": "hyperband"}, "early_terminate needs type: hyperband"),
        ({"early_terminate": {"type": "median"}}, "early_terminate needs type: hyperband"),
        (early(min_iter="foo"), "min_iter is a whole number, at least 1, not 'foo'"),
        (early(min_iter=True), "min_iter is a whole number, at least 1, not True"),
        (early(min_iter=1, eta=1.5), "eta is a whole number, at least 2, not 1.5"),
        (early(), "min_iter is a whole number, at least 1, not None"),
        (early(max_iter=27, s=2), "has max_iter, s, .* say min_iter and eta instead"),
        (drawn("log_uniform", 0, 1000), "x: min or max is too large for log_uniform; .* expon"),
        (drawn("uniform", 0, 10**400), "max is too large for uniform"),
        (drawn("uniform", 0, True), "x needs a value"),
        (drawn("int_uniform", 1.5, 4), "x: int_uniform needs a whole min and max"),
        (drawn("constant", 1, 4), "x has min, which means nothing to constant"),
        (drawn("uniform", 1, 4, q=2), "x has q, which means nothing to uniform"),
        ({"parameters": {"x": {"value": 1, "min": 0, "max": 2}}}, "x has min, which means noth"),
        (drawn("q_uniform", 0, 4, q="foo"), "x: q is a number above 0, not 'foo'"),
        (drawn("q_uniform", 0, 4, q=0), "x: q is a number above 0, not 0"),
        (drawn("q_uniform", 1, 6, q=2), "x: q_uniform draws multiples of q: .* multiples of 2"),
        ({"parameters": {"x": {"min": 1, "max": 10**7}}}, "more than 1000 points; choose method"),
        ({"parameters": {c: {"min": 1, "max": 11} for c in "xyz"}}, "more than 1000 points"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(write, changes, message):
    with pytest.raises(LabError, match=message) as error:
        sweep(write(**changes))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_name_that_stands_twice_is_refused(here):
    (here / "s.yaml").write_text("method: grid\nmethod: random\n")
    with pytest.raises(LabError, match="method stands there twice, again in line 2"):
        sweep_file.read(Path("s.yaml"))


@pytest.mark.parametrize("name", ["a$HOME", "${HOME}", "~"])
def test_a_name_that_its_trials_would_read_as_another_is_refused(write, name):
    path = Path(write()).rename(f"{name}.yaml")
    with pytest.raises(LabError, match=f"and '{re.escape(name)}' is none; rename it"):
        sweep(str(path), trials=1)
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_command_is_what_wandb_would_run(write):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    given = sweep_file.read(
        write(parameters={"a.b": {"values": [[4, 2], 1e-5]}, "c": {"value": False}})
    )
    chosen = {"args": {"a.b": {"value": [4, 2]}, "c": {"value": False}}}
    macros = {"${env}": ["/usr/bin/env"], "${program}": ["trainer.py"]}
    macros["${args}"] = create_sweep_command_args(chosen)["args"]
    theirs = [
        w for word in create_sweep_command(SWEEP["command"]) for w in macros.get(word, [word])
    ]
    assert given.words({"a.b": "[4, 2]"}) == theirs


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_files_first_command_is_what_wandb_would_run(path):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep, given = sweep_file.read(path), yaml.safe_load(path.read_text())
    first = sweep.points[0]
    chosen = {"args": {name: {"value": p["values"][0]} for name, p in given["parameters"].items()}}
    macros = {"${env}": ["/usr/bin/env"], "${program}": [given["program"]]}
    macros["${args}"] = create_sweep_command_args(chosen)["args"]
    command = create_sweep_command(given["command"])
    assert sweep.words(first) == [w for word in command for w in macros.get(word, [word])]


def test_what_is_nested_too_deep_is_refused(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("[" * 2000)
    with pytest.raises(LabError, match=r"s\.yaml is not YAML"):
        sweep_file.read(path)
