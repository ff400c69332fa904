"""Writers of predictions: NIfTI, PNG, CSV and DICOM."""
