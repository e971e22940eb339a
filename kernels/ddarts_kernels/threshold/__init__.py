"""Which operations of a stack of cells pass the thresholding of their mixing weights."""
