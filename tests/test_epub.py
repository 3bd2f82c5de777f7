"""The book for electronic readers, as `make epub` packs it, and what is done to its pages."""

import os
import posixpath
import re
import runpy
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
TEX = CONFIG["sphinx"]["config"]["mathjax3_config"]["tex"]
HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
OPF = "{http://www.idpf.org/2007/opf}"

extension: Any = runpy.run_path(str(ROOT / "book" / "_ext" / "epub.py"))

PAGE = rb"""<html xmlns="http://www.w3.org/1999/xhtml"><body>
<script>let a = 1 &lt; 2;</script><button disabled>press</button><br>
<p id="a" onclick="go()">As <span class="math">\(\theta &lt; 1\)</span> says, once more</p>
<div class="math" id="b"><span class="eqno">(3)<a class="headerlink" href="#b">#</a></span>
\[\KL{q}{p}\]</div>
<p><a href="other.html#x">other</a> <a href="https://a.org/b.html">far</a></p>
<details><summary>Show</summary><p id="a">hidden</p></details>
</body></html>"""


def test_a_page_loses_its_scripts_and_opens_what_is_folded() -> None:
    soup = extension["parse"](PAGE)
    extension["without_scripts"](soup)
    assert extension["formulas_of"](soup)[0][1] == (r"\theta < 1", False)
    assert extension["formulas_of"](soup)[1][1] == (r"\KL{q}{p}", True)
    drawn = {formula: "<svg/>" for _, formula in extension["formulas_of"](soup)}
    page = extension["write"](soup, drawn)
    root = ElementTree.fromstring(page)
    assert not {f"{HTML}script", f"{HTML}button"} & {element.tag for element in root.iter()}
    assert [e.get("open") for e in root.iter(f"{HTML}details")] == ["open"]
    assert [e.get("id") for e in root.iter() if e.get("id")] == ["a", "b"]
    links = [e.get("href") for e in root.iter(f"{HTML}a")]
    assert links == ["other.xhtml#x", "https://a.org/b.html"]
    assert "onclick" not in page
    assert "(3)" in page
    assert "theta" not in page
    assert page.count("<svg/>") == 2


def test_a_drawing_of_html_is_one_of_xml() -> None:
    page = b"<html><body><svg viewBox='0 0 9 9'><clipPath id='c'><path d='M0 0'/></clipPath></svg>"
    soup = extension["parse"](page + b"</body></html>")
    extension["restore"](soup)
    (svg,) = ElementTree.fromstring(extension["write"](soup, {})).iter(f"{SVG}svg")
    assert svg.get("viewBox") == "0 0 9 9"
    assert svg.find(f"{SVG}clipPath/{SVG}path") is not None


def test_rules_for_paper_hold_everywhere() -> None:
    style = "article .a{color:red}@media print{article .a{color:black}}"
    assert extension["as_printed"](style) == ".a{color:red}@media all{.a{color:black}}"


def test_what_xml_does_not_allow_is_not_written() -> None:
    soup = extension["parse"](b"<html><body><p>one<p>two</body></html>")
    soup.find("p").string = "a\x00b"
    with pytest.raises(ElementTree.ParseError):
        extension["write"](soup, {})


@pytest.mark.browser
def test_formulas_are_set_with_the_macros_of_the_book_and_bad_ones_named() -> None:
    if not shutil.which("chromium") and os.environ.get("CI") != "true":
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    formulas = [(r"\E[x_i^2] < \KL{q}{p}", True), (r"\boldsymbol{\theta}", False)]
    drawn = extension["typeset"](formulas, TEX)
    assert list(drawn) == formulas
    for (tex, _), svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.tag == f"{SVG}svg"
        assert root.get("aria-label") == tex
        assert len(list(root.iter(f"{SVG}path"))) >= (10 if "KL" in tex else 1)
    with pytest.raises(Exception, match=r"cannot set this TeX: \\nosuchmacro"):
        extension["typeset"]([(r"\nosuchmacro{x}", False)], TEX)


@pytest.fixture(scope="module")
def epub() -> zipfile.ZipFile:
    if not shutil.which("chromium") and os.environ.get("CI") != "true":
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    subprocess.run(["make", "--silent", "epub"], cwd=ROOT, check=True)
    return zipfile.ZipFile(ROOT / "_build" / "book.epub")


@pytest.fixture(scope="module")
def trees(epub: zipfile.ZipFile) -> dict[str, ElementTree.Element]:
    """Its files that are XML, read by a parser that forgives nothing."""
    kinds = (".xhtml", ".opf", ".ncx", ".xml", ".svg")
    return {n: ElementTree.fromstring(epub.read(n)) for n in epub.namelist() if n.endswith(kinds)}


@pytest.mark.browser
@pytest.mark.slow
def test_it_is_packed_as_the_standard_asks(
    epub: zipfile.ZipFile, trees: dict[str, ElementTree.Element]
) -> None:
    first = epub.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert epub.read("mimetype") == b"application/epub+zip"
    items = {e.attrib["href"]: e.attrib for e in trees["content.opf"].iter(f"{OPF}item")}
    beside = {"mimetype", "META-INF/container.xml", "content.opf"}
    assert items.keys() == set(epub.namelist()) - beside
    pages = {name: tree for name, tree in trees.items() if name.endswith(".xhtml")}
    drawn_on = {name for name, tree in pages.items() if any(True for _ in tree.iter(f"{SVG}svg"))}
    assert {n for n, item in items.items() if item.get("properties") == "svg"} == drawn_on
    title = trees["content.opf"].findtext(".//{http://purl.org/dc/elements/1.1/}title")
    assert title == CONFIG["title"]


@pytest.mark.browser
@pytest.mark.slow
def test_every_link_leads_somewhere_in_it(
    epub: zipfile.ZipFile, trees: dict[str, ElementTree.Element]
) -> None:
    ids = {n: {e.get("id") for e in tree.iter()} for n, tree in trees.items()}
    lost = []
    for name, tree in trees.items():
        for element in tree.iter():
            for key in ("href", "src"):
                link = element.get(key, "https://")
                if re.match("https?:|mailto:|data:", link):
                    continue
                file, _, anchor = unquote(link).partition("#")
                at = posixpath.normpath(posixpath.join(posixpath.dirname(name), file))
                at = at if file else name
                if at not in epub.namelist() or (anchor and anchor not in ids.get(at, {anchor})):
                    lost.append((name, link))
    assert lost == []


@pytest.mark.browser
@pytest.mark.slow
def test_no_script_is_left_and_mathematics_is_drawn(trees: dict[str, ElementTree.Element]) -> None:
    pages = {name: tree for name, tree in trees.items() if name.startswith("book/")}
    assert len(pages) > 25
    formulas = 0
    for name, page in pages.items():
        tags = {element.tag.removeprefix(HTML) for element in page.iter()}
        assert not tags & {"script", "button", "input", "canvas", "select"}, name
        assert all(element.get("open") for element in page.iter(f"{HTML}details")), name
        for element in page.iter():
            if "math" in element.get("class", "").split():
                assert element.find(f"{SVG}svg") is not None, name
                formulas += 1
        shown = "".join(page.itertext())
        assert "\\frac" not in shown, name
        assert "\\(" not in shown, name
    assert formulas > 2000
    chapter = "".join(pages["book/why-deterministic.xhtml"].itertext())
    assert chapter.count("Solution to Exercise") >= 3
