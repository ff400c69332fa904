"""Cases, lists of them, formats and data sets; nothing here knows about networks."""

from __future__ import annotations

from ctan_monai.lazy_names import lazy_names

# public name -> module; imported when first used. Configs name these as ctan_monai.data.<name>; a name must not be that
# of a module which aliases.py still finds here, as ham10000_datalist is
_PUBLIC = {
    "Case": "cases.case",
    "PhantomGrid": "phantom",
    "SeededDataset": "lists.dataset",
    "busi_datalist": "datasets.busi.datalist",
    "busi_inference_list": "datasets.busi.datalist",
    "check_cases": "lists.dataset",
    "check_leakage": "lists.leakage",
    "chest_inference_list": "datasets.stoic.datalist",
    "class_weights": "lists.balance",
    "dicom_datalist": "datasets.prostate.datalist",
    "dicom_inference_list": "datasets.prostate.inference",
    "find_bundle_root": "..files.bundle_root",
    "mr_ct_datalist": "datasets.mr_ct.datalist",
    "mr_ct_record": "datasets.mr_ct.datalist",
    "mr_inference_list": "datasets.mr_ct.datalist",
    "openkbp_datalist": "datasets.openkbp.datalist",
    "openkbp_inference_list": "datasets.openkbp.datalist",
    "tabular_datalist": "datasets.tabular",
    "tabular_inference_list": "datasets.tabular",
    "image_inference_list": "datasets.ham10000.datalist",
    "prepared_folder": "datasets.prostate.source_folder",
    "read_case_file": "cases.cache",
    "stoic_record": "datasets.stoic.datalist",
}

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
