"""Named adversarial networks, grouped by idea."""

from exnihilo.models.gans.zoo.anomalies import anogan
from exnihilo.models.gans.zoo.autoencoding import began, ebgan
from exnihilo.models.gans.zoo.classes import amgan, catgan, improved_gan
from exnihilo.models.gans.zoo.conditional import acgan, cgan, infogan
from exnihilo.models.gans.zoo.divergences import bgan, bregman_gan, fgan
from exnihilo.models.gans.zoo.encoders import aegan, ali, alpha_gan, cvae_gan, ian, vaegan
from exnihilo.models.gans.zoo.ensembles import adagan, bayesian_gan
from exnihilo.models.gans.zoo.foundations import dcgan, gan
from exnihilo.models.gans.zoo.objectives import geometric_gan, lsgan, ragan, sngan, wgan, wgan_gp
from exnihilo.models.gans.zoo.structures import cogan, gogan, lapgan

__all__ = [
    "acgan", "adagan", "aegan", "ali", "alpha_gan", "amgan", "anogan", "bayesian_gan", "began", "bgan",
    "bregman_gan", "catgan", "cgan", "cogan", "cvae_gan", "dcgan", "ebgan", "fgan", "gan", "geometric_gan", "gogan",
    "ian", "improved_gan", "infogan", "lapgan", "lsgan", "ragan", "sngan", "vaegan", "wgan", "wgan_gp",
]  # fmt: skip
