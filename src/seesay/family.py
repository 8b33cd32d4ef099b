"""The record that ties a published model together. Declaring one imports no torch.

The parts that need torch are given as "module:attribute" and resolved when first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from seesay.checkpoints.files import Source
    from seesay.checkpoints.keymap import KeyMap
    from seesay.generation.options import Options
    from seesay.protocols import Processor


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One published size.

    Attributes:
        config: Makes the frozen configuration; its docstring names the upstream config file.
        settings: Makes the processor settings (pixels, tokens) that the weights were trained with.
        hub: The hub id that carries the weights, or None.
        revision: The hub commit this was checked against, or None for the newest.
        weights: A native checkpoint folder inside the package, or None.
        released: The address of a page with files of its weights that are not on the hub, or None.
        licence: The licence of the weights, when it differs from the family's.
        limits: What who did not choose this variant is told when it is the default; or empty.
    """

    config: Callable[[], Any]
    settings: Callable[[], dict[str, Any]]
    hub: str | None = None
    revision: str | None = None
    weights: Path | None = None
    released: str | None = None
    licence: str | None = None
    limits: str = ""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a family's generators are asked for a task, as published.

    Attributes:
        template: What the user's text is put into, at "{}": the beginning of a caption, a question.
        options: How the answer is generated.
        drawn: Fields of `options` that are otherwise where tokens are drawn, without beams.
        forms: The other templates of the task, by the name of what is asked instead: "detailed" of
            captions, "document" of answers, "phrases" of what is detected. A task's file says which
            there can be; a family has those it was trained for.
    """

    template: str
    options: Options
    drawn: Mapping[str, Any] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which the family's checkpoints were published.

    Attributes:
        name: What `seesay convert --layout` calls it.
        files: Names of its weight files, the preferred one first; globs and shard indices too.
        recognises: Whether a source with such a file is of this layout; prefers to look at JSON.
        config: The configuration told by the source.
        settings: The processor settings told by the source.
        keymap: Where each of the source's keys goes in a module of this configuration.
        companions: Writes the files beside the weights (config.json, tokenizer ...) and returns
            the name the weight file should have; raises CheckpointError when the layout cannot
            say what the configuration says.
        wrapped: The name under which a pickle of this layout holds the tensors; None when it holds
            nothing else.
    """

    name: str
    files: tuple[str, ...]
    recognises: Callable[[Source], bool]
    config: Callable[[Source], Any]
    settings: Callable[[Source, Any], dict[str, Any]]
    keymap: Callable[[Any], KeyMap]
    companions: Callable[[Any, Processor, Path], str]
    wrapped: str | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """A published model: what it is, its sizes, and how to build and read it.

    Attributes:
        name: The folder's name.
        summary: One line for lists.
        paper: arXiv id and title.
        licence: The licence of the published weights.
        config: "module:Class" of the frozen dataclass that every configuration is.
        variants: Name to variant; "<name>-tiny" is the one every contract test runs on.
        module: "module:Class" of the nn.Module; built by `Class(config)`. Where checkpoints differ
            in their parts, "module:function" that returns the class for a configuration.
        processor: "module:function"; called with (config, settings, folder or None).
        layouts: "module:TUPLE" of the layouts, tried in order.
        templates: "module:DICT" of the named prompt sets of zero-shot classification, the first
            being the default; each a list of strings with one "{}" for the label.
        prompts: "module:DICT" of how generation is asked for, task name to `Asking`; where
            checkpoints differ, "module:function" that returns it for a configuration. None for
            families that write no text.
        begun: "module:function" (config, tensors, objective, classes) -> (config, tensors,
            patterns of what is drawn afresh): what training for an objective begins with that was
            trained for another. None for families whose models are trained as they are.
        compats: Whose ways the processor can reproduce where they depart from the original's.
        resizable: Whether a checkpoint looks at images of other sizes than its own; as large as the
            processor allows.
        health: "module:function" (model) -> what `seesay info` tells of a checkpoint that loads and
            may all the same not work. None for families of which no such ones are known.
    """

    name: str
    summary: str
    paper: str
    licence: str
    config: str
    module: str
    processor: str
    layouts: str
    templates: str = "seesay.tasks.classify:TEMPLATES"
    prompts: str | None = None
    begun: str | None = None
    compats: tuple[str, ...] = ("hf",)
    resizable: bool = False
    health: str | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def config_class(self) -> type:
        """Return the dataclass of the configuration; imports torch."""
        found: type = resolve(self.config)
        return found

    def module_class(self, config: Any) -> type[nn.Module]:
        """Return the class of the module of this configuration; imports torch."""
        found: Any = resolve(self.module)
        chosen: type[nn.Module] = found if isinstance(found, type) else found(config)
        return chosen

    def build(self, config: Any) -> nn.Module:
        """Return a module of this configuration with its default initialisation."""
        return self.module_class(config)(config)

    def make_processor(
        self, config: Any, settings: Mapping[str, Any], folder: Path | None = None
    ) -> Processor:
        """Return the processor for a configuration; `folder` may hold tokenizer files."""
        made: Processor = resolve(self.processor)(config, settings, folder)
        return made

    def known_layouts(self) -> tuple[Layout, ...]:
        """Return the published layouts."""
        found: tuple[Layout, ...] = resolve(self.layouts)
        return found

    def prompt_sets(self) -> Mapping[str, Sequence[str]]:
        """Return the prompt sets for zero-shot classification by name."""
        found: Mapping[str, Sequence[str]] = resolve(self.templates)
        return found

    def asking(self, task: str, config: Any) -> Asking | None:
        """Return how a model of this configuration is asked for a task, None where it cannot be."""
        found: Any = resolve(self.prompts) if self.prompts else {}
        asked: Mapping[str, Asking] = found(config) if callable(found) else found
        return asked.get(task)


def deferred(path: str, **arguments: Any) -> Callable[[], Any]:
    """Return a function that resolves "module:function" when called, and calls it."""

    def call() -> Any:
        return resolve(path)(**arguments)

    return call


def resolve(path: str) -> Any:
    """Return the attribute that "package.module:attribute" names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)
