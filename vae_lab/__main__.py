"""`python -m vae_lab` is `lab`."""

from vae_lab.cli import main

main()
