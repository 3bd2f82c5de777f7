"""The set-up: pyproject.toml, the lock and environment.yml agree, and so do all who call make."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
DIRECT = [
    Requirement(line)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in group
]
LOCKED = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text(encoding="utf8").splitlines()
    if not line.startswith("#")
]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


def make(*arguments: str) -> list[str]:
    """The lines that make prints."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "--no-print-directory", "--silent", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def committed_texts() -> dict[str, str]:
    """Every text file that is in the repository or would be after `git add --all`."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone: there is no git to ask which files belong to the project")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = {}
    for name in filter(None, names.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content:
            texts[name] = content.decode("utf8")
    return texts


def found(pattern: str) -> list[str]:
    """Where the pattern stands in the repository."""
    return [
        f"{name}: {match.group()}"
        for name, content in committed_texts().items()
        for match in re.finditer(pattern, content)
    ]


@pytest.mark.parametrize("direct", DIRECT, ids=str)
def test_the_lock_pins_every_direct_dependency(direct: Requirement) -> None:
    name = canonicalize_name(direct.name)
    pins = [locked for locked in LOCKED if canonicalize_name(locked.name) == name]
    assert pins, f"{name} is not in requirements.lock: run make lock"
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert direct.specifier.contains(specifier.version, prereleases=True)


def test_the_lock_holds_pinned_names_only() -> None:
    for locked in LOCKED:
        assert locked.url is None, f"{locked} is an address"
        assert [specifier.operator for specifier in locked.specifier] == ["=="]
    assert text("requirements.lock").splitlines()[1].strip("# ") == "make lock"


def test_what_is_installed_is_what_is_locked() -> None:
    for locked in LOCKED:
        if locked.marker is None and canonicalize_name(locked.name) in map(
            canonicalize_name, (direct.name for direct in DIRECT)
        ):
            assert locked.specifier.contains(version(locked.name), prereleases=True), locked


def test_conda_gets_the_locked_versions_on_a_python_that_the_package_accepts() -> None:
    python, pip, from_pip = yaml.safe_load(text("environment.yml"))["dependencies"]
    assert pip == "pip"
    assert from_pip == {"pip": ["-r requirements.lock", "-e ."]}
    accepted = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert accepted.contains(python.removeprefix("python="))
    assert f"--python-version {python.removeprefix('python=')}" in text("Makefile")


def test_without_cuda_only_the_cuda_libraries_are_left_out() -> None:
    everything = set(make("requirements", "TORCH_BACKEND="))
    without = set(make("requirements", "TORCH_BACKEND=cpu"))
    cuda = re.compile(r"nvidia-\S+|cuda-\S+|triton==\S+")
    assert everything == set(text("requirements.lock").splitlines())
    assert without < everything
    assert all(cuda.match(line) for line in everything - without)
    assert not any(cuda.match(line) for line in without)


def test_continuous_integration_runs_the_documented_command() -> None:
    assert text(".ci/run").rstrip().endswith("exec make test")
    for command in ("make book", "make test"):
        assert f"\n{command} " in text("README.md")


def test_every_python_that_is_said_to_do_is_tested() -> None:
    said = {
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    }
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    assert set(jobs["tests"]["strategy"]["matrix"]["python"]) == said
    assert f">={min(said, key=lambda number: int(number[2:]))}" == PROJECT["requires-python"]


def test_every_make_target_that_is_named_exists() -> None:
    targets = {line.split()[0] for line in make("help")[1:]}
    for name in ("README.md", "CONTRIBUTING.md", "book/index.md", ".ci/run"):
        commands = re.findall(
            r"(?:`|^|exec )make((?:\s+[A-Z_]+=\S+)*)\s+([a-z]+)", text(name), re.M
        )
        assert commands, f"{name} names no target"
        for _, target in commands:
            assert target in targets, f"{name}: make {target}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_exists(name: str) -> None:
    file = r"[\w./-]+(?:/|\.(?:cff|lock|md|png|py|toml|yml))"
    named = re.findall(rf"(?<=\]\(){file}(?=\))|(?<=`){file}(?=`)", text(name))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_repository_names_no_package_registry() -> None:
    hosts = r"pypi\.org|pythonhosted\.org|registry\.npmjs|download\.pytorch|anaconda\.org/\w"
    files = r"https?://[^\s\"']*(?:/simple(?=[/\"'\s])|\.whl|\.deb|/-/\S*\.tgz)"
    assert found(f"{hosts}|{files}") == []


def test_the_repository_holds_no_path_of_a_machine() -> None:
    assert found(r"(?<![A-Za-z0-9_.<])/(?:home|root|tmp|work|Users|opt)/[A-Za-z.]\S*") == []


def test_the_package_is_typed_and_of_the_declared_version() -> None:
    assert (ROOT / "src" / "pruning_core" / "py.typed").is_file()
    assert version("pruning-core") == PROJECT["version"]
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_the_first_page_says_a_sentence_of_every_part_that_is_read() -> None:
    parts = yaml.safe_load(text("_toc.yml"))["parts"]
    captions = [part["caption"] for part in parts if part["caption"] != "Reference"]
    told = re.findall(
        r"^```\{part\} \w+\n\*\*([^*]+?)\.?\*\*(.*?)^```", text("book/index.md"), re.M | re.S
    )
    assert [name for name, _ in told] == captions
    for part, (name, sentence) in zip(parts, told, strict=False):
        chapters = {Path(entry["file"]).name for entry in part["chapters"]}
        assert chapters & set(re.findall(r"\]\((\S+)\)", sentence)), name
