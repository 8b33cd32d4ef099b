"""What decides a training run, as frozen data. A recipe is a function that returns a `TrainConfig`.

Written to config.json of every run, and read back from there to run it again.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seesay.config import checked, from_dict
from seesay.errors import CheckpointError, UsageError

CONTRASTS = ("info_nce", "sigmoid", "unicl")
"""Objectives that compare the pairs of a batch with nothing but each other."""
SMOOTHED = ("pretraining", "captioning", "vqa")
"""Objectives whose targets are smoothed as BLIP's are."""
_LESS_IS_BETTER = re.compile(r"(\w+_)?(loss|cer|wer|mean_rank|median_rank)")


def _within(
    config: object,
    name: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Raise ValueError unless a number, where there is one, lies within its bounds."""
    value = getattr(config, name)
    if isinstance(value, (int, float)) and not (above < value < below and least <= value <= most):
        bounds = (("above", above), ("at least", least), ("at most", most), ("below", below))
        told = " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
        raise ValueError(f"{name}={value} is not {told}")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, and what is done to gradients before it.

    Attributes:
        lr: Highest learning rate.
        betas: Decay of the running means of gradients and of their squares.
        eps: Added to the root of the latter.
        weight_decay: Of matrices; decoupled, as in arXiv 1711.05101.
        decay_vectors: Whether vectors (biases, norms) decay too; scalars (the logit scale) never.
        layer_decay: Factor on the learning rate from each layer of a tower to the one below it.
        clip: Largest norm of the whole gradient; None clips nothing.
    """

    lr: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.1
    decay_vectors: bool = False
    layer_decay: float = 1.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        _within(self, "lr", above=0)
        _within(self, "eps", above=0)
        _within(self, "weight_decay", least=0)
        _within(self, "layer_decay", above=0, most=1)
        _within(self, "clip", above=0)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the steps.

    Attributes:
        kind: What follows the warm-up, down to `end`: half a cosine wave, a line, a decay by the
            same factor every step, or nothing.
        warmup: Steps of the line from `start` up to the highest rate; may be more than an epoch.
            Below 1, the part of all steps.
        start: Where the line begins, one step before the first, as a part of the highest rate.
        end: Rate after the last step, as a part of the highest.
    """

    kind: Literal["cosine", "linear", "exponential", "constant"] = "cosine"
    warmup: int | float = 0
    start: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        _within(self, "warmup", least=0)
        _within(self, "start", least=0)
        _within(self, "end", least=0)
        if self.kind == "exponential" and not self.end:
            raise ValueError("end=0 cannot be decayed to by a factor: give what is left, say 0.1")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What the loop has to know, whatever is trained.

    Attributes:
        steps: How many; None when `epochs` decides.
        epochs: How many passes over the data; None when `steps` decides.
        seed: Of everything random.
        precision: "bf16" computes in bfloat16 where that is safe (autocast) and keeps weights in
            fp32; "auto" does so where bfloat16 is multiplied natively.
        optim: The optimiser.
        schedule: Its learning rate.
        ema: Decay of the running mean of the weights, which is what is then evaluated and kept;
            None keeps none.
        save_every: Steps between checkpoints, besides those that are best and the last; a run of
            `seesay.train.run` chooses where this is None.
        evaluate_every: Steps between evaluations; likewise. The first comes before the first step.
        metric: The evaluation's figure that decides which checkpoint is best, a leading "-" meaning
            that less is better; None for the usual one of what is trained.
        patience: Evaluations without a better figure after which training ends early; None: never.
        tensorboard: Whether to write TensorBoard events too.
        wandb: Weights & Biases project to report to, or None.
        strategy: How several processes share the work: "ddp" holds the model in each, "fsdp2"
            shards weights, gradients and optimiser.
    """

    steps: int | None = None
    epochs: float | None = None
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ema: float | None = None
    save_every: int | None = None
    evaluate_every: int | None = None
    metric: str | None = None
    patience: int | None = None
    tensorboard: bool = False
    wandb: str | None = None
    strategy: Literal["ddp", "fsdp2"] = "ddp"

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"steps={self.steps} and epochs={self.epochs} cannot both decide")
        for name in ("steps", "epochs", "save_every", "evaluate_every", "patience"):
            _within(self, name, above=0)
        _within(self, "seed", least=0)
        _within(self, "ema", above=0, below=1)
        if _LESS_IS_BETTER.fullmatch(self.metric or ""):
            raise ValueError(f"of {self.metric} less is better: write metric=-{self.metric}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The pictures and texts, and how batches are made of them.

    Attributes:
        path: A folder, table, or shards; see docs/data-formats.md. Must be given.
        split: The part of it, where it has parts.
        image_column: The column with the file's name, where its name is unusual.
        text_column: The column with the caption.
        label_column: The column with the class.
        separator: What stands between the columns of a CSV, where that is not recognised.
        root: The folder that file names are relative to, where that is not the listing's. How
            columns are called and this go for the data of `evaluate` too.
        prompt: The task token of data without prefixes ("<DocVQA>"), of `evaluate` too; None for
            the one that follows from its format. Of the objective "instruct".
        batch_size: Pairs a step, of all processes together.
        micro_batch: Pairs that go through the towers at once, when that is fewer; the loss still
            sees the whole batch.
        augment: A name in `seesay.data.augment.AUGMENTATIONS`.
        decode: "fast" lets large JPEGs be decoded small.
        bucket: Whether texts of similar length share a batch.
        on_missing: What a picture that cannot be read does: "error" or "skip".
        workers: Threads that decode; None for as many as there are cores, 0 for none of their own.
    """

    path: str = ""
    split: str | None = None
    image_column: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    separator: str | None = None
    root: str | None = None
    prompt: str | None = None
    batch_size: int = 256
    micro_batch: int | None = None
    augment: str = "none"
    decode: Literal["exact", "fast"] = "exact"
    bucket: bool = False
    on_missing: Literal["error", "skip"] = "error"
    workers: int | None = None

    def __post_init__(self) -> None:
        _within(self, "batch_size", least=1)
        _within(self, "micro_batch", least=1)
        _within(self, "workers", least=0)


@dataclass(frozen=True, kw_only=True)
class MomentumConfig:
    """Slowly moving copies of the towers, and what is made of them (arXiv 2107.07651, section 3).

    Attributes:
        decay: What remains of the copies after a step.
        queue: How many of their last vectors are compared with besides those of the batch.
        alpha: How much of the targets is what the copies find, and not what the data says.
        alpha_epochs: Over how many epochs that rises from 0.
    """

    decay: float = 0.995
    queue: int = 57_600
    alpha: float = 0.4
    alpha_epochs: float = 2.0

    def __post_init__(self) -> None:
        _within(self, "decay", least=0, most=1)
        _within(self, "queue", least=0)
        _within(self, "alpha", least=0, below=1)
        _within(self, "alpha_epochs", least=0)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The loss. docs/objectives.md and docs/blip-training.md say what each computes.

    Attributes:
        name: Which. Of dual encoders: "info_nce", "sigmoid", "unicl", and "probe" on one of their
            towers. Of models that look at picture and text together: "pretraining" is contrast,
            matching and writing, "retrieval" the first two; "captioning"; and of questions "vqa",
            whose answers are written, "nlvr" and "classification", where they are chosen. Of models
            that follow prompts "instruct".
        label_smoothing: Part of the target that is spread over all; None for what is usual, 0.1
            where BLIP writes and 0 elsewhere.
        duplicates: Whether pairs of the same picture, by its id, count as matches of each other;
            where texts are matched, pairs of the same text too.
        chunk: Rows of the similarity matrix held at once; None for all.
        views: Weight of the self-supervised loss between two more views of each picture (SLIP).
        temperature: Of that loss.
        momentum: The copies of the towers ("pretraining", "retrieval").
        negatives: Where pairs that do not match are taken from: the rows of "all" processes, or of
            the "local" one.
        max_length: Tokens of a text at most; None for what the model's processor says.
        prompt: Beginning of every caption, which is not learnt; None for the model's own.
        single_answer: Weight of the answer to a question that has one alone ("vqa"): 0.2 where the
            others had ten annotators, as published.
    """

    name: Literal[
        "info_nce",
        "sigmoid",
        "unicl",
        "probe",
        "pretraining",
        "retrieval",
        "captioning",
        "vqa",
        "nlvr",
        "classification",
        "instruct",
    ] = "info_nce"
    label_smoothing: float | None = None
    duplicates: bool = True
    chunk: int | None = None
    views: float = 0.0
    temperature: float = 0.1
    momentum: MomentumConfig = field(default_factory=MomentumConfig)
    negatives: Literal["all", "local"] = "all"
    max_length: int | None = None
    prompt: str | None = None
    single_answer: float = 1.0

    def __post_init__(self) -> None:
        _within(self, "label_smoothing", least=0, below=1)
        _within(self, "chunk", least=1)
        _within(self, "views", least=0)
        _within(self, "temperature", above=0)
        _within(self, "max_length", least=3)
        _within(self, "single_answer", above=0)

    @property
    def smoothing(self) -> float:
        """The part of the target that is spread over all."""
        if self.label_smoothing is not None:
            return self.label_smoothing
        return 0.1 if self.name in SMOOTHED else 0.0


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685) on linear layers.

    Attributes:
        rank: Of the update.
        alpha: The update is scaled by alpha / rank.
        dropout: On its input.
        targets: Names, or last parts of names, of the layers.
        train: Patterns of parameters that are trained besides, whole.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _within(self, "rank", least=1)
        _within(self, "dropout", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Which weights move.

    Attributes:
        freeze: Patterns of parameters that stay as they are, such as "image" or "text.blocks.*".
        lora: Adapters to train instead of the weights, or None.
        cache: Towers whose pooled features are computed once and kept: "image", "text".
        drop_path: Highest probability of leaving a block out, that of the last one (arXiv
            1603.09382); only for networks that have it.
    """

    freeze: tuple[str, ...] = ()
    lora: LoraConfig | None = None
    cache: tuple[Literal["image", "text"], ...] = ()
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        _within(self, "drop_path", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What the model is measured on while it trains.

    Attributes:
        path: Data in any format training takes; empty measures nothing.
        split: The part of it.
        task: Of dual encoders: "retrieval" both ways, or "zeroshot" classification. Who writes or
            answers is measured by that.
        limit: At most so many pictures; None for all.
        num_beams: Beams of who writes; None for what is published, 1 for the fastest.
        rerank: Put so many of the nearest in order by the match head, in retrieval; None for none.
    """

    path: str = ""
    split: str | None = None
    task: Literal["retrieval", "zeroshot"] = "retrieval"
    limit: int | None = None
    num_beams: int | None = None
    rerank: int | None = None

    def __post_init__(self) -> None:
        _within(self, "limit", least=1)
        _within(self, "num_beams", least=1)
        _within(self, "rerank", least=1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """A whole run.

    Attributes:
        model: What `seesay.load` takes, or the name of a variant.
        init: Where the weights come from; "random" takes sizes and tokenizer alone from `model`.
        image_size: Side of the pixels, in training and of the model that is kept; None for what
            the model has.
        data: Pictures and texts.
        objective: The loss.
        tune: Which weights move.
        evaluate: What the model is measured on.
    """

    model: str = ""
    init: Literal["pretrained", "random"] = "pretrained"
    image_size: int | None = None
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within(self, "image_size", least=1)
        size = self.data.batch_size
        if size < 2 and self.objective.name in CONTRASTS:
            raise ValueError(f"data.batch_size={size}: a contrast needs two pairs at least")


def read_config(path: Path) -> TrainConfig:
    """Return the configuration that a run wrote beside its results.

    Raises:
        UsageError: It cannot be read, or is not one.
    """
    try:
        return checked(from_dict(TrainConfig, json.loads(path.read_text())))
    except (OSError, ValueError, TypeError, CheckpointError) as error:
        raise UsageError(f"{path} is no configuration of a run: {error}") from None
