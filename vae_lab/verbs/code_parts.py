"""What the numbers of a model's code are, told to those who give them from outside."""

from typing import Any

from vae_lab.contracts import ReadsCodes, group_size

__all__ = ["described", "parts"]


def parts(model: Any) -> dict[str, slice]:
    """Return where each of an InfoGAN's codes lies; of another model, nothing."""
    return model.places if isinstance(model, ReadsCodes) else {}


def described(model: Any) -> dict[str, Any]:
    """Return how a code is made up, where it is not of real numbers that are all alike."""
    if size := group_size(model):
        return {"probabilities_in_groups_of": size}
    if not parts(model):
        return {}
    noise = {"from": 0, "size": model.noise, "range": [-1, 1]}
    return {"parts": {"noise": noise} | {name: _part(model, name) for name in parts(model)}}


def _part(model: Any, name: str) -> dict[str, Any]:
    """Describe one of an InfoGAN's codes; of a normal one, the range of most of its values."""
    place, limit = parts(model)[name], model.codes[name].extent
    kind = {"one_hot": True} if limit is None else {"range": [-limit, limit]}
    return {"from": place.start, "size": place.stop - place.start, **kind}
