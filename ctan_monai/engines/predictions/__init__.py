"""Predictions as files: NIfTI, PNG, CSV and DICOM."""
