"""The task record and the table of all tasks. Importing this imports no torch.

`Input` and `Output` are frozen dataclasses. A field's `metadata["help"]` is its documentation, on
the command line as elsewhere; its type decides the form: an image, a text, a list of either, a
number, a switch. `metadata["options"]` names the dataclass whose fields a mapping may set.
`metadata["each"]` is true where a command takes many, one request for each, and "folder" where it
takes one image or a folder of them; `metadata["positional"]` where a text needs no option's name
though it may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from seesay.family import resolve
from seesay.protocols import (
    Comparer,
    DualEncoder,
    Generator,
    Localiser,
    Matcher,
    PairClassifier,
    PooledEncoder,
    WordLocaliser,
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A typed request and response that some models can serve.

    Attributes:
        name: The method and the route are called this.
        summary: One line of help.
        needs: The protocols of which a module must satisfy one.
        io: "module:Input" and "module:Output", frozen dataclasses.
        run: "module:function", called with (model, list of Input), and batch_size=number unless
            that is None here; yields one Output per request in input order, or the InputError of
            one that could not be served.
        prompted: Whether the family must say how it is asked (`Family.prompts`).
        verb: The command, where it is not called as the method.
        batch_size: How many requests go through the network together, unless told otherwise; None
            for a task that takes them one by one.
        gradients: Whether it needs gradients, which packed layers do not have.
    """

    name: str
    summary: str
    needs: tuple[type, ...]
    io: tuple[str, str]
    run: str
    prompted: bool = False
    verb: str | None = None
    batch_size: int | None = 32
    gradients: bool = False

    @property
    def command(self) -> str:
        """What the command is called."""
        return self.verb or self.name

    def allows(self, module: type) -> bool:
        """Whether a module class has the methods the task needs."""
        return any(
            all(
                callable(getattr(module, name, None))
                for name, value in vars(protocol).items()
                if callable(value) and not name.startswith("_")
            )
            for protocol in self.needs
        )

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


_FOUND = "seesay.tasks.finding:Found"

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="caption",
            summary="Describe images.",
            needs=(Generator,),
            io=("seesay.tasks.caption:CaptionInput", "seesay.tasks.caption:CaptionOutput"),
            run="seesay.tasks.caption:run",
            prompted=True,
            batch_size=8,
        ),
        Task(
            name="answer",
            summary="Answer questions about an image.",
            needs=(Generator,),
            io=("seesay.tasks.answer:AnswerInput", "seesay.tasks.answer:AnswerOutput"),
            run="seesay.tasks.answer:run",
            prompted=True,
            verb="ask",
            batch_size=8,
        ),
        Task(
            name="detect",
            summary="Find things in images, or what you name, with boxes.",
            needs=(Generator,),
            io=("seesay.tasks.detect:DetectInput", _FOUND),
            run="seesay.tasks.detect:run",
            prompted=True,
            batch_size=8,
        ),
        Task(
            name="ground",
            summary="Find the phrases of a caption in an image.",
            needs=(Generator,),
            io=("seesay.tasks.ground:GroundInput", _FOUND),
            run="seesay.tasks.ground:run",
            prompted=True,
            batch_size=8,
        ),
        Task(
            name="segment",
            summary="Outline what a phrase names, or what is in boxes.",
            needs=(Generator,),
            io=("seesay.tasks.segment:SegmentInput", _FOUND),
            run="seesay.tasks.segment:run",
            prompted=True,
            batch_size=8,
        ),
        Task(
            name="read",
            summary="Read the text in images, with its places if you like.",
            needs=(Generator,),
            io=("seesay.tasks.read:ReadInput", _FOUND),
            run="seesay.tasks.read:run",
            prompted=True,
            batch_size=8,
        ),
        Task(
            name="describe",
            summary="Say what is in boxes of an image.",
            needs=(Generator,),
            io=("seesay.tasks.describe:DescribeInput", _FOUND),
            run="seesay.tasks.describe:run",
            prompted=True,
            batch_size=8,
        ),
        Task(
            name="prompt",
            summary="Ask a model with a task token of its own.",
            needs=(Generator,),
            io=("seesay.tasks.prompt:PromptInput", _FOUND),
            run="seesay.tasks.prompt:run",
            prompted=True,
            batch_size=8,
        ),
        Task(
            name="embed",
            summary="Turn images or texts into unit vectors.",
            needs=(DualEncoder,),
            io=("seesay.tasks.embed:EmbedInput", "seesay.tasks.embed:EmbedOutput"),
            run="seesay.tasks.embed:run",
        ),
        Task(
            name="classify",
            summary="Say which of your labels each image shows, without training.",
            needs=(DualEncoder,),
            io=("seesay.tasks.classify:ClassifyInput", "seesay.tasks.classify:ClassifyOutput"),
            run="seesay.tasks.classify:run",
        ),
        Task(
            name="match",
            summary="Score how well texts describe an image.",
            needs=(DualEncoder, Matcher),
            io=("seesay.tasks.match:MatchInput", "seesay.tasks.match:MatchOutput"),
            run="seesay.tasks.match:run",
        ),
        Task(
            name="relevance",
            summary="Show where in an image a text is found, as a heat map over the picture.",
            needs=(Localiser, WordLocaliser),
            io=("seesay.tasks.relevance:RelevanceInput", "seesay.tasks.relevance:Relevance"),
            run="seesay.tasks.relevance:run",
            batch_size=None,
            gradients=True,
        ),
        Task(
            name="compare",
            summary="Say whether a statement about two images is true.",
            needs=(Comparer,),
            io=("seesay.tasks.compare:CompareInput", "seesay.tasks.compare:CompareOutput"),
            run="seesay.tasks.compare:run",
            batch_size=16,
        ),
        Task(
            name="entail",
            summary="Say whether an image entails a text, contradicts it, or neither.",
            needs=(PairClassifier,),
            io=("seesay.tasks.entail:EntailInput", "seesay.tasks.classify:ClassifyOutput"),
            run="seesay.tasks.entail:run",
        ),
        Task(
            name="features",
            summary="Write what the networks make of images, texts, or both together.",
            needs=(PooledEncoder,),
            io=("seesay.tasks.features:FeaturesInput", "seesay.tasks.features:Features"),
            run="seesay.tasks.features:run",
        ),
    )
}
"""Every task by name. The order is the order of lists and help pages."""
