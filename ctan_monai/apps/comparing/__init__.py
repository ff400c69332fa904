"""The parts of ``ctan-monai compare``: plan, processes, results."""
