"""Named adversarial networks, grouped by idea."""

from exnihilo.models.gans.zoo.foundations import dcgan, gan

__all__ = ["dcgan", "gan"]
