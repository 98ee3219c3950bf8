"""What the wheel knows of its users: experiments with figures and decisions, and checks for drift."""

import asyncio
from dataclasses import asdict

from fastapi import APIRouter

from millwright.drift.records import list_drifts
from millwright.experiment.status import statuses
from millwright.project import Project
from millwright.records import JsonObject
from millwright.turns import list_turns


def experiments_router(project: Project) -> APIRouter:
    """Routes over a project's experiments and checks for drift."""
    router = APIRouter()

    @router.get("/v1/experiments")
    async def experiments() -> JsonObject:
        """Every experiment, the newest first; the running one with its figures as of now."""
        return {"experiments": await asyncio.to_thread(statuses, project)}

    @router.get("/v1/turns")
    async def turns() -> JsonObject:
        """Every finished turn, oldest first."""
        return {"turns": [asdict(one) for one in await asyncio.to_thread(list_turns, project)]}

    @router.get("/v1/drift")
    async def drift() -> JsonObject:
        """Every check that `millwright drift` made, oldest first."""
        return {"checks": [asdict(one) for one in await asyncio.to_thread(list_drifts, project)]}

    return router
