"""The run that a command was given, and a line about newer runs that `latest` passes over."""

from collections import Counter

from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import LATEST, Run, newer
from flows.cli.console import console, line

err = console(stderr=True)


def chosen(store: ArtifactStore, name: str, *stages: str) -> Run:
    """See `brmrs.serving.current.resolve`; stderr counts newer runs without the stages."""
    from brmrs.serving.current import resolve

    found = resolve(store, name, *stages)
    tell_newer(store, name, found, *stages)
    return found


def tell_newer(store: ArtifactStore, name: str, found: Run, *stages: str) -> None:
    """Print which newer runs the alias `latest` did not mean, as they lack these stages."""
    if name != LATEST or not (runs := newer(store, found)):
        return
    missing = [stage for stage in stages if any(stage not in run.stages for run in runs)]
    kinds = Counter(run.kind for run in runs)
    listed = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    verb = "run has" if len(runs) == 1 else "runs have"
    text = f"{len(runs)} newer {verb} no {' or '.join(missing)} stage ({listed})"
    line(err, f"latest: run {found.name}; {text}")
