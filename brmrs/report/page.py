"""The page: sections, one style sheet, one script; a policy that allows nothing else.

The script is Vega, inlined once. It redraws a figure that the pointer enters, with tooltips and
zoom. Without JavaScript all figures are there as SVG. The Content-Security-Policy allows only this
script and this style sheet, by their digests, and pictures from data URLs; it allows no requests.
Templates escape the texts of the data. Vega evaluates expressions with its interpreter, without
`eval`.
"""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from brmrs.report import numbers

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: of its anchor.
        title: its heading.
        body: HTML.
    """

    name: str
    title: str
    body: Markup


def fragment(name: str, /, **values: Any) -> Markup:
    """HTML from the template of that name."""
    return Markup(_environment().get_template(f"{name}.html.j2").render(values))


def section(name: str, title: str, /, **values: Any) -> Section:
    """A section from the template of that name; its anchor is the last part."""
    return Section(name.rpartition(".")[2], title, fragment(name, **values))


def render(title: str, heading: Markup, sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: of the window.
        heading: HTML above the sections.
        sections: in their order.
    """
    style, script = _style(), _script()
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            heading=heading,
            sections=sections,
            policy=policy,
            style=Markup(style),
            script=Markup(script),
        )
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"number": numbers.number, "interval": numbers.interval}
    return environment


@cache
def _style() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


@cache
def _script() -> str:
    """Vega and our few lines, in one script."""
    ours = (HERE / "page.js").read_text(encoding="utf-8")
    bundle = str(vl_convert.javascript_bundle(ours))
    # A closing tag in the script would end the element; in strings of JavaScript, \/ is /.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
