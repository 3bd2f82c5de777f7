"""Tests of pruning_core.files: whole files or none, errors with a name, nothing to wait for."""

import errno
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pruning_core.files import clear_partial, make_writable, read_regular, write_atomically


def test_an_interrupted_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "state"
    write_atomically(target, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="No space left") as caught:
                write_atomically(target, b"new, and longer")
        assert caught.value.filename == str(target)
        assert [path.name for path in tmp_path.iterdir()] == ["state"]
        assert target.read_bytes() == b"old"


def test_written_files_are_as_readable_as_any(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "any").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_file_is_written_by_many_at_once(tmp_path: Path) -> None:
    contents = [bytes([number]) * 10_000 for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(tmp_path / "state", content), contents))
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state").read_bytes() in contents


def test_no_link_is_followed_to_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that has guessed the temporary name."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".state.guessed.partial").symlink_to(precious)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "state", b"new")
    (tmp_path / "state").symlink_to(precious)
    write_atomically(tmp_path / "state", b"new")
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "state").is_symlink()


@pytest.mark.parametrize("name", ["folder", "absent/file", "file/below", "n" * 256])
def test_what_cannot_be_written_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        write_atomically(tmp_path / name, b"content")
    assert caught.value.filename == str(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}


def test_what_killed_writers_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    for name in (".state.0123.partial", "state", ".hidden", "my.partial"):
        (tmp_path / name).touch()
    clear_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state", ".hidden", "my.partial"}


def test_only_files_are_read_and_no_larger_ones_than_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    assert read_regular(tmp_path / "link", limit=5) == b"12345"
    with pytest.raises(OSError, match="5 bytes, but 4 at most"):
        read_regular(tmp_path / "file", limit=4)
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match="Not a regular file") as caught:
            read_regular(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)


def test_a_folder_is_tried_by_many_at_once_and_nothing_stays_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make_writable, [folder] * 400))
    assert list(folder.iterdir()) == []
