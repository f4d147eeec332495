"""The registry of modules: it holds what the folder holds, in letter order, and every name finds its module."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis.modules
from analysis.modules import BY_LETTER, MODULES, by_command
from data.errors import InputError


def test_folder_and_registry_agree():
    files = {path.stem for path in Path(analysis.modules.__file__).parent.glob("*.py") if path.stem != "__init__"}
    assert files == {module.slug for module in MODULES} and len(MODULES) >= 4
    assert [module.letter for module in MODULES] == sorted(BY_LETTER)


def test_every_word_finds_its_module_and_no_word_finds_two():
    words = [word for module in MODULES for word in (*module.commands, module.slug)]
    assert len(words) == len(set(words))
    for module in MODULES:
        assert all(by_command(word) is module for word in (*module.commands, module.slug, module.letter))


def test_an_unknown_word_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"expected one of trend \(A\), regime \(B\).*got 'trnd'"):
        by_command("trnd")
