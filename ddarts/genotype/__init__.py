"""Genotypes: what an architecture is, how it is read, written, parsed from α and deepened. No torch in here."""
