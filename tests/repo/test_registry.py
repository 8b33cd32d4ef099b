"""The registry and the folders agree, and every family says what it is."""

from __future__ import annotations

import ast
import json
import re

import pytest
import torch

import seesay
from repo.source_tree import PACKAGE, modules, tree
from seesay import registry
from seesay.config import from_dict, to_dict
from seesay.errors import UsageError
from seesay.model import supports
from seesay.protocols import DualEncoder
from seesay.tasks.task import TASKS

FAMILIES = sorted(registry.FAMILIES)
CARD = ("licence", "paper")


def test_the_registry_lists_exactly_the_folders_of_families() -> None:
    folders = {path.parent.name for path in (PACKAGE / "families").glob("*/__init__.py")}
    assert set(registry.FAMILIES) == folders
    for name, module in registry.FAMILIES.items():
        assert module == f"seesay.families.{name}"
        assert registry.family(name).name == name


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_what_it_is(name: str) -> None:
    family = registry.family(name)
    assert f"{name}-tiny" in family.variants
    assert len(family.summary) > 10
    assert len(family.licence) > 2
    assert re.match(r"arXiv \d{4}\.\d{4,5}, \w|none; \w", family.paper), family.paper
    for attribute in ("config_class", "prompt_sets"):
        assert getattr(family, attribute)()
    assert isinstance(family.known_layouts(), tuple)
    assert any(supports(family, task) for task in TASKS.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_card(name: str) -> None:
    card = (PACKAGE / "families" / name / "README.md").read_text("utf-8")
    missing = [word for word in CARD if word not in card.lower()]
    assert not missing, f"families/{name}/README.md does not speak of {missing}"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_network_of_a_family_names_its_paper_and_what_differs(name: str) -> None:
    family = registry.family(name)
    for module in {family.module_class(v.config()) for v in family.variants.values()}:
        text = module.__doc__ or ""
        for word in ("Paper:", "Reference:", "Differs:"):
            assert word in text, f"{module.__name__} does not say {word}"
        assert module.__mro__[1] is torch.nn.Module, f"{module.__name__} inherits from a model"


def test_every_network_names_its_paper_and_what_differs() -> None:
    for name, path in modules().items():
        if name.startswith("seesay.networks."):
            source = tree(path)
            docs = [ast.get_docstring(source) or ""] + [
                ast.get_docstring(node) or ""
                for node in source.body
                if isinstance(node, ast.ClassDef)
            ]
            for word in ("Paper:", "Reference:", "Differs:"):
                assert any(word in text for text in docs), f"{name} does not say {word}"


@pytest.mark.parametrize("name", registry.variants())
def test_every_configuration_survives_json_and_fits_in_a_module(name: str) -> None:
    family, variant = registry.variant(name)
    config = variant.config()
    assert from_dict(family.config_class(), json.loads(json.dumps(to_dict(config)))) == config
    json.dumps(variant.settings())
    with torch.device("meta"):
        module = family.build(config)
    assert sum(parameter.numel() for parameter in module.parameters()) > 0
    if isinstance(module, DualEncoder):
        assert config.embed_width > 0


def test_names_are_unique_and_unknown_ones_get_a_suggestion() -> None:
    names = [name for family in registry.families() for name in family.variants]
    assert len(names) == len(set(names)) == len(seesay.list_models())
    hubs = [v.hub for _, v in registry.variants().values() if v.hub]
    assert len(hubs) == len(set(hubs))
    with pytest.raises(UsageError, match=r"Did you mean .*clip-tiny"):
        registry.variant("clip-tinny")
    with pytest.raises(UsageError, match="Did you mean clip"):
        registry.family("clipp")
