"""A run of a store with another artifact of a stage, as an attacker who knows the digests would."""

from collections.abc import Callable
from pathlib import Path

from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, save


def rewrite(run: Run, store: ArtifactStore, stage: str, change: Callable[[Path], None]) -> Run:
    """The run with another artifact of a stage, whose digests are right."""
    with store.writing(stage) as out:
        for source in store.path(run.artifact(stage)).rglob("*"):
            target = out / source.relative_to(store.path(run.artifact(stage)))
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file():
                target.write_bytes(source.read_bytes())
        change(out)
        artifact = store.commit(out, stage)
    stages = {
        name: record if name != stage else type(record)(record.key, {}, artifact, run.name, 1.0)
        for name, record in run.stages.items()
    }
    changed = Run(**{**vars(run), "stages": stages})
    save(changed, store)
    return changed
