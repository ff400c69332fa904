"""Mixed precision for tests that train a bundle: only where the processor has instructions for it."""

from ctan_monai.engines.runs.versions import lacks_bf16

# Without them a suite of half an hour takes one or many. What bfloat16 computes is tested in tests/engines, on small
# networks, on every processor.
AMP = not lacks_bf16()
