"""Tests of pruning_core.extras: what is missing is told together with what brings it."""

import ast
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pruning_core.cli import main
from pruning_core.extras import EXTRAS, MissingExtraError, need

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
DISTRIBUTIONS = {"PIL": "pillow", "vl_convert": "vl-convert-python"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_is_said_to_be_missing(extra: str) -> None:
    brought = {Requirement(line).name for line in PROJECT["optional-dependencies"][extra]}
    assert {DISTRIBUTIONS.get(name, name) for name in EXTRAS[extra]} <= brought
    need(extra)


def test_every_package_that_a_module_imports_is_required_or_of_an_extra() -> None:
    required = {Requirement(line).name.replace("-", "_") for line in PROJECT["dependencies"]}
    known = required | {"pruning_core"} | {name for names in EXTRAS.values() for name in names}
    imported = set[str]()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) - known == set()


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these were not installed, for those who ask first."""
    monkeypatch.setattr(
        "pruning_core.extras.find_spec", lambda name: None if name in names else find_spec(name)
    )


CALLS = {
    "study list": (["study", "list"], "pandas", "studies"),
    "study status": (["study", "status", "reproduce"], "joblib", "studies"),
    "study show": (["study", "show", "reproduce"], "scipy", "studies"),
    "study run": (["study", "run", "reproduce"], "pyarrow", "studies"),
    "a cluster": (
        ["study", "run", "reproduce", "--scheduler", "tcp://nowhere:1"],
        "distributed",
        "cluster",
    ),
    "ledger": (["ledger"], "pandas", "studies"),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_command_without_its_extra_says_what_to_install(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, package, extra = CALLS[what]
    hide(monkeypatch, package)
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    assert capsys.readouterr() == (
        "",
        f"pruning-core: {package} is not installed; "
        f"pip install 'pruning-core[{extra}]' brings what this needs\n",
    )


def test_several_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "pandas", "scipy")
    with pytest.raises(MissingExtraError, match=r"^pandas and scipy are not .*core\[studies\]'"):
        need("studies")


def test_what_is_missed_only_when_it_is_imported_is_told_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")

    monkeypatch.setattr("pruning_core.studies.ledger.decided", lacking)
    assert main(["ledger", "--root", str(ROOT)]) == 2
    assert "pyarrow is not installed; pip install 'pru" in capsys.readouterr().err


@pytest.mark.slow
def test_the_book_s_parts_say_what_to_install() -> None:
    script = """if True:
        import importlib, sys
        import pruning_core.extras as extras
        extras.find_spec = lambda name: None  # nothing is installed, for those who ask first
        for name in ("explorers", "figures", "widgets", "explorers.chart", "figures.results"):
            try:
                importlib.import_module(f"pruning_core.{name}")
            except extras.MissingExtraError as error:
                assert "pip install 'pruning-core[book]'" in str(error)
            else:
                raise SystemExit(f"{name} did not ask")
    """
    subprocess.run([sys.executable, "-c", script], check=True)
