"""The task record and the table of all tasks. Importing this imports no torch.

`Input` and `Output` are frozen dataclasses. A field's `metadata["help"]` is its documentation, on
the command line as elsewhere; its type decides the form: an image, a text, or a list of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from seesay.family import resolve
from seesay.protocols import DualEncoder, Localiser


@dataclass(frozen=True, kw_only=True)
class Task:
    """A typed request and response that some models can serve.

    Attributes:
        name: The command, the route and the method are called this.
        summary: One line of help.
        needs: The protocol a module must satisfy.
        io: "module:Input" and "module:Output", frozen dataclasses.
        run: "module:function", called with (model, list of Input); yields one Output per request
            in input order, or the InputError of a request that could not be served.
    """

    name: str
    summary: str
    needs: type
    io: tuple[str, str]
    run: str

    def allows(self, module: type) -> bool:
        """Whether a module class has the methods the task needs."""
        wanted = [n for n, v in vars(self.needs).items() if callable(v) and not n.startswith("_")]
        return all(callable(getattr(module, name, None)) for name in wanted)

    def input_type(self) -> type:
        """Return the request dataclass."""
        found: type = resolve(self.io[0])
        return found

    def output_type(self) -> type:
        """Return the response dataclass."""
        found: type = resolve(self.io[1])
        return found

    def runner(self) -> Callable[[Any, Sequence[Any]], Iterator[Any]]:
        """Return the function that serves requests."""
        found: Callable[[Any, Sequence[Any]], Iterator[Any]] = resolve(self.run)
        return found


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="embed",
            summary="Turn images or texts into unit vectors.",
            needs=DualEncoder,
            io=("seesay.tasks.embed:EmbedInput", "seesay.tasks.embed:EmbedOutput"),
            run="seesay.tasks.embed:run",
        ),
        Task(
            name="classify",
            summary="Say which of your labels each image shows, without training.",
            needs=DualEncoder,
            io=("seesay.tasks.classify:ClassifyInput", "seesay.tasks.classify:ClassifyOutput"),
            run="seesay.tasks.classify:run",
        ),
        Task(
            name="match",
            summary="Score how well texts describe an image.",
            needs=DualEncoder,
            io=("seesay.tasks.match:MatchInput", "seesay.tasks.match:MatchOutput"),
            run="seesay.tasks.match:run",
        ),
        Task(
            name="relevance",
            summary="Show where in an image a text is found, as a heat map over the picture.",
            needs=Localiser,
            io=("seesay.tasks.relevance:RelevanceInput", "seesay.tasks.relevance:Relevance"),
            run="seesay.tasks.relevance:run",
        ),
    )
}
"""Every task by name. The order is the order of lists and help pages."""
