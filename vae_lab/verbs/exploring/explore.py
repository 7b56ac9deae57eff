"""`lab explore`: a page that decodes codes live, without a server."""

import base64
import gzip
import sys
from contextlib import nullcontext
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from vae_lab.errors import LabError
from vae_lab.files import write_text
from vae_lab.verbs.embedded import script_data
from vae_lab.words import counted

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    from vae_lab.verbs.exploring.onnx_runtime import Runtime
    from vae_lab.verbs.exploring.view import Codes

__all__ = ["answer", "explore", "listening"]

IMAGES = 2000
"""Images whose codes are shown, or say which dimensions matter."""


def explore(
    run: str,
    split: Literal["val", "test"] = "val",
    output: str = "explore",
    serve: bool = False,
    port: int = 0,
) -> None:
    """Write a page that decodes any code in the browser, without a server.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        split: Split of the images whose codes are shown.
        output: Folder to write; its index.html opens by double click and needs no network.
        serve: Serve the folder to browsers of this machine, until Ctrl-C.
        port: Port to serve at; by default any free one.

    Raises:
        LabError: If the model has no codes to choose, `output` is named like a page, or the port
            cannot be used.
    """
    if Path(output).suffix.lower() == ".html":
        raise LabError(f"--output is a folder, in which index.html is the page; got {output!r}.")
    # A port in use is reported before anything is written.
    with listening(Path(output), port) if serve else nullcontext() as server:
        _write(run, split, Path(output))
        print(Path(output) / "index.html")
        if server:
            answer(server)


def _write(run: str, split: Literal["val", "test"], folder: Path) -> None:
    """Write a run's page to a folder."""
    import torch

    from vae_lab import runs
    from vae_lab.verbs.exploring.atlas import atlas
    from vae_lab.verbs.exploring.view import check, view
    from vae_lab.verbs.picture import origin

    model: Any = runs.load_model(run)
    check(model)
    data: Any = runs.load_data(run)
    with torch.inference_mode():
        about = view(model, data, _codes(model, data, split)) | {"origin": origin(run)}
        scripts = _live(model)
        if not scripts:
            about["atlas"] = atlas(model, about["plane"])
    # The page last, so that what it needs exists before it.
    for name, text in scripts.items():
        write_text(folder / name, text)
    write_text(folder / "index.html", _page(about))


def _codes(model: Any, data: Any, split: Literal["val", "test"]) -> "Codes | None":
    """Return the codes of images, or None without an encoder or images."""
    from vae_lab.contracts import Encodes
    from vae_lab.verbs.exploring.view import codes_of

    if not isinstance(model, Encodes):
        return None
    try:
        return codes_of(model, data.images(split, IMAGES), data.label_names, split)
    except LabError as error:
        print(f"The page shows no codes of images: {error}", file=sys.stderr)
        return None


def _live(model: Any) -> dict[str, str]:
    """Return the scripts that decode in the browser; none if the runtime is unavailable."""
    from vae_lab.verbs.exploring.onnx_runtime import runtime
    from vae_lab.verbs.exploring.view import is_plane
    from vae_lab.verbs.export import export_part

    try:
        found = runtime()
    except LabError as error:
        if not is_plane(model):
            raise LabError(
                f"{error} Without it, only two-dimensional codes can be explored; "
                f"this {type(model).__name__} has {counted(model.latent_dim, 'dimension')}."
            ) from error
        print(f"{error} The page shows images decoded beforehand.", file=sys.stderr)
        return {}
    with TemporaryDirectory() as folder:
        file = export_part(model, "decode", "onnx", Path(folder))["file"]
        decoder = (Path(folder) / file).read_bytes()
    return _scripts(decoder, found)


def _scripts(decoder: bytes, runtime: "Runtime") -> dict[str, str]:
    # A page opened from disk may run scripts, but neither read files nor import modules.
    packed = {"script": runtime.script, "wasm": runtime.wasm, "decoder": decoder}
    coded = {name: _base64(gzip.compress(part, mtime=0)) for name, part in packed.items()}
    return {
        "decoder.js": f'const DECODER = "{coded["decoder"]}";\n',
        "runtime.js": f'const SCRIPT = "{coded["script"]}", WASM = "{coded["wasm"]}";\n',
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _page(about: dict[str, Any]) -> str:
    text = files("vae_lab.verbs.exploring").joinpath("page.html").read_text(encoding="utf-8")
    before, _, after = text.partition("<!--data-->")
    return before + script_data(about) + after


def listening(folder: Path, port: int) -> "ThreadingHTTPServer":
    """Open a server for a folder, at a port that only this machine can reach.

    Raises:
        LabError: If the port cannot be used.
    """
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing of each request."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=folder))
    except (OSError, OverflowError) as error:
        raise LabError(f"Port {port} cannot be served at: {str(error).rstrip('.')}.") from error


def answer(server: "ThreadingHTTPServer") -> None:
    """Serve the folder until Ctrl-C."""
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    server.serve_forever()
