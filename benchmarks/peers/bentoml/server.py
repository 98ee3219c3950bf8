"""Starts BentoML's own server over service.py."""

import os
import sys
from pathlib import Path

bentoml = str(Path(sys.executable).with_name("bentoml"))
os.chdir(Path(__file__).parent)
os.execv(bentoml, [bentoml, "serve", "service:Texts", "--host", "127.0.0.1", "--port", os.environ["PORT"]])
