"""Derived networks: a genotype as a torch module, by name, with weights of one's own or published ones."""
