"""The parts of a model's code, for programs that supply codes."""

from typing import Any

from vae_lab.contracts import ReadsCodes, group_size

__all__ = ["described", "noise_size", "parts"]


def parts(model: Any) -> dict[str, slice]:
    """Return the dimensions of each of an InfoGAN's codes; empty for other models."""
    return model.places if isinstance(model, ReadsCodes) else {}


def noise_size(model: Any) -> int | None:
    """Return the size of an InfoGAN's noise, which begins its code; None for other models."""
    return min((place.start for place in parts(model).values()), default=None)


def described(model: Any) -> dict[str, Any]:
    """Describe a code's one-hot groups or parts; empty if it has none."""
    if size := group_size(model):
        return {"probabilities_in_groups_of": size}
    if not parts(model):
        return {}
    noise = {"from": 0, "size": noise_size(model), "range": [-1, 1]}
    return {"parts": {"noise": noise} | {name: _part(model, name) for name in parts(model)}}


def _part(model: Any, name: str) -> dict[str, Any]:
    """Describe one of an InfoGAN's codes; for a normal one, the range of most values."""
    place, limit = parts(model)[name], model.codes[name].extent
    kind = {"one_hot": True} if limit is None else {"range": [-limit, limit]}
    return {"from": place.start, "size": place.stop - place.start, **kind}
