"""Maximum and average pooling of a state, with the statistics of the batch normalisation behind them."""
