"""Batch normalisation as part of the convolution before it: a pass over every map saved."""

from collections import Counter

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module) -> None:
    """Multiply the batch normalisations of a network in evaluation mode into its convolutions.

    gamma (W x - mean) / sigma + beta is itself a convolution. Every other module keeps its place
    and its name; an identity stands where a normalisation was. Only one that gets all that a
    convolution gives, and is the only one to get it, is folded.

    ResNet-50 in bf16 spends a sixth of its time on normalisation.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return
    graph = fx.symbolic_trace(network).graph
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses = Counter(node.target for node in calls)
    modules = dict(network.named_modules())
    for node in calls:
        before, normalisation = node.args[0], modules[node.target]
        if (
            isinstance(normalisation, _BatchNorm)
            and isinstance(before, fx.Node)
            and before.op == "call_module"
            and isinstance(convolution := modules[str(before.target)], nn.Conv2d)
            and len(before.users) == uses[before.target] == uses[node.target] == 1
        ):
            with torch.no_grad():
                network.set_submodule(
                    str(before.target), fuse_conv_bn_eval(convolution, normalisation)
                )
            network.set_submodule(node.target, nn.Identity())
