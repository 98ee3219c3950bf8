"""The verbs `millwright serve` and `millwright run`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from millwright.errors import BadInput
from millwright.settings import change_settings, refuse_spans
from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, MaxMembership, ProjectFolder, open_at

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")]
TlsCert = Annotated[Path | None, typer.Option(help="PEM file of a certificate, for HTTPS.")]
TlsKey = Annotated[Path | None, typer.Option(help="PEM file of its key.")]
WithoutKeys = Annotated[bool, typer.Option("--without-keys", help="Let anybody on other machines ask.")]


@dataclass(frozen=True)
class _Listening:
    """Where to listen, and who may ask."""

    host: str | None
    port: int | None
    tls_cert: Path | None
    tls_key: Path | None
    without_keys: bool


def serve(
    host: Host = None,
    port: Port = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    without_keys: WithoutKeys = False,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Serve the champion over HTTP and keep what users say; a promoted version takes over by itself.

    Example: millwright serve --project desk --port 8000
    """
    _serve(project, _Listening(host, port, tls_cert, tls_key, without_keys), json)


def run(
    host: Host = None,
    port: Port = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    without_keys: WithoutKeys = False,
    max_membership: MaxMembership = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Serve, and turn the wheel by itself: turns when they are due, experiments on them, drift, webhooks.

    Example: millwright run --project desk --port 8000
    """
    listening = _Listening(host, port, tls_cert, tls_key, without_keys)
    _serve(project, listening, json, turns=True, max_membership=max_membership)


def _serve(
    project: Path,
    listening: _Listening,
    json: bool,
    *,
    turns: bool = False,
    max_membership: float | None = None,
) -> None:
    opened = open_at(project)
    if turns:
        refuse_spans(opened.settings, "`millwright run`")
    if max_membership is not None:
        from millwright.runner.auditable import check_auditable

        check_auditable(opened)
    settings = change_settings(opened.settings, "serve", host=listening.host, port=listening.port)
    from millwright.surfaces.logs import log_as_json
    from millwright.surfaces.web import Tls
    from millwright.surfaces.web import serve as serve_project

    certificate, key = listening.tls_cert, listening.tls_key
    if (certificate is None) != (key is None):
        raise BadInput("a certificate needs its key; pass both --tls-cert and --tls-key")
    tls = Tls(certificate, key) if certificate is not None and key is not None else None
    log_as_json(settings.serve.log)

    def ready(url: str) -> None:
        """Say where the service listens."""
        if json:
            screen.show_json({"url": url})
        else:
            does = "turning the wheel at" if turns else "serving"
            screen.show_line(f"{does} {url}  (its docs: {url}/docs; Ctrl-C stops)")

    serve_project(
        replace(opened, settings=settings),
        ready,
        tls=tls,
        without_keys=listening.without_keys,
        turns=turns,
        max_membership=max_membership,
    )
