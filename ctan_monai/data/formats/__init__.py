"""Image files of others: NIfTI, MetaImage, PNG and JPEG."""
