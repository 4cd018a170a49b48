"""Collects the rows that describe the items of a data set."""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from brmrs.ingest.dataset import Descriptions, Item, Reading

LOG = logging.getLogger(__name__)
FEW_DESCRIBED = 0.1  # a lower share of described items is reported
IDS_SHOWN = 3


class Gathering:
    """The rows of some items. Several rows of one item are merged field by field.

    Args:
        asins: raw ids of the items.
        what: the name of the files, for the log.
    """

    def __init__(self, asins: Sequence[str], what: str) -> None:
        self.what = what
        self.reading = Reading()
        self.reading.notes.update({"duplicates": 0, "never_reviewed": 0})
        self._found: dict[str, Item | None] = dict.fromkeys(asins)
        self._others: list[str] = []  # some ids without interactions

    def add(self, asin: str, describe: Callable[[], Item]) -> None:
        """Count a row; it is described only if the item is one of the data set."""
        if asin not in self._found:
            self.note_other(asin)
            return
        item, other = describe(), self._found[asin]
        self.reading.notes["duplicates"] += other is not None
        self._found[asin] = item if other is None else item.merged(other)

    def note_other(self, asin: str) -> None:
        """Count a row of an item without interactions."""
        self.reading.notes["never_reviewed"] += 1
        self._others += [asin] * (len(self._others) < IDS_SHOWN)

    def finish(self) -> Descriptions:
        """All items; those without a row have no texts and no pictures. Logs what is missing."""
        described = sum(item is not None for item in self._found.values())
        lacking = (asin for asin, item in self._found.items() if item is None)
        self.report(len(self._found), described, lacking)
        return Descriptions([item or Item() for item in self._found.values()], self.reading)

    def report(self, count: int, described: int, lacking: Iterable[str]) -> None:
        """Log what is missing.

        Args:
            count: number of items.
            described: number of those with a row.
            lacking: some ids of those without a row.
        """
        if self._others and described < FEW_DESCRIBED * count:
            LOG.warning(
                "the %s describe %s of %s items; ids without %s: %s; ids in the %s: %s; is it "
                "another category, or another spelling of the ids?",
                self.what,
                f"{described:,}",
                f"{count:,}",
                self.what,
                ", ".join(islice(lacking, IDS_SHOWN)),
                self.what,
                ", ".join(self._others),
            )
        if unusable := self.reading.unusable:
            counts = ", ".join(f"{name} {number:,}" for name, number in sorted(unusable.items()))
            LOG.warning("%s fields with values of a wrong type, left out: %s", self.what, counts)
