"""Initial parameters, drawn from a given generator and never from the global one."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def xavier(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    """(rows, columns), Xavier uniform (Glorot 2010), as usual for tables and projections.

    Drawn on the CPU, so that a seed gives the same values for every device.
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


def tables(
    modalities: Iterable[str], rows: int, dim: int, generator: torch.Generator
) -> nn.ParameterDict:
    """A (rows, dim) table for each modality."""
    return nn.ParameterDict({m: xavier(rows, dim, generator) for m in modalities})


def projections(
    features: Mapping[str, Tensor], dim: int, generator: torch.Generator
) -> nn.ModuleDict:
    """W_m x + b_m of the (I, d_m) features of each modality, by name, to (I, dim)."""
    widths = {m: x.shape[1] for m, x in sorted(features.items())}
    return nn.ModuleDict({m: linear(width, dim, generator) for m, width in widths.items()})
