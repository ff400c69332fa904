"""Write golden_outputs.json anew, after a change that was meant.

`PYTHONPATH=tests/helpers:tests/networks python tests/networks/record_golden.py`
"""

import json

import torch
from network_cases import METHODS, wave
from test_laws import GOLDEN, golden_network

record = {}
for method in METHODS:
    network = golden_network(method)
    with torch.no_grad():
        logits = network(wave(1, 1, 64, 64))
    record[method] = {
        name: [value.double().mean().item(), value.double().std().item()] for name, value in logits.items()
    }
GOLDEN.write_text(json.dumps(record, indent=1) + "\n")
