"""Write golden_outputs.json anew, after a change that was meant.

`PYTHONPATH=tests/helpers:tests/networks python tests/networks/record_golden.py`
"""

import json

import torch
from network_cases import ENCODERS, METHODS, TASKS, fill_deterministically, wave
from test_laws import GOLDEN

from ctan_monai.networks import create_network

record = {}
for method in METHODS:
    network = create_network(method, TASKS, ENCODERS.get(method), decoder_options={"full_resolution": True}).eval()
    fill_deterministically(network)
    with torch.no_grad():
        logits = network(wave(1, 1, 64, 64))
    record[method] = {
        name: [value.double().mean().item(), value.double().std().item()] for name, value in logits.items()
    }
GOLDEN.write_text(json.dumps(record, indent=1) + "\n")
