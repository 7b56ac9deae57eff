"""torch.compile of a model's networks."""

from lightning import LightningModule

from vae_lab.adversarial_losses import CriticPenalty
from vae_lab.errors import LabError
from vae_lab.nets import Decoder, Encoder, TiedDecoder
from vae_lab.penalties import Penalty

__all__ = ["compile_networks"]


def compile_networks(model: LightningModule) -> None:
    """Compile each network in its place, so that checkpoints are the same with and without.

    Raises:
        LabError: If a network is differentiated twice.
    """
    from torch._functorch import config

    for part in (model, *getattr(model, "layers", ())):  # those of a stack are models too
        penalty = getattr(part, "penalty", None)
        if isinstance(penalty, Penalty | CriticPenalty) and penalty.differentiates_twice(part):
            raise LabError(
                f"{type(penalty).__name__} is differentiated twice, which --compile cannot "
                "follow: leave out either."
            )
    # A VAE/GAN goes back through one graph twice, whose memory may not be given away before.
    config.donated_buffer = False
    for net in model.modules():
        if isinstance(net, Encoder | Decoder | TiedDecoder):
            net.compile()
