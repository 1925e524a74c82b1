"""`rnnsearch ui`: the MLflow UI on the store that holds the studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rnnsearch.cli.output import echo

if TYPE_CHECKING:
    from rnnsearch.records.store import StudyStore


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
    help="Comma-separated names under which browsers reach it, besides localhost and HOST.",
)
@click.option(
    "--open/--no-open",
    "in_browser",
    default=None,
    help="Open it in a browser; the default on a terminal with a desktop.",
)
def ui(name: str | None, port: int, host: str, allowed: str, in_browser: bool | None) -> None:
    """Open the MLflow UI; with NAME, on that study's trials, the best first.

    It has no password: anyone who can reach it can read and delete runs. It listens on this machine
    only, unless --host says otherwise.
    """
    import os
    import signal
    import socket
    import sys
    import time
    import urllib.error
    import urllib.request

    # First of all: the first process of a container ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))

    from rnnsearch.config.secrets import hide_password
    from rnnsearch.errors import RnnsearchError, TrackingError
    from rnnsearch.records.mlflow_store import local_uri, resolve_uri
    from rnnsearch.records.mlflow_ui import LOOPBACK, end, own_address, serve, study_links
    from rnnsearch.records.mlflow_views import address, is_server
    from rnnsearch.records.store import StudyStore, list_stores
    from rnnsearch.study.stored import stored_task, tracking_uri

    stores = list_stores() if name is None else [StudyStore.open(name)]
    uri = resolve_uri(None) if name is None else tracking_uri(stores[0])
    shown, local = hide_password(uri), own_address(host, port)
    base = address(uri) or local
    links: dict[str, dict[str, str] | None] = {}
    for store in stores:
        try:
            is_here, task = tracking_uri(store) == uri, stored_task(store)
            own = _own_run(store, uri)
        except RnnsearchError as error:
            if name is not None:
                raise
            echo(f"left out  {store.name}: {error}", err=True)
            continue
        if is_here and own is not None:
            links[store.name] = study_links(uri, base, *own, task.metric, task.direction)
    if name is not None and not any(links.values()):
        raise TrackingError(_why_without_runs(stores[0], uri))
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
            echo(f"Anyone who can reach {host}:{port} can read and delete runs.", err=True)
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
        # Exit at once: unloading imported libraries takes seconds, longer than `docker stop` waits
        # on a busy machine, and nothing else is left to end.
        sys.stdout.flush()
        os._exit(143 if isinstance(stop, SystemExit) else 130)
    finally:
        end(server)


def _print_links(links: dict[str, dict[str, str] | None], *, every: bool) -> None:
    """Print links to the studies' trials; all links of a study that was asked for."""
    for study, found in links.items():
        if not found:
            echo(f"{study}: not on this server")
            continue
        for i, (what, link) in enumerate(found.items() if every else list(found.items())[:1]):
            echo(f"{study}, {what}: {link}" if i else f"{study}: {link}")


def _own_run(store: StudyStore, uri: str) -> tuple[str, str] | None:
    """The study's experiment and own run in a store, or None if it has none there.

    The store may be the one that an archive named, where the study has the name it had there.
    """
    from rnnsearch.config.secrets import same_address

    info, origin = store.info, store.info.imported
    if info.run_id is not None:
        return store.name, info.run_id
    if origin and origin.tracking_uri and origin.run_id and same_address(uri, origin.tracking_uri):
        return origin.name, origin.run_id
    return None


def _why_without_runs(store: StudyStore, uri: str) -> str:
    """Why a study has no runs in a store, and what to do about it."""
    from rnnsearch.config.secrets import hide_password, same_address

    info, name = store.info, store.name
    has = f"study `{name}` has no runs in {hide_password(uri)}"
    elsewhere = f"`rnnsearch study compare {name}` shows its results"
    if info.imported and (there := info.imported.tracking_uri):
        if same_address(uri, there):
            return f"{has} under this name, but was imported from it; `rnnsearch ui` shows all runs"
        # Only the archive says so: nothing is asked at that address, and no password is sent to it.
        return (
            f"{has}. It was imported; its runs were in {there}, which is not asked: if you trust "
            f"that address, set MLFLOW_TRACKING_URI to it. {elsewhere}"
        )
    if info.imported:
        return f"{has}: it was imported, and an archive holds no runs. {elsewhere}"
    if info.run_id is None:
        return f"{has}: it has recorded none yet. `rnnsearch study resume {name}` runs it"
    return (
        f"{has}: they were deleted, or the store was replaced. {elsewhere}; "
        f"`rnnsearch study doctor {name}` examines it"
    )


def _open_browser(asked: bool | None, links: dict[str, dict[str, str] | None], base: str) -> None:
    """Open the first link in a browser if that was asked for, or if there is a desktop."""
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
