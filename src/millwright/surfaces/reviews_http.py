"""Routes of the review queue: the next rows, an answer, undo, how far it is."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from millwright.project import Project
from millwright.records import JsonObject
from millwright.review import annotations
from millwright.surfaces.messages import Message, Words

Name = Annotated[str, Query(max_length=100)]


class ReviewRequest(Message):
    """POST /v1/reviews: a label for a row of the queue; without one the row is passed over."""

    item: Words = Field(max_length=200, description="The row's id in the queue.")
    annotator: Words = Field(max_length=100, description="Who says so.")
    label: Words | None = Field(None, max_length=200, description="The right label.")


class UndoRequest(Message):
    """POST /v1/reviews/undo."""

    annotator: Words = Field(max_length=100, description="Whose last label to take back.")


def reviews_router(project: Project) -> APIRouter:
    """Routes over a project's review queue; `millwright review build` makes it."""
    router = APIRouter()
    needed = project.settings.review.annotators

    @router.get("/v1/reviews/next")
    async def next_rows(annotator: Name, count: Annotated[int, Query(ge=1, le=100)] = 1) -> JsonObject:
        """The next rows for an annotator."""
        found = await asyncio.to_thread(annotations.next_items, project, annotator, count, needed)
        return {"rows": [item.shown() for item in found]}

    @router.post("/v1/reviews", status_code=201)
    async def answer(request: ReviewRequest) -> JsonObject:
        """Keep an annotator's label of a row."""
        made = await asyncio.to_thread(
            annotations.annotate, project, request.item, request.annotator, request.label
        )
        return asdict(made)

    @router.post("/v1/reviews/undo")
    async def undo(request: UndoRequest) -> JsonObject:
        """Take back an annotator's last label."""
        return asdict(await asyncio.to_thread(annotations.undo, project, request.annotator))

    @router.get("/v1/reviews/status")
    async def status() -> JsonObject:
        """How far the review is, and how far annotators agree."""
        return await asyncio.to_thread(annotations.review_status, project, needed)

    return router
