"""The guides: their Python is valid, their handlers are accepted, and their commands and options exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from jobs.management.commands.sqs import Command as Sqs
from queues.handlers import Message, registry
from tests.support.processes import ROOT

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
#: test_wheel.py follows it; here only its spelling is looked at.
TUTORIAL = ROOT / "docs" / "tutorial.md"
guides = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(), re.MULTILINE | re.DOTALL)


def our_handlers(guide: Path) -> list[str]:
    return [block for block in blocks(guide, "python") if "from queues.handlers import" in block]


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, registry.Handler]:
    handlers: dict[str, registry.Handler] = {}
    monkeypatch.setattr(registry, "_handlers", handlers)
    return handlers


def run(block: str, **names: Any) -> dict[str, Any]:
    found = {"__name__": "guide", **names}
    exec(compile(block, "guide", "exec"), found)
    return found


@guides
def test_examples(guide: Path, own_registry: dict[str, registry.Handler]) -> None:
    for block in blocks(guide, "python"):
        ast.parse(block)
    assert our_handlers(guide)
    for block in our_handlers(guide):
        own_registry.clear()
        run(block, process=lambda number: None, lambda_handler=lambda event, context: None)
        (handler,) = own_registry.values()
        handler.function(Message(id="1", body='{"number": 1, "order_id": 1}', queue="orders"))


def test_shoryukens_intervals(own_registry: dict[str, registry.Handler]) -> None:
    (ours,) = our_handlers(ROOT / "docs" / "guides" / "shoryuken.md")
    run(ours)
    policy = own_registry["orders"].retry
    assert policy is not None
    assert [policy.answer(OSError("no"), count) for count in (1, 2, 3, 4)] == [30, 300, 3600, 3600]


@pytest.mark.parametrize("guide", [*GUIDES, TUTORIAL], ids=lambda guide: guide.stem)
def test_commands(guide: Path) -> None:
    text = guide.read_text()
    parser = Sqs().create_parser("queuesite", "sqs")
    called = re.findall(r"queuesite sqs ([^\n`#]+)", text)

    assert called
    for arguments in called:
        parser.parse_args(shlex.split(arguments))


@guides
def test_table_of_settings(guide: Path) -> None:
    (table,) = re.findall(r"## Settings\n\n(.*?)\n\n", guide.read_text(), re.DOTALL)
    rows = table.splitlines()

    assert rows[0].endswith("| here |")
    assert len(rows) > 15
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows), "each row has two cells"
