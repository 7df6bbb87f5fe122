"""What is written about the program is what the program does."""

import re
from pathlib import Path

import click
from click.testing import CliRunner

from collector.cli import main

ROOT = Path(__file__).resolve().parent.parent


def test_every_variable_is_documented() -> None:
    """Each variable that the settings read is in the operations page, and no other."""
    names = r"\b((?:KALSHI|RL|ORDERBOOK|DATABASE)_[A-Z_]+|HOST|PORT)\b"
    read = set(re.findall(f'"{names}"', (ROOT / "collector/config.py").read_text("utf-8")))
    table = (ROOT / "docs/operations.md").read_text("utf-8").split("## Where to look")[0]

    assert set(re.findall(f"`{names}`", table)) == read


def test_every_path_is_documented() -> None:
    """Each route that the web server has is in the operations page."""
    app = (ROOT / "collector/web/_app.py").read_text("utf-8")
    page = (ROOT / "docs/operations.md").read_text("utf-8")

    for path in re.findall(r'add_(?:url_rule|websocket)\("([^"]+)"', app):
        if path != "/" and "static" not in path:
            assert f"`{path}" in page or f" {path}" in page, path


def test_every_command_is_documented_and_has_help() -> None:
    """README has each command, and each command says what it does."""
    readme = (ROOT / "README.md").read_text("utf-8")
    context = click.Context(main)
    names = main.list_commands(context)
    assert "verify" in names
    for name in names:
        assert f"`collector {name}`" in readme
        result = CliRunner().invoke(main, [name, "--help"])
        assert result.exit_code == 0
        command = main.get_command(context, name)
        assert command is not None
        assert command.help


def test_links_lead_somewhere() -> None:
    """Each relative link in the documents has a target in the repository."""
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"
