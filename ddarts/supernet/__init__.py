"""The search network: every operation on every edge, weighted by σ(α)."""
