"""Federated training of one bundle at several hospitals, through NVFLARE."""
