"""Makes a project's folder, of a file of labelled rows or of a built-in template."""

import os
from pathlib import Path

from millwright.data.columns import Columns, check_text_is_not_numbers, recognise
from millwright.data.load import Table, read_table
from millwright.data.prepare import group_name
from millwright.data.span_rows import look_of_spans, recognise_task, unmasked_entities
from millwright.data.split import ROWS_LOOKED_AT, most_even_seed
from millwright.errors import BadInput, one_of
from millwright.project import Project, open_project
from millwright.settings import FILENAME, SPANS, DataSection, Policy, Settings, Task, dump_settings
from millwright.store.files import write_bytes, write_text

TEMPLATES = Path(__file__).parent / "templates"


def new_project(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    template: str | None = None,
    test_data: Path | str | None = None,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    subject: str | None = None,
    task: str | None = None,
) -> tuple[Project, tuple[str, ...]]:
    """Make a project folder with a commented millwright.toml.

    Args:
        folder: where; made if missing.
        data: a labelled file; it stays where it is.
        template: the name of a built-in project to copy instead.
        test_data: a labelled file that is only tested on.
        text: the input's column; recognised when not named, as are the next three.
        label: the label's column.
        group: the column whose rows stay in one split.
        subject: the column that names the person.
        task: "text-classification" or "token-classification"; recognised when not named.

    Returns:
        The project, and a sentence for each column that was recognised.

    Raises:
        BadInput: neither or both of `data` and `template`, or a project is there already.
        NotFound: no such file, column or template.
        CannotStore: the folder cannot be written.
    """
    if (data is None) == (template is None):
        raise BadInput("a project starts from a file or from a template: pass one of --data and --template")
    folder = Path(folder)
    data, test_data = (Path(path) if path is not None else None for path in (data, test_data))
    if (folder / FILENAME).exists():
        raise BadInput(
            f"{folder / FILENAME} is there already; choose another folder, or delete it to start over"
        )
    if template is not None:
        _copy_template(template, folder)
        return open_project(folder), (f"copied the template {template!r}",)
    assert data is not None
    table = read_table(data, ROWS_LOOKED_AT)
    task, text, label, reasons = recognise_task(table, task, text, label)
    found = recognise(table, text, label, group, subject)
    check_text_is_not_numbers(table, found.text)
    tested = _test_table(test_data, found) if test_data else None
    section = _data_section(folder, table, tested, found, task)
    policies: dict[str, Policy] = {}
    if task == SPANS:
        policies, told = unmasked_entities(
            *(table.frame[name].to_list() for name in (found.text, found.label))
        )
        reasons = (*reasons, *told)
    settings = Settings().model_copy(
        update={
            "project": Settings().project.model_copy(update={"name": folder.resolve().name, "task": task}),
            "data": section,
            "privacy": Settings().privacy.model_copy(update={"policies": policies}),
        }
    )
    write_text(folder / FILENAME, dump_settings(settings))
    return open_project(folder), (*reasons, *found.reasons)


def _copy_template(template: str, folder: Path) -> None:
    """Copy a built-in project into a folder, the settings last, so that a copy cut short can be repeated."""
    names = sorted(path.name for path in TEMPLATES.iterdir() if (path / FILENAME).exists())
    source = TEMPLATES / one_of("template", template, names)
    files = sorted(
        (path for path in source.rglob("*") if path.is_file()), key=lambda path: path.name == FILENAME
    )
    contents = {folder / path.relative_to(source): path.read_bytes() for path in files}
    for path, content in contents.items():
        if path.exists() and path.read_bytes() != content:
            raise BadInput(f"{path} is there already; choose another folder, or move it away")
    for path, content in contents.items():
        write_bytes(path, content)


def _test_table(path: Path, found: Columns) -> Table:
    """The file that is only tested on; NotFound if it lacks a column that was found in the other."""
    table = read_table(path, ROWS_LOOKED_AT)
    for name in (found.text, found.label, found.group, found.subject):
        if name is not None:
            one_of(f"column in {path.name}", name, table.columns)
    return table


def _data_section(
    folder: Path, table: Table, tested: Table | None, found: Columns, task: Task
) -> DataSection:
    def relative(path: Path) -> str:
        """A path as it is seen from the project's folder."""
        return os.path.relpath(path.resolve(), folder.resolve())

    section = DataSection(
        files=[relative(table.path)],
        test_files=[relative(tested.path)] if tested else [],
        text=found.text,
        label=found.label,
        group=found.group,
        subject=found.subject,
        slices=[name for name in found.slices if tested is None or name in tested.columns],
    )
    texts, labels = table.frame[found.text].to_list(), table.frame[found.label].to_list()
    group, subject = (
        table.frame[name].to_list() if name is not None else [None] * len(table.frame)
        for name in (found.group, found.subject)
    )
    if task == SPANS:
        texts, labels = look_of_spans(texts, labels)
    groups = [group_name(section, *row) for row in zip(texts, group, subject, strict=True)]
    test_share = 0.0 if tested else section.test_share
    seed = most_even_seed(groups, labels, section.validation_share, test_share)
    return section.model_copy(update={"split_seed": seed})
