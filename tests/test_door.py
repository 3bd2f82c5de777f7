"""How the project goes out of the door: versions, workflows, forms, a book without Jupyter Book."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import pruning_core

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf8"), re.M))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


def test_there_is_one_version() -> None:
    declared = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    assert pruning_core.__version__ == version("pruning-core") == declared
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == declared
    assert citation["license"] == tomllib.loads(text("pyproject.toml"))["project"]["license"]
    (released,) = re.findall(rf"^## {re.escape(declared)} \((.*)\)$", text("CHANGELOG.md"), re.M)
    assert str(citation["date-released"]) == released
    tracked = subprocess.run(
        ["git", "grep", "-lF", f'"{declared}"', "--", "src", "book/_ext", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tracked.stdout == ""


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ("github-workflows", [str(path.relative_to(ROOT)) for path in WORKFLOWS]),
        ("github-actions", [".github/actions/setup/action.yml"]),
        ("dependabot", [".github/dependabot.yml"]),
        ("github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("github-issue-forms", [".github/ISSUE_TEMPLATE/mistake-in-the-book.yml"]),
        ("github-issue-forms", [".github/ISSUE_TEMPLATE/package.yml"]),
        ("citation-file-format", ["CITATION.cff"]),
    ],
)
def test_files_for_others_are_what_these_read(schema: str, names: list[str]) -> None:
    files = [str(ROOT / name) for name in names]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_call_what_there_is() -> None:
    called = [
        target
        for path in [*WORKFLOWS, ROOT / ".github/actions/setup/action.yml"]
        for line in re.findall(r"^\s*-? ?(?:run: )?(make [a-z ]+)", path.read_text("utf8"), re.M)
        for target in line.split()[1:]
    ]
    assert set(called) <= TARGETS
    # Together the jobs run what `make test` runs.
    assert {"lint", "types", "plain", "browser", "nbval", "book", "pdf", "epub", "dist"} <= set(
        called
    )


def test_no_workflow_has_more_rights_than_it_needs() -> None:
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text("utf8"))
        assert workflow["permissions"] == {"contents": "read"}
        for name, job in workflow["jobs"].items():
            assert job["timeout-minutes"] <= 60
            rights = job.get("permissions", {})
            assert not rights or name in {"pages", "publish", "attach"}
    assert "password" not in text(".github/workflows/release.yml")


@pytest.mark.slow
def test_the_book_is_a_sphinx_project_too() -> None:
    """From what Jupyter Book writes for it, without a warning, page by page."""
    environment = {**os.environ, "MAKEFLAGS": ""}
    done = subprocess.run(
        ["make", "--no-print-directory", "sphinx"],
        cwd=ROOT, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ours, plain = (
        {path.name for path in (ROOT / "_build" / folder / "book").glob("*.html")}
        for folder in ("html", "sphinx/html")
    )
    assert plain
    assert ours <= plain


def test_a_release_says_what_the_changelog_says() -> None:
    command = ["make", "--no-print-directory", "notes"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.strip() in text("CHANGELOG.md")
    assert told.startswith("The first version")
