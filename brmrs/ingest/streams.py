"""The protocol of dump formats that can be read row by row, so that they need not fit in memory."""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from brmrs.config.data import IngestConfig
from brmrs.ingest.dataset import DumpFormat, Reading
from brmrs.ingest.gathering import Gathering


class RawRows(Protocol):
    """Interactions with raw ids, as columns of equal length."""

    @property
    def user(self) -> pa.LargeStringArray:
        """(n,) raw ids."""

    @property
    def item(self) -> pa.LargeStringArray:
        """(n,) raw ids."""

    @property
    def rating(self) -> NDArray[np.float32]:
        """(n,) stars; NaN where absent."""

    @property
    def timestamp(self) -> NDArray[np.int64]:
        """(n,) ms; `NO_TIME` where absent."""


class Sink(Protocol):
    """Takes the rows of a dump in its order. It is pickled from one process to another."""

    def add(self, rows: RawRows, /) -> None:
        """Add rows."""
        ...

    def absorb(self, other: Self, /) -> None:
        """Add the rows of another sink, which is closed, after those here."""
        ...

    def close(self) -> None:
        """No more rows follow for now."""
        ...


AnySink = TypeVar("AnySink", bound=Sink)


@runtime_checkable
class StreamedFormat(DumpFormat, Protocol):
    """A format that can also be read out of core (`ingest.memory`).

    Attributes:
        describing: the name of the files that describe items, for the log.
    """

    describing: str

    def stream(
        self, config: IngestConfig, new_sink: Callable[[], AnySink]
    ) -> tuple[AnySink, Reading]:
        """All rows of the interaction files, and their counts. Errors are those of `read`.

        Args:
            config: names the files.
            new_sink: makes an empty sink; several processes may each make one.
        """
        ...

    def describe(self, config: IngestConfig, rows: Gathering) -> None:
        """Add every row that describes an item."""
        ...
