"""Whether challengers can be audited for membership, told before a server starts and not by each turn."""

from millwright.data.dataset import Dataset, open_dataset
from millwright.data.prepare import prepare
from millwright.project import Project
from millwright.registry.versions import CHAMPION, version_manifest
from millwright.train.outsiders import LEAST_OUTSIDERS, check_outsiders, members_and_outsiders


def check_auditable(project: Project) -> None:
    """Refuse an audit of each challenger where too few rows are held out for it.

    Args:
        project: a project with a champion.

    Raises:
        NotFound: there is no champion, or a file of rows is missing.
        BadInput: fewer than 100 test rows, as the champion's dataset has them and as the settings make them
            now.
        Busy: an erasure or another preparation runs for longer than a minute.
    """
    made = open_dataset(project, version_manifest(project, CHAMPION)["dataset"]["id"])
    if _outsiders(made) < LEAST_OUTSIDERS:
        check_outsiders(_outsiders(prepare(project)))


def _outsiders(dataset: Dataset) -> int:
    return len(members_and_outsiders(dataset)[1])
