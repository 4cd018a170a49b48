"""Parameters drawn from a generator of their own, never from the global one."""

import torch
from torch import nn


def xavier(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    """(rows, columns), Xavier uniform (Glorot 2010): the field's start for tables and projections.

    Drawn on the CPU, so that a seed means the same start on every device.
    """
    values = torch.empty(rows, columns)
    return nn.Parameter(nn.init.xavier_uniform_(values, generator=generator))


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A layer with Xavier normal weights and no bias to start with."""
    # On the meta device the layer's own initialisation draws nothing from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    nn.init.xavier_normal_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
