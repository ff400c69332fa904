"""MONAI transforms from a cached case to a sample, and from logits back to answers."""
