"""`seesay models` and `seesay info`."""

from __future__ import annotations

from typing import Any

import click

from seesay import registry
from seesay.cli.output import note, print_json
from seesay.tasks.task import TASKS


@click.command()
@click.option("--tasks", is_flag=True, help="Print the table of families and tasks (Markdown).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def models(tasks: bool, as_json: bool) -> None:
    """List the models and what they can do."""
    if tasks and not as_json:
        click.echo(task_table())
        return
    if as_json:
        print_json([_record(name, with_tasks=tasks) for name in registry.variants()])
        return
    for family in registry.families():
        click.echo(f"{family.name}: {family.summary}")
        for name, variant in family.variants.items():
            where = "built in" if variant.weights else variant.hub or variant.released
            click.echo(f"  {name:32} {where or 'random weights only'}")


def task_table() -> str:
    """Return the Markdown table of families and the tasks they can do, from the code."""
    from seesay.model import supports

    lines = ["| family | " + " | ".join(TASKS) + " |", "|---" * (len(TASKS) + 1) + "|"]
    for family in registry.families():
        marks = ["yes" if supports(family, task) else "" for task in TASKS.values()]
        lines.append(f"| {family.name} | " + " | ".join(marks) + " |")
    return "\n".join(lines)


@click.command()
@click.argument("model")
@click.option("--revision", help="The hub commit, tag or branch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def info(model: str, revision: str | None, as_json: bool) -> None:
    """Show what a model, checkpoint folder or file is: family, size, tasks, licence."""
    from seesay.config import to_dict
    from seesay.family import resolve
    from seesay.model import load

    if model in registry.variants() and registry.variant(model)[1].weights is None:
        record = _record(model, with_tasks=True)
        record["config"] = to_dict(registry.variant(model)[1].config())
    else:
        loaded = load(model, dtype="float32", device="cpu", revision=revision)
        parameters = sum(p.numel() for p in loaded.module.parameters())
        record = {
            "name": loaded.name,
            "family": loaded.family.name,
            "summary": loaded.family.summary,
            "paper": loaded.family.paper,
            "licence": loaded.family.licence,
            "tasks": loaded.tasks(),
            "parameters": parameters,
            "megabytes_float32": round(parameters * 4 / 1e6, 1),
            "fingerprint": loaded.fingerprint,
            "revision": loaded.revision,
            "config": to_dict(loaded.config),
            "processing": loaded.processor.settings(),
        }
        if loaded.family.health:
            record["health"] = resolve(loaded.family.health)(loaded)
    if as_json:
        print_json(record)
        return
    for key, value in record.items():
        _show(key, _in_words(value) if key == "health" else value)
    if record.get("revision") is None and record.get("hub"):
        note("the hub's newest commit is used; give --revision to pin one")


def _record(name: str, *, with_tasks: bool) -> dict[str, Any]:
    family, variant = registry.variant(name)
    record: dict[str, Any] = {
        "name": name,
        "family": family.name,
        "summary": family.summary,
        "paper": family.paper,
        "licence": variant.licence or family.licence,
        "hub": variant.hub,
        "revision": variant.revision,
        "released": variant.released,
        "built_in": variant.weights is not None,
    }
    if with_tasks:
        from seesay.model import supports

        record["tasks"] = [
            task.name for task in TASKS.values() if supports(family, task, variant.config())
        ]
    return record


def _in_words(told: dict[str, Any]) -> dict[str, Any]:
    """The names of a record as people write them."""
    return {
        key.replace("_", " "): _in_words(value) if isinstance(value, dict) else value
        for key, value in told.items()
    }


def _show(key: str, value: Any, indent: str = "") -> None:
    if isinstance(value, dict):
        click.echo(f"{indent}{key}:")
        for inner, item in value.items():
            _show(inner, item, indent + "  ")
    elif isinstance(value, (list, tuple)):
        click.echo(f"{indent}{key}: {', '.join(map(str, value))}")
    else:
        click.echo(f"{indent}{key}: {value}")
