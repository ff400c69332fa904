"""Counts of what makes a host wait for its device, on a CPU, where nothing waits."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique_dim", "_unique2"}


class Waits(TorchDispatchMode):
    """Count the operations that need a number from the device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in READS or (name == "index" and any(_mask(entry) for entry in args[1])):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Copies(TorchDispatchMode):
    """Note what lies on another device than all that it was made of; a GPU waits for such copies of ordinary memory."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        places = {entry.device for entry in args if isinstance(entry, torch.Tensor)}
        if isinstance(made, torch.Tensor) and places and made.device not in places:
            self.found.append(func.overloadpacket.__name__)
        return made


def _mask(entry):
    return entry is not None and entry.dtype in (torch.bool, torch.uint8)


def count_transfers(monkeypatch, waits):
    """Let `Waits` count each tensor that is read as a whole, which on a CPU is no operation, as one transfer."""
    for name in ("tolist", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def read(tensor, *args, _original=original, _name=name, **kwargs):
            if waits in torch.utils._python_dispatch._get_current_dispatch_mode_stack():
                waits.found.append(_name)
            return _original(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, read)
