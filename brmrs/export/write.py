"""Write an export into a folder that is new or empty."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from brmrs.errors import UserError
from brmrs.export import cornac, elliot, mmrec, recbole, recommendations
from brmrs.export.data import ExportData, load
from brmrs.export.targets import Form, Target
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, sound
from brmrs.system.files import remove, unique_beside

TOOLBOXES: dict[Target, Callable[[ExportData, Path], list[str]]] = {
    Target.MMREC: mmrec.export,
    Target.RECBOLE: recbole.export,
    Target.ELLIOT: elliot.export,
    Target.CORNAC: cornac.export,
}


def export(
    run: Run, store: ArtifactStore, target: Target, out: Path, form: Form = Form.PARQUET
) -> dict[str, Any]:
    """Export a run. The folder appears when it is complete.

    Args:
        run: the run.
        store: its store.
        target: what to export.
        out: a folder that does not exist or is empty.
        form: of recommendations.

    Returns:
        JSON values: `run`, `to`, `folder`, `files` (names below the folder, sorted) and `notes`.

    Raises:
        UserError: the folder is not empty or cannot be made, or the run lacks what is exported.
    """
    _refuse_used(out)
    part = unique_beside(out)
    try:
        part.mkdir(parents=True)
        notes = _write(run, store, target, part, form)
        if out.exists():
            out.rmdir()
        part.replace(out)
    finally:
        remove(part)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return {"run": run.name, "to": target.value, "folder": str(out), "files": files, "notes": notes}


def _write(run: Run, store: ArtifactStore, target: Target, out: Path, form: Form) -> list[str]:
    if target in TOOLBOXES:
        data = load(run, store)
        lacking = [f"the run has no {name} vectors" for name in _lacking(data)]
        return TOOLBOXES[target](data, out) + lacking
    if target == Target.RECOMMENDATIONS:
        return recommendations.export(run, store, out, form)
    from brmrs.export import vectors
    from brmrs.models import bundle

    sound(run, store, "train")
    return vectors.export(bundle.load(store.path(run.artifact("train"))), out)


def _lacking(data: ExportData) -> list[str]:
    return [name for name in ("text", "visual") if name not in data.vectors]


def _refuse_used(out: Path) -> None:
    if out.name in ("", ".."):
        raise UserError(f"--out {out}: it has no name; name a new folder")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"--out {out}: it is a link or a file; name a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out}: the folder is not empty; name a new one")
