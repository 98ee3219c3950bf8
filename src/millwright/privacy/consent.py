"""Who consented to what, who objected or is under restriction, and whose rows may teach.

Purposes are words of the project; the one that matters here is TRAINING. The table knows people by pseudonym.
"""

from dataclasses import dataclass

from sqlalchemy import Row, Update, delete, insert, select, update

from millwright.errors import BadInput, choice, one_of
from millwright.privacy.audit import record
from millwright.privacy.vault import Vault, open_vault
from millwright.project import Project
from millwright.store.database import now
from millwright.store.tables import consents, restrictions

TRAINING = "training"
BASES = (
    "consent",
    "contract",
    "legal obligation",
    "vital interests",
    "public task",
    "legitimate interests",
)
RESTRICTED, OBJECTED, HELD = "restricted", "objected", "held"
KINDS = (RESTRICTED, OBJECTED, HELD)
MOST_CHARACTERS = 200


@dataclass(frozen=True)
class ConsentGiven:
    """What a person agreed to, and how that is proven.

    `text_sha256` and `text_version` name the words that the person saw; `is_separate` tells that consent
    was asked for apart from other terms, as some laws demand for sensitive data.
    """

    purpose: str
    legal_basis: str
    channel: str
    granted_at: str
    text_sha256: str | None = None
    text_version: str | None = None
    is_separate: bool = False
    withdrawn_at: str | None = None


def grant(project: Project, subject: str, consent: ConsentGiven, *, vault: Vault | None = None) -> None:
    """Note that a person consents to a purpose; an older consent to it is withdrawn with that.

    Args:
        project: an open project.
        subject: as users and files name the person.
        consent: what to, on which basis, how and when.
        vault: the project's, where it is open already.

    Raises:
        BadInput: the person, the purpose or the channel is empty or too long, or the basis is unknown.
    """
    _check_named(subject, "subject")
    _check_named(consent.purpose, "purpose")
    _check_named(consent.channel, "channel")
    choice("legal basis", consent.legal_basis, BASES, field="legal_basis")
    pseudonym = (vault or open_vault(project)).keys.pseudonym(subject)
    with project.database.begin() as connection:
        connection.execute(_withdrawing(pseudonym, consent.purpose, consent.granted_at))
        connection.execute(insert(consents).values(subject=pseudonym, **vars(consent)))
        details = {"purpose": consent.purpose, "basis": consent.legal_basis}
        record(project, "consent granted", subject=pseudonym, details=details)


def withdraw(project: Project, subject: str, purpose: str, *, vault: Vault | None = None) -> int:
    """Note that a person withdraws consent to a purpose, also where none was noted.

    Rows of the person enter no dataset that is built from now on; what was trained before stays as it is
    until the person is erased or the next version is trained.

    Args:
        project: an open project.
        subject: as users and files name the person.
        purpose: what consent was given to.
        vault: the project's, where it is open already.

    Returns:
        How many consents were withdrawn.
    """
    _check_named(subject, "subject")
    _check_named(purpose, "purpose")
    pseudonym, hour = (vault or open_vault(project)).keys.pseudonym(subject), now()
    with project.database.begin() as connection:
        count = connection.execute(_withdrawing(pseudonym, purpose, hour)).rowcount
        if not count:
            values = {"legal_basis": "consent", "channel": "withdrawal", "is_separate": False}
            connection.execute(
                insert(consents).values(
                    subject=pseudonym, purpose=purpose, granted_at=hour, withdrawn_at=hour, **values
                )
            )
        record(project, "consent withdrawn", subject=pseudonym, details={"purpose": purpose})
    return count


def restrict(
    project: Project, subject: str, kind: str, *, lift: bool = False, vault: Vault | None = None
) -> bool:
    """Restrict what is done with a person's data, or lift that.

    Args:
        project: an open project.
        subject: as users and files name the person.
        kind: RESTRICTED and OBJECTED keep the person's rows out of datasets; HELD, a legal hold, keeps
            them from being erased.
        lift: whether to end it.
        vault: the project's, where it is open already.

    Returns:
        Whether anything changed.
    """
    _check_named(subject, "subject")
    one_of("restriction", kind, KINDS)
    pseudonym = (vault or open_vault(project)).keys.pseudonym(subject)
    own = (restrictions.c.subject == pseudonym) & (restrictions.c.kind == kind)
    with project.database.begin() as connection:
        there = connection.execute(select(restrictions).where(own)).first() is not None
        if there != lift:
            return False
        if lift:
            connection.execute(delete(restrictions).where(own))
        else:
            connection.execute(insert(restrictions).values(subject=pseudonym, kind=kind, since=now()))
        record(project, f"{kind} lifted" if lift else kind, subject=pseudonym)
    return True


def consents_of(project: Project, pseudonym: str) -> list[ConsentGiven]:
    """What a person consented to, oldest first, withdrawn ones too."""
    with project.database.connect() as connection:
        chosen = select(consents).where(consents.c.subject == pseudonym).order_by(consents.c.id)
        return [_consent(row) for row in connection.execute(chosen)]


def consents_since(project: Project, pseudonym: str, hour: str) -> bool:
    """True if a person consents to training, and said so after an hour, as `now` writes it."""
    given = [one for one in consents_of(project, pseudonym) if one.purpose == TRAINING]
    return bool(given) and given[-1].withdrawn_at is None and given[-1].granted_at > hour


def restrictions_of(project: Project, pseudonym: str) -> dict[str, str]:
    """Since when each kind of restriction holds for a person."""
    with project.database.connect() as connection:
        chosen = select(restrictions).where(restrictions.c.subject == pseudonym)
        return {row.kind: row.since for row in connection.execute(chosen)}


def _consent(row: Row[tuple[object, ...]]) -> ConsentGiven:
    fields = {name: value for name, value in row._mapping.items() if name not in ("id", "subject")}
    return ConsentGiven(**fields)


def _withdrawing(pseudonym: str, purpose: str, hour: str) -> Update:
    return (
        update(consents)
        .where(consents.c.subject == pseudonym, consents.c.purpose == purpose)
        .where(consents.c.withdrawn_at.is_(None))
        .values(withdrawn_at=hour)
    )


def _check_named(value: str, field: str) -> None:
    if not value.strip() or len(value) > MOST_CHARACTERS:
        raise BadInput(
            f"{field} must have from 1 to {MOST_CHARACTERS} characters, got {len(value.strip())}; name it",
            field=field,
        )
