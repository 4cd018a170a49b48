"""Values with large tensors that several processes of a machine read from one copy in memory.

`pack` takes the tensors out of a value as arrays of bytes. A file of these that is mapped into
memory, or an object of a Ray cluster, is one copy for all processes of the machine.
"""

import io
import pickle
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]
_ALIGNMENT = 64  # bytes; more than any type of number needs


class Shared(Protocol):
    """A value that several processes can load. It is small when pickled."""

    def load(self) -> Any:
        """The value; its tensors must not be written to."""

    def discard(self) -> None:
        """Free what it takes once all processes have loaded it."""


@dataclass(frozen=True)
class Packed:
    """A value without its tensors.

    Attributes:
        rest: the pickled value, with a number in place of each tensor.
        arrays: the bytes of the tensors, by that number; views where the tensors allow it.
    """

    rest: bytes
    arrays: Sequence[Bytes]


def pack(value: Any) -> Packed:
    """Take out the tensors, which are detached and on the CPU afterwards."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dump(value)
    return Packed(file.getvalue(), [_bytes(tensor) for tensor in pickler.tensors])


def unpack(packed: Packed) -> Any:
    """The value, whose tensors are views of the arrays. The bytes must come from `pack`."""
    unpickler = _Unpickler(io.BytesIO(packed.rest))
    unpickler.arrays = packed.arrays
    return unpickler.load()


@dataclass(frozen=True)
class TensorFile:
    """A packed value whose arrays are in a file that `load` maps into memory.

    Attributes:
        path: of the file.
        rest: see `Packed`.
        sizes: of the arrays, in bytes.
    """

    path: Path
    rest: bytes
    sizes: tuple[int, ...]

    @classmethod
    def write(cls, path: Path, value: Any) -> "TensorFile":
        """Pack a value, and write its arrays."""
        packed = pack(value)
        with path.open("xb") as file:
            for array in packed.arrays:
                file.write(array.data)
                file.write(bytes(-len(array) % _ALIGNMENT))
            file.write(bytes(1))  # an empty file cannot be mapped
        return cls(path, packed.rest, tuple(len(array) for array in packed.arrays))

    def load(self) -> Any:
        """The value. Pages that a process writes to become its own."""
        return unpack(Packed(self.rest, list(self._arrays())))

    def discard(self) -> None:
        """Remove the file; what is mapped stays until it is no longer used."""
        self.path.unlink(missing_ok=True)

    def _arrays(self) -> Iterator[Bytes]:
        whole = np.memmap(self.path, np.uint8, mode="c")
        start = 0
        for size in self.sizes:
            yield whole[start : start + size]
            start += size + -size % _ALIGNMENT


class _Pickler(pickle.Pickler):
    """Puts numbers in place of tensors."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.tensors: list[Tensor] = []  # referenced, so that no two have one id
        self._places: dict[int, int] = {}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            return None
        if id(value) not in self._places:
            self._places[id(value)] = len(self.tensors)
            self.tensors.append(value)
        return self._places[id(value)], value.dtype, tuple(value.shape)

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.layout == torch.sparse_csr:
            parts = value.crow_indices(), value.col_indices(), value.values()
            return _csr, (*parts, tuple(value.shape))
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    arrays: Sequence[Bytes]

    def persistent_load(self, found: Any) -> Tensor:
        number, dtype, shape = found
        if 0 in shape:  # torch cannot view these bytes as other numbers
            return torch.empty(shape, dtype=dtype)
        with warnings.catch_warnings():  # of arrays that are read-only, as those of a cluster are
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(self.arrays[number]).view(dtype).reshape(shape)


def _csr(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(rows, columns, values, size=shape, check_invariants=False)


def _bytes(tensor: Tensor) -> Bytes:
    found: Bytes = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return found
