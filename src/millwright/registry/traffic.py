"""Which version a user gets during an experiment: a pure function of a salted hash, and the table it is from.

The experiment writes the table, serving reads it: serving never learns why the shares are what they are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Row, insert, select, update

from millwright.data.split import unit_of
from millwright.errors import BadInput
from millwright.project import Project
from millwright.store.database import now
from millwright.store.tables import traffic

CHAMPION_ARM = "champion"
MIN_CHAMPION = 0.02


@dataclass(frozen=True)
class Arm:
    """A version and the share of users who get it, in [0, 1]."""

    name: str
    version: str
    share: float


@dataclass(frozen=True)
class Traffic:
    """Shares in force. The first arm is the champion's; `shadows` are versions that answer unseen."""

    id: int
    experiment: str
    salt: str
    arms: tuple[Arm, ...]
    shadows: tuple[str, ...] = ()

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version that must be loaded."""
        return tuple(dict.fromkeys([*(arm.version for arm in self.arms), *self.shadows]))


def assign(current: Traffic, unit: str) -> Arm:
    """The arm of a user: always the same one while the shares stay.

    Of K challengers each has a Kth of the users to itself, and gets those of the lowest hashes, so a share
    that grows takes users from the champion alone and nobody who has a challenger ever gets another one.

    Args:
        current: the shares.
        unit: the subject, or the request's id where no subject was named.

    Returns:
        The arm; over units it is drawn with the probability `share`.
    """
    challengers = current.arms[1:]
    if challengers:
        place = unit_of(unit, current.salt) * len(challengers)
        own = challengers[int(place)]
        if place - int(place) < own.share * len(challengers):
            return own
    return current.arms[0]


def check_arms(arms: Sequence[Arm]) -> None:
    """Raise BadInput unless each of K challengers has a share of 1/K at most and the champion keeps some."""
    challengers = arms[1:]
    for arm in challengers:
        if not 0 <= arm.share <= 1 / len(challengers):
            raise BadInput(
                f"the share of {arm.name} is {arm.share:g}, with {len(challengers)} challenger(s) it must be "
                f"from 0 to {1 / len(challengers):g}; lower it",
                field="share",
            )
    if arms[0].share < MIN_CHAMPION:
        raise BadInput(
            f"the champion would keep a share of {arms[0].share:g}, at least {MIN_CHAMPION} must stay to "
            "compare with; lower the challengers' shares",
            field="share",
        )


def current_traffic(project: Project) -> Traffic | None:
    """The shares in force now, None while no experiment runs."""
    with project.database.connect() as connection:
        found = connection.execute(select(traffic).where(traffic.c.ended_at.is_(None))).first()
    return None if found is None else _of_row(found)


def traffic_history(project: Project, experiment: str) -> dict[int, Traffic]:
    """All shares that an experiment ever had, by id."""
    wanted = select(traffic).where(traffic.c.experiment == experiment).order_by(traffic.c.id)
    with project.database.connect() as connection:
        return {row.id: _of_row(row) for row in connection.execute(wanted)}


def list_traffic(project: Project) -> dict[int, tuple[Arm, ...]]:
    """The arms of all shares that were ever in force, by id."""
    with project.database.connect() as connection:
        return {row.id: _of_row(row).arms for row in connection.execute(select(traffic))}


def start_traffic(
    connection: Connection, experiment: str, salt: str, arms: Sequence[Arm], shadows: Sequence[str] = ()
) -> None:
    """Put shares in force, within a transaction; servers follow within about a second.

    Args:
        connection: in a transaction.
        experiment: whose shares they are.
        salt: of the hash; the same throughout an experiment, another one in the next.
        arms: the champion's arm, then the challengers'.
        shadows: versions that answer unseen.

    Raises:
        BadInput: the shares cannot be assigned.
    """
    check_arms(arms)
    end_traffic(connection)
    connection.execute(
        insert(traffic).values(
            experiment=experiment, salt=salt, arms=[asdict(arm) for arm in arms], shadows=list(shadows),
            started_at=now(),
        )
    )  # fmt: skip


def end_traffic(connection: Connection) -> None:
    """Give every user the champion again, within a transaction."""
    connection.execute(update(traffic).where(traffic.c.ended_at.is_(None)).values(ended_at=now()))


def _of_row(row: Row[tuple[object, ...]]) -> Traffic:
    return Traffic(
        row.id, row.experiment, row.salt, tuple(Arm(**arm) for arm in row.arms), tuple(row.shadows)
    )
