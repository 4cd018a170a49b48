"""Write the configuration for a folder, with a comment for everything taken and guessed."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from brmrs.columns import TEXT
from brmrs.config.data import IngestConfig
from brmrs.config.features import IMPORTED
from brmrs.config.load import load
from brmrs.config.tables import ColumnsConfig
from brmrs.errors import UserError
from brmrs.ingest.stage import SIZES, ingest
from brmrs.ingest.table import names
from brmrs.ingest.table.head import Head
from brmrs.propose.known import FILE
from brmrs.propose.look import Findings, look, named_picture, with_picture, without_files
from brmrs.system.files import replacing

MOST_BAD = 0.2  # share of bad lines above which the files have to be corrected first
KS = (5, 4, 3, 2)
FIND = {"interactions": names.interactions, "items": names.items, "users": names.users}
PATHS = ("reviews", "metadata", "interactions", "items", "users", "text_vectors", "visual_vectors")
SEVERAL = {"categories", "text", "pictures"}  # roles of several columns


def propose(folder: Path) -> dict[str, Any]:
    """Look at a folder and write `brmrs.yaml` into it.

    Returns:
        JSON values: `file`; `format`; `files` by field; `pictures`; `columns` by file and role;
        `not_read`, by file the other columns; `chosen`, by field the reason for its value;
        `ignored`, by file the reason; `suggested`, by file the columns that may serve as text;
        `facts`, the statistics of the stage ingest with k = 0.

    Raises:
        UserError: the file exists, the folder holds no interactions, or the data cannot be read.
    """
    target = folder / FILE
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: exists and is never overwritten; remove or rename it first")
    found = look(folder)
    facts = _facts(found)
    choices = _choices(found, facts)
    columns = _columns(found)
    text = "".join(f"{line}\n" for line in _lines(folder, found, choices))
    with replacing(target) as part:
        part.write_text(text, encoding="utf-8")
        load(part)  # a defect here is better found now than by the run
    return {
        "file": str(target),
        "format": found.ingest.format,
        "files": {
            field: [path.name for path in getattr(found.ingest, field)]
            for field in PATHS
            if getattr(found.ingest, field)
        },
        "pictures": {"folder": str(found.pictures or ""), "files": found.n_pictures},
        "columns": columns,
        "not_read": _not_read(found),
        "chosen": {path: choice.reason for path, choice in choices.items() if choice.reason},
        "ignored": {path.name: reason for path, reason in found.ignored.items()},
        "suggested": _suggested(found),
        "facts": facts,
    }


def _facts(findings: Findings) -> dict[str, Any]:
    config = findings.ingest
    if config.format == "ready-made":
        found = ingest(config)
        return {**found.statistics, "picture_name": named_picture(found)}
    everything = {"k": 0, "max_bad_share": MOST_BAD, "allow_truncated": True}
    found = ingest(config.model_copy(update=everything))
    if findings.pictures:
        found.statistics["items_with"]["picture"] = with_picture([findings.pictures], found)
    found.statistics["picture_name"] = named_picture(found)
    is_split = found.given is not None and found.given.labels is not None
    return {**found.statistics, "is_split": is_split}


class Choice(NamedTuple):
    """The value of a field, and why; "" where it needs no reason."""

    value: object
    reason: str = ""


def _choices(found: Findings, facts: Mapping[str, Any]) -> dict[str, Choice]:
    """The fields that the data decide, by dotted path, section by section."""
    chosen: dict[str, Choice] = {}
    is_split = found.ingest.format == "ready-made" or facts["is_split"]
    if not is_split:
        _choose_core(facts, chosen)
    bad = _bad_share(facts)
    if bad > IngestConfig.model_fields["max_bad_share"].default:
        reason = f"{bad:.1%} of the lines cannot be used; correct them"
        chosen["ingest.max_bad_share"] = Choice(round(bad + 0.005, 2), reason)
    if is_split:
        chosen["split.protocol"] = Choice("given", "the data include a split")
    elif facts["time"]["first"] is not None and not facts["time"]["unknown"]:
        chosen["split.protocol"] = Choice("leave-last-out", "every interaction has a time")
    _choose_pictures(found, facts, chosen)
    for modality in found.vectors:
        field = "text.model" if modality == TEXT else "visual.backbone"
        chosen[f"features.{field}"] = Choice(IMPORTED, "the data include vectors")
    if not (facts["items_with"]["text"] or _may_have_pictures(found, facts) or found.vectors):
        chosen["model"] = Choice("lightgcn", "the data have neither texts nor pictures")
    return chosen


def _choose_pictures(found: Findings, facts: Mapping[str, Any], chosen: dict[str, Choice]) -> None:
    if found.pictures:
        place = found.pictures.relative_to(found.folder).as_posix()
        owners = facts["items_with"].get("picture")
        of = "" if owners is None else f", for {owners:,} of {facts['items']:,} items"
        chosen["images.folder"] = Choice(place, f"{found.n_pictures:,} pictures{of}")
        return
    columns = ", ".join(_chosen_columns(found).get("pictures", ()))
    where = f" in the column {columns}" if columns else ""
    if missing := without_files(facts, found.folder, where):
        missing += " and set images.folder"
    if with_address := facts["items_with"]["image_address"]:
        reason = f"{with_address:,} items have addresses of pictures; the run downloads them"
        chosen["images.fetch"] = Choice(True, "; ".join(filter(None, (reason, missing))))
    else:
        chosen["images.fetch"] = Choice(False, missing or "there are no pictures")


def _may_have_pictures(found: Findings, facts: Mapping[str, Any]) -> bool:
    return bool(found.pictures or facts["items_with"]["image_address"])


def _choose_core(facts: Mapping[str, Any], chosen: dict[str, Choice]) -> None:
    """The largest k up to 5 that keeps half of the interactions, else any that keeps some."""
    total = facts["before_k_core"]["interactions"]
    left = {core["k"]: core["interactions"] for core in facts["cores"]}
    half = [k for k in KS if 2 * left.get(k, 0) >= total]
    some = [k for k in KS if left.get(k, 0)]
    k = (half or some or [0])[0]
    if k != IngestConfig.model_fields["k"].default:
        reason = f"the 5-core would keep {left.get(5, 0):,} of {total:,} interactions"
        chosen["ingest.k"] = Choice(k, reason)
    elif left[k] < total:
        kept = next(core for core in facts["cores"] if core["k"] == k)
        sizes = facts["before_k_core"]
        counts = (f"{sizes[each] - kept[each]:,} of {sizes[each]:,} {each}" for each in SIZES)
        chosen["ingest.k"] = Choice(k, f"the {k}-core leaves out {', '.join(counts)}")


def _bad_share(facts: Mapping[str, Any]) -> float:
    """The larger share of bad lines, of interactions and of items."""
    shares = [
        sum(facts[kind]["quarantined"].values()) / facts[kind]["lines"]
        for kind in ("reviews", "metadata")
        if facts[kind]["lines"]
    ]
    return max(shares, default=0.0)


def _columns(found: Findings) -> dict[str, dict[str, str]]:
    """Columns by role, by file."""
    return {
        head.path.name: FIND[field](head, ColumnsConfig()).described()
        for field, head in _heads(found)
    }


def _not_read(found: Findings) -> dict[str, list[str]]:
    """The columns without a role, by file; no entry for a file whose columns are all read."""
    ignored = {
        head.path.name: list(FIND[field](head, ColumnsConfig()).ignored)
        for field, head in _heads(found)
    }
    return {file: columns for file, columns in ignored.items() if columns}


def _suggested(found: Findings) -> dict[str, list[str]]:
    """Columns of words that are not read, by table of items."""
    tables = {
        head.path.name: names.of_words(head, FIND[field](head, ColumnsConfig()).ignored)
        for field, head in _heads(found)
        if field == "items"
    }
    return {file: columns for file, columns in tables.items() if columns}


def _heads(found: Findings) -> Iterator[tuple[str, Head]]:
    for field, heads in found.tables.items():
        if field in FIND:
            for head in heads:
                yield field, head


def _lines(folder: Path, found: Findings, choices: Mapping[str, Choice]) -> Iterator[str]:
    """The lines of the file."""
    yield "# Written by `brmrs init` from the files in this folder. Check what is guessed."
    yield f"#   brmrs run -c {_in_comment(str(folder / FILE))}"
    yield "# `brmrs config` lists all fields, `brmrs inspect FILE...` shows the data."
    name = re.sub(r"[^\w.-]+", "-", folder.resolve().name).strip(".-") or "dataset"
    values = {"name": Choice(name), "ingest.format": Choice(found.ingest.format)}
    if found.ingest.format == "ready-made":
        values["ingest.path"] = Choice(".")
    for field in PATHS:
        paths = [path.relative_to(folder).as_posix() for path in getattr(found.ingest, field)]
        if paths:
            values[f"ingest.{field}"] = Choice(paths[0] if len(paths) == 1 else paths)
    for role, columns in _chosen_columns(found).items():
        value = list(columns) if role in SEVERAL else columns[0]
        values[f"ingest.columns.{role}"] = Choice(value, "guessed")
    yield from _yaml({**values, **choices})
    left_out = [f"{path.name}: {reason}" for path, reason in found.ignored.items()]
    for file, not_read in _not_read(found).items():
        left_out.append(f"{file}: columns {', '.join(not_read)}")
    if left_out:
        yield "# Not used:"
        yield from (f"#   {_in_comment(line)}" for line in left_out)
    for file, of_words in _suggested(found).items():
        listed = _in_comment(", ".join(of_words))
        yield f"# Columns of words in {_in_comment(file)}: {listed}. Add them to"
        yield "# ingest.columns.text to use them."


def _chosen_columns(found: Findings) -> dict[str, tuple[str, ...]]:
    """The columns that are guessed, by role; tables of users add none."""
    chosen: dict[str, tuple[str, ...]] = {}
    for field, head in _heads(found):
        if field == "users":
            continue
        for role, columns in FIND[field](head, ColumnsConfig()).columns.items():
            more = columns if role in SEVERAL or role not in chosen else ()
            chosen[role] = tuple(dict.fromkeys((*chosen.get(role, ()), *more)))
    return {role: chosen[role] for role in ColumnsConfig.model_fields if role in chosen}


def _yaml(values: Mapping[str, Choice]) -> Iterator[str]:
    """Fields by dotted path as nested YAML, their reasons as comments."""
    opened: list[str] = []
    for path, choice in values.items():
        *sections, field = path.split(".")
        shared = next(
            (n for n, pair in enumerate(zip(opened, sections, strict=False)) if len(set(pair)) > 1),
            min(len(opened), len(sections)),
        )
        for depth in range(shared, len(sections)):
            yield f"{'  ' * depth}{sections[depth]}:"
        opened = sections
        comment = f" # {_in_comment(choice.reason)}" if choice.reason else ""
        yield f"{'  ' * len(sections)}{field}: {_plain(choice.value)}{comment}"


def _plain(value: object) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=2**20)
    return text.removesuffix("\n").removesuffix("\n...")


def _in_comment(text: str) -> str:
    """A text that cannot end a comment."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
