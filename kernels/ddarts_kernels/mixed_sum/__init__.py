"""The weighted sum of a node's candidate outputs, with the batch normalisation that each of them ends in."""
