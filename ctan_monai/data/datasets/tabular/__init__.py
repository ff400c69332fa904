"""Tabular datasets: cases from a table of files and labels, for any tasks."""

from ctan_monai.data.datasets.tabular.datalist import is_synthetic, tabular_datalist
from ctan_monai.data.datasets.tabular.inference import tabular_inference_list

__all__ = ["is_synthetic", "tabular_datalist", "tabular_inference_list"]
