"""A clinic's DICOM, prepared for training; synthetic patients stand in for it."""
