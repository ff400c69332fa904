"""Anybody's data: a table of files and labels becomes cases, whatever the tasks are."""

from ctan_monai.data.datasets.tabular.datalist import is_synthetic, own_datalist
from ctan_monai.data.datasets.tabular.inference import own_inference_list

__all__ = ["is_synthetic", "own_datalist", "own_inference_list"]
