"""Multi-task learning for medical images on MONAI.

Declare the tasks in a bundle's YAML, choose an architecture, train, compare, and get clinical files back.
"""

from ctan_monai import aliases

__version__ = "0.1.0"

aliases.install()
