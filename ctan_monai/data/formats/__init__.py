"""Readers and writers of image formats: NIfTI, MetaImage, NRRD, PNG and JPEG."""
