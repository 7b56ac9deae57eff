"""What the numbers of a model's code are, told to those who give them from outside."""

from typing import Any

from vae_lab.contracts import Clusters, Encodes

__all__ = ["described", "group", "parts"]


def group(model: Any) -> int | None:
    """Return the size of one-hot groups that codes are made of, None if they are real numbers."""
    whole: int = model.latent_dim
    if isinstance(model, Clusters) and isinstance(model, Encodes):
        return whole
    size: int | None = getattr(getattr(model, "prior", None), "classes", None)
    return size


def parts(model: Any) -> dict[str, slice]:
    """Return where each of an InfoGAN's codes lies; of another model, nothing."""
    found: dict[str, slice] = getattr(model, "places", {})
    return found


def described(model: Any) -> dict[str, Any]:
    """Return how a code is made up, where it is not of real numbers that are all alike."""
    if size := group(model):
        return {"probabilities_in_groups_of": size}
    if not parts(model):
        return {}
    noise = {"from": 0, "size": model.noise, "range": [-1, 1]}
    return {"parts": {"noise": noise} | {name: _part(model, name) for name in parts(model)}}


def _part(model: Any, name: str) -> dict[str, Any]:
    """Describe one of an InfoGAN's codes; of a normal one, the range of most of its values."""
    place, limit = parts(model)[name], model.codes[name].trained
    kind = {"one_hot": True} if limit is None else {"range": [-limit, limit]}
    return {"from": place.start, "size": place.stop - place.start, **kind}
