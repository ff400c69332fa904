"""Encoder, attention, decoders, and one architecture per file; every network returns `dict[str, Tensor]`."""
