"""The graphs: sizes, what supports their edges, and the measured recall of approximate ones."""

from markupsafe import Markup

from brmrs.columns import TEXT, VISUAL
from brmrs.config.learning import LEAST_RECALL
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, listed, number, sentence
from brmrs.report.page import Section, section
from brmrs.store.graphs import Graph

CO_OCCURRENCE = "co_occurrence"
SIGNALS = {CO_OCCURRENCE: "co-occurrence", TEXT: "text", VISUAL: "visual"}


def graphs(inputs: Inputs) -> Section | None:
    """One row per graph; None without graphs."""
    if not inputs.graphs:
        return None
    return section("graphs", "Graphs", table=table(inputs.graphs), warning=warning(inputs.graphs))


def table(found: dict[str, Graph]) -> Table:
    """Sizes and shares. The column of the recall is there if any graph is approximate."""
    approximate = any("recall_of_exact" in each for each in found.values())
    recall = ["exact neighbours found"] if approximate else []
    head = ["", *recall, "nodes", "edges", "edges per node", "without edges", *SIGNALS.values()]
    rows = []
    for name, each in found.items():
        nodes, edges, without = each["nodes"], each["edges"], each["nodes_without_edges"]
        row = [
            number(f"graph.{name}.nodes", nodes, "count"),
            number(f"graph.{name}.edges", edges, "count"),
            number(f"graph.{name}.degree", edges / nodes if nodes else None, "short"),
            number(f"graph.{name}.without", without, "count"),
            *(
                number(f"graph.{name}.{signal}", each["support"].get(signal), "percent")
                for signal in SIGNALS
            ),
        ]
        share = each.get("recall_of_exact")
        shown = Markup("all") if share is None else number(f"graph.{name}.recall", share, "percent")
        rows.append([name, *([shown] if approximate else []), *row])
    return Table(head, rows)


def warning(found: dict[str, Graph]) -> Markup | None:
    """Which graphs have fewer of the exact neighbours than an approximate search aims at."""
    low = {
        name: each["recall_of_exact"]
        for name, each in found.items()
        if "recall_of_exact" in each and each["recall_of_exact"] < LEAST_RECALL
    }
    if not low:
        return None
    shown = [
        sentence("{} of the {} graph", number(f"graph.{name}.recall", share, "percent"), name)
        for name, share in low.items()
    ]
    return sentence(
        "Warning: of the exact neighbours, the approximate search found {}, less than {} %. "
        "graphs.neighbours=exact finds all.",
        Markup(listed(shown)),
        round(100 * LEAST_RECALL),
    )
