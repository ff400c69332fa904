"""Prostate: a clinic's DICOM prepared for training, or synthetic patients."""
