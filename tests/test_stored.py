"""Files of tensors: equal ones for equal tensors, whole, and readable as the umask says."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ase_continuousp.model.stored import read_tensors, write_tensors

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "steps": torch.tensor([3], dtype=torch.int64),
    "half": torch.ones(3, dtype=torch.float16),
}
ABOUT = {"format": "one-1", "trained_on": "Å and 日本", "a": "1", "b": "2", "c": '{"x": [1, 2]}'}


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    write_tensors(path, TENSORS, ABOUT)
    save_file(TENSORS, tmp_path / "other.safetensors", metadata=ABOUT)
    for one in (load_file(path), read_tensors("one", path, "one-1")[0]):
        expected = load_file(tmp_path / "other.safetensors")
        assert one.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in one.items())
    with safe_open(path, framework="pt") as stream:
        assert stream.metadata() == ABOUT
    write_tensors(path, TENSORS)
    with safe_open(path, framework="pt") as stream:
        assert not stream.metadata()


def test_equal_tensors_make_equal_files(tmp_path: Path) -> None:
    written = set()
    for order in (list(ABOUT), list(ABOUT)[::-1], sorted(ABOUT)):
        for _ in range(5):
            write_tensors(tmp_path / "one", TENSORS, {name: ABOUT[name] for name in order})
            written.add((tmp_path / "one").read_bytes())
    assert len(written) == 1


def test_others_may_read_them_as_other_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    write_tensors(tmp_path / "one", TENSORS)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("text", "one")]
    assert modes[0] == modes[1]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "one"
    write_tensors(path, TENSORS)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_tensors(path, {"a": torch.ones(1)}, {"format": 1})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["one"]
