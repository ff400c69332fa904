"""Mixed precision for tests that train a bundle: only where the processor has instructions for it."""

from ctan_monai.engines.runs.versions import describe_processor

# Without them a convolution in bfloat16 takes two to four times as long as in float32 (AVX-512 alone), or a hundred
# times (AVX2 alone), and a suite of half an hour takes one or many. What bfloat16 computes is tested in tests/engines,
# on small networks, on every processor.
AMP = bool({"avx512_bf16", "amx_bf16"} & set(describe_processor()["cpu_features"].split()))
