"""What ``ctan-monai compare`` runs: the plan, the processes, and what they found."""
