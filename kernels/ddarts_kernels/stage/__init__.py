"""A depthwise-separable stage of many edges at once: (BN,) ReLU, depthwise and pointwise convolution, statistics."""
