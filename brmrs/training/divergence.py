"""Find the batch and the loss term, gradient or parameter that made training diverge."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from brmrs.errors import UserError
from brmrs.graphs.sparse import stored


class DivergenceError(UserError):
    """A loss, a gradient, a parameter or a score is NaN or infinite."""


def culprit(
    batches: Iterable[dict[str, Tensor]],
    parameters: Mapping[str, nn.Parameter],
    step: Callable[[dict[str, Tensor]], None],
) -> str | None:
    """Train an epoch and check every step, which is too slow for ordinary training.

    Args:
        batches: the loss terms of each batch, computed one batch at a time.
        parameters: by name.
        step: makes the optimiser's step.

    Returns:
        The first value that is not finite, and its batch; None if all are finite.
    """
    for number, terms in enumerate(batches, start=1):
        fault = _in_terms(terms) or _in_gradients(terms, parameters)
        if fault is None:
            step(terms)
            fault = in_parameters(parameters)
        if fault is not None:
            return f"batch {number}, {fault}"
    return None


def in_parameters(parameters: Mapping[str, nn.Parameter]) -> str | None:
    """Describes the first parameter that is not finite; None if all are."""
    for name, parameter in parameters.items():
        if not bool(parameter.isfinite().all()):
            return f"parameter {name} is not finite after the step"
    return None


def _in_terms(terms: Mapping[str, Tensor]) -> str | None:
    for name, term in terms.items():
        if not bool(term.isfinite()):
            return f"loss term {name} is {term.item()}"
    return None


def _in_gradients(
    terms: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]
) -> str | None:
    trained = {name: each for name, each in parameters.items() if each.requires_grad}
    for term_name, term in terms.items():
        if not term.requires_grad:
            continue
        gradients = torch.autograd.grad(
            term, list(trained.values()), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(trained, gradients, strict=True):
            if gradient is not None and not bool(stored(gradient).isfinite().all()):
                return f"the gradient of loss term {term_name} by {name} is not finite"
    return None
