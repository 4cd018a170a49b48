"""Which column of a table holds what: configured, or guessed by the columns' names."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from brmrs.config.tables import ColumnsConfig
from brmrs.errors import UserError
from brmrs.ingest.table.head import Head


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


USER_WORDS = _words(
    "user customer cust client buyer shopper member visitor reviewer person account session uid "
    "kunde kunden kundennummer kundennr"
)
ITEM_WORDS = _words(
    "item product prod sku stock article asin movie book track song artist recipe hotel goods "
    "listing ean gtin isbn iid artikel artikelnummer artikelnr"
)
ID_WORDS = _words("id ids no nr num number code key ref uuid parent")
RATING_WORDS = _words("rating ratings star stars score overall grade")
COUNT_WORDS = _words("count average avg mean sum total")
# In the order of preference.
TIME_WORDS = (
    *("timestamp", "time", "datetime", "date", "created", "at", "ts", "day"),
    *("datum", "zeit", "bestelldatum", "kaufdatum"),
)
SPLIT_WORDS = _words("split x_label xlabel")
TITLE_WORDS = ("title", "name", "label")
BRAND_WORDS = _words("brand manufacturer vendor maker store artist author")
CATEGORY_WORDS = _words("category categories subcategory genre genres department section")
PICTURE_WORDS = _words(
    "image images img picture pictures photo photos poster thumbnail cover imurl"
)
TEXT_WORDS = _words(
    "description desc text details features feature summary body about plot overview abstract "
    "bullets keywords tags"
)
OF_INTERACTIONS = ("user", "item", "rating", "time", "split")
OF_ITEMS = ("item_id", "title", "brand", "categories", "text", "pictures")
REQUIRED = ("user", "item", "item_id")
# Chooses columns among names, the best first.
Guess = Callable[[Sequence[str]], Iterable[str]]
WORDS_OF_A_TEXT = 4  # mean number of words from which on a column counts as text


@dataclass(frozen=True)
class Named:
    """The columns of one table by role.

    Attributes:
        columns: names by role: "user", "item", "rating", ...; a role without a column is missing.
        guessed: the roles that were guessed.
        ignored: the columns without a role.
    """

    columns: dict[str, tuple[str, ...]]
    guessed: tuple[str, ...]
    ignored: tuple[str, ...]

    def one(self, role: str) -> str | None:
        """The column of a role; None if there is none."""
        found = self.columns.get(role)
        return found[0] if found else None

    def all(self) -> list[str]:
        """Every column with a role, each once."""
        return list(dict.fromkeys(name for names in self.columns.values() for name in names))

    def described(self) -> dict[str, str]:
        """Columns by role as text, "(guessed)" behind those that were."""
        return {
            role: " + ".join(names) + (" (guessed)" if role in self.guessed else "")
            for role, names in self.columns.items()
        }


def words(name: str) -> tuple[str, ...]:
    """The words of a column's name: "customerId", "CUSTOMER_ID" and "customerid" alike."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    found = re.findall(r"[^\W_]+", spaced.lower())
    parted: list[str] = []
    for word in found:
        stem = word.removesuffix("id")
        is_joined = stem != word and stem in USER_WORDS | ITEM_WORDS
        parted += [stem, "id"] if is_joined else [word]
    return tuple(parted)


def interactions(head: Head, config: ColumnsConfig) -> Named:
    """The columns of a table of interactions.

    Raises:
        UserError: user or item cannot be found.
    """
    roles = _Roles(head, config)
    roles.take("user", _ids(USER_WORDS))
    roles.take("item", _ids(ITEM_WORDS))
    roles.take("rating", _rating)
    roles.take("time", _time)
    roles.take("split", lambda names: [n for n in names if n.lower() in SPLIT_WORDS])
    for role in ("user", "item"):
        if role not in roles.columns:
            raise UserError(_unknown(head, role))
    return roles.named()


def items(head: Head, config: ColumnsConfig) -> Named:
    """The columns of a table of items.

    Raises:
        UserError: the column of the item cannot be found.
    """
    roles = _Roles(head, config)
    same = config.item if config.item in head.names and config.item_id is None else None
    if same:
        roles.columns["item_id"] = (same,)
    else:
        roles.take("item_id", lambda names: _ids(ITEM_WORDS)(names) or _plain_id(names))
    if "item_id" not in roles.columns:
        raise UserError(_unknown(head, "item_id"))
    roles.take("title", _title)
    roles.take("brand", lambda names: [n for n in names if BRAND_WORDS & set(words(n))])
    roles.take_all("categories", _categories)
    roles.take_all("pictures", _pictures)
    roles.take_all("text", lambda names: [n for n in names if _is_text(n, head)])
    return roles.named()


def users(head: Head, config: ColumnsConfig) -> Named:
    """The columns of a table of users.

    Raises:
        UserError: that of the user cannot be found.
    """
    roles = _Roles(head, config)
    find = roles.take if config.user in (None, *head.names) else roles.guess
    find("user", lambda names: _ids(USER_WORDS)(names) or _plain_id(names))
    if "user" not in roles.columns:
        raise UserError(_unknown(head, "user"))
    return roles.named()


class _Roles:
    """Gives columns to roles, each column once."""

    def __init__(self, head: Head, config: ColumnsConfig) -> None:
        self.head, self.config = head, config
        self.columns: dict[str, tuple[str, ...]] = {}
        self.guessed: list[str] = []
        configured = config.model_dump(exclude={"time_format"}).values()
        self._reserved = {name for value in configured for name in _listed(value)}

    def take(self, role: str, guess: Guess) -> None:
        """The configured column of a role, else the first one guessed."""
        self._take(role, guess, several=False)

    def take_all(self, role: str, guess: Guess) -> None:
        """The configured columns of a role, else all those guessed."""
        self._take(role, guess, several=True)

    def guess(self, role: str, guess: Guess, *, several: bool = False) -> None:
        """The columns that are guessed, of those without a role."""
        taken = {name for names in self.columns.values() for name in names} | self._reserved
        found = list(guess([name for name in self.head.names if name not in taken]))
        if found:
            self.columns[role] = tuple(found if several else found[:1])
            self.guessed.append(role)

    def _take(self, role: str, guess: Guess, *, several: bool) -> None:
        value = getattr(self.config, role)
        if value is None:
            self.guess(role, guess, several=several)
            return
        kept = tuple(name for name in _listed(value) if name in self.head.names)
        if kept:
            self.columns[role] = kept
        elif role in REQUIRED and any(_listed(value)):  # another table of the field has it
            self.guess(role, guess)

    def named(self) -> Named:
        """The columns by role."""
        used = {name for names in self.columns.values() for name in names}
        ignored = tuple(name for name in self.head.names if name not in used)
        return Named(self.columns, tuple(self.guessed), ignored)


def _listed(value: str | Sequence[str] | None) -> Sequence[str]:
    """The names that a field holds."""
    return (value,) if isinstance(value, str) else value or ()


def refuse_missing(heads: Sequence[Head], config: ColumnsConfig, roles: Sequence[str]) -> None:
    """Check that every configured column is in one of the tables.

    Raises:
        UserError: one is not.
    """
    there = {name for head in heads for name in head.names}
    for role in roles:
        for name in _listed(getattr(config, role)):
            if name and name not in there:
                files = " and ".join(str(head.path) for head in heads)
                raise UserError(
                    f"ingest.columns.{role}: no column {name!r} in {files}; its columns are "
                    f"{heads[0].listed}"
                )


def _unknown(head: Head, role: str) -> str:
    return (
        f"{head.path}: no column looks like the {role.partition('_')[0]}; its columns are "
        f"{head.listed}; set ingest.columns.{role} to one of them"
    )


def _ids(of: frozenset[str]) -> Callable[[Sequence[str]], list[str]]:
    """The columns whose names consist of these words and words for ids; those with both first."""

    def found(names: Sequence[str]) -> list[str]:
        fits = [n for n in names if of & set(words(n)) and set(words(n)) <= of | ID_WORDS]
        return sorted(fits, key=lambda name: not ID_WORDS & set(words(name)))

    return found


def _plain_id(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower() == "id"]


def _rating(names: Sequence[str]) -> list[str]:
    fits = [n for n in names if RATING_WORDS & set(words(n)) and not COUNT_WORDS & set(words(n))]
    return sorted(fits, key=lambda name: len(words(name)))


def _time(names: Sequence[str]) -> list[str]:
    def rank(name: str) -> int:
        found = words(name)
        return min((TIME_WORDS.index(w) for w in found if w in TIME_WORDS), default=-1)

    fits = [n for n in names if rank(n) >= 0 or any(w.endswith("time") for w in words(n))]
    return sorted(fits, key=lambda name: (rank(name) < 0, rank(name)))


def _categories(names: Sequence[str]) -> list[str]:
    """Columns of categories; those of their numbers only if there are no others."""
    fits = [n for n in names if CATEGORY_WORDS & set(words(n))]
    return [n for n in fits if not ID_WORDS & set(words(n))] or fits


def _title(names: Sequence[str]) -> list[str]:
    around = ITEM_WORDS | {"display", "full", "english"} | set(TITLE_WORDS)
    fits = [n for n in names if set(TITLE_WORDS) & set(words(n)) and set(words(n)) <= around]
    return sorted(
        fits, key=lambda n: min(TITLE_WORDS.index(w) for w in words(n) if w in TITLE_WORDS)
    )


def _pictures(names: Sequence[str]) -> list[str]:
    glued = re.compile(r"(image|img|picture|photo|thumbnail|cover)s?(url|urls|path|file|link)s?")
    return [
        n
        for n in names
        if (PICTURE_WORDS & set(words(n)) or any(glued.fullmatch(w) for w in words(n)))
        and not (COUNT_WORDS | {"width", "height", "alt", "id"}) & set(words(n))
    ]


def _is_text(name: str, head: Head) -> bool:
    """By its name, or because its first values have several words."""
    if TEXT_WORDS & set(words(name)):
        return True
    values = [value for row in head.rows if (value := row.get(name))]
    if not values or all(value[:1] in "[{" for value in values):
        return False
    lettered = [len(re.findall(r"[^\W\d_]{2,}", value)) for value in values]
    return sum(lettered) >= WORDS_OF_A_TEXT * len(values)


def of_words(head: Head, columns: Iterable[str]) -> list[str]:
    """The columns whose values are words that several rows share, such as colours."""
    found = []
    for name in columns:
        values = [value for row in head.rows if (value := row.get(name))]
        worded = [value for value in values if re.fullmatch(r"[^\W\d_]{2}\D*", value)]
        if values and len(worded) > len(values) / 2 and 1 < len(set(values)) <= len(values) / 2:
            found.append(name)
    return found


def role_of(head: Head) -> str | None:
    """What a table holds by the names of its columns: a field of the section `ingest`, or None."""
    config = ColumnsConfig()
    if head.lists:
        return None
    for field, find in (("interactions", interactions), ("items", items), ("users", users)):
        try:
            find(head, config)
        except UserError:
            continue
        return field
    return None


def report(path: Path, named: Named) -> str:
    """A line for the log: the columns of a file."""
    columns = ", ".join(f"{role} = {name}" for role, name in named.described().items())
    left = f"; not read: {', '.join(named.ignored)}" if named.ignored else ""
    return f"{path.name}: {columns}{left}"
