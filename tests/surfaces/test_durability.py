"""What was acknowledged survives the death of the server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from sqlalchemy import select

from millwright.project import open_project
from millwright.store.tables import opinions, predictions
from tests.conftest import csv_of, desk_rows
from tests.surfaces.keyword_model import add_version

ROOT = Path(__file__).parents[2]


def test_acknowledged_feedback_survives_kill_9(make_project):
    project = make_project(csv_of(desk_rows(30)))
    add_version(project, "v1", "champion")
    command = [sys.executable, "-m", "tests.surfaces.served_for_killing", str(project.folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    acknowledged = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            with httpx.Client(base_url=server.stdout.readline().strip(), timeout=30) as client:
                for n in range(25):
                    (answer,) = client.post("/v1/predictions", json={"inputs": [f"pin {n}"]}).json()[
                        "predictions"
                    ]
                    said = client.post("/v1/feedback", json={"prediction": answer["id"], "label": "card"})
                    assert said.status_code == 201
                    acknowledged.append((said.json()["id"], answer["id"]))
        finally:
            os.kill(server.pid, signal.SIGKILL)
    with open_project(project.folder).database.connect() as connection:
        stored = {(row.id, row.prediction) for row in connection.execute(select(opinions))}
        asked = set(connection.scalars(select(predictions.c.id)))
    assert set(acknowledged) <= stored
    assert {prediction for _, prediction in acknowledged} <= asked
