"""Write runs.json.xz: records of runs, names and shapes of their weights, and what the networks answer.

It is made by the code of a commit whose runs must go on working; nobody runs it with later code. Those in the file are
of the last commit before decoders projected their skips, 4b99503: in a checkout of it

`PYTHONPATH=.:THIS_CHECKOUT/tests/helpers python THIS_CHECKOUT/tests/networks/record_runs.py`
"""

import json
import lzma
from pathlib import Path

import torch
from network_cases import TASKS, seeded_state, wave

from ctan_monai.engines.runs.run_record import describe
from ctan_monai.networks import create_network

RUNS = [
    ("ctan", "resnet18", {"full_resolution": True}, {"fusion": "mul", "attention": "channel"}),
    ("mtan", "resnet18", {"full_resolution": True}, {}),
    ("hps", "resnet18", {"full_resolution": True}, {}),
    ("stl", "resnet18", {}, {}),
    ("mtan", "resnet50", {}, {}),
    ("ctan", "resnet50", {"deepest_skip": False}, {}),
]

if __name__ == "__main__":
    entries = []
    for method, encoder, decoders, options in RUNS:
        network = create_network(
            method, TASKS, encoder, decoder_options=decoders, network_options={method: options}
        ).eval()
        shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
        network.load_state_dict(seeded_state(shapes))
        with torch.no_grad():
            logits = network(wave(1, 1, 64, 64))
        answers = {name: [value.double().mean().item(), value.double().std().item()] for name, value in logits.items()}
        entries.append({"record": describe(network), "shapes": shapes, "answers": answers})
    Path(__file__).with_name("runs.json.xz").write_bytes(lzma.compress(json.dumps(entries).encode(), preset=9))
