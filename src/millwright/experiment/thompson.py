"""Shares by the chance of being best: more users get what looks better while it is still being learnt.

The shares are drawn at a review, logged with every prediction, and depend on the past alone, so the
intervals hold as before; a plain t-test would not.
"""

from collections.abc import Sequence

import numpy as np

from millwright.experiment.analysis import Effect

DRAWS = 20_000
LEAST = 0.05  # nobody falls below, so that everything stays comparable


def thompson_shares(
    primary: Sequence[Effect], live: Sequence[str], challengers: int, seed: int = 0
) -> dict[str, float]:
    """Each live challenger's chance of being best by Beta posteriors, within what can be assigned.

    Args:
        primary: effects on the primary metric, with the means of both arms.
        live: the challengers that still have users.
        challengers: of the plan, live or not; none of K may have more than a Kth.
        seed: of the draws.

    Returns:
        Shares in [0.05, 1/K - 0.05] a challenger; the champion has the rest.

    Source: Thompson 1933; the posterior's draws as in Chapelle and Li 2011.
    """
    rng = np.random.default_rng(seed)
    known = [effect for effect in primary if effect.arm in live]
    first = known[0]
    draws = [_posterior(rng, first.champion, first.users - first.challenger_users)]
    draws += [_posterior(rng, effect.challenger, effect.challenger_users) for effect in known]
    best = np.bincount(np.argmax(draws, axis=0), minlength=len(draws)) / DRAWS
    most = 1 / challengers - LEAST
    return {
        effect.arm: float(np.clip(share, LEAST, most)) for effect, share in zip(known, best[1:], strict=True)
    }


def _posterior(rng: np.random.Generator, mean: float | None, users: int) -> np.ndarray:
    won = (mean or 0.0) * users
    return rng.beta(1 + won, 1 + users - won, DRAWS)
