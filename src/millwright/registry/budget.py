"""What a project's differentially private versions have told of its people, all together.

The ledger is the audit log: a line for each release, written before there is a version, which an erasure
of the version leaves where it is.
"""

from millwright.privacy.audit import Details, read_audit, record
from millwright.privacy.gaussian_mechanism import composed, epsilon_of
from millwright.privacy.sampled_gaussian import Release, epsilon_of_all
from millwright.project import Project
from millwright.records import JsonObject

SPENT = "privacy budget spent"
TOLD = ("epsilon", "delta", "mu", "noise_multiplier", "sample_rate", "steps")  # the last three of descent


def spend(project: Project, version: str, privacy: JsonObject) -> JsonObject:
    """Note the release of a version in the ledger.

    Args:
        project: an open project.
        version: the version that is to be written.
        privacy: its mechanism: epsilon, delta, mu, and of noisy descent its steps.

    Returns:
        `spent` with this version.

    Raises:
        CannotStore: the disk is full or read-only; nothing was noted then.
        Corrupt: a line of the audit log was changed.
    """
    told = {name: privacy[name] for name in TOLD if name in privacy}
    record(project, SPENT, details={"version": version, **told})
    return spent(project)


def spent(project: Project) -> JsonObject:
    """Releases so far, and an epsilon of all of them at the greatest of their deltas.

    It holds for a person who taught every one of them; a release may have looked at those before it. It is
    exact where all are Gaussian, an upper bound where some are noisy descent.
    """
    lines = [line.details for line in read_audit(project) if line.action == SPENT]
    if not lines:
        return {"releases": 0, "epsilon": 0.0, "delta": 0.0}
    delta = max(float(line["delta"] or 0) for line in lines)
    releases = [_release(line) for line in lines]
    if len(lines) == 1:
        epsilon = float(lines[0]["epsilon"] or 0)
    elif any(release.steps for release in releases):
        epsilon = epsilon_of_all(releases, delta)
    else:
        epsilon = epsilon_of(composed(release.mu for release in releases), delta)
    return {"releases": len(lines), "epsilon": epsilon, "delta": delta}


def _release(line: Details) -> Release:
    """What a line of the ledger tells of its mechanism."""
    mu = float(line["mu"] or 0)
    if not line.get("steps"):
        return Release(mu)
    rate, multiplier = float(line["sample_rate"] or 0), float(line["noise_multiplier"] or 0)
    return Release(mu, multiplier, rate, int(line["steps"] or 0))
