"""Routes for the rights of people: consent, withdrawal, restriction, export, erasure. For admin keys only.

The person stands in the body, never in the path: paths are logged.
"""

import asyncio
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field, StrictBool, model_validator

from millwright.erase.erasure import erase_all, plan_erasures
from millwright.erase.export import gather
from millwright.erase.found import not_found
from millwright.privacy.consent import ConsentGiven, grant, restrict, withdraw
from millwright.privacy.exported import note_export
from millwright.privacy.vault import Vault
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.database import now
from millwright.surfaces.messages import Message, Words

MOST_PEOPLE = 1_000  # in one request
Person = Annotated[
    Words, Field(min_length=1, max_length=200, description="The person, as requests name them.")
]
Named = Annotated[Words, Field(min_length=1, max_length=200)]


class SubjectRequest(Message):
    """A request about one person."""

    subject: Person


class ConsentRequest(SubjectRequest):
    """POST /v1/subjects/consent."""

    purpose: Named = "training"
    legal_basis: Named = "consent"
    channel: Named = "http"
    text_sha256: Words | None = Field(None, pattern="^[0-9a-f]{64}$", description="Of the words shown.")
    text_version: Words | None = Field(None, max_length=200, description="Which version of the words.")
    separate: StrictBool = Field(False, description="Whether it was asked for on its own.")


class WithdrawRequest(SubjectRequest):
    """POST /v1/subjects/withdraw."""

    purpose: Named = "training"


class RestrictRequest(SubjectRequest):
    """POST /v1/subjects/restrict."""

    kind: Named = Field("restricted", description="restricted, objected or held.")
    lift: StrictBool = Field(False, description="End it.")


class EraseRequest(Message):
    """POST /v1/subjects/erase: one person, or several who share one training."""

    subject: Person | None = None
    subjects: list[Person] | None = Field(
        None, min_length=1, max_length=MOST_PEOPLE, description="People who are erased together."
    )
    dry_run: StrictBool = Field(False, description="Only say what would be erased.")
    withdraw_only: StrictBool = Field(False, description="Take tuned versions out of service, train none.")

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if (self.subject is None) == (self.subjects is None):
            raise ValueError("name the person as subject, or several as subjects")
        return self


def subject_routes(project: Project, vault: Vault) -> APIRouter:
    """The routes over a project, with the vault that the application has open."""
    router = APIRouter()

    @router.post("/v1/subjects/consent", status_code=201)
    async def consent(request: ConsentRequest) -> JsonObject:
        """Note that a person consents to a purpose."""
        given = ConsentGiven(
            request.purpose,
            request.legal_basis,
            request.channel,
            now(),
            request.text_sha256,
            request.text_version,
            request.separate,
        )
        await asyncio.to_thread(grant, project, request.subject, given, vault=vault)
        return {"consent": vars(given)}

    @router.post("/v1/subjects/withdraw", status_code=201)
    async def withdrawal(request: WithdrawRequest) -> JsonObject:
        """Note that a person withdraws consent to a purpose."""
        count = await asyncio.to_thread(withdraw, project, request.subject, request.purpose, vault=vault)
        return {"withdrawn": count}

    @router.post("/v1/subjects/restrict", status_code=201)
    async def restriction(request: RestrictRequest) -> JsonObject:
        """Restrict what is done with a person's data, or lift that."""
        changed = await asyncio.to_thread(
            restrict, project, request.subject, request.kind, lift=request.lift, vault=vault
        )
        return {"changed": changed}

    @router.post("/v1/subjects/export")
    async def export(request: SubjectRequest) -> JsonObject:
        """Everything that the project holds of a person."""
        return await asyncio.to_thread(_export, project, vault, request.subject)

    @router.post("/v1/subjects/erase")
    async def erasure(request: EraseRequest) -> JsonObject:
        """Erase people and answer with a signed receipt of each; it takes as long as a training."""
        return await asyncio.to_thread(_erase, project, vault, request)

    return router


def _export(project: Project, vault: Vault, subject: str) -> JsonObject:
    vault.refresh()  # a key that another process destroyed must not open anything from memory
    gathered = gather(project, subject, vault=vault)
    note_export(project, [vault.keys.pseudonym(subject)], {"over": "http"})
    return gathered


def _erase(project: Project, vault: Vault, request: EraseRequest) -> JsonObject:
    names = request.subjects or [request.subject or ""]
    if request.dry_run:
        found = plan_erasures(project, names, vault=vault)
        if request.subject is None:
            return {"found": {name: one.to_json() for name, one in found.items()}}
        one = found[request.subject]
        if one.is_nothing and not one.files:
            raise not_found(one)
        return {"found": one.to_json()}
    done = erase_all(project, names, withdraw_only=request.withdraw_only, vault=vault)
    if request.subject is None:
        erased = [{"subject": name, "receipt": one.receipt} for name, one in done.erased.items()]
        return {"erased": erased, "not_erased": done.not_erased()}
    for error in done.refused.values():
        raise error
    return {"receipt": done.erased[request.subject].receipt}
