"""Fold batch normalisation into the convolution before it, which saves a pass over every map."""

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module, images: Tensor) -> None:
    """Multiply the batch normalisations of a network in evaluation mode into its convolutions.

    gamma (W x - mean) / sigma + beta is itself a convolution. Other modules keep their place and
    name; the normalisation becomes an identity. It is folded only if its input is the whole output
    of a convolution that nothing else uses, and if it has no hooks.

    ResNet-50 in bf16 spends a sixth of its time on normalisation.

    Args:
        network: changed in place; unchanged under `torch.inference_mode`.
        images: any that it takes.
    """
    modules = dict(network.named_modules())
    if not any(isinstance(module, _BatchNorm) for module in modules.values()):
        return
    for convolution, normalisation in _pairs(network, modules, images):
        fused = fuse_conv_bn_eval(modules[convolution], modules[normalisation])
        network.set_submodule(convolution, fused)
        network.set_submodule(normalisation, nn.Identity())


def _pairs(
    network: nn.Module, modules: dict[str, nn.Module], images: Tensor
) -> list[tuple[str, str]]:
    """Names of convolutions and the normalisations that can be multiplied into them.

    They are read from the graph of a backward pass, which belongs to this thread. torch.fx, the
    usual tool, patches `nn.Module` for all threads while it traces, so forward passes of other
    stages would fail.
    """
    made: dict[Node, str] = {}  # convolutions by their output's node in the graph
    taken: list[tuple[str, Node]] = []
    calls: Counter[str] = Counter()

    def gives(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        calls[name] += 1
        if output.grad_fn:
            made[output.grad_fn] = name

    def takes(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[name] += 1
        if inputs[0].grad_fn:
            taken.append((name, inputs[0].grad_fn))

    with ExitStack() as stack:
        for name, module in modules.items():
            if isinstance(module, nn.Conv2d):
                stack.callback(module.register_forward_hook(partial(gives, name)).remove)
            elif isinstance(module, _BatchNorm) and not module._forward_hooks:
                stack.callback(module.register_forward_pre_hook(partial(takes, name)).remove)
        with torch.enable_grad():
            users = _users(network(images).grad_fn)
    return [
        (made[source], name)
        for name, source in taken
        if source in made and users[source] == calls[name] == calls[made[source]] == 1
    ]


def _users(end: Node | None) -> Counter[Node | None]:
    """The number of uses of each node of a graph by other nodes."""
    found: Counter[Node | None] = Counter([end])
    todo = [end]
    while todo:
        node = todo.pop()
        for source, _ in node.next_functions if node else ():
            if source not in found:
                todo.append(source)
            found[source] += 1
    return found
