"""`rnnsearch ui`: the MLflow UI on the store that holds the studies."""

from __future__ import annotations

import click

from rnnsearch.cli.output import stderr


@click.command()
@click.argument("name", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(name: str | None, port: int) -> None:
    """Open the MLflow UI, on 127.0.0.1; with NAME, print the link to that study's comparison."""
    import re
    import signal
    import socket
    import sys
    import time
    import urllib.error
    import urllib.request

    from rnnsearch.errors import RnnsearchError, TrackingError
    from rnnsearch.mlflow_ui import comparison_link, end, serve
    from rnnsearch.store import StudyStore, list_stores
    from rnnsearch.study import stored_config, tracking_uri
    from rnnsearch.tracking import is_server, local_uri, resolve_uri

    stores = list_stores() if name is None else [StudyStore.open(name)]
    uri = resolve_uri(None) if name is None else tracking_uri(stores[0])
    without_password = re.sub(r"//[^/@]*@", "//", uri)
    base = without_password.rstrip("/") if is_server(uri) else f"http://127.0.0.1:{port}"
    links = {}
    for store in stores:
        try:
            is_here, (_, task) = tracking_uri(store) == uri, stored_config(store)
        except RnnsearchError as error:
            if name is not None:
                raise
            click.echo(f"left out  {store.name}: {error}", err=True)
            continue
        if is_here:
            run_id, metric = store.info.run_id or "", f"test/{task.metric}"
            links[store.name] = comparison_link(uri, base, store.name, run_id, metric)
    if uri == local_uri() and not any(links.values()):
        msg = (
            f"no study has been recorded in {without_password} yet; start one with "
            f"`rnnsearch study start FILE`"
        )
        raise TrackingError(msg)
    if is_server(uri):
        for study, link in links.items():
            click.echo(f"{study}: {link or 'not on this server'}")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            msg = f"port {port} cannot be used: {error.strerror}. Try another --port"
            raise TrackingError(msg) from None
    console = stderr()
    server = serve(uri, port)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # not without the server
    try:
        console.print(f"Starting the MLflow UI on {base} (Ctrl-C ends it) ...", markup=False)
        while True:
            if server.poll() is not None:
                msg = (
                    f"the MLflow UI on {without_password} ended with exit code {server.returncode}"
                )
                raise TrackingError(msg)
            try:
                urllib.request.urlopen(f"{base}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        click.echo(base)
        for study, link in links.items():
            if link:
                click.echo(f"{study}: {link}")
        if code := server.wait():
            msg = f"the MLflow UI on {without_password} ended with exit code {code}"
            raise TrackingError(msg)
    finally:
        end(server)
