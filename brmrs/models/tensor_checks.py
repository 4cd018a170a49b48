"""Checks of the tensors of a bundle, which is untrusted: types, shapes, and indices in range.

Without them a forged file could end in a fault of a kernel that does not check its indices.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

# Shape of each floating-point field by the kind of the scorer. Equal letters are equal sizes: U
# users, I items. The last field of "attentive-parts" is boolean.
SHAPES: dict[str, dict[str, str]] = {
    "inner-product": {"p": "Ud", "q": "Id"},
    "item-weights": {"weights": "II"},
    "item-neighbours": {"weights": "n", "columns": "n"},
    "attentive-metric": {
        "p": "Ud",
        "q": "Id",
        "of_user": "Uh",
        "of_item": "Ih",
        "weight": "dh",
        "bias": "d",
    },
    "attentive-parts": {
        "p": "Ud",
        "q": "Id",
        "queries": "Ud",
        "keys": "IKd",
        "values": "IKd",
        "present": "IK",
    },
    "standardised-sum": {"weights": "n"},
}
# CSR matrices by kind: the fields with the row pointers and the columns, their numbers of rows and
# columns.
MATRICES: dict[str, list[tuple[str, str, str, str]]] = {
    "item-weights": [("starts", "items", "U", "I")],
    "item-neighbours": [("starts", "items", "U", "I"), ("indptr", "columns", "I", "I")],
}
BOOLEAN, INTEGER = {"present"}, {"columns"}
OTHER_PRECISION = {"keys", "values"}  # possibly half


def check_scorer(kind: str, fields: Mapping[str, Tensor], users: int, items: int) -> None:
    """Check the tensors of a scorer.

    Args:
        kind: a name of `brmrs.models.scorers.SCORERS`.
        fields: its tensors.
        users: U.
        items: I.

    Raises:
        ValueError: a tensor has another type or shape, or an index is out of range.
    """
    sizes = {"U": users, "I": items}
    known = sizes.copy()
    precision = None
    for field, letters in SHAPES[kind].items():
        tensor = fields[field]
        _check_type(field, tensor)
        if field not in BOOLEAN | INTEGER | OTHER_PRECISION:
            precision = precision or tensor.dtype
            if tensor.dtype != precision:
                raise ValueError(f"{field} is of {tensor.dtype}, others of {precision}")
        shape = tuple(tensor.shape)
        if len(shape) != len(letters) or any(
            known.setdefault(letter, size) != size
            for letter, size in zip(letters, shape, strict=True)
        ):
            raise ValueError(f"{field} has the shape {shape}")
    for pointers, columns, n_rows, n_columns in MATRICES.get(kind, ()):
        check_csr(fields[pointers], fields[columns], sizes[n_rows], sizes[n_columns])


def _check_type(field: str, tensor: Tensor) -> None:
    if field in BOOLEAN:
        right = tensor.dtype == torch.bool
    elif field in INTEGER:
        right = tensor.dtype == torch.int64
    else:
        right = tensor.is_floating_point()
    if not right:
        raise ValueError(f"{field} is of {tensor.dtype}")


def check_csr(indptr: Tensor, columns: Tensor, rows: int, n_columns: int) -> None:
    """Check the indices of a CSR matrix.

    Args:
        indptr: (rows + 1,) int64.
        columns: (N,) int64.
        rows: number of rows.
        n_columns: number of columns.

    Raises:
        ValueError: a type or shape is another one, or an index is out of range.
    """
    if (indptr.dtype, columns.dtype) != (torch.int64, torch.int64):
        raise ValueError(f"indices are of {indptr.dtype} and {columns.dtype}")
    if indptr.shape != (rows + 1,) or columns.dim() != 1:
        raise ValueError(f"indices of {tuple(indptr.shape)} and {tuple(columns.shape)}")
    if indptr[0] != 0 or indptr[-1] != len(columns) or bool((indptr.diff() < 0).any()):
        raise ValueError("the starts of the rows do not increase from 0 to the number of entries")
    if len(columns) and not (int(columns.min()) >= 0 and int(columns.max()) < n_columns):
        raise ValueError(f"an index is not one of {n_columns}")
