"""Writes docs/cli.md and docs/settings.md from the code that they describe. Run by `make docs`."""

from pathlib import Path

import click
import typer

from millwright.settings import Settings, to_toml
from millwright.surfaces.cli import app

DOCS = Path(__file__).parent


def cli_page() -> str:
    """Every verb with its help and options, as Markdown."""
    lines = ["# Commands", "", "Written by `make docs` from the commands themselves.", ""]
    whole = typer.main.get_command(app)
    for name, command in [("millwright", whole), *_commands(whole, "millwright")]:
        lines += [f"## `{name}`", "", (command.help or "").strip(), ""]
        for parameter in command.params:
            names = ", ".join(f"`{option}`" for option in parameter.opts)
            told = getattr(parameter, "help", None) or "see the example"
            lines.append(f"- {names}: {told}{_default(parameter)}")
        lines.append("")
    return "\n".join(lines)


def settings_page() -> str:
    """Every key of millwright.toml with its default, as Markdown."""
    lines = ["# Settings", "", "Every key of `millwright.toml`. Written by `make docs` from the models.", ""]
    for section_name, section in Settings.model_fields.items():
        lines += [f"## `[{section_name}]`", "", "| key | default | meaning |", "|---|---|---|"]
        for key, field in section.annotation.model_fields.items():
            default = "unset" if field.default is None else f"`{to_toml(field.default)}`"
            lines.append(f"| `{key}` | {default} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def _default(parameter: click.Parameter) -> str:
    """What holds where a parameter is not given; nothing to tell where that is off, none or here."""
    is_told = parameter.default not in (None, False, Path("."))
    return f" (default: {parameter.default})" if is_told else ""


def _commands(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    children = getattr(command, "commands", None)
    if not children:
        return [(name, command)]
    return [found for child in children for found in _commands(children[child], f"{name} {child}")]


if __name__ == "__main__":
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
