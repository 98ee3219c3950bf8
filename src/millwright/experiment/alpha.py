"""How one promise about false alarms is shared by everything that an experiment tests."""

from dataclasses import dataclass

from millwright.errors import BadInput
from millwright.experiment.confidence_sequences import check_alpha


@dataclass(frozen=True)
class Alphas:
    """The chances of error of one challenger's interval of the primary metric, and of one guardrail's."""

    primary: float
    guardrail: float


def split_alpha(alpha: float, challengers: int, guardrails: int) -> Alphas:
    """Share alpha by Bonferroni: among challengers, and for guardrails among these too.

    Over the whole experiment a primary interval ever misses its effect with probability alpha at most,
    and so does any guardrail's; these are two promises, of alpha each.

    Args:
        alpha: the chance of error that is promised.
        challengers: how many versions are held against the champion, at least one.
        guardrails: how many metrics may not be harmed.

    Returns:
        What each test may spend.

    Raises:
        BadInput: alpha is not between 0 and 1, or there is no challenger.
    """
    check_alpha(alpha)
    if challengers < 1:
        raise BadInput(f"an experiment needs at least one challenger, got {challengers}; name one")
    return Alphas(alpha / challengers, alpha / (challengers * max(1, guardrails)))
