"""Promotes a version: measures how it runs best on this machine, then points the alias at it."""

from millwright.errors import Corrupt
from millwright.progress import Progress, quiet
from millwright.project import WAIT_S, Project
from millwright.registry.signatures import BODIES, verify_signed
from millwright.registry.versions import CHAMPION, resolve
from millwright.registry.versions import promote as point
from millwright.serve.runtime_record import candidates_on, read_runtime, this_machine


def promote(
    project: Project,
    name: str,
    reason: str,
    alias_name: str = CHAMPION,
    progress: Progress = quiet,
) -> str:
    """Choose a version's runtime, then let an alias mean it; servers notice within about a second.

    What was measured on this machine before is not measured again.

    Args:
        project: an open project.
        name: the version or an alias of it.
        reason: why, for the history.
        alias_name: "champion" or "challenger".
        progress: called with "runtime" and the fraction done.

    Returns:
        The version's name.

    Raises:
        NotFound: no such version or alias.
        BadInput: `serve.runtime` names a runtime that may not serve this version.
        Corrupt: the version is damaged, so it may not serve.
        Busy: another process trains or erases somebody, and the version was not measured yet.
    """
    version = resolve(project, name)
    measure(project, version, progress)
    return point(project, version, reason, alias_name)


def measure(project: Project, version: str, progress: Progress = quiet) -> None:
    """Choose a version's runtime, unless it was measured on this machine before.

    Args:
        project: an open project.
        version: the version's name.
        progress: called with "runtime" and the fraction done.

    Raises:
        BadInput: `serve.runtime` names a runtime that may not serve this version.
        Corrupt: the version is damaged.
        Busy: another process trains or erases somebody.
    """
    if not is_measured(project, version):
        from millwright.serve.runtimes import choose_runtime  # PyTorch, only where it must be

        with project.lock("train", WAIT_S):  # an erasure holds it: what it takes away must not come back
            choose_runtime(project, version, progress)


def is_measured(project: Project, version: str) -> bool:
    """True if a version's runtimes were measured on this machine, and the settings want what was chosen.

    What is not as it was signed was not measured, so that the next promotion makes it anew.
    """
    try:
        record = read_runtime(project, version)
        if record is not None and record.body is not None:
            verify_signed(project, BODIES, record.body)
    except Corrupt:
        return False
    if record is None or record.machine != this_machine():
        return False
    wanted = str(project.settings.serve.runtime)
    if wanted != "auto":
        return wanted == record.runtime
    # What could not be made on an equal machine could not be made now.
    return {one.name for one in record.candidates}.issuperset(candidates_on(record.machine.gpu, wanted))
