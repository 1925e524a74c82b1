"""compose.yaml and the KubeRay manifest: what they say, and the processes that they start."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from rnnsearch.store import StudyStore

from .command import REPOSITORY, write_study
from .containers import NAMESPACES, load_compose

SECRETS = {"POSTGRES_PASSWORD": "p@ss/w:rd", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}
COMPOSE = load_compose(SECRETS)
KUBERAY = list(yaml.safe_load_all((REPOSITORY / "deploy" / "kuberay.yaml").read_text("utf-8")))
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.M))


def test_compose_follows_the_compose_specification() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    package = pytest.importorskip("check_jsonschema")
    file = resources.files(package) / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(file.read_text("utf-8")))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"a": {"imagee": "b"}}}, json.loads(file.read_text()))


def test_docker_compose_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("docker compose is not installed")
    done = subprocess.run(
        [docker, "compose", "--profile", "study", "config", "--quiet"],
        cwd=REPOSITORY,
        env={**os.environ, **SECRETS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_services_depend_on_services_that_have_a_health_check_and_mount_declared_volumes() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for other, depends in service.get("depends_on", {}).items():
            assert depends == {"condition": "service_healthy"}, name
            assert "healthcheck" in services[other], other
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            found = (
                (REPOSITORY / source).is_dir() if source[0] == "." else source in COMPOSE["volumes"]
            )
            assert found, volume


def test_every_service_but_the_database_runs_the_one_image() -> None:
    images = {name: service["image"] for name, service in COMPOSE["services"].items()}
    assert images.pop("postgres").startswith("postgres:")
    assert set(images.values()) == {"rnnsearch"}
    assert (REPOSITORY / COMPOSE["services"]["worker"]["build"] / "Dockerfile").exists()


def test_nodes_that_run_or_direct_trials_see_the_same_home() -> None:
    for name in ("worker", "study"):
        service = COMPOSE["services"][name]
        home = service["environment"]["RNNSEARCH_HOME"]
        assert f"rnnsearch:{home}" in service["volumes"]


def test_ports_are_published_on_loopback_only_and_those_of_ray_and_postgres_not_at_all() -> None:
    published = {n: s["ports"] for n, s in COMPOSE["services"].items() if "ports" in s}
    assert set(published) == {"mlflow"}
    assert all(port.startswith("127.0.0.1:") for port in published["mlflow"])
    assert not any("network_mode" in s or "privileged" in s for s in COMPOSE["services"].values())


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_that_is_not_set_is_asked_for_by_name(missing: str) -> None:
    with pytest.raises(KeyError, match=f"{missing}: set it in .env"):
        load_compose({**SECRETS, missing: ""})


def test_no_secret_is_written_in_a_file_or_on_a_command_line() -> None:
    text = (REPOSITORY / "compose.yaml").read_text("utf-8")
    for line in re.findall(r"^\s*(?:\S*PASSWORD|\S*TOKEN):.*$", text, re.M):
        assert re.search(r": \$\{\w+:\?", line), line
    for service in COMPOSE["services"].values():
        words = " ".join([*service.get("entrypoint", []), *service.get("command", [])])
        assert not any(secret in words for secret in SECRETS.values())
    for pod in _pods():
        for variable in pod["containers"][0].get("env", []):
            if re.search("PASSWORD|AUTH_TOKEN", variable["name"]):
                assert "value" not in variable
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "rnnsearch"
    assert not any(document["kind"] == "Secret" for document in KUBERAY)


def _of_kind(kind: str) -> dict[str, Any]:
    (found,) = (document for document in KUBERAY if document["kind"] == kind)
    return dict(found)


def _templates() -> list[dict[str, Any]]:
    spec = _of_kind("RayCluster")["spec"]
    return [
        spec["headGroupSpec"]["template"],
        *(group["template"] for group in spec["workerGroupSpecs"]),
        *(
            d["spec"]["template"]
            for d in KUBERAY
            if d["kind"] in ("Deployment", "StatefulSet", "Job")
        ),
    ]


def _pods() -> list[dict[str, Any]]:
    return [template["spec"] for template in _templates()]


def test_kubernetes_accepts_the_manifest() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    version = "1.33"
    for document in KUBERAY:
        if document["apiVersion"] != "ray.io/v1":
            validate(document, version, strict=True)
    for template in _templates():  # those of the RayCluster too
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, **template}
        validate(pod, version, strict=True)


def test_the_ray_cluster_has_what_kuberay_requires_and_nothing_that_it_does_not_know() -> None:
    cluster = _of_kind("RayCluster")
    assert cluster["apiVersion"] == "ray.io/v1"
    spec = cluster["spec"]
    assert set(spec) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert set(spec["headGroupSpec"]) == {"serviceType", "rayStartParams", "template"}
    for group in spec["workerGroupSpecs"]:
        known = {
            "groupName",
            "replicas",
            "minReplicas",
            "maxReplicas",
            "rayStartParams",
            "template",
        }
        assert set(group) == known
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        # The operator puts its own probes where there are none: they ask a dashboard.
        container = group["template"]["spec"]["containers"][0]
        assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_the_manifest_names_the_ray_that_is_pinned_and_this_version_of_the_image() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert _of_kind("RayCluster")["spec"]["rayVersion"] == PINS["ray"]
    images = [pod["containers"][0]["image"] for pod in _pods()]
    database = COMPOSE["services"]["postgres"]["image"]
    assert set(images) == {f"REGISTRY/rnnsearch:{project['version']}", database}


def test_the_manifest_says_what_compose_says() -> None:
    job = _of_kind("Job")["spec"]["template"]["spec"]["containers"][0]
    study = COMPOSE["services"]["study"]
    assert job["command"] == study["entrypoint"]
    assert job["args"] == study["command"]
    services = {d["metadata"]["name"] for d in KUBERAY if d["kind"] == "Service"}
    assert services == {"rnnsearch-mlflow", "rnnsearch-postgres"}
    server = _of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0]
    given = [word.replace("rnnsearch-", "") for word in server["args"]]
    assert given == COMPOSE["services"]["mlflow"]["command"]
    address = {v["name"]: v.get("value") for v in job["env"]}["RAY_ADDRESS"]
    assert (
        address == f"{_of_kind('RayCluster')['metadata']['name']}-head-svc:6379"
    )  # KubeRay's name


def test_every_claim_and_volume_that_a_pod_mounts_exists() -> None:
    claims = {d["metadata"]["name"] for d in KUBERAY if d["kind"] == "PersistentVolumeClaim"}
    made = {c["metadata"]["name"] for c in _of_kind("StatefulSet")["spec"]["volumeClaimTemplates"]}
    for pod in _pods():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        mounts = pod["containers"][0].get("volumeMounts", [])
        assert {mount["name"] for mount in mounts} <= set(volumes) | made


def _why_not() -> str:
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return "needs Linux with util-linux and iproute2"
    if not all(map(shutil.which, ("initdb", "postgres", "pg_isready"))):
        return "no PostgreSQL server is installed (initdb, postgres and pg_isready on PATH)"
    probe = [*NAMESPACES, "sh", "-c", "ip link add probe type bridge && ip link set lo up"]
    if subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode:
        return "this user may not create network namespaces"
    if find_spec("psycopg2") is None:
        return "psycopg2 is not installed (the extra `cluster`)"
    return ""


@pytest.mark.slow
def test_a_study_runs_on_what_compose_starts(tmp_path: Path) -> None:
    if reason := _why_not():
        pytest.skip(reason)
    study = write_study(
        tmp_path,
        training={"epochs": 2, "batch_size": 64, "learning_rate": {"low": 1e-3, "high": 3e-2}},
        search={"trials": 2},
        confirmation={"seeds": 2},
        resources={"workers": 2},
    )
    folder = tmp_path / "machine"
    folder.mkdir()
    done = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "tests.containers", folder, study, "--quiet"],
        cwd=REPOSITORY,
        env={**os.environ, **SECRETS, "WORKER_CPUS": "1", "RNNSEARCH_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["code"] == 0, result["log"]
    states = [r.state for r in StudyStore(folder / "rnnsearch" / "studies" / "small").records()]
    assert set(states) <= {"COMPLETE", "PRUNED"}
    assert len(states) == 2 * (2 + 2)
    # In PostgreSQL: a run for each trial and each seed, all of them ended.
    counts: dict[str, int] = {}
    for phase, status, count in result["runs"]:
        assert status in ("FINISHED", "KILLED"), phase
        counts[phase] = counts.get(phase, 0) + count
    assert counts == {"study": 1, "search": 4, "configuration": 2, "confirmation": 4}
    # Served by MLflow, not written beside the study.
    assert len(list((folder / "artifacts" / "mlartifacts").rglob("MLmodel"))) == 2
    assert list((folder / "artifacts" / "mlartifacts").rglob("comparison.csv"))
    assert result["trials_on"] == [False, True, True]  # the head, two workers
    assert result["other_host"] == "403"
    assert result["without_token"] != 0
    assert result["ended"] == ["study-1"]
