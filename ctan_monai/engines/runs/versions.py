"""What a run was made with."""

from __future__ import annotations

import platform

import monai
import numpy as np
import torch

import ctan_monai
from ctan_monai.engines.runs.processor import describe_processor
from ctan_monai.engines.runs.source_state import source_state


def versions() -> dict[str, str]:
    """Return versions and kind of machine, without anything that names the machine or its user."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "ctan_monai": ctan_monai.__version__,
        "git": source_state(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "monai": str(monai.__version__),
        "numpy": str(np.__version__),
        "cuda": str(torch.version.cuda),
        "gpu": gpu,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        **describe_processor(),
    }
