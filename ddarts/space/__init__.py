"""The search space: which operations exist, how a cell is wired, what each operation is made of."""
