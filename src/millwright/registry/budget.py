"""What a project's differentially private versions have told of its people, all together.

The ledger is the audit log: a line for each release, written before there is a version, which an erasure
of the version leaves where it is.
"""

from millwright.privacy.audit import read_audit, record
from millwright.privacy.gaussian_mechanism import composed, epsilon_of
from millwright.project import Project
from millwright.records import JsonObject

SPENT = "privacy budget spent"


def spend(project: Project, version: str, privacy: JsonObject) -> JsonObject:
    """Note the release of a version in the ledger.

    Args:
        project: an open project.
        version: the version that is to be written.
        privacy: its mechanism: epsilon, delta, mu.

    Returns:
        `spent` with this version.

    Raises:
        CannotStore: the disk is full or read-only; nothing was noted then.
        Corrupt: a line of the audit log was changed.
    """
    told = {name: privacy[name] for name in ("epsilon", "delta", "mu")}
    record(project, SPENT, details={"version": version, **told})
    return spent(project)


def spent(project: Project) -> JsonObject:
    """Releases so far, and the epsilon of all of them at the greatest of their deltas.

    It holds for a person who taught every one of them; a release may have looked at those before it.
    """
    lines = [line.details for line in read_audit(project) if line.action == SPENT]
    if not lines:
        return {"releases": 0, "epsilon": 0.0, "delta": 0.0}
    delta = max(float(line["delta"] or 0) for line in lines)
    mu = composed(float(line["mu"] or 0) for line in lines)
    return {"releases": len(lines), "epsilon": epsilon_of(mu, delta), "delta": delta}
