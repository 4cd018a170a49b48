"""Initial parameters, drawn from a given generator and never from the global one.

A worker that trains only some columns draws all of them and keeps its own. So a seed gives the same
model, however many workers there are.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from brmrs.models.columns import WHOLE, Columns, divided

BLOCK = 2**20  # numbers drawn at once; bounds memory, not the result


def xavier(
    rows: int, columns: int, generator: torch.Generator, of: Columns = WHOLE
) -> nn.Parameter:
    """(rows, columns), Xavier uniform (Glorot 2010), as usual for tables and projections.

    Drawn on the CPU, so that a seed gives the same values for every device.

    Args:
        rows: of the table.
        columns: of the table.
        generator: on the CPU.
        of: the columns that this process keeps.
    """
    bound = math.sqrt(3) * math.sqrt(2 / (rows + columns))
    values = torch.empty(rows, of.width(columns))
    for block in torch.split(values, max(1, BLOCK // columns)):
        drawn = torch.empty(len(block), columns).uniform_(-bound, bound, generator=generator)
        block.copy_(of.part(drawn))
    return divided(values, -1, of)


def linear(inputs: int, outputs: int, generator: torch.Generator, of: Columns = WHOLE) -> nn.Linear:
    """A layer with Xavier normal weights and no bias to start with.

    Args:
        inputs: length of a row.
        outputs: length of its image.
        generator: on the CPU.
        of: the outputs that this process keeps.
    """
    # On the meta device the layer's own initialisation draws nothing from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    nn.init.xavier_normal_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    if of.workers > 1:
        layer.weight = divided(of.part(layer.weight.detach().T).T.contiguous(), 0, of)
        layer.bias = divided(of.part(layer.bias.detach()), 0, of)
    return layer


def tables(
    modalities: Iterable[str], rows: int, dim: int, generator: torch.Generator
) -> nn.ParameterDict:
    """A (rows, dim) table for each modality."""
    return nn.ParameterDict({m: xavier(rows, dim, generator) for m in modalities})


def projections(
    features: Mapping[str, Tensor],
    dim: int,
    generator: torch.Generator,
    of: Columns = WHOLE,
) -> nn.ModuleDict:
    """W_m x + b_m of the (I, d_m) features of each modality, by name, to (I, dim).

    Args:
        features: by modality.
        dim: length of the results.
        generator: on the CPU.
        of: the outputs that this process keeps.
    """
    widths = {m: x.shape[1] for m, x in sorted(features.items())}
    return nn.ModuleDict({m: linear(width, dim, generator, of) for m, width in widths.items()})
