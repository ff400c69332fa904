"""Cases, lists of them, formats and data sets; nothing here knows about networks."""

from __future__ import annotations

from ctan_monai.lazy_names import by_name, lazy_names

# module: public names; imported when first used. Configs name these as ctan_monai.data.<name>; a name must not be
# that of a module which aliases.py still finds here, as ham10000_datalist is
_PUBLIC = by_name(
    """
    ..files.bundle_root: find_bundle_root
    cases.cache: read_case_file
    cases.case: Case
    datasets.busi.datalist: busi_datalist busi_inference_list
    datasets.dicom_rt.datalist: dicom_datalist
    datasets.dicom_rt.inference: dicom_inference_list
    datasets.dicom_rt.source_folder: prepared_folder
    datasets.ham10000.datalist: image_inference_list
    datasets.mr_ct.datalist: mr_ct_datalist mr_ct_record mr_inference_list
    datasets.openkbp.datalist: openkbp_datalist openkbp_inference_list
    datasets.stoic.datalist: chest_inference_list stoic_record
    datasets.tabular: tabular_datalist tabular_inference_list
    lists.balance: class_weights
    lists.dataset: check_cases SeededDataset
    lists.leakage: check_leakage
    phantom: PhantomGrid
    """
)

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
