"""Training one bundle at several hospitals, whose data stay where they are, through NVFLARE."""
