"""Distributed training, and the wrappers of a network."""

from ctan_monai.aliases import keep_old_names

keep_old_names(__name__)
