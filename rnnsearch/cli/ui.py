"""`rnnsearch ui`: the MLflow UI on the store that holds the studies."""

from __future__ import annotations

import click

from rnnsearch.cli.output import stderr


@click.command()
@click.argument("name", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(name: str | None, port: int) -> None:
    """Open the MLflow UI, on 127.0.0.1; with NAME, print the link to that study's comparison."""
    import time
    import urllib.error
    import urllib.request

    from rnnsearch.errors import TrackingError
    from rnnsearch.store import StudyStore, list_stores
    from rnnsearch.study import stored_config
    from rnnsearch.tracking import local_uri, resolve_uri, serve_ui, study_link

    stores = list_stores() if name is None else [StudyStore.open(name)]
    configured = None
    if name is not None:
        configured = stored_config(stores[0])[0].tracking.uri
    uri = resolve_uri(configured)
    is_server = uri.startswith(("http://", "https://"))
    base = uri.rstrip("/") if is_server else f"http://127.0.0.1:{port}"
    links = {}
    for store in stores:
        config, task = stored_config(store)
        if resolve_uri(config.tracking.uri) == uri:
            links[store.name] = study_link(uri, base, store.name, f"test/{task.metric}")
    if uri == local_uri() and not any(links.values()):
        msg = (
            f"no study has been recorded in {uri} yet; start one with `rnnsearch study start FILE`"
        )
        raise TrackingError(msg)
    if is_server:
        for study, link in links.items():
            click.echo(f"{study}: {link or 'not on this server'}")
        return
    console = stderr()
    server = serve_ui(uri, port)
    try:
        console.print(f"Starting the MLflow UI on {base} (Ctrl-C ends it) ...", markup=False)
        while True:
            if server.poll() is not None:
                tail = (server.stderr.read() if server.stderr else b"").decode()[-500:]
                reason = tail.strip().splitlines()[-1] if tail.strip() else "no reason given"
                msg = f"the MLflow UI did not start on port {port}: {reason}. Try another --port"
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
        server.wait()
    finally:
        server.terminate()
        server.wait(timeout=15)
