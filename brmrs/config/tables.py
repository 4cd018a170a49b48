"""The section `ingest.columns`: which columns of own tables hold what."""

from typing import Annotated

from pydantic import BeforeValidator

from brmrs.config.section import Section


def _one_or_more(value: object) -> object:
    """One name may be written instead of a list of one."""
    return (value,) if isinstance(value, str) else value


Column = str | None
Columns = Annotated[
    tuple[str, ...] | None, BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])
]


class ColumnsConfig(Section):
    """Columns of the tables of `format: table`.

    null: the column is guessed by its name; `brmrs inspect` and the run's log show the guess. An
    empty text or list: no such column is read.
    """

    user: Column = None
    """The user of an interaction; in the table of users, their id."""
    item: Column = None
    """The item of an interaction."""
    rating: Column = None
    """The rating of an interaction, a number."""
    time: Column = None
    """The time of an interaction: seconds, milliseconds, microseconds or nanoseconds since 1970,
    YYYYMMDD, an ISO date or time, or as `time_format` says."""
    time_format: str = ""
    """Form of the times if they are no numbers and no ISO dates, such as `%d/%m/%Y %H:%M`."""
    split: Column = None
    """The split of an interaction: train, validation or test; or 0, 1, 2."""
    item_id: Column = None
    """The item in the table of items; null: the column of the same name as `item`, else guessed."""
    title: Column = None
    """The title of an item."""
    brand: Column = None
    """The brand of an item."""
    categories: Columns = None
    """Columns of categories, from the general to the special one. A value may be a JSON list or
    have parts between `|` or `>`."""
    text: Columns = None
    """Further texts of an item; together they are its description."""
    pictures: Columns = None
    """Pictures of an item: addresses, or names of files in `images.folder`; several as a JSON list
    or between `|`."""
