"""Read plain values from YAML, and refuse duplicate keys."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError

if TYPE_CHECKING:
    import yaml

__all__ = ["check_names", "load_yaml", "read_yaml"]


def read_yaml(path: Path) -> object:
    """Read a YAML file; an OSError is left to the caller.

    Raises:
        LabError: If it is not YAML, or a key appears twice.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        check_names(text)
        return load_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise LabError(f"{path} is not YAML{f', line {mark.line + 1}' if mark else ''}.") from error


def load_yaml(text: str) -> Any:
    """Load plain values from YAML."""
    import yaml

    return yaml.load(text, _yaml_loader())


def _yaml_loader() -> Any:
    """Return libyaml's loader if PyYAML has it, which is ten times as fast."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_names(text: str) -> None:
    """Refuse a key that appears twice; PyYAML would silently use the last value.

    Raises:
        LabError: If there is one.
    """
    import yaml

    with suppress(yaml.YAMLError, RecursionError):  # reported when the text is loaded
        for mapping in _mappings(yaml.compose(text, _yaml_loader())):
            seen = []
            for name, _ in mapping.value:
                if name.value in seen:
                    line = name.start_mark.line + 1
                    raise LabError(f"{name.value} stands there twice, again in line {line}.")
                seen.append(name.value)


def _mappings(node: "yaml.Node | None") -> Iterator["yaml.MappingNode"]:
    import yaml

    inner = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        yield node
        inner = [value for _, value in node.value]
    for part in inner:
        yield from _mappings(part)
