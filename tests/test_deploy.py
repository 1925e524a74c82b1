"""compose.yaml and the KubeRay manifest: their contents, and the processes they start."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from rnnsearch.errors import (
    BudgetError,
    DataError,
    PluginError,
    StoppedError,
    StoreError,
    StudyFileError,
    TrackingError,
)
from rnnsearch.records.store import StudyStore

from .command import REPOSITORY, write_study
from .containers import NAMESPACES, load_compose

SECRETS = {"POSTGRES_PASSWORD": "p@ss/w:rd", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}
COMPOSE = load_compose(SECRETS)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
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
        [docker, "compose", "--profile", "*", "config", "--quiet"],
        cwd=REPOSITORY,
        env={**os.environ, **SECRETS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_services_depend_on_services_that_have_a_health_check_and_mount_declared_volumes() -> None:
    for name, service in SERVICES.items():
        for other, depends in service.get("depends_on", {}).items():
            assert depends["condition"] == "service_healthy", name
            assert "healthcheck" in SERVICES[other], other
            # Services of a profile are only waited for if the profile is on.
            assert depends.get("required", True) == ("profiles" not in SERVICES[other]), other
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            found = (
                (REPOSITORY / source).is_dir() if source[0] == "." else source in COMPOSE["volumes"]
            )
            assert found, volume


def test_what_is_ours_runs_from_one_image_and_gpu_workers_from_the_same_file_with_cuda() -> None:
    ours = {name: s for name, s in SERVICES.items() if "build" in s}
    assert set(ours) == {"mlflow", "ray-head", "worker", "worker-gpu", "study"}
    gpu = ours.pop("worker-gpu")
    assert {service["image"] for service in ours.values()} == {"rnnsearch"}
    assert gpu["image"] == "rnnsearch:gpu"
    assert gpu["build"]["context"] == ours["worker"]["build"]["context"] == "."
    assert gpu["build"]["args"]["TORCH_INDEX"] == ""
    declared = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M))
    for service in SERVICES.values():
        assert set(service.get("build", {}).get("args", {})) <= declared
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert (gpu["command"], gpu["volumes"]) == (
        ours["worker"]["command"],
        ours["worker"]["volumes"],
    )


def test_nodes_that_run_or_direct_trials_see_the_same_home() -> None:
    for name in ("worker", "worker-gpu", "study"):
        home = SERVICES[name]["environment"]["RNNSEARCH_HOME"]
        assert f"rnnsearch:{home}" in SERVICES[name]["volumes"]


def test_every_service_has_a_memory_limit_and_bounded_logs_and_gains_no_privileges() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "build" not in service or service["cap_drop"] == ["ALL"], name


def test_nothing_that_a_service_keeps_lands_in_an_anonymous_volume() -> None:
    assert "VOLUME" not in DOCKERFILE
    keeps = {"postgres": "/var/lib/postgresql/data", "redis": "/data", "minio": "/data"}
    for name, folder in keeps.items():  # declared by their images
        mounted = [v.split(":")[1] for v in SERVICES[name].get("volumes", [])]
        assert folder in mounted + SERVICES[name].get("tmpfs", [])


def test_a_study_service_runs_whatever_command_of_rnnsearch_it_is_given() -> None:
    study = SERVICES["study"]
    assert "entrypoint" not in study
    assert study["command"] == json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE, re.M)[-1])
    assert 'ENTRYPOINT ["rnnsearch-node"]' in DOCKERFILE
    assert "deploy/entrypoint.sh /usr/local/bin/rnnsearch-node" in DOCKERFILE


@pytest.mark.parametrize(
    ("arguments", "address", "joins"),
    [
        (["study", "start", "my study.yaml"], "head:6379", True),
        (["study", "resume", "mnist"], "head:6379", True),
        (["--debug", "study", "extend", "mnist", "--seeds", "10"], "head:6379", True),
        (["study", "compare", "mnist"], "head:6379", False),
        (["study", "start", "my study.yaml"], "", False),
        ([], "", False),
    ],
)
def test_the_entrypoint_joins_the_cluster_for_what_runs_trials_and_then_is_rnnsearch(
    tmp_path: Path, arguments: list[str], address: str, joins: bool
) -> None:
    for name in ("ray", "rnnsearch"):
        tool = tmp_path / name
        tool.write_text(f'#!/bin/sh\nprintf "%s\\n" "$$ {name}" "$@" >>{tmp_path}/called\n')
        tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_ADDRESS": address}
    entrypoint = subprocess.Popen(
        ["sh", REPOSITORY / "deploy" / "entrypoint.sh", *arguments], env=environment
    )
    assert entrypoint.wait(30) == 0
    called = (tmp_path / "called").read_text().splitlines()
    ours = called.index(f"{entrypoint.pid} rnnsearch")  # the same process, which gets the signals
    assert called[ours + 1 :] == arguments
    assert [word.split()[-1] for word in called[:1]] == ["ray" if joins else "rnnsearch"]
    assert not joins or {"start", f"--address={address}", "--num-cpus=0"} <= set(called[:ours])


def test_the_entrypoint_gives_up_where_no_cluster_can_be_joined(tmp_path: Path) -> None:
    (tmp_path / "ray").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "ray").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_ADDRESS": "head:6379"}
    done = subprocess.run(
        ["sh", REPOSITORY / "deploy" / "entrypoint.sh", "study", "start", "x"], env=environment
    )
    assert done.returncode == 3


def test_a_change_to_the_source_reinstalls_no_dependency() -> None:
    installs = DOCKERFILE.index("-r requirements.txt")
    for line in (
        "COPY rnnsearch",
        "COPY plugins ./plugins",
        "COPY studies",
        "COPY pyproject.toml README",
    ):
        assert DOCKERFILE.index(line) > installs
    assert ".venv/bin/pip install --no-cache-dir --no-deps . ./plugins" in DOCKERFILE


def test_the_image_takes_its_dependencies_from_pyproject(tmp_path: Path) -> None:
    (script,) = re.findall(r'^RUN python3 -c "(.*?)" >', DOCKERFILE, re.M | re.S)
    (tmp_path / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())
    (tmp_path / "zoo.toml").write_text((REPOSITORY / "plugins" / "pyproject.toml").read_text())
    zoo = tomllib.loads((REPOSITORY / "plugins" / "pyproject.toml").read_text("utf-8"))["project"]
    others = [text for text in zoo["dependencies"] if not text.startswith("rnnsearch")]
    assert others
    printed = {
        extras: subprocess.check_output(
            [sys.executable, "-c", script.replace("\\\n", "")],
            cwd=tmp_path,
            env={**os.environ, "EXTRAS": extras},
            text=True,
        ).splitlines()
        for extras in ("", "cluster,s3")
    }
    assert printed[""] == PROJECT["dependencies"] + others
    optional = PROJECT["optional-dependencies"]
    assert printed["cluster,s3"] == printed[""] + optional["cluster"] + optional["s3"]
    for text in optional["s3"]:
        assert re.split("[<>=]", text)[0] in PINS


def test_the_image_has_torch_without_cuda_unless_asked_and_says_which_version_it_is() -> None:
    assert "\nARG TORCH_INDEX=https://download.pytorch.org/whl/cpu\n" in DOCKERFILE
    # torch has a separate index, which is used only for torch.
    (line,) = re.findall(r"^.*TORCH_INDEX:\+.*$", DOCKERFILE, re.M)
    assert line.rstrip(" \\").split("} ")[-1].split() == ["torch", "torchvision"]
    assert f'image.version="{PROJECT["version"]}"' in DOCKERFILE


def test_any_user_in_group_0_may_write_what_the_image_writes() -> None:
    assert "--gid 0" in DOCKERFILE
    (line,) = re.findall(r"chmod g=u (.*)$", DOCKERFILE, re.M)
    homes = re.findall(r"(?:^ENV|^ +)\s*(?:RNNSEARCH_)?HOME=(\S+)", DOCKERFILE, re.M)
    assert sorted(line.split()) == sorted(homes)
    assert "chown 1000:0 /opt/rnnsearch /var/lib/rnnsearch" in DOCKERFILE


def test_other_machines_reach_mlflow_behind_tls_and_a_login_and_nothing_else() -> None:
    published = {n: s["ports"] for n, s in SERVICES.items() if "ports" in s}
    assert set(published) == {"mlflow", "proxy"}
    assert all(port.startswith("127.0.0.1:") for port in published["mlflow"])
    assert published["proxy"] == ["443:443"]
    assert SERVICES["proxy"]["profiles"] == ["proxy"]  # disabled
    folder = REPOSITORY / "deploy" / "proxy"
    text = re.sub("#.*", "", (folder / "mlflow.conf").read_text())
    assert re.findall(r"listen (.*);", text) == ["443 ssl"]
    assert re.findall(r"auth_basic (.*);", text) == ['"rnnsearch"']
    assert (folder / ".gitignore").read_text().splitlines()[0] == "*"  # keys and passwords
    assert not any("network_mode" in s or "privileged" in s for s in SERVICES.values())
    reaches_redis = {n for n, s in SERVICES.items() if "redis" in s.get("networks", [])}
    assert reaches_redis == {"redis", "ray-head"}
    assert COMPOSE["networks"]["redis"] == {"internal": True}


def test_links_are_for_the_browser_and_requests_for_the_server() -> None:
    environment = SERVICES["study"]["environment"]
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert environment["RNNSEARCH_TRACKING_LINK"] == "http://localhost:5000"
    elsewhere = load_compose({**SECRETS, "MLFLOW_PORT": "5001"})["services"]
    assert elsewhere["study"]["environment"]["RNNSEARCH_TRACKING_LINK"] == "http://localhost:5001"
    assert elsewhere["mlflow"]["ports"] == ["127.0.0.1:5001:5000"]


def test_every_setting_of_compose_is_in_the_example_and_every_example_is_a_setting() -> None:
    text = (REPOSITORY / "compose.yaml").read_text("utf-8")
    read = set(re.findall(r"(?<!\$)\$\{(\w+)", text)) | set(
        re.findall(r"^ +([A-Z_]+):$", text, re.M)
    )
    example = (REPOSITORY / ".env.example").read_text("utf-8")
    assert set(re.findall(r"^#?([A-Z_0-9]+)=", example, re.M)) == read | {"COMPOSE_PROFILES"}
    profiles = {profile for s in SERVICES.values() for profile in s.get("profiles", [])}
    assert f"{', '.join(sorted(profiles - {'study'}))}" == "gpu, minio, proxy, redis"
    for profile in profiles - {"study"}:
        assert profile in example


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/README.md"])
def test_the_secrets_file_is_made_so_that_others_cannot_read_it(file: str, tmp_path: Path) -> None:
    (line,) = set(re.findall(r"\(umask.*>\.env\)", (REPOSITORY / file).read_text("utf-8")))
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    subprocess.run(["sh", "-c", f"umask 022; {line}"], cwd=tmp_path, check=True)
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o777 == 0o600
    lines = [text.split("=") for text in made.read_text().splitlines()]
    assert {name: len(value) for name, value in lines} == dict.fromkeys(SECRETS, 64)


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_that_is_not_set_is_asked_for_by_name(missing: str) -> None:
    with pytest.raises(KeyError, match=f"{missing}: set it in .env"):
        load_compose({**SECRETS, missing: ""})


def test_no_secret_is_written_in_a_file_or_on_a_command_line() -> None:
    text = (REPOSITORY / "compose.yaml").read_text("utf-8")
    for line in re.findall(r"^\s*(?:\S*PASSWORD|\S*TOKEN|\S*KEY):.*$", text, re.M):
        assert re.search(r": \$\{\w+:(\?|-\}$)", line), line
    for service in SERVICES.values():
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
    for template in _templates():  # including those of the RayCluster
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, **template}
        validate(pod, version, strict=True)


def test_the_ray_cluster_has_what_kuberay_requires_and_nothing_that_it_does_not_know() -> None:
    cluster = _of_kind("RayCluster")
    assert cluster["apiVersion"] == "ray.io/v1"
    spec = cluster["spec"]
    assert set(spec) == {
        *("rayVersion", "gcsFaultToleranceOptions", "headGroupSpec", "workerGroupSpecs")
    }
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
        # Without probes, the operator adds its own, which need a dashboard.
        container = group["template"]["spec"]["containers"][0]
        assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_the_manifest_names_the_ray_that_is_pinned_and_this_version_of_the_image() -> None:
    assert _of_kind("RayCluster")["spec"]["rayVersion"] == PINS["ray"]
    images = {container["image"] for pod in _pods() for container in _containers(pod)}
    ours = f"REGISTRY/rnnsearch:{PROJECT['version']}"
    bought = {SERVICES[name]["image"] for name in ("postgres", "redis")}
    assert images == {ours, f"{ours}-gpu", *bought}
    kustomization = yaml.safe_load((REPOSITORY / "deploy" / "kustomization.yaml").read_text())
    assert kustomization["resources"] == ["kuberay.yaml"]
    assert [image["name"] for image in kustomization["images"]] == [ours.rpartition(":")[0]]


def test_the_manifest_says_what_compose_says() -> None:
    job = _of_kind("Job")["spec"]["template"]["spec"]["containers"][0]
    assert "command" not in job
    assert job["args"] == [*SERVICES["study"]["command"], "--resume"]
    services = {d["metadata"]["name"] for d in KUBERAY if d["kind"] == "Service"}
    assert services == {"rnnsearch-mlflow", "rnnsearch-postgres", "rnnsearch-redis"}
    server = _of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0]
    given = [word.replace("rnnsearch-", "") for word in server["args"]]
    assert given == SERVICES["mlflow"]["command"]
    address = {v["name"]: v.get("value") for v in job["env"]}["RAY_ADDRESS"]
    assert (
        address == f"{_of_kind('RayCluster')['metadata']['name']}-head-svc:6379"
    )  # KubeRay's name


def test_every_claim_and_volume_that_a_pod_mounts_exists() -> None:
    claims = {d["metadata"]["name"] for d in KUBERAY if d["kind"] == "PersistentVolumeClaim"}
    made = {
        claim["metadata"]["name"]
        for document in KUBERAY
        if document["kind"] == "StatefulSet"
        for claim in document["spec"]["volumeClaimTemplates"]
    }
    for pod in _pods():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        mounts = pod["containers"][0].get("volumeMounts", [])
        assert {mount["name"] for mount in mounts} <= set(volumes) | made


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_pod_meets_the_restricted_standard_and_has_limits() -> None:
    for pod in _pods():
        user = pod["securityContext"]
        assert user["runAsNonRoot"]
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == _of_kind("ServiceAccount")["metadata"]["name"]
        for container in _containers(pod):
            name = container["name"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name


def test_what_serves_for_long_is_asked_whether_it_lives() -> None:
    for pod in _pods():
        for container in pod["containers"]:
            if container["name"] != "study":
                assert {"readinessProbe", "livenessProbe"} <= set(container), container["name"]


def test_a_study_waits_for_mlflow_and_its_next_pod_resumes_what_may_still_succeed() -> None:
    job = _of_kind("Job")["spec"]
    (first,) = job["template"]["spec"]["initContainers"]
    compile(first["command"][-1], "wait", "exec")
    assert "http://rnnsearch-mlflow:5000/health" in first["command"][-1]
    assert job["backoffLimit"] > 0
    assert "--resume" in job["template"]["spec"]["containers"][0]["args"]
    left, final = job["podFailurePolicy"]["rules"]
    assert (left["action"], final["action"]) == ("Ignore", "FailJob")
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # required by such a policy
    again = {0, 1, StoreError.exit_code, TrackingError.exit_code, 137, 143}
    assert not again & set(final["onExitCodes"]["values"])
    errors = (BudgetError, DataError, PluginError, StudyFileError, StoppedError)
    assert {e.exit_code for e in errors} <= set(final["onExitCodes"]["values"])


def test_a_gpu_group_stands_ready_with_what_its_nodes_ask_for() -> None:
    worker, gpu = _of_kind("RayCluster")["spec"]["workerGroupSpecs"]
    assert (worker["groupName"], gpu["groupName"], gpu["replicas"]) == ("worker", "worker-gpu", 0)
    pod = gpu["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod["volumes"] == worker["template"]["spec"]["volumes"]


def test_network_policies_let_in_those_who_connect_and_nobody_else() -> None:
    policies = [d for d in KUBERAY if d["kind"] == "NetworkPolicy"]
    labels = {}
    for document in KUBERAY:
        if document["kind"] in ("Deployment", "StatefulSet", "Job"):
            name = document["metadata"]["name"]
            labels[name] = document["spec"]["template"]["metadata"]["labels"]
    spec = _of_kind("RayCluster")["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        name = group.get("groupName", "head")
        labels[name] = {**group["template"]["metadata"]["labels"], "ray.io/cluster": "rnnsearch"}

    def chosen(selector: dict[str, Any]) -> set[str]:
        wanted = selector["matchLabels"].items()
        return {name for name, has in labels.items() if wanted <= has.items()}

    reaches = {
        frozenset(chosen(p["spec"]["podSelector"])): set().union(
            *(chosen(one["podSelector"]) for one in p["spec"]["ingress"][0]["from"])
        )
        for p in policies
    }
    ray = {"head", "worker", "worker-gpu"}
    assert reaches == {
        frozenset({"rnnsearch-postgres"}): {"rnnsearch-mlflow"},
        frozenset({"rnnsearch-redis"}): ray,
        frozenset({"rnnsearch-mlflow"}): {"rnnsearch-study"},
        frozenset({*ray, "rnnsearch-study"}): {*ray, "rnnsearch-study"},
    }
    assert set().union(*reaches) == set(labels)  # all are covered


def test_the_head_keeps_in_redis_what_a_new_one_needs() -> None:
    options = _of_kind("RayCluster")["spec"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "rnnsearch-redis:6379"
    secret = options["redisPassword"]["valueFrom"]["secretKeyRef"]
    (redis,) = (pod for pod in _pods() if pod["containers"][0]["name"] == "redis")
    asked = {v["name"]: v["valueFrom"]["secretKeyRef"] for v in redis["containers"][0]["env"]}
    assert asked["REDISCLI_AUTH"] == secret
    assert "RAY_REDIS_ADDRESS" in SERVICES["ray-head"]["environment"]


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
    command = ["study", "start", study, "--quiet"]
    done = subprocess.run(
        [*NAMESPACES, sys.executable, *f"-m tests.containers {folder}".split(), *command],
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
    # In PostgreSQL: one run per trial and per seed, all of them ended.
    counts: dict[str, int] = {}
    for phase, status, count in result["runs"]:
        assert status in ("FINISHED", "KILLED"), phase
        counts[phase] = counts.get(phase, 0) + count
    assert counts == {"study": 1, "search": 4, "configuration": 2, "confirmation": 4}
    # Stored through MLflow, not next to the study.
    assert len(list((folder / "artifacts" / "mlartifacts").rglob("MLmodel"))) == 2
    assert list((folder / "artifacts" / "mlartifacts").rglob("comparison.csv"))
    assert result["trials_on"] == [False, True, True]  # the head, and two workers
    assert result["other_host"] == "403"
    assert result["without_token"] != 0
    assert result["ended"] == ["study-1"]


def _docker(
    *arguments: str, input: bytes | None = None, timeout: float = 900
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["docker", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **ENGINE},
        input=input if input is not None else b"",
        capture_output=True,
        timeout=timeout,
        check=False,
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stdout + done.stderr).decode(errors="replace")[-4000:]


# Separate project and image for the tests; PIP_CONF and TORCH_INDEX come from the caller.
ENGINE = {
    **SECRETS,
    "COMPOSE_PROJECT_NAME": "rnnsearch-tests",
    "IMAGE": "rnnsearch-tests",
    "MLFLOW_PORT": "0",
    "WORKER_CPUS": "1",
    "RNNSEARCH_OFFLINE": "1",
    "COMPOSE_PROFILES": "",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[None]:
    """The built image; everything the tests leave in the engine is removed at the end."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    if _docker("info", timeout=60).returncode or _docker("compose", "version").returncode:
        pytest.skip("no container engine answers (`docker info`, `docker compose version`)")
    built = _docker("compose", "build", "mlflow", timeout=3600)
    assert built.returncode == 0, _said(built)
    yield
    _docker("compose", "--profile", "*", "down", "--volumes", "--timeout", "10")
    _docker("volume", "rm", "--force", "rnnsearch-tests-alone")
    _docker("image", "rm", "rnnsearch-tests")


def _engine_study(tmp_path: Path) -> bytes:
    study = write_study(
        tmp_path,
        training={"epochs": 60, "batch_size": 64, "learning_rate": {"low": 1e-3, "high": 3e-2}},
        search={"trials": 3, "scheduler": "none"},
        confirmation={"seeds": 2},
        resources={"workers": 1},
    )
    return study.read_bytes()


def _kill_in_the_middle(container: str, run: subprocess.Popen[bytes]) -> None:
    """Let a study's container run until a trial has ended, then kill it with SIGKILL."""
    assert run.stderr is not None
    said = b""
    for line in run.stderr:
        said += line
        if b": COMPLETE" in line:
            break
    assert _docker("kill", container).returncode == 0, said.decode()
    run.communicate(timeout=60)
    assert run.returncode == 137


@pytest.mark.slow
def test_a_study_whose_container_was_killed_is_resumed_by_another(
    engine: None, tmp_path: Path
) -> None:
    # As OpenShift runs it, with the strictest restrictions.
    name, image = "rnnsearch-tests-alone", ENGINE["IMAGE"]
    run = ["run", "--rm", "--interactive", "--shm-size=1g", "--user=12345:0", "--read-only"]
    run += ["--tmpfs=/tmp", "--cap-drop=ALL", "--network=none", "--memory=3g"]
    run += ["--env=RNNSEARCH_OFFLINE=1", f"--volume={name}:/var/lib/rnnsearch"]
    write = ["--entrypoint=sh", image, "-c", "cat >/var/lib/rnnsearch/small.yaml"]
    written = _docker(*run, *write, input=_engine_study(tmp_path))
    assert written.returncode == 0, _said(written)
    start = ["study", "start", "/var/lib/rnnsearch/small.yaml"]
    driver = subprocess.Popen(
        ["docker", *run, f"--name={name}", image, *start],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _kill_in_the_middle(name, driver)
    # Immediately: the kernel has released the dead driver's lock.
    resumed = _docker(*run, image, *start, "--resume")
    assert resumed.returncode == 0, _said(resumed)
    assert b"taking over from process" in resumed.stderr, _said(resumed)
    exported = _docker(*run, image, "study", "export", "small", "-")
    with zipfile.ZipFile(io.BytesIO(exported.stdout)) as archive:
        assert "study.yaml" in archive.namelist()
    left = _docker(*run, "--entrypoint=find", image, "/opt", "/home", "-newer", "/etc/hostname")
    assert left.stdout == b""


@pytest.mark.slow
def test_compose_runs_resumes_extends_and_compares_a_study(engine: None, tmp_path: Path) -> None:
    up = _docker("compose", "up", "--detach", "--wait")
    assert up.returncode == 0, _said(up)
    run = ["compose", "run", "--rm", "--no-TTY"]
    write = ["--entrypoint=sh", "study", "-c", "cat >/var/lib/rnnsearch/small.yaml"]
    written = _docker(*run, *write, input=_engine_study(tmp_path))
    assert written.returncode == 0, _said(written)
    start = ["study", "study", "start", "/var/lib/rnnsearch/small.yaml"]
    driver = subprocess.Popen(
        ["docker", *run, "--name=rnnsearch-tests-study", *start],
        cwd=REPOSITORY,
        env={**os.environ, **ENGINE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _kill_in_the_middle("rnnsearch-tests-study", driver)
    for command in (["resume", "small"], ["extend", "small", "--seeds", "3"]):
        done = _docker(*run, "study", "study", *command)
        assert done.returncode == 0, _said(done)
    compared = _docker(*run, "study", "study", "compare", "small", "--json")
    assert compared.returncode == 0, _said(compared)
    rows = json.loads(compared.stdout)["rows"]
    assert [row["n"] for row in rows] == [3, 3]
    count = _docker(
        *("compose", "exec", "--no-TTY", "postgres", "psql", "--username=mlflow", "--tuples-only"),
        *("--command", "SELECT count(*) FROM runs WHERE status IN ('RUNNING', 'SCHEDULED')"),
    )
    assert count.stdout.strip() == b"0", _said(count)
    # As a browser on this machine reaches it, with any host name.
    assert _docker("compose", "port", "mlflow", "5000").stdout.startswith(b"127.0.0.1:")
