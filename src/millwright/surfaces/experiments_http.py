"""The route of experiments: what runs, what ran, every figure and decision."""

import asyncio

from fastapi import APIRouter

from millwright.experiment.status import statuses
from millwright.project import Project
from millwright.records import JsonObject


def experiments_router(project: Project) -> APIRouter:
    """Routes over a project's experiments."""
    router = APIRouter()

    @router.get("/v1/experiments")
    async def experiments() -> JsonObject:
        """Every experiment, the newest first; the running one with its figures as of now."""
        return {"experiments": await asyncio.to_thread(statuses, project)}

    return router
