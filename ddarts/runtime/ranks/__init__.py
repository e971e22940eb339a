"""Several processes as one run: who they are, how they agree, and who steps the weights."""
