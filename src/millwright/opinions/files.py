"""Opinions from a file, as a call centre or a survey tool exports them: checked row by row, kept once."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, select

from millwright.data.load import read_table
from millwright.data.table import ROW
from millwright.errors import BadInput, MillwrightError
from millwright.feedback import check_opinion
from millwright.opinions.keys import FROM_FILE, kept_under_key
from millwright.opinions.surveys import asked_with
from millwright.privacy.mask import Masker, masker
from millwright.privacy.sealed import owner_of, store_opinions, take_write_lock
from millwright.privacy.vault import open_vault
from millwright.privacy.vault_tokens import VaultToken, settled, store_tokens
from millwright.project import Project
from millwright.records import Excluded, Opinion
from millwright.registry.versions import CHAMPION, version_manifest
from millwright.settings import SPANS
from millwright.store.database import hour_of, now
from millwright.store.tables import predictions

WORDS, NUMBERS = ("label", "comment", "outcome", "key"), ("rating", "csat", "nps")
AT_ONCE = 500
ID_DIGITS = 32
PURPOSE = "rows of opinions"  # of the key that is derived from the pepper
COLUMNS = ("prediction", *WORDS, *NUMBERS, "created_at")


@dataclass(frozen=True)
class Imported:
    """How many opinions of a file are new, how many were kept before, and each row that cannot be."""

    file: str
    new: int
    repeated: int
    refused: tuple[Excluded, ...]


def import_opinions(project: Project, path: Path) -> Imported:
    """Keep the opinions of a file; rows that cannot be kept are listed with their reason.

    Personal data in comments is masked as the service masks it.

    Args:
        project: a project with a champion, whose labels are those that may be named.
        path: CSV, TSV, JSON Lines or Parquet with a column `prediction` and any of label, rating, comment,
            csat, nps, outcome, key and created_at. Without a key, what a row says is its key, so that a
            file may be imported again.

    Returns:
        What was kept.

    Raises:
        NotFound: there is no such file, or no champion.
        BadInput: it is no such file, lacks the column `prediction`, or has one of another name.
    """
    table = read_table(path)
    unknown = [name for name in table.columns if name not in COLUMNS]
    if "prediction" not in table.columns or unknown:
        raise BadInput(
            f"{path.name} must have the column prediction and may have {', '.join(COLUMNS[1:])}; got "
            f"{', '.join(table.columns)}; rename or remove what differs",
            field="file",
        )
    has_spans = project.settings.project.task == SPANS
    labels = None if has_spans else set(version_manifest(project, CHAMPION)["labels"])
    vault, masking = open_vault(project), masker(project, reversible=True)
    own = vault.keys.derived_key(PURPOSE)
    new, repeated, refused = 0, 0, list(table.unreadable)
    for part in table.frame.iter_slices(AT_ONCE):  # a server that runs writes between them
        rows = list(part.iter_rows(named=True))
        masked = _mask(project, rows, masking)
        with project.database.begin() as connection:
            take_write_lock(connection, vault)
            for row in rows:
                number = row.pop(ROW)
                try:
                    opinion = _checked(connection, row, labels, own)
                    opinion, tokens = _masked(connection, opinion, masked, masking)
                    if kept_under_key(connection, vault, opinion) is not None:
                        repeated += 1
                        continue
                except MillwrightError as error:
                    refused.append(Excluded(path.name, number, str(error)))
                    continue
                instead = store_tokens(connection, vault, tokens, of_service=True)
                if opinion.comment is not None:
                    opinion = replace(opinion, comment=settled(opinion.comment, instead))
                store_opinions(connection, vault, [opinion])
                new += 1
    return Imported(path.name, new, repeated, tuple(refused))


def _checked(connection: Connection, row: dict[str, str], labels: set[str] | None, own: bytes) -> Opinion:
    """The opinion of a row as it came; raises BadInput naming the field that cannot be used.

    What a row says, before anything in it is masked, is its name: another policy, or a better detector, does
    not make the same row another one. The hash is keyed, else one could try values until it fits.
    """
    given = {name: _given(row, name) for name in COLUMNS}
    numbers = {name: _number(name, given[name]) for name in NUMBERS}
    opinion = Opinion(
        id="",
        prediction=given["prediction"] or "",
        label=given["label"],
        comment=given["comment"],
        outcome=given["outcome"],
        key=given["key"],
        created_at=now(),
        **numbers,
    )
    check_opinion(opinion, labels)
    about = select(predictions.c.created_at).where(predictions.c.id == opinion.prediction)
    answered = connection.scalar(about)
    if answered is None:
        raise BadInput(
            f"no prediction {opinion.prediction!r}; name an id that the service returned", field="prediction"
        )
    hour = _hour(given["created_at"], answered)
    content = "\0".join(given[name] or "" for name in COLUMNS)
    digest = hmac.digest(own, content.encode(), "sha256").hex()[:ID_DIGITS]
    return replace(
        opinion,
        id=digest,
        key=given["key"] or f"{FROM_FILE}{digest}",
        created_at=hour,
        asked_with=asked_with(connection, opinion),
    )


@dataclass(frozen=True)
class _Masked:
    """Masked comments by owner's pseudonym and what was written, and the tokens that all of them need."""

    comments: dict[tuple[str | None, str], str]
    tokens: tuple[VaultToken, ...]


def _mask(project: Project, rows: Sequence[dict[str, str]], masking: Masker) -> _Masked:
    """Mask the comments of rows all at once, before the lock is taken: servers write meanwhile."""
    said = [(_given(row, "prediction"), comment) for row in rows if (comment := _given(row, "comment"))]
    with project.database.connect() as connection:
        pairs = list(dict.fromkeys((owner_of(connection, name or ""), text) for name, text in said))
    return _mask_pairs(pairs, masking)


def _mask_pairs(pairs: Sequence[tuple[str | None, str]], masking: Masker) -> _Masked:
    taken: dict[str, VaultToken] = {}
    texts, owners = [text for _, text in pairs], [owner for owner, _ in pairs]
    masked = masking.mask_all(texts, owners=owners, taken=taken)
    return _Masked(dict(zip(pairs, masked, strict=True)), tuple(taken.values()))


def _masked(
    connection: Connection, opinion: Opinion, masked: _Masked, masking: Masker
) -> tuple[Opinion, list[VaultToken]]:
    """The opinion with personal data replaced in its comment, and the tokens that this needs."""
    if opinion.comment is None:
        return opinion, []
    pair = owner_of(connection, opinion.prediction), opinion.comment
    if pair not in masked.comments:  # the prediction was stored after the owners were looked up
        masked = _mask_pairs([pair], masking)
    comment = masked.comments[pair]
    used = [replace(one, created_at=opinion.created_at) for one in masked.tokens if one.token in comment]
    return replace(opinion, comment=comment), used


def _given(row: dict[str, str], name: str) -> str | None:
    return (row.get(name) or "").strip() or None


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise BadInput(
            f"{name} must be a whole number, got {text!r}; write it in digits", field=name
        ) from None


def _hour(text: str | None, answered: str) -> str:
    """The hour as it stands in every table; raises BadInput before the prediction or in the future."""
    if text is None:
        return now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"created_at must be a time like 2026-05-01T12:00:00+00:00, got {text!r}; write it so",
            field="created_at",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    hour = hour_of(moment.astimezone(UTC))
    if not answered <= hour <= now():
        raise BadInput(
            f"created_at must lie between the prediction ({answered}) and now, got {text!r}; mend the clock",
            field="created_at",
        )
    return hour
