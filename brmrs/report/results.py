"""The result in one sentence and one figure, the comparison with baselines, properties of lists."""

from typing import Any

from markupsafe import Markup

from brmrs import columns
from brmrs.columns import BASELINE, FUSED, SPLIT, SPLIT_NAMES, TEST, USER, VALIDATION
from brmrs.evaluation.comparison import (
    BETTER,
    DECISION,
    UNDECIDED,
    WORSE,
    Comparison,
    compare,
)
from brmrs.report import figures
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, interval, listed, number, sentence
from brmrs.report.page import Section, section

TEST_NAME = SPLIT_NAMES[TEST]
VERBS = {BETTER: "gains over", WORSE: "loses to", UNDECIDED: "is not distinguishable from"}


def result(inputs: Inputs) -> Section:
    """The result on the test split."""
    return section(
        "result",
        "Result",
        lead=_lead(inputs),
        drawn=_figure(inputs),
        tables=[(name, _table(inputs, name)) for name in (TEST_NAME, SPLIT_NAMES[VALIDATION])],
        users=inputs.metrics["users"],
        definitions=_definitions(inputs),
    )


def comparison(inputs: Inputs) -> Section:
    """The model against its branches, paired by user, and against the baseline."""
    found = paired(inputs)
    return section(
        "comparison",
        "Compared with baselines",
        sentence=_against(inputs, found),
        table=_differences(inputs, found) if found else None,
        baseline=_lift(inputs),
        users=inputs.metrics["users"][TEST_NAME],
    )


def lists(inputs: Inputs) -> Section:
    """What the first K items are like, beside their hits."""
    found = {name: inputs.metrics["lists"][name][TEST_NAME] for name in (FUSED, BASELINE)}
    rows = []
    for name, meaning in inputs.metrics["definitions"]["lists"].items():
        if name in found[FUSED]:
            values = [
                number(f"lists.{model}.{name}", of.get(name), "decimal")
                for model, of in found.items()
            ]
            rows.append([name.replace("_", " "), *values, meaning])
    head = ["", inputs.called(FUSED), BASELINE, ""]
    return section("lists", "What the lists are like", table=Table(head, rows), k=inputs.k)


def paired(inputs: Inputs) -> dict[str, Comparison]:
    """Per branch: the model's headline metric minus that of the branch, over the test users."""
    table = inputs.per_user.filter(inputs.per_user[SPLIT] == TEST).sort(USER)
    values = {
        str(branch): part[inputs.headline].to_numpy()
        for (branch,), part in table.group_by(columns.BRANCH, maintain_order=True)
    }
    others = [name for name in inputs.models if name in values and name != FUSED]
    if FUSED not in values or not len(values[FUSED]):
        return {}
    return compare({name: values[FUSED] - values[name] for name in others})


def _lead(inputs: Inputs) -> Markup:
    """The result as one sentence."""
    metric, metrics = inputs.headline, inputs.metrics
    value = metrics[TEST_NAME][metric]
    ends = metrics["intervals"][FUSED][TEST_NAME].get(metric)
    between = (
        sentence(
            " (95 % interval {})",
            interval(f"interval.{FUSED}.{TEST_NAME}.{metric}", ends[0], ends[1], "percent"),
        )
        if ends
        else ""
    )
    baseline = metrics["baseline"][BASELINE][TEST_NAME][metric]
    return sentence(
        "{}'s first {} recommendations hold {} of a user's test items{}; those of {} hold {}.",
        metrics["model"],
        inputs.k,
        number(f"{TEST_NAME}.{FUSED}.{metric}", value, "percent"),
        between,
        BASELINE,
        number(f"{TEST_NAME}.{BASELINE}.{metric}", baseline, "percent"),
    )


def _figure(inputs: Inputs) -> figures.Figure:
    metric = inputs.headline
    rows, cells = [], []
    for name, splits in inputs.models.items():
        value = splits[TEST_NAME][metric]
        low, high = inputs.metrics["intervals"][name][TEST_NAME].get(metric, (value, value))
        rows.append(
            {
                "name": inputs.called(name),
                "series": name,
                "value": value,
                "low": low,
                "high": high,
                "text": f"{value:.4f}",
            }
        )
        key = f"interval.{name}.{TEST_NAME}.{metric}"
        ends = [number(f"{key}.low", low), number(f"{key}.high", high)]
        cells.append([inputs.called(name), number(f"{TEST_NAME}.{name}.{metric}", value), *ends])
    best, second = sorted(rows, key=lambda row: -row["value"])[:2]
    apart = best["low"] > second["high"]
    text = sentence(
        "{} is the highest, {} follows; their 95 % intervals {}.",
        best["name"],
        second["name"],
        "do not overlap" if apart else "overlap",
    )
    return figures.figure(
        "result",
        f"Test {metric} with 95 % bootstrap interval over the users",
        figures.dots(rows, f"test {metric}"),
        text,
        Table(["", metric, "low", "high"], cells),
    )


def _shown(inputs: Inputs) -> list[str]:
    """Recall and NDCG at every cut-off, the other metrics at the largest."""
    kinds = columns.metric_kinds(inputs.metrics[TEST_NAME])
    first = [columns.metric(name, k) for name in kinds[:2] for k in inputs.cut_offs]
    return first + [columns.metric(name, inputs.k) for name in kinds[2:]]


def _table(inputs: Inputs, split: str) -> Table:
    shown = _shown(inputs)
    rows = [
        [
            inputs.called(name),
            *(number(f"{split}.{name}.{metric}", splits[split][metric]) for metric in shown),
        ]
        for name, splits in inputs.models.items()
    ]
    return Table(["", *(name.replace("_", " ") for name in shown)], rows, frozenset({0}))


def _definitions(inputs: Inputs) -> list[tuple[str, str]]:
    kinds = columns.metric_kinds(inputs.metrics[TEST_NAME])
    texts = inputs.metrics["definitions"]
    return [(name.replace("_", " "), texts[name]) for name in kinds if name in texts]


def _differences(inputs: Inputs, found: dict[str, Comparison]) -> Table:
    rows = [
        [
            f"minus {inputs.called(name)}",
            number(f"paired.{name}.difference", each.difference, "signed"),
            interval(f"paired.{name}", each.low, each.high, "signed"),
            number(f"paired.{name}.effect", each.effect, "score"),
            number(f"paired.{name}.p_holm", each.p_holm, "p"),
            number(f"paired.{name}.changed", each.changed, "count"),
        ]
        for name, each in found.items()
    ]
    return Table(["", "difference", "95 % interval", "effect", "p (Holm)", "users changed"], rows)


def _against(inputs: Inputs, found: dict[str, Comparison]) -> str:
    """Which branches the model is better than, by the corrected test."""
    if not found:
        return ""
    by_verb: dict[str, list[str]] = {}
    for name, each in found.items():
        by_verb.setdefault(VERBS[each.verdict], []).append(f"the {inputs.called(name)}")
    words = [f"{verb} {listed(names)}" for verb, names in by_verb.items()]
    return f"{inputs.called(FUSED)} {listed(words)} ({DECISION})."


def _lift(inputs: Inputs) -> dict[str, Any]:
    """The model's and the baseline's headline value, and their ratio."""
    own = inputs.metrics[TEST_NAME][inputs.headline]
    other = inputs.metrics["baseline"][BASELINE][TEST_NAME][inputs.headline]
    ratio = own / other if other else None
    return {
        "name": BASELINE,
        "own": number(f"{TEST_NAME}.{FUSED}.{inputs.headline}", own),
        "other": number(f"{TEST_NAME}.{BASELINE}.{inputs.headline}", other),
        "ratio": None if ratio is None else number("ratio.baseline", ratio, "short"),
        "metric": inputs.headline,
    }
