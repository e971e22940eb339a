"""ReLU and 1x1 convolutions of a state: the preprocessing of a cell's inputs, and strided skip connections."""
