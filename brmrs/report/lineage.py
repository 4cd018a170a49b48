"""Lineage: the files that the page was made from; a run adds its stages."""

from brmrs.report.inputs import Inputs
from brmrs.report.page import Section, section


def lineage(inputs: Inputs) -> Section:
    """Without the run, of which the stage knows nothing (see `brmrs.report.run_page`)."""
    return section("lineage", "Lineage", reads=sorted(inputs.paths))
