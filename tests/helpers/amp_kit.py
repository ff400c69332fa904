"""Mixed precision for tests that train a bundle: only where the processor has kernels for it."""

import torch

# Where oneDNN has no bfloat16 kernels (AVX2 alone), a convolution in bfloat16 takes a hundred times as long as in
# float32, and a test of a minute takes hours. What bfloat16 computes is tested in tests/engines, on small networks.
AMP = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
