"""The auxiliary classifier that trains with the network and is thrown away afterwards."""

from torch import Tensor, nn
from torch.nn import functional as F

_KERNEL = 5
_SIDE = 2


class AuxiliaryHead(nn.Module):
    """ReLU, pooling to 2x2, 1x1 convolution → 128, BN, ReLU, 2x2 convolution → 768, BN, ReLU, linear.

    The pooling is the published one, 5x5 with `stride` (3 after the CIFAR stem, 2 after an ImageNet stem), where that
    gives 2x2; on every other size it is adaptive.
    """

    def __init__(self, channels: int, num_classes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, _SIDE, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def pool(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C, 2, 2]."""
        if all((side - _KERNEL) // self.stride + 1 == _SIDE for side in x.shape[2:]):
            return F.avg_pool2d(x, _KERNEL, self.stride)
        return F.adaptive_avg_pool2d(x, _SIDE)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → logits [N, classes]."""
        return self.classifier(self.layers(self.pool(F.relu(x))).flatten(1))
