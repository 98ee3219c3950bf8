"""Two connections of one process and one of another write at once, and nothing is lost or damaged."""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import func, insert, select

from millwright.store.database import now, open_database
from millwright.store.tables import datasets

WRITER = """
import sys
from pathlib import Path
from sqlalchemy import insert
from millwright.store.database import now, open_database
from millwright.store.tables import datasets
database = open_database(Path(sys.argv[1]))
for n in range(150):
    with database.begin() as connection:
        connection.execute(insert(datasets).values(id=f"other-{n}", created_at=now(), rows=n))
"""


def test_opening_a_database_again_keeps_the_locks_of_who_has_it_open(tmp_path: Path):
    path = tmp_path / "store.db"
    first = open_database(path)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as other:
        for n in range(150):
            with first.begin() as connection:
                connection.execute(insert(datasets).values(id=f"own-{n}", created_at=now(), rows=n))
                if n % 10 == 0:
                    open_database(path).dispose()
    assert other.returncode == 0
    with first.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(datasets)) == 300
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
