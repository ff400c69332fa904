"""Lists of cases: splits, groups, balance, leakage, checks, and the dataset that loads them."""
