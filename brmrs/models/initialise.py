"""Parameters drawn from a generator of their own, never from the global one."""

import torch
from torch import nn


def xavier(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    """(rows, columns), Xavier uniform (Glorot 2010): the field's start for tables and projections.

    Drawn on the CPU, so that a seed means the same start on every device.
    """
    values = torch.empty(rows, columns)
    return nn.Parameter(nn.init.xavier_uniform_(values, generator=generator))
