"""Logs as lines of JSON on stderr. Called by the entry point alone: libraries never configure logging."""

import json
import logging
import sys
from datetime import UTC, datetime

from millwright.settings import LoggedRequests
from millwright.surfaces import door


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record's `fields` where it has any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line, ensure_ascii=False)


def log_as_json(which: LoggedRequests) -> None:
    """Write the service's log to stderr.

    Args:
        which: as of `serve.log`: whether each request is a line, or only those that were refused.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("millwright").setLevel(logging.INFO)
    door.log.setLevel(logging.INFO if which == "requests" else logging.WARNING)
