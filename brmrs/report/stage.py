"""The stage `report`: one HTML page about the data, the model, its results and example users.

The page depends only on the stage's inputs. What differs between two runs with the same inputs (the
run's name, the previous run, which stages were cached) is added by `brmrs.report.run_page`.
"""

from markupsafe import Markup

from brmrs import columns
from brmrs.config import conditions
from brmrs.report import page
from brmrs.report.cases import cases
from brmrs.report.data import data
from brmrs.report.diagnosis import diagnosis
from brmrs.report.gallery import Gallery
from brmrs.report.graphs import graphs
from brmrs.report.inputs import Inputs
from brmrs.report.lineage import lineage
from brmrs.report.numbers import number
from brmrs.report.page import section
from brmrs.report.results import comparison, lists, result
from brmrs.report.strata import strata
from brmrs.report.training import training
from brmrs.report.users import users
from brmrs.stages import StageContext

REPORT = "report.html"


def run(context: StageContext) -> None:
    """Render the page from the outputs of the other stages."""
    html = render(Inputs(context.inputs, context.config))
    (context.out / REPORT).write_text(html, encoding="utf-8")


def render(inputs: Inputs) -> str:
    """The HTML page."""
    gallery = Gallery(inputs)
    sections = [
        result(inputs),
        comparison(inputs),
        data(inputs),
        graphs(inputs),
        training(inputs),
        strata(inputs),
        lists(inputs),
        diagnosis(inputs),
        cases(inputs, gallery),
        users(inputs, gallery),
        lineage(inputs),
    ]
    title = f"{inputs.config.name} · {inputs.bundle['model']['name']}"
    return page.render(title, _heading(inputs), [each for each in sections if each is not None])


def _heading(inputs: Inputs) -> Markup:
    """What was run, and under which conditions the numbers were measured."""
    bundle, config = inputs.bundle, inputs.config
    stamps = inputs.split[columns.TIMESTAMP]
    dated = stamps.null_count() < len(stamps)
    facts = [
        ("positives", conditions.positives(config.ingest)),
        ("split", conditions.split(config.split, dated=dated)),
        ("ranking", inputs.metrics["definitions"]["protocol"]),
        ("features", conditions.coverage(bundle["features"])),
        ("selected by", f"validation {bundle['train']['selection']}"),
    ]
    return section(
        "heading",
        "",
        name=config.name,
        model=bundle["model"]["name"],
        note=config.note,
        learned_from=conditions.learned_from(bundle["features"]),
        facts=facts,
        users=number("statistics.users", inputs.statistics["users"], "count"),
        items=number("statistics.items", inputs.statistics["items"], "count"),
        interactions=number("statistics.interactions", inputs.statistics["interactions"], "count"),
    ).body
