"""Hyper-parameter search: Optuna on SQLite, by the validation metric, pruned by its curve.

Trials train in this process, and the data are read once for all of them. A trial is not a stage and
not cached: its result is one number in the study. The best configuration is run by the pipeline
like any other.

The name of a study contains the cache key of the stage `train`, so another dump, configuration or
code starts another study. The sampler is seeded for every trial by the number of trials before it,
so a search that was killed continues like an uninterrupted one.

A search locks the store as a run does, so garbage collection cannot remove its inputs.
"""

import logging
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig, put
from brmrs.errors import UserError
from brmrs.experiments.search_spaces import searchable
from brmrs.experiments.study_file import open_study
from brmrs.models import bundle
from brmrs.models.base import Scorer
from brmrs.models.registry import build
from brmrs.stages import Stage, of_model
from brmrs.store import keys
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import inputs_of
from brmrs.store.fingerprint import fingerprint
from brmrs.store.runs import Run, sound
from brmrs.system import progress
from brmrs.system.files import digest_json
from brmrs.training.divergence import DivergenceError
from brmrs.training.stage import Prepared, prepare
from brmrs.training.trainer import fit
from brmrs.training.warm_start import start_from

LOG = logging.getLogger(__name__)
FAULT = "fault"  # the attribute of a trial that diverged
UNPRUNED_TRIALS, UNPRUNED_EPOCHS = 5, 5  # a median needs a few values

optuna.logging.set_verbosity(optuna.logging.WARNING)


def tune(config: PipelineConfig, run: Run, store: ArtifactStore, trials: int) -> optuna.Study:
    """Search until the study has `trials` trials; those of an earlier call count.

    Args:
        config: of the first trial.
        run: a run with the inputs of `training(config)`.
        store: of its artifacts; the studies are in its folder `tune`.
        trials: total number.

    Raises:
        UserError: the recommender has nothing to tune, the data lack what it needs, or another run
            is under way and `concurrency` is refuse; or several processes are configured.
    """
    ranges = searchable(config)
    stage = training(config)
    upstream = {name: run.artifact(name) for name in stage.upstream}
    prints = {**run.fingerprint, **fingerprint(config, stage.external)}
    key = keys.key(stage, keys.parts(stage, config, prints, upstream))
    searched = digest_json({name: str(each) for name, each in ranges.items()})
    name = f"{config.name}-{config.model.name}-{digest_json([key, searched])[:12]}"
    with store.running(f"{config.name}, tune", wait=config.concurrency == "wait"):
        sound(run, store, *upstream)
        pruner = MedianPruner(UNPRUNED_TRIALS, UNPRUNED_EPOCHS)
        study = open_study(store.root / "tune" / "studies.db", name, pruner)
        ready = prepare(inputs_of(stage, upstream, store), config)
        search(study, config, ready, trials, ranges)
    return study


def training(config: PipelineConfig) -> Stage:
    """The stage `train`, with the inputs of the configured model."""
    return next(stage for stage in of_model(config) if stage.name == "train")


def search(
    study: optuna.Study,
    config: PipelineConfig,
    ready: Prepared,
    trials: int,
    ranges: dict[str, BaseDistribution],
) -> None:
    """Make trials until `finished` counts `trials`. Only one process at a time may search a study.

    Raises:
        UserError: the data lack what the recommender needs.
    """
    for killed in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(killed.number, state=TrialState.FAIL)
    if made := len(finished(study)):
        LOG.info("%d of %d trials exist already", min(made, trials), trials)
    with progress.task(f"tune {config.model.name}", trials) as bar:
        bar.advance(made)
        while (done := len(finished(study))) < trials:
            if done == 0:
                study.enqueue_trial(_configured(config, ranges))
            study.sampler = TPESampler(seed=config.train.seed + done)
            _make(study, study.ask(ranges), config, ready)
            bar.advance(1, _best_so_far(study))


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ended: completed, pruned or diverged; not those that were killed."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return [each for each in study.trials if each.state in ended or FAULT in each.user_attrs]


def winner(study: optuna.Study) -> FrozenTrial:
    """The best trial by the validation metric.

    Raises:
        UserError: every trial diverged.
    """
    try:
        return study.best_trial
    except ValueError as error:
        faults = {str(each.user_attrs.get(FAULT)) for each in finished(study)}
        raise UserError(f"every trial diverged: {'; '.join(sorted(faults))}") from error


def rows(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """Trials as JSON values."""
    return [
        {
            "number": each.number,
            "state": "diverged" if FAULT in each.user_attrs else each.state.name.lower(),
            "value": each.value,
            "epochs": max(each.intermediate_values, default=0),
            "parameters": each.params,
        }
        for each in trials
    ]


def with_values(config: PipelineConfig, values: dict[str, Any]) -> PipelineConfig:
    """The configuration with the values of a trial."""
    changed = config.model_dump(mode="json")
    for path, value in values.items():
        put(changed, path, value)
    return parse(changed, "trial")


def _make(study: optuna.Study, trial: Trial, config: PipelineConfig, ready: Prepared) -> None:
    chosen = with_values(config, trial.params)
    model = build(chosen.model, ready.data, chosen.train.seed).to(ready.data.device)
    if chosen.train.warm_start:
        previous = bundle.load(chosen.train.warm_start)
        known = ready.users, ready.items, ready.validation
        start_from(previous, chosen.model.name, model, *known)
    epoch = 0

    def select(branch: Scorer) -> float:
        nonlocal epoch
        epoch = min(epoch + chosen.train.validate_every, chosen.train.epochs)
        value = ready.select(branch)
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
        return value

    try:
        history = fit(model, ready.train, select, chosen.train, drawn=ready.drawn)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except DivergenceError as error:
        trial.set_user_attr(FAULT, str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, history.best_value)


def _configured(config: PipelineConfig, ranges: dict[str, BaseDistribution]) -> dict[str, Any]:
    return {path: config.section(path) for path in ranges}


def _best_so_far(study: optuna.Study) -> str:
    values = [each.value for each in study.get_trials(states=(TrialState.COMPLETE,))]
    return f"best {max(value for value in values if value is not None):.4f}" if values else ""
