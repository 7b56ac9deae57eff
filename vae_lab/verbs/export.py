"""`lab export`: encoder and decoder as programs that run without vae_lab."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from vae_lab.errors import LabError
from vae_lab.files import atomic, write_text

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram


__all__ = ["export", "export_part"]

Format = Literal["onnx", "pt2"]


def export(run: str, format: Format = "onnx", output: str = "exported") -> None:
    """Write encoder and decoder as ONNX, or as programs of torch.export.

    Both take batches of any size. `model.json` describes their inputs and outputs.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        format: `onnx` for any runtime, `pt2` for torch.export.load.
        output: Folder to write to.
    """
    from vae_lab import runs
    from vae_lab.contracts import Decodes, Encodes

    path = runs.checkpoint_of(run)
    model, data = runs.load_model(path), runs.load_data(path)
    able = {"encode": Encodes, "decode": Decodes}
    parts = [name for name, capability in able.items() if isinstance(model, capability)]
    if not parts:
        raise LabError(f"{type(model).__name__} has neither an encoder nor a decoder to export.")
    with _together(Path(output)) as folder:
        described = {name: export_part(model, name, format, folder) for name in parts}
        about = {**_origin(model, data, path), "format": format, "parts": described}
        write_text(folder / "model.json", json.dumps(about, indent=2))
    for file in (*(part["file"] for part in described.values()), "model.json"):
        print(Path(output) / file)


@contextmanager
def _together(folder: Path) -> Iterator[Path]:
    """Write files to a folder only when all exist, so that it never mixes two exports."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(".part", ".", folder) as made:
            yield Path(made)
            for file in Path(made).iterdir():
                file.replace(folder / file.name)
    except OSError as error:
        raise LabError(f"{folder} could not be filled: {error.strerror}.") from error


def export_part(model: Any, name: str, format: Format, folder: Path) -> dict[str, Any]:
    """Write a model's `encode` or `decode` to a folder, and describe it.

    Raises:
        LabError: If a package is missing, or ONNX does not support an operation.
    """
    import torch

    # A batch size of one would be exported as a constant.
    first = torch.rand(2, *model.shape) if name == "encode" else torch.randn(2, model.latent_dim)
    inputs = {"x" if name == "encode" else "z": first, **_condition(model)}
    part = _part(model, name)
    with torch.inference_mode():
        result = part(*inputs.values())
    output = _describe(result, "x" if name == "decode" else "z", model)
    if name == "decode" and not model.bounded:
        del output["range"]
    file = f"{name}r.{format}"
    what = f"the `{name}` of a {type(model).__name__}"
    _write(_trace(part, what, inputs), folder / file, list(inputs))
    return {
        "file": file,
        "inputs": {key: _describe(value, key, model) for key, value in inputs.items()},
        "output": output,
    }


def _part(model: Any, name: str) -> "nn.Module":
    """Return a module whose forward pass is the model's method of that name."""
    from torch import nn

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()

            self.model = model

        def forward(self, first: "Tensor", y: "Tensor | None" = None) -> "Tensor":
            result: Tensor = getattr(self.model, name)(first, y)
            return result

    return Part().eval()


def _condition(model: Any) -> dict[str, "Tensor"]:
    """Return a condition y for two images, if the model takes one."""
    condition = getattr(model, "condition", None)
    return {} if condition is None else {"y": condition.example(2)}


def _trace(part: "nn.Module", name: str, inputs: dict[str, "Tensor"]) -> "ExportedProgram":
    from torch.export import Dim
    from torch.export import export as trace

    shapes = tuple({0: Dim("batch", min=1)} for _ in inputs)
    try:
        return trace(part, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)
    except RuntimeError as error:  # as all errors of torch's tracer are
        reason = str(error).partition("\n")[0]
        raise LabError(
            f"torch.export cannot follow {name} for batches of any size: {reason} In classes of "
            "your own, tell the size by `x.shape[0]`, not by `len(x)`, and choose by torch.where."
        ) from error


def _write(program: "ExportedProgram", path: Path, names: list[str]) -> None:
    import torch

    made = _onnx(program, path.name, names) if path.suffix == ".onnx" else None
    with atomic(path) as file:
        if made is None:
            torch.export.save(program, file)
        else:
            file.write(made)


def _onnx(program: "ExportedProgram", name: str, inputs: list[str]) -> bytes:
    import torch

    if find_spec("onnxscript") is None:
        raise LabError("ONNX needs packages that are not here: pip install -e '.[export]'.")
    try:
        onnx = torch.onnx.export(
            program, input_names=inputs, output_names=["result"], verbose=False
        )
    except torch.onnx.OnnxExporterError as error:
        raise LabError(f"ONNX lacks an operation of {name}; --format pt2 has them all.") from error
    assert onnx is not None  # only where a file was named
    found: bytes = onnx.model_proto.SerializeToString()
    return found


def _describe(tensor: "Tensor", name: str, model: Any) -> dict[str, Any]:
    """Describe an image x, a code z or a condition y."""
    from vae_lab.verbs.code_parts import described

    kind = str(tensor.dtype).removeprefix("torch.")
    shape = ["batch", *tensor.shape[1:]]
    return {
        "type": kind,
        "shape": shape,
        **(described(model) if name == "z" else _range(tensor, model)),
    }


def _range(tensor: "Tensor", model: Any) -> dict[str, list[int]]:
    """Return the range of an image's or a class's values; attributes have none."""
    if tensor.ndim == 4:
        return {"range": [0, 1]}
    return {} if tensor.is_floating_point() else {"range": [0, model.classes - 1]}


def _origin(model: Any, data: Any, path: Path) -> dict[str, Any]:
    from vae_lab import __version__
    from vae_lab.provenance import commit

    return {
        "model": type(model).__name__,
        "latent_dim": getattr(model, "latent_dim", None),
        "prior": _prior(model),
        "checkpoint": str(path),
        "trained_on": _settings(data),
        "labels": list(data.label_names),
        "vae_lab": __version__,
        "commit": commit(),
    }


def _settings(data: Any) -> dict[str, Any]:
    """Return the data's settings, except for their folder on this machine."""
    given = {k: v for k, v in data.hparams.items() if v is not None and k[0] != "_"}
    given.pop("root", None)
    return {"data": type(data).__name__, **given}


def _prior(model: Any) -> str | None:
    """Name the distribution of codes; an InfoGAN's are described one by one instead."""
    from vae_lab.contracts import Conditional, DrawsCodes
    from vae_lab.verbs.code_parts import parts

    if isinstance(model, Conditional) and model.moves_prior:
        return "Moved"  # shifted and scaled by the condition
    if hasattr(model, "prior"):
        return type(model.prior).__name__
    return "StandardNormal" if isinstance(model, DrawsCodes) and not parts(model) else None
