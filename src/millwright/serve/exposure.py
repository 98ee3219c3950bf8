"""Who gets which version of a request, and what of that is logged with the answer."""

from collections.abc import Container
from dataclasses import dataclass

from millwright.registry.traffic import Traffic, assign
from millwright.serve.ids import new_id


@dataclass(frozen=True)
class Exposure:
    """The version that answers a request and, during an experiment, the draw behind that.

    `traffic` names the shares in force, `arm` and `propensity` what was drawn with which probability.
    `unit` is an id of the request where no subject was named, None where the subject says who it is.
    """

    version: str
    traffic: int | None = None
    arm: str | None = None
    propensity: float | None = None
    unit: str | None = None


def expose(current: Traffic, subject: str | None, served: Container[str], otherwise: str) -> Exposure:
    """Draw the version of a request by the hash of its subject, or of an id of its own.

    Args:
        current: the shares in force.
        subject: whose request it is.
        served: the versions in memory.
        otherwise: what answers where the drawn version could not be loaded; that such users are missing
            from the experiment shows in the ratio of its arms.

    Returns:
        The draw.
    """
    request = new_id()
    arm = assign(current, request if subject is None else subject)
    if arm.version not in served:
        return Exposure(otherwise)
    return Exposure(arm.version, current.id, arm.name, arm.share, request if subject is None else None)
