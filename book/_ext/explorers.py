"""Sphinx extension: the explorers of a notebook live on its page, without a kernel or a network.

An explorer's output is a Vega-Lite specification and a picture. Here both become one element,
which `explorers.js` draws; it is bundled with Vega into one file, and only on pages that need it.
"""

import json
from pathlib import Path
from typing import Any

import vl_convert
from docutils import nodes
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer, load_mime_renders
from pruning_core.explorers.chart import MIME
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

BUNDLE = "explorers.js"


class VegaLite(MimeRenderPlugin):
    """Renderer of myst-nb: the specification, as data that the page's script finds."""

    # An EPUB has the picture: its readers run no script.
    mime_priority_overrides = (("html", MIME, 1), ("singlehtml", MIME, 1))

    @staticmethod
    def handle_mime(
        renderer: NbElementRenderer, data: MimeData, inline: bool
    ) -> list[nodes.Element] | None:
        if data.mime_type != MIME:
            return None
        spec = json.dumps(data.content, separators=(",", ":"), ensure_ascii=False)
        spec = spec.replace("</", "<\\/")  # or it could end the script
        script = f'<script type="application/json">{spec}</script>'
        return [nodes.container("", nodes.raw("", script, format="html"), classes=["explorer"])]


class WithPicture(SphinxPostTransform):
    """Puts the picture beside the specification, before myst-nb keeps only one of them."""

    default_priority = 3  # myst_nb.sphinx_.SelectMimeType has 4

    def run(self, **kwargs: Any) -> None:
        for explorer in self.document.findall(nodes.container):
            if _is_explorer(explorer):
                outputs = explorer.parent.parent
                explorer.extend([image.deepcopy() for image in outputs.findall(nodes.image)])


def load_bundle(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Let a page with an explorer load the script and the style."""
    if doctree and any(doctree.findall(_is_explorer)):
        app.add_css_file("explorers.css")
        app.add_js_file(BUNDLE, loading_method="defer")


def write_bundle(app: Sphinx, error: Exception | None) -> None:
    """Make the script, with the parts of Vega that it needs."""
    if error is None and app.builder.format == "html":
        snippet = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
        # A script that is a module does not load from a file, so its names need walls of their own.
        script = f"(() => {{{vl_convert.javascript_bundle(snippet)}}})();"
        (Path(app.outdir) / "_static" / BUNDLE).write_text(script, encoding="utf-8")


def _is_explorer(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and "explorer" in node["classes"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of it."""
    # myst-nb looks for renderers among installed packages only, and remembers what it found.
    load_mime_renders().append(VegaLite())
    app.add_post_transform(WithPicture)
    app.connect("html-page-context", load_bundle)
    app.connect("build-finished", write_bundle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
