"""The weighted sum of a node's candidate outputs."""
