"""The numbers of a report, computed anew from the Parquet files of a run, without brmrs.

Only what is in no Parquet file comes from JSON: k-cores, counts of lines, some of the diagnosis.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from recomputed_diagnosis import cases, diagnosis, sets, strata
from recomputed_run import MODALITIES, PARTS, Run, Values, redraw
from scipy.stats import rankdata, wilcoxon


def numbers(folders: Mapping[str, Path], k: int, cut_offs: Iterable[int]) -> Values:
    """The values by key. A pair of ends under `...~` holds an interval that is drawn again."""
    run = Run(folders, k)
    found: Values = {}
    for part in (
        sizes(run),
        metrics(run, sorted(cut_offs)),
        paired(run),
        lists(run),
        strata(run),
        training(run),
        graphs(run),
        sets(run),
        diagnosis(run),
        cases(run),
        users(run),
    ):
        found.update(part)
    return found


def sizes(run: Run) -> Values:
    found: Values = {
        "statistics.users": len(run.users),
        "statistics.items": len(run.items),
        "statistics.interactions": len(run.split),
        "statistics.sparsity": 1 - len(run.split) / len(run.users) / len(run.items),
    }
    for part, name in PARTS.items():
        found[f"split.{name}"] = sum(row["split"] == part for row in run.split)
        found[f"users.{name}"] = len(run.of[part])
    for kind in ("user", "item"):
        degrees = np.bincount([row[kind] for row in run.split])
        found[f"degree.median.{kind}s"] = float(np.median(degrees))
        for d in set(degrees.tolist()):
            found[f"degree.{kind}s.{d}.d"] = d
            found[f"degree.{kind}s.{d}"] = float((degrees >= d).mean())
    found |= _times(run)
    texts = [bool(row["title"] or row["description"]) for row in run.items]
    found |= {
        "items_with.title": sum(bool(row["title"]) for row in run.items),
        "items_with.description": sum(bool(row["description"]) for row in run.items),
        "items_with.text": sum(texts),
        "items_with.image_address": sum(_web(row) > 0 for row in run.items),
        "items_with.image_name": sum(_web(row) < len(row["image_urls"]) for row in run.items),
    }
    statuses = [row["status"] for row in run.rows("images", "images")]
    found |= {f"pictures.{status}": statuses.count(status) for status in statuses}
    item = np.array([row["item"] for row in run.split])
    tested = np.array([row["split"] == 2 for row in run.split])
    for modality, (vectors, present) in run.features.items():
        found[f"features.{modality}.dimension"] = vectors.shape[1]
        found[f"features.{modality}.present"] = int(present.sum())
        shares = {"items": present, "interactions": present[item], "test": present[item[tested]]}
        found |= {
            f"coverage.{modality}.{name}": round(float(of.mean()), 6) for name, of in shares.items()
        }
    return found | _ingested(run)


def graphs(run: Run) -> Values:
    """Sizes of the graphs, and the shares of edges with co-occurrence and with positive cosines."""
    train = np.zeros((len(run.users), len(run.items)))
    for user, items in run.of[0].items():
        train[user, items] = 1
    found: Values = {}
    for name in ("item", "text", "visual", "user"):
        rows = run.rows("graphs", name)
        ends = np.array([(row["row"], row["column"]) for row in rows])
        sets = train if name == "user" else train.T
        found |= {
            f"graph.{name}.nodes": len(sets),
            f"graph.{name}.edges": len(rows),
            f"graph.{name}.degree": len(rows) / len(sets),
            f"graph.{name}.without": len(sets) - len(set(ends[:, 0].tolist())),
        }
        support = {"co_occurrence": (sets[ends[:, 0]] * sets[ends[:, 1]]).sum(axis=1)}
        # A graph of one modality has only that one.
        for modality in [name] if name in MODALITIES else MODALITIES:
            vectors, present = run.features[modality]
            vectors = vectors * present[:, None]
            if name == "user":  # means up to a positive factor, which keeps the sign
                vectors = train @ vectors
            support[modality] = (vectors[ends[:, 0]] * vectors[ends[:, 1]]).sum(axis=1)
        for signal in ("co_occurrence", *MODALITIES):
            values = support.get(signal)
            share = None if values is None else round(float((values > 0).mean()), 6)
            found[f"graph.{name}.{signal}"] = share
    return found


def _web(row: dict[str, Any]) -> int:
    """How many of the pictures of an item have an address on the web."""
    return sum(url.startswith(("http://", "https://")) for url in row["image_urls"])


def _times(run: Run) -> Values:
    """Interactions per bin, in bins of every length; the page has one of them."""
    counts: dict[str, int] = defaultdict(int)
    for row in run.split:
        day = datetime.fromtimestamp(row["timestamp"] / 1000, UTC).date()
        starts = {
            "day": day,
            "week": day - timedelta(days=day.weekday()),
            "month": day.replace(day=1),
            "quarter": date(day.year, day.month - (day.month - 1) % 3, 1),
            "year": date(day.year, 1, 1),
        }
        for unit, start in starts.items():
            for part in PARTS.values():
                counts[f"time.{unit}.{start}.{part}"] += PARTS[row["split"]] == part
            counts[f"time.{unit}.most.{start}"] += 1
    found: Values = dict(counts)
    for unit in ("day", "week", "month", "quarter", "year"):
        found[f"time.{unit}.most"] = max(
            n for key, n in counts.items() if key.startswith(f"time.{unit}.most.")
        )
    return found


def _ingested(run: Run) -> Values:
    facts = run.json("ingest", "statistics")
    found: Values = {f"before.{name}": n for name, n in facts["before_k_core"].items()}
    for core in [{"k": 1, **facts["before_k_core"]}, *facts["cores"]]:
        for name, whole in facts["before_k_core"].items():
            found[f"core.{core['k']}.{name}"] = core[name] / whole
    quarantine = run.rows("ingest", "quarantine")
    for kind in ("reviews", "metadata"):
        found[f"{kind}.lines"] = facts[kind]["lines"]
        found[f"{kind}.duplicates"] = facts[kind]["duplicates"]
        for row in quarantine:
            key = f"{kind}.quarantined.{row['reason']}"
            stem = "meta" if kind == "metadata" else kind
            found[key] = sum(
                row["reason"] == each["reason"] and each["file"].startswith(stem)
                for each in quarantine
            )
    return found


def of_list(items: list[int], relevant: set[int], k: int) -> dict[str, float]:
    """The six metrics of one user."""
    hits = [item in relevant for item in items[:k]]
    places = [place for place, hit in enumerate(hits, start=1) if hit]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(len(relevant), k) + 1))
    precision_at = [sum(hits[:place]) / place for place in places]
    return {
        "recall": len(places) / len(relevant),
        "ndcg": sum(1 / math.log2(place + 1) for place in places) / ideal,
        "precision": len(places) / k,
        "map": sum(precision_at) / min(len(relevant), k),
        "mrr": 1 / places[0] if places else 0.0,
        "hit_rate": float(bool(places)),
    }


def metrics(run: Run, cut_offs: list[int]) -> Values:
    """Of the branches from the per-user table, of the baseline by ranking."""
    found: Values = {}
    table = run.rows("evaluate", "per_user")
    names = [name for name in table[0] if "@" in name]
    for part in (1, 2):
        for branch in ("fused", *MODALITIES):
            own = [row for row in table if row["split"] == part and row["branch"] == branch]
            for name in names:
                values = np.array([row[name] for row in own])
                found[f"{PARTS[part]}.{branch}.{name}"] = values.mean()
                redraw(found, f"interval.{branch}.{PARTS[part]}.{name}", values)
        for k in cut_offs:
            each = [
                of_list(run.most_popular(user), set(items), k)
                for user, items in run.of[part].items()
            ]
            for name in each[0]:
                values = np.array([of_user[name] for of_user in each])
                found[f"{PARTS[part]}.most-popular.{name}@{k}"] = values.mean()
                redraw(found, f"interval.most-popular.{PARTS[part]}.{name}@{k}", values)
    headline = f"recall@{run.k}"
    if other := found[f"test.most-popular.{headline}"]:
        found["ratio.baseline"] = found[f"test.fused.{headline}"] / other
    return found


def paired(run: Run) -> Values:
    found: Values = {}
    table = [row for row in run.rows("evaluate", "per_user") if row["split"] == 2]
    own = {
        branch: np.array(
            [
                row[f"recall@{run.k}"]
                for row in sorted(table, key=lambda row: row["user"])
                if row["branch"] == branch
            ]
        )
        for branch in ("fused", *MODALITIES)
    }
    p = {}
    for branch in MODALITIES:
        gain = own["fused"] - own[branch]
        changed = gain[gain != 0]
        ranks = rankdata(np.abs(changed))
        key = f"paired.{branch}"
        p[branch] = wilcoxon(gain).pvalue if len(changed) else 1.0
        found[f"{key}.difference"] = gain.mean()
        found[f"{key}.changed"] = len(changed)
        found[f"{key}.effect"] = (
            (ranks * np.sign(changed)).sum() / ranks.sum() if len(changed) else 0.0
        )
        redraw(found, key, gain)
    small, large = sorted(MODALITIES, key=lambda branch: p[branch])
    found[f"paired.{small}.p_holm"] = min(1.0, 2 * p[small])
    found[f"paired.{large}.p_holm"] = min(1.0, max(2 * p[small], p[large]))
    return found


def lists(run: Run) -> Values:
    """What the lists of the test users are like."""
    recommended = defaultdict(list)
    for row in run.rows("publish", "recommendations"):
        recommended[row["user"]].append(row["item"])
    users = sorted(run.of[2])
    found: Values = {}
    for model in ("fused", "most-popular"):
        of = {
            user: (recommended[user] if model == "fused" else run.most_popular(user))[: run.k]
            for user in users
        }
        often = np.bincount(
            [item for items in of.values() for item in items], minlength=len(run.items)
        )
        n, key = len(often), f"lists.{model}"
        rank = np.arange(1, n + 1)
        found[f"{key}.coverage"] = (often > 0).mean()
        found[f"{key}.gini"] = ((2 * rank - n - 1) * np.sort(often)).sum() / (n * often.sum())
        bits = -np.log2((run.counts + 1) / (len(run.users) + 1))
        found[f"{key}.novelty"] = np.mean([bits[items].mean() for items in of.values()])
        popular = {user: run.counts[items].mean() for user, items in of.items()}
        found[f"{key}.popularity"] = np.mean(list(popular.values()))
        found[f"{key}.popularity_lift"] = np.mean(
            [popular[user] / run.counts[run.of[0][user]].mean() - 1 for user in users]
        )
        for modality in MODALITIES:
            found[f"{key}.{modality}_diversity"] = _diversity(run, modality, of.values())
    return found


def _diversity(run: Run, modality: str, of: Iterable[list[int]]) -> float:
    vectors, present = run.features[modality]
    values = []
    for items in of:
        own = vectors[[item for item in items if present[item]]].astype(float)
        if len(own) > 1:
            unit = own / np.linalg.norm(own, axis=1, keepdims=True)
            cosines = (unit @ unit.T)[~np.eye(len(own), dtype=bool)]
            values.append(1 - cosines.mean())
    return float(np.mean(values))


def training(run: Run) -> Values:
    return {
        f"curve.{row['name']}.{row['epoch']}": row["value"] for row in run.rows("train", "curve")
    }


def users(run: Run) -> Values:
    return {
        f"score.{row['user_id']}.{row['rank']}": row["score"]
        for row in run.rows("publish", "recommendations")
    }
