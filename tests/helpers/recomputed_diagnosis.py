"""The numbers of the diagnosis, the strata and the cases in a report, from the Parquet files.

From JSON: the by-cosine share of uniform negatives, false-negative rates, and the quadrants of
drawn negatives. A drawn negative may be the held-out item itself, with a margin of 0, which the
histogram counts as separated.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from recomputed_run import MODALITIES, Run, Values, redraw


def groups(run: Run, pairs: list[dict[str, Any]]) -> dict[tuple[str, str], list[int]]:
    """The places of the test pairs in each stratum, but for those of time and history."""
    trained = run.counts > 0
    ordered = np.sort(run.counts[trained])[::-1]
    least = ordered[math.ceil(0.2 * len(ordered)) - 1]
    found = defaultdict(list)
    for place, pair in enumerate(pairs):
        item = pair["item"]
        popularity = (
            "cold" if not trained[item] else "head" if run.counts[item] >= least else "tail"
        )
        found["item popularity", popularity].append(place)
        for modality, word in (("text", "text"), ("visual", "picture")):
            has = "with" if run.features[modality][1][item] else "without"
            found[word, f"{has} {word}"].append(place)
    return {**found, **_by_size(run, pairs)}


def _by_size(run: Run, pairs: list[dict[str, Any]]) -> dict[tuple[str, str], list[int]]:
    """By the length of the history and by time, in groups of about equal size."""
    times = {
        (row["user"], row["item"]): datetime.fromtimestamp(row["timestamp"] / 1000, UTC).date()
        for row in run.split
        if row["split"] == 2
    }
    values: dict[str, tuple[int, list[Any]]] = {
        "history length": (3, [len(run.of[0][pair["user"]]) for pair in pairs]),
        "time": (4, [times[pair["user"], pair["item"]] for pair in pairs]),
    }
    found: dict[tuple[str, str], list[int]] = {}
    for dimension, (number, each) in values.items():
        ordered = sorted(each)
        uppers = sorted({ordered[len(each) * n // number - 1] for n in range(1, number + 1)})
        for low, high in zip([None, *uppers], uppers, strict=False):
            mine = [
                place
                for place, value in enumerate(each)
                if value <= high and (low is None or value > low)
            ]
            ends = [
                str(min(each[place] for place in mine)),
                str(max(each[place] for place in mine)),
            ]
            found[dimension, " to ".join(dict.fromkeys(ends))] = mine
    return found


def strata(run: Run) -> Values:
    """Recall in strata, from the ranks of the pairs."""
    pairs = run.rows("diagnosis", "pairs")
    popular = {user: run.most_popular(user)[: run.k] for user in run.of[2]}
    hits = {
        branch: [pair[f"{branch}_rank"] <= run.k for pair in pairs]
        for branch in ("fused", *MODALITIES)
    }
    hits["most-popular"] = [pair["item"] in popular[pair["user"]] for pair in pairs]
    found: Values = {}
    for (dimension, stratum), places in groups(run, pairs).items():
        key = f"strata.{dimension}.{stratum}"
        found[f"{key}.pairs"] = len(places)
        for branch, each in hits.items():
            shares = defaultdict(list)
            for place in places:
                shares[pairs[place]["user"]].append(each[place])
            values = np.array([np.mean(of_user) for of_user in shares.values()])
            found[f"{key}.users"], found[f"{key}.{branch}"] = len(values), values.mean()
            redraw(found, f"{key}.{branch}", values)
    return found


def sets(run: Run) -> Values:
    """The sets of pairs in each group, and the two pooled rates."""
    pairs = run.rows("diagnosis", "pairs")
    in_set = [_set(pair, run.k) for pair in pairs]
    chosen = groups(run, pairs) | {("all", "all"): list(range(len(pairs)))}
    for place, pair in enumerate(pairs):
        chosen.setdefault(("type", pair["type"]), []).append(place)
    found: Values = {"diagnosis.pairs": len(pairs), "diagnosis.users": len(run.of[2])}
    for (dimension, stratum), places in chosen.items():
        for name in ("only_text", "only_visual", "both", "synergy", "degeneration", "none"):
            shares = defaultdict(list)
            for place in places:
                shares[pairs[place]["user"]].append(in_set[place] == name)
            key = f"sets.{dimension}.{stratum}.{name}"
            found[key] = np.mean([np.mean(each) for each in shares.values()])
    fused = in_set.count("both") + in_set.count("only_text") + in_set.count("only_visual")
    synergy, lost = in_set.count("synergy"), in_set.count("degeneration")
    found["rates.synergy"] = synergy / (synergy + fused) if synergy + fused else None
    found["rates.degeneration"] = lost / (lost + fused) if lost + fused else None
    return found


def _set(pair: Mapping[str, Any], k: int) -> str:
    text, visual, fused = (pair[f"{branch}_rank"] <= k for branch in (*MODALITIES, "fused"))
    if not fused:
        return "degeneration" if text or visual else "none"
    if text and visual:
        return "both"
    return "only_text" if text else "only_visual" if visual else "synergy"


def diagnosis(run: Run) -> Values:
    """Confusion, quadrants, samplers, information and types."""
    pairs, facts = run.rows("diagnosis", "pairs"), run.json("diagnosis", "diagnosis")
    found: Values = {}
    for way, whole in (("by_score", "above"), ("by_cosine", "compared")):
        confused = sum(pair[f"confused_{way}"] for pair in pairs)
        found[f"confusion.{way}.above.value"] = confused / sum(pair[whole] for pair in pairs)
        found[f"confusion.{way}.uniform.value"] = facts["confusion"][way]["uniform"]["value"]
        for kind in ("above", "uniform"):
            for end in ("low", "high"):
                found[f"confusion.{way}.{kind}.{end}"] = facts["confusion"][way][kind][end]
    found |= _quadrants(run, facts["quadrants"])
    for row in run.rows("diagnosis", "samplers"):
        key = f"samplers.{row['sampler']}"
        found[f"{key}.false_negatives"] = facts["samplers"][row["sampler"]]["false_negatives"]
        if row["measure"] == "margin":
            found[f"{key}.margin.{row['branch']}"] = row["value"]
        elif row["branch"] == "fused":
            found[f"{key}.not_separated"] = row["value"]
    for row in run.rows("diagnosis", "information"):
        if row["dimension"] == "all":
            key = f"information.{row['quantity']}"
            found[key] = found[f"{key}.value"] = row["value"]
            found[f"{key}.low"], found[f"{key}.high"] = row["low"], row["high"]
    return found | _types(run, pairs)


def _quadrants(run: Run, facts: Values) -> Values:
    found: Values = {
        f"quadrants.{kind}.{name}.{end}": value
        for kind, quadrants in facts.items()
        for name, each in quadrants.items()
        for end, value in each.items()
    }
    names = {
        (True, True): "both_separate",
        (True, False): "text_separates",
        (False, True): "visual_separates",
        (False, False): "neither_separates",
    }
    counts: dict[str, int] = defaultdict(int)
    for row in run.rows("diagnosis", "margins"):
        if row["negatives"] == "above":
            counts[names[row["text_high"] > 1e-9, row["visual_high"] > 1e-9]] += row["count"]
    for name in names.values():
        found[f"quadrants.above.{name}.value"] = counts[name] / sum(counts.values())
    return found


def _types(run: Run, pairs: list[dict[str, Any]]) -> Values:
    found: Values = {}
    for planted in {pair["type"] for pair in pairs}:
        own = [pair for pair in pairs if pair["type"] == planted]
        found[f"types.{planted}.pairs"] = len(own)
        for branch in ("fused", *MODALITIES):
            shares = defaultdict(list)
            for pair in own:
                shares[pair["user"]].append(pair[f"{branch}_rank"] <= run.k)
            found[f"types.{planted}.{branch}"] = np.mean(
                [np.mean(each) for each in shares.values()]
            )
    return found


def cases(run: Run) -> Values:
    """The numbers that a case of any pair would have."""
    found: Values = {}
    theta = run.json("train", "bundle")["model"]["theta"]
    for pair in run.rows("diagnosis", "pairs"):
        key = f"case.{pair['user']}.{pair['item']}"
        margin = {}
        for branch in (*MODALITIES, "fused"):
            score, other = pair[f"{branch}_score"], pair[f"negative_{branch}_score"]
            found[f"{key}.{branch}.rank"] = pair[f"{branch}_rank"]
            found[f"{key}.{branch}.score"] = score
            if other is not None:
                found[f"{key}.{branch}.negative"] = other
                margin[branch] = found[f"{key}.{branch}.margin"] = score - other
                if branch in MODALITIES:
                    found[f"{key}.{branch}.cosine"] = pair[f"negative_{branch}_cosine"]
        if margin:
            learns = "visual" if pair["confuses"] == "text" else "text"
            best = max(margin[name] for name in MODALITIES)
            arguments = {"chns": margin[learns], "synergy": margin["fused"] - best - theta}
            for name, x in arguments.items():
                found[f"{key}.{name}.argument"] = x
                found[f"{key}.{name}.loss"] = -math.log(1 / (1 + math.exp(-x)))
                found[f"{key}.{name}.pull"] = 1 - 1 / (1 + math.exp(-x))
    return found
