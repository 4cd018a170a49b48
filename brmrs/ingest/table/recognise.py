"""Recognise tables among files: which hold interactions, which items, which users."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.files import TABLE_NAME, dump_files, listing
from brmrs.ingest.table import names, splits
from brmrs.ingest.table.head import Head, Kind, read_head

LOG = logging.getLogger(__name__)
# Columns of Amazon's dumps. The format `amazon` reads these files, with more of their fields.
OF_AMAZON = {"parent_asin", "asin", "reviewerID", "unixReviewTime"}


@dataclass
class Survey:
    """What some files hold.

    Attributes:
        heads: the tables by field of the section `ingest`, sorted by name.
        others: files that are no table with a known role, and why.
    """

    heads: dict[str, list[Head]] = field(default_factory=dict)
    others: dict[Path, str] = field(default_factory=dict)

    def paths(self, name: str) -> tuple[Path, ...]:
        """The files of a field."""
        return tuple(head.path for head in self.heads.get(name, ()))


def survey(files: Sequence[Path]) -> Survey:
    """Look at the heads of files."""
    found = Survey()
    for path in files:
        try:
            head = read_head(path)
        except UserError as error:
            found.others[path] = str(error).removeprefix(f"{path}: ")
            continue
        role = names.role_of(head)
        if role is None:
            found.others[path] = f"columns without a known role: {head.listed}"
        else:
            found.heads.setdefault(role, []).append(head)
    _keep_one_table(found)
    return found


def recognise(paths: Sequence[Path]) -> IngestConfig | None:
    """The configuration for these tables; None if they hold no interactions, or are Amazon's."""
    files = [
        file
        for path in paths
        for file in (
            [each for each in listing(path, "paths") if TABLE_NAME.fullmatch(each.name)]
            if path.is_dir()
            else [path]
        )
    ]
    if not all(path.is_file() for path in files):
        return None
    found = survey(files)
    config = configuration(found)
    for path, reason in found.others.items() if config else ():
        LOG.warning("%s is not read: %s", path, reason)
    return config


def configuration(found: Survey) -> IngestConfig | None:
    """The configuration for the tables of a survey; None as for `recognise`.

    A single table of interactions with titles or pictures describes the items, too.
    """
    heads = found.heads.get("interactions", [])
    if not heads or any(map(_is_of_amazon, heads)):
        return None
    interactions, items = found.paths("interactions"), found.paths("items")
    if not items:
        head = found.heads["interactions"][0]
        described = names.items(head, IngestConfig().columns).columns.keys()
        items = interactions if {"title", "pictures"} & described else ()
    return IngestConfig(
        format="table", interactions=interactions, items=items, users=found.paths("users")
    )


def _is_of_amazon(head: Head) -> bool:
    if head.kind == Kind.PARQUET or splits.part_of(head.path) is not None or head.types:
        return False
    return bool(OF_AMAZON & set(head.names))


def _keep_one_table(found: Survey) -> None:
    """Of tables of interactions with different columns, keep the ones like the largest."""
    heads = found.heads.get("interactions", [])
    if len({head.names for head in heads}) > 1:
        largest = max(heads, key=lambda head: (head.path.stat().st_size, head.path.name))
        for head in heads:
            if head.names != largest.names:
                found.others[head.path] = (
                    f"interactions with other columns than {largest.path.name}, the largest table"
                )
        found.heads["interactions"] = [each for each in heads if each.names == largest.names]


def described(config: IngestConfig) -> dict[str, dict[str, str]]:
    """The columns by role of each configured table, by its file; reads only the heads.

    Raises:
        UserError: a file is no table, or a column is missing.
    """
    found: dict[str, dict[str, str]] = {}
    for name, find, roles in (
        ("interactions", names.interactions, names.OF_INTERACTIONS),
        ("items", names.items, names.OF_ITEMS),
        ("users", names.users, ()),
    ):
        paths = getattr(config, name)
        heads = [read_head(path) for path in dump_files(paths, f"ingest.{name}", TABLE_NAME)]
        if heads:
            names.refuse_missing(heads, config.columns, roles)
        for head in heads:  # one file may hold both interactions and items
            columns = found.setdefault(head.path.name, {})
            columns |= find(head, config.columns).described()
    return found
