"""The route that puts values back in place of tokens. Only for keys that were given its scope by name."""

import asyncio

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from millwright.privacy.unmask import unmask
from millwright.privacy.vault import Vault
from millwright.surfaces.messages import Message, Words

MOST_TEXTS = 1_000


class UnmaskRequest(Message):
    """POST /v1/unmask."""

    texts: list[Words] = Field(min_length=1, max_length=MOST_TEXTS, description="Texts with tokens.")


class UnmaskAnswer(BaseModel):
    """Texts in order, how many values were put back, and the tokens that stayed."""

    texts: list[str]
    restored: int
    erased: list[str]
    expired: list[str]
    unknown: list[str]


def unmask_router(vault: Vault) -> APIRouter:
    """The route over a project's vault."""
    router = APIRouter()

    @router.post("/v1/unmask")
    async def values(request: UnmaskRequest, asked: Request) -> UnmaskAnswer:
        """Put values back; the audit log says who asked for whose."""
        by = f"key {asked.scope['api_key']}"
        found = await asyncio.to_thread(unmask, vault, request.texts, by=by)
        return UnmaskAnswer(**{**vars(found), "texts": list(found.texts)})

    return router
