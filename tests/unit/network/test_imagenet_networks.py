"""Every baseline and every genotype of the zoo as a network for ImageNet, behind both stems; and the auxiliary head on
images of any size.

Legend: N batch, C channels, H, W pixels.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ddarts.genotype import zoo
from ddarts.network.auxiliary import AuxiliaryHead
from ddarts.network.counting import network_cost
from ddarts.network.registry import create_model

NAMES = [entry.name for entry in zoo.entries() if entry.problem is None and entry.alias_of is None]
QUICK = ("baseline_ResNet18", "baseline_ResNet50", "baseline_Xception", "ResNet18_cifar100_threshold_sparse_0.85")
STRIDES = {"imagenet": 4, "darts": 8}
CLASSES, SIDE = 1000, 224


def last_side(model: nn.Module, images: torch.Tensor) -> tuple[int, tuple]:
    """Side of the last cell's output, and what the network returns."""
    sides = []
    handle = model.cells[-1].register_forward_hook(lambda _module, _inputs, output: sides.append(output.shape[-1]))
    found = model(images)
    handle.remove()
    return sides[0], found


def test_all_of_them_are_here():
    assert len(NAMES) == 19 and sum(name.startswith("baseline_") for name in NAMES) == 4


@pytest.mark.parametrize("stem", STRIDES)
@pytest.mark.parametrize("name", NAMES)
def test_small_images_go_through_and_gradients_come_back(name, stem):
    torch.manual_seed(0)
    model = create_model(name, num_classes=7, init_channels=4, auxiliary=True, stem=stem, drop_path_prob=0.2)
    side, (logits, auxiliary) = last_side(model, torch.randn(2, 3, 64, 64))
    stride = STRIDES[stem] << len(model.genotype.reductions)
    assert side == max(1, 64 // stride) and logits.shape == auxiliary.shape == (2, 7)
    (logits.square().sum() + auxiliary.square().sum()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(p.grad.abs().sum() > 0 for p in (model.stem.state0[0].weight, model.auxiliary_head.classifier.weight))
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("stem", STRIDES)
@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_the_published_width_at_224_pixels(name, stem):
    """On the meta device: shapes, parameters and multiply-accumulates without the work."""
    with torch.device("meta"):
        model = create_model(name, num_classes=CLASSES, auxiliary=True, stem=stem)
        assert model.init_channels == 64
        side, (logits, auxiliary) = last_side(model, torch.empty(2, 3, SIDE, SIDE))
        with FlopCounterMode(display=False) as flops:
            model.eval()(torch.empty(1, 3, SIDE, SIDE))
    assert side == -(-SIDE // (STRIDES[stem] << len(model.genotype.reductions)))  # strides round up
    assert logits.shape == auxiliary.shape == (2, CLASSES)
    cost = network_cost(model.genotype, CLASSES, 64, stem=stem, image_size=SIDE)
    assert cost.params_auxiliary == sum(p.numel() for p in model.parameters())
    assert cost.macs == flops.get_total_flops() // 2 < cost.macs_auxiliary
    assert cost.input == (1, 3, SIDE, SIDE)


@pytest.mark.slow
@pytest.mark.parametrize("stem", STRIDES)
@pytest.mark.parametrize("name", NAMES)
def test_real_images_of_224_pixels(name, stem):
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES, init_channels=8, auxiliary=True, stem=stem)
    logits, auxiliary = model(torch.randn(2, 3, SIDE, SIDE))
    (F.cross_entropy(logits, torch.tensor([0, 999])) + F.cross_entropy(auxiliary, torch.tensor([0, 999]))).backward()
    assert logits.isfinite().all() and auxiliary.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["baseline_Xception", "baseline_InceptionV4", "DD-cifar10"])
@pytest.mark.parametrize("side", [8, 9, 15, 33])
@pytest.mark.parametrize("stem", ["cifar", *STRIDES])
def test_images_of_odd_and_tiny_sizes(name, side, stem):
    """Down to cells of a single pixel, which a reduction keeps."""
    model = create_model(name, num_classes=3, init_channels=2, auxiliary=True, stem=stem)
    logits, auxiliary = model(torch.randn(2, 3, side, side))
    (logits.sum() + auxiliary.sum()).backward()
    assert logits.isfinite().all() and auxiliary.isfinite().all()
    assert network_cost(model.genotype, 3, 2, stem=stem, image_size=side).params_auxiliary == sum(
        p.numel() for p in model.parameters()
    )


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("height", range(1, 16))
def test_the_auxiliary_head_takes_any_size(height, stride):
    head = AuxiliaryHead(4, 10, stride)
    for width in (height, height + 1):
        x = torch.randn(2, 4, height, width)
        pooled = F.avg_pool2d(x, 5, stride) if min(height, width) >= 5 else None
        fits = pooled is not None and pooled.shape[2:] == (2, 2)
        assert torch.equal(head.pool(x), pooled if fits else F.adaptive_avg_pool2d(x, 2))
        assert head(x).shape == (2, 10)


@pytest.mark.parametrize("name", [*NAMES, *zoo.aliases()])
def test_a_network_has_the_genotype_s_own_number_of_cells(name):
    with torch.device("meta"):
        model = create_model(name, init_channels=4)
    assert len(model.cells) == zoo.resolve(name).layers == (14 if name == "DD-4" else zoo.resolve(name).layers)
