"""Runs compose.yaml's services without a container engine, as processes in Linux namespaces.

Each service has the isolation of a container: a network interface and a hostname on an isolated
bridge, its own processes, /dev/shm and scratch space, its volumes where the file mounts them, only
its own environment, and a non-root user. The services' commands, health checks and order come from
the file. The differences: programs come from this machine and not from an image, and the setup
that PostgreSQL's image does before it starts is in `_initialise_postgres`.

As a script (`python -m tests.containers FOLDER STUDY_FILE`) it is the first process of a process
namespace: when it ends, the kernel ends every process it started.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
if os.geteuid():
    NAMESPACES += ["--user", "--map-root-user"]
_CONTAINER = [
    *("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"),
]
_NOT_ROOT = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)"
    r"|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>(?:[^{}]|\$\{[^{}]*\})*))?\})"
)


def load_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """Read compose.yaml with its variables substituted; a variable without a value stays None.

    Raises:
        KeyError: a required variable is unset or empty; has the file's message.
    """

    def fill(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        value = variables.get(found["name"], "")
        if not value and found["kind"] == "?":
            raise KeyError(f"{found['name']}: {found['rest']}")
        return value or (walk(found["rest"]) if found["kind"] == "-" else "")

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        return _VARIABLE.sub(fill, node) if isinstance(node, str) else node

    content: dict[str, Any] = walk(yaml.safe_load((REPOSITORY / "compose.yaml").read_text("utf-8")))
    return content


class Machine:
    """A bridge, folders for the volumes, and the running containers."""

    def __init__(self, folder: Path, compose: Mapping[str, Any]) -> None:
        self._folder, self._services = folder, compose["services"]
        self._pids: dict[str, int] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
        (folder / "resolv.conf").write_text("")  # there is no name server; do not wait for one
        (folder / "passwd").write_text(f"rnnsearch:x:1000:1000::{folder}:/bin/sh\n")
        for volume in compose["volumes"]:
            (folder / volume).mkdir(exist_ok=True)
        for command in (
            "ip link set lo up",
            "ip link add cluster type bridge",
            "ip address add 10.77.0.254/24 dev cluster",
            "ip link set cluster up",
        ):
            subprocess.run(command.split(), check=True)

    def start(self, service: str, number: int = 1, arguments: list[str] | None = None) -> str:
        """Start a container of a service and return its name."""
        name = f"{service}-{number}"
        config = self._services[service]
        environment = self._environment(config)
        command = [
            *config.get("entrypoint", [REPOSITORY / "deploy" / "entrypoint.sh"]),
            *(arguments or config.get("command", [])),
        ]
        if config.get("image", "").startswith("postgres:"):
            command = self._initialise_postgres(config, environment)
        process = self._run(name, service, config, environment, command)
        self.processes[name] = process
        return name

    def _environment(self, config: Mapping[str, Any]) -> dict[str, str]:
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{k: str(v) for k, v in config.get("environment", {}).items() if v is not None},
        }

    def _run(
        self,
        name: str,
        service: str,
        config: Mapping[str, Any],
        environment: dict[str, str],
        command: list[str | Path],
    ) -> subprocess.Popen[bytes]:
        index = len(self._pids) + 1
        address = f"10.77.0.{index}"
        with (self._folder / "hosts").open("a") as hosts:
            hosts.write(f"{address} {name} {service}\n")
        size = config.get("shm_size", "64mb").removesuffix("b")
        setup = [
            "read go",
            f"hostname {name}",
            "ip link set lo up",
            f"ip address add {address}/24 dev eth0",
            "ip link set eth0 up",
            "ip route add default via 10.77.0.254",  # Ray finds its address by the default route
            f"mount --bind {self._folder}/hosts /etc/hosts",
            f"mount --bind {self._folder}/resolv.conf /etc/resolv.conf",
            f"mount --bind {self._folder}/passwd /etc/passwd",
            f"mount -t tmpfs -o size={size} shm /dev/shm",
            "mkdir -p /tmp/ray",
            "mount -t tmpfs scratch /tmp/ray",
            "mount -t tmpfs scratch /var/lib",
        ]
        for volume in config.get("volumes", []):
            source, target = volume.split(":")[:2]
            if not source.startswith("."):
                setup += [f"mkdir -p {target}", f"mount --bind {self._folder / source} {target}"]
        setup.append(f"exec {shlex.join(map(str, [*_NOT_ROOT, *command]))}")
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*_CONTAINER, "sh", "-ec", "\n".join(setup)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=REPOSITORY,
            )
        outside = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{process.pid}/ns/net") == outside:
            time.sleep(0.01)
        link = ["ip", "link", "add", f"c{index}", "type", "veth", "peer", "name", "eth0"]
        subprocess.run([*link, "netns", str(process.pid)], check=True)
        subprocess.run(["ip", "link", "set", f"c{index}", "master", "cluster", "up"], check=True)
        self._pids[name] = process.pid
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
        return process

    def execute(self, name: str, command: list[str], timeout: float = 60) -> tuple[int, str]:
        """Run a command in a running container."""
        config = self._services[name.rpartition("-")[0]]
        done = subprocess.run(
            [
                *("timeout", str(timeout)),
                *("nsenter", f"--target={self._pids[name]}", "--net", "--mount", "--uts"),
                f"--pid=/proc/{self._pids[name]}/ns/pid_for_children",
                *_NOT_ROOT,
                *command,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=self._environment(config),
        )
        return done.returncode, done.stdout

    def wait_until_healthy(self, name: str) -> None:
        """Retry a service's health check as often as the file says."""
        check = self._services[name.rpartition("-")[0]]["healthcheck"]
        assert check["test"][0] == "CMD"
        said = ""
        for _ in range(check["retries"]):
            assert self.processes[name].poll() is None, f"{name} ended: {self.log(name)}"
            code, said = self.execute(name, check["test"][1:], float(check["timeout"][:-1]))
            if code == 0:
                return
            time.sleep(float(check["interval"][:-1]))
        raise AssertionError(f"{name} does not become healthy: {said}\n{self.log(name)}")

    def log(self, name: str) -> str:
        """The last part of a container's output."""
        return (self._folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def _initialise_postgres(
        self, config: Mapping[str, Any], environment: dict[str, str]
    ) -> list[str]:
        """What the image's entry point does with an empty volume; returns the server's command."""
        data = config["volumes"][0].split(":")[1]
        script = f"""
            initdb --username="$POSTGRES_USER" --auth=scram-sha-256 --no-sync --pwfile=/dev/fd/3 \\
              3<<END
$POSTGRES_PASSWORD
END
            echo 'host all all all scram-sha-256' >>{data}/pg_hba.conf
            echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -j postgres
            exec postgres -c listen_addresses='*' -c unix_socket_directories={data} -c fsync=off
        """
        environment["PGDATA"] = data
        return ["sh", "-ec", script]


def main() -> None:
    """Start what `docker compose run study` starts, run a study, and print the results."""
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    services = load_compose(os.environ)["services"]
    machine = Machine(folder, load_compose(os.environ))
    started: dict[str, list[str]] = {}

    def up(service: str, arguments: list[str] | None = None) -> None:
        for other in services[service].get("depends_on", {}):
            if "profiles" in services[other]:
                continue  # disabled
            if other not in started:
                up(other)
            for name in started[other]:
                machine.wait_until_healthy(name)
        count = services[service].get("deploy", {}).get("replicas", 1)
        started[service] = [machine.start(service, n + 1, arguments) for n in range(count)]

    up("study", arguments)
    code = machine.processes["study-1"].wait(timeout=400)
    runs = machine.execute("mlflow-1", [sys.executable, "-c", _COUNT_RUNS])[1]
    stranger = ["env", "RAY_AUTH_TOKEN=a-guess", *services["ray-head"]["healthcheck"]["test"][1:]]
    result = {
        "code": code,
        "log": machine.log("study-1"),
        "runs": json.loads(runs.splitlines()[-1]),
        "trials_on": [
            machine.execute(name, ["sh", "-c", _RAN_TRIALS])[0] == 0
            for name in [*started["ray-head"], *started["worker"]]
        ],
        "other_host": machine.execute("mlflow-1", [sys.executable, "-c", _OTHER_HOST])[1],
        "without_token": machine.execute("ray-head-1", stranger)[0],
        "ended": [
            name for name, process in machine.processes.items() if process.poll() is not None
        ],
    }
    (folder / "result.json").write_text(json.dumps(result))


# Queries PostgreSQL directly, not MLflow.
_COUNT_RUNS = """
import json, psycopg2
with psycopg2.connect("postgresql://mlflow@postgres/mlflow") as connection:
    cursor = connection.cursor()
    cursor.execute(
        "SELECT tags.value, runs.status, count(*) FROM runs JOIN tags USING (run_uuid) "
        "WHERE tags.key = 'rnnsearch.phase' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    print(json.dumps(cursor.fetchall()))
"""
# Ray writes an actor's name at the top of its worker's output.
_RAN_TRIALS = "grep -qs :actor_name: /tmp/ray/session_latest/logs/worker-*.out"
_OTHER_HOST = """
import urllib.error, urllib.request
request = urllib.request.Request("http://mlflow:5000/", headers={"Host": "elsewhere.example"})
try:
    print(urllib.request.urlopen(request, timeout=10).status, end="")
except urllib.error.HTTPError as error:
    print(error.code, end="")
"""


if __name__ == "__main__":
    main()
