"""`rnnsearch ui`: the MLflow UI on the store that holds the studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rnnsearch.cli.output import echo

if TYPE_CHECKING:
    from rnnsearch.records.study_info import Origin


@click.command()
@click.argument("name", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 in a container whose port is published.",
)
@click.option(
    "--allowed-hosts",
    "allowed",
    default="",
    help="Names, with commas, by which browsers reach it, if not by localhost or HOST.",
)
@click.option(
    "--open/--no-open",
    "in_browser",
    default=None,
    help="Open it in a browser; on a terminal with a desktop it does if this is absent.",
)
def ui(name: str | None, port: int, host: str, allowed: str, in_browser: bool | None) -> None:
    """Open the MLflow UI; with NAME, on that study's trials, the best first.

    It asks for no password: whoever reaches it can read and delete runs. It listens on this machine
    alone unless --host says otherwise.
    """
    import os
    import signal
    import socket
    import sys
    import time
    import urllib.error
    import urllib.request

    # At once: as the first process of a container it would be deaf to it, and nothing is open yet.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))

    from rnnsearch.config.secrets import hide_password
    from rnnsearch.errors import RnnsearchError, TrackingError
    from rnnsearch.records.mlflow_store import local_uri, resolve_uri
    from rnnsearch.records.mlflow_ui import LOOPBACK, end, own_address, serve, study_links
    from rnnsearch.records.mlflow_views import address, is_server
    from rnnsearch.records.store import StudyStore, list_stores
    from rnnsearch.study.stored import stored_task, tracking_uri

    stores = list_stores() if name is None else [StudyStore.open(name)]
    if name is not None and stores[0].info.run_id is None:
        _say_where(stores[0].name, stores[0].info.imported)
    uri = resolve_uri(None) if name is None else tracking_uri(stores[0])
    shown, local = hide_password(uri), own_address(host, port)
    base = address(uri) or local
    links: dict[str, dict[str, str] | None] = {}
    for store in stores:
        try:
            is_here, task = tracking_uri(store) == uri, stored_task(store)
            run_id = store.info.run_id
        except RnnsearchError as error:
            if name is not None:
                raise
            echo(f"left out  {store.name}: {error}", err=True)
            continue
        if is_here and run_id is not None:
            links[store.name] = study_links(
                uri, base, store.name, run_id, task.metric, task.direction
            )
    if uri == local_uri() and not any(links.values()):
        msg = (
            f"no study has been recorded in {shown} yet; start one with "
            f"`rnnsearch study start FILE`"
        )
        raise TrackingError(msg)
    if is_server(uri):
        _print_links(links, every=name is not None)
        _open_browser(in_browser, links, base)
        return
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        msg = f"{host}, port {port}, cannot be used: {error.strerror}. Try another --port or --host"
        raise TrackingError(msg) from None
    server = serve(uri, port, host, tuple(filter(None, map(str.strip, allowed.split(",")))))
    try:
        echo(f"Starting the MLflow UI on {base} (Ctrl-C ends it) ...", err=True)
        if host not in LOOPBACK:
            echo(f"Whoever reaches {host}:{port} can read and delete runs.", err=True)
        while True:
            if server.poll() is not None:
                msg = f"the MLflow UI on {shown} ended with exit code {server.returncode}"
                raise TrackingError(msg)
            try:
                urllib.request.urlopen(f"{local}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        echo(base)
        _print_links({study: found for study, found in links.items() if found}, every=bool(name))
        _open_browser(in_browser, links, base)
        if code := server.wait():
            msg = f"the MLflow UI on {shown} ended with exit code {code}"
            raise TrackingError(msg)
    except (SystemExit, KeyboardInterrupt) as stop:
        end(server)
        # Whoever stops it waits. To take libraries apart that were imported takes seconds, more
        # than `docker stop` has where the machine is busy, and there is nothing else to end.
        sys.stdout.flush()
        os._exit(143 if isinstance(stop, SystemExit) else 130)
    finally:
        end(server)


def _print_links(links: dict[str, dict[str, str] | None], *, every: bool) -> None:
    """Print where the studies' trials are; every link of a study that was asked for."""
    for study, found in links.items():
        if not found:
            echo(f"{study}: not on this server")
            continue
        for i, (what, link) in enumerate(found.items() if every else list(found.items())[:1]):
            echo(f"{study}, {what}: {link}" if i else f"{study}: {link}")


def _say_where(study: str, origin: Origin | None) -> None:
    """Say of a study without runs here where they are."""
    if origin and (there := origin.tracking_uri):
        # Whoever wrote the archive named it: nothing is asked there, and no password sent.
        echo(
            f"{study} was imported; its runs were in {there}, which is not asked. If you trust "
            "that address, set MLFLOW_TRACKING_URI to it",
            err=True,
        )
    else:
        echo(f"{study} has no runs in MLflow here", err=True)


def _open_browser(asked: bool | None, links: dict[str, dict[str, str] | None], base: str) -> None:
    """Open the first link in a browser, if that was asked for, or somebody sits before one."""
    import os
    import sys
    import webbrowser

    if asked is None:
        desktop = sys.platform in ("darwin", "win32") or any(
            os.environ.get(variable) for variable in ("DISPLAY", "WAYLAND_DISPLAY")
        )
        asked = desktop and sys.stdout.isatty()
    if asked:
        found = next((link for every in links.values() if every for link in every.values()), base)
        webbrowser.open(found)
