"""The verbs for finished runs: plain functions whose signatures are the command line."""

__all__ = ["VERBS"]

VERBS = {
    "sample": "vae_lab.verbs.draw",
    "neighbours": "vae_lab.verbs.neighbours",
    "transfer": "vae_lab.verbs.draw",
    "complete": "vae_lab.verbs.draw",
    "reconstruct": "vae_lab.verbs.draw",
    "gallery": "vae_lab.verbs.gallery",
    "attribute": "vae_lab.verbs.attribute",
    "denoise": "vae_lab.verbs.draw",
    "filters": "vae_lab.verbs.draw",
    "traverse": "vae_lab.verbs.draw",
    "interpolate": "vae_lab.verbs.draw",
    "manifold": "vae_lab.verbs.draw",
    "scatter": "vae_lab.verbs.scatter",
    "encode": "vae_lab.verbs.encode",
    "invert": "vae_lab.verbs.invert",
    "export": "vae_lab.verbs.export",
    "explore": "vae_lab.verbs.exploring.explore",
    "evaluate": "vae_lab.verbs.evaluating.evaluate",
    "compare": "vae_lab.verbs.comparing.compare",
    "sweep": "vae_lab.verbs.sweeps.sweep",
    "dashboard": "vae_lab.verbs.comparing.dashboard",
    "results": "vae_lab.verbs.results.results",
}
"""The file of each verb's function, by the verb's name; it is imported when it is called."""
