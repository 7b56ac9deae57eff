"""Imports point one way: from the front door down to what knows nothing of the house."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import vae_lab

HOUSE = Path(vae_lab.__file__).parent

# A room may use those of lower floors, and of its own floor only itself.
FLOORS = (
    {"errors"},
    {
        "arguments",
        "checkpoints",
        "contracts",
        "described",
        "fetch",
        "files",
        "image_files",
        "locks",
        "outputs",
        "precision",
    }
    | {"process", "provenance", "randomness", "words", "yaml_text"},
    {"adversarial_losses", "codes", "corruptions", "likelihoods", "losses", "nets"},
    {"conditions", "penalties", "posteriors"},
    {"priors"},
    {"data", "metrics", "models", "pictures"},
    {"drawings"},
    {"runs"},
    {"evaluations", "judges"},
    {"callbacks", "loggers", "run_folder"},
    {"compiling", "endings", "going_on", "starting", "summary"},
    {"parsing"},  # it names classes of all rooms, without an import
    {"training"},
    {"verbs"},
    {"cli"},
    {"__main__"},
)
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

# Runs name their data in the checkpoint; a verb that imported data could read no one else's.
USERS_OF_DATA = {"training"}


def modules():
    for path in HOUSE.rglob("*.py"):
        parts = path.relative_to(HOUSE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


NAMES = {name for name, _ in modules()}


def imported(path):
    """Return the files that a file imports, wherever in it, as names without `vae_lab`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            # What is imported from a package may be one of its files, or something in it.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {n if n[8:] in NAMES else node.module for n in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name[8:] for name in found if name.startswith("vae_lab.")}


IMPORTS = {name: imported(path) for name, path in modules() if name}


def room(name):
    return name.partition(".")[0]


def test_every_room_has_its_floor():
    assert {room(name) for name in IMPORTS} == set(HEIGHT)


def test_imports_point_downwards():
    upwards = {
        (name, other)
        for name, others in IMPORTS.items()
        for other in others
        if room(other) != room(name) and HEIGHT[room(other)] >= HEIGHT[room(name)]
    }
    assert upwards == set()


def test_data_are_named_not_imported():
    users = {room(name) for name, others in IMPORTS.items() if "data" in map(room, others)}
    assert users == USERS_OF_DATA | {"data"}


def test_no_file_needs_itself():
    TopologicalSorter(IMPORTS).prepare()  # raises of a circle, and names it


def test_no_class_and_no_file_is_long():
    files = [*HOUSE.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]
    lines = {path: path.read_text(encoding="utf-8") for path in files}
    assert [path for path, text in lines.items() if len(text.splitlines()) > 400] == []
    classes = (n for text in lines.values() for n in ast.walk(ast.parse(text)))
    sizes = {n.name: n.end_lineno - n.lineno + 1 for n in classes if isinstance(n, ast.ClassDef)}
    assert {name: size for name, size in sizes.items() if size > 250} == {}
