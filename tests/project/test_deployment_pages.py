"""The files that the pages on Docker and Kubernetes show: they parse, agree with each other, and leave time to stop."""

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from perdure import Limits
from perdure.cli.commands import COMMANDS
from perdure.stores.postgres.settings import settings_of

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
INSTRUCTIONS = {"CMD", "COPY", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
SHUTDOWN_S = Limits().shutdown_timeout_ms / 1_000


def blocks(page: str, language: str) -> list[str]:
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def instructions() -> dict[str, str]:
    """The instructions of the image, by name: the last of each."""
    (text,) = blocks("deploy-with-docker.md", "dockerfile")
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return dict(re.split(r"\s+", line, maxsplit=1) for line in lines if line)  # type: ignore[misc]


def manifests() -> dict[str, Any]:
    found = [part for block in blocks("deploy-on-kubernetes.md", "yaml") for part in yaml.safe_load_all(block)]
    return {f"{part['kind']}/{part['metadata']['name']}": part for part in found}


def pod(deployment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = manifests()[f"Deployment/{deployment}"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def test_the_image_runs_the_engine_as_process_1_and_as_its_own_user() -> None:
    image = instructions()
    assert set(image) <= INSTRUCTIONS
    assert json.loads(image["CMD"])[:2] == ["perdure", "serve"]
    assert image["USER"] != "root"
    assert image["STOPSIGNAL"] == "SIGTERM"
    python, flag, check = shlex.split(image["HEALTHCHECK"].partition("CMD ")[2])
    assert (python, flag) == ("python", "-c")
    compile(check, "health check", "exec")
    assert f"PERDURE_STORE=sqlite:///{image['VOLUME']}/" in image["ENV"]
    assert f"127.0.0.1:{image['EXPOSE']}/ready" in check


def test_compose_runs_one_engine_and_leaves_it_time_to_stop() -> None:
    (text,) = blocks("deploy-with-docker.md", "yaml")
    composed = yaml.safe_load(text)
    engine, web = composed["services"]["engine"], composed["services"]["web"]
    assert int(engine["stop_grace_period"].removesuffix("s")) > SHUTDOWN_S
    assert engine["volumes"] == [f"jobs:{instructions()['VOLUME']}"]
    assert "ports" not in engine
    assert "deploy" not in engine
    assert web["environment"]["PERDURE_URL"] == f"http://engine:{instructions()['EXPOSE']}"


def test_kubernetes_runs_one_engine_at_a_time_and_leaves_it_time_to_stop() -> None:
    deployment = manifests()["Deployment/shop-engine"]["spec"]
    spec, container = pod("shop-engine")
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert spec["terminationGracePeriodSeconds"] > SHUTDOWN_S
    assert manifests()["PersistentVolumeClaim/shop-jobs"]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert container["args"] == json.loads(instructions()["CMD"])
    assert container["volumeMounts"][0]["mountPath"] == instructions()["VOLUME"]
    assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_kubernetes_refers_to_objects_that_exist() -> None:
    engine, _ = pod("shop-engine")
    service = manifests()["Service/shop-engine"]
    labels = manifests()["Deployment/shop-engine"]["spec"]["template"]["metadata"]["labels"]
    assert (
        service["spec"]["selector"]
        == labels
        == manifests()["Deployment/shop-engine"]["spec"]["selector"]["matchLabels"]
    )
    assert engine["volumes"][0]["persistentVolumeClaim"]["claimName"] == "shop-jobs"
    _, web = pod("shop-web")
    (url,) = [entry["value"] for entry in web["env"] if entry["name"] == "PERDURE_URL"]
    assert url == f"http://shop-engine:{service['spec']['ports'][0]['port']}"


def test_several_replicas_share_a_store_and_have_time_to_stop() -> None:
    deployment = manifests()["Deployment/shop-engines"]["spec"]
    spec = deployment["template"]["spec"]
    (container,) = spec["containers"]
    assert deployment["replicas"] > 1
    assert deployment["strategy"]["type"] == "RollingUpdate"
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > SHUTDOWN_S + waits
    assert container["args"] == json.loads(instructions()["CMD"])
    assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert "volumes" not in spec


def test_the_stores_of_several_replicas_are_valid_and_have_no_password() -> None:
    pods = [
        manifests()["Job/shop-migrate-1-5-0"]["spec"]["template"]["spec"],
        manifests()["Deployment/shop-engines"]["spec"]["template"]["spec"],
        manifests()["CronJob/shop-doctor"]["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    ]
    owned: list[str] = []
    for spec in pods:
        (container,) = spec["containers"]
        given = {each["name"]: each for each in container["env"]}
        settings = settings_of(given["PERDURE_STORE"]["value"])
        owned += [container["args"][1]] if settings.ownership == "owned" else []
        assert given["PGPASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "shop-db"
        assert container["args"][1] in COMMANDS
        assert ":" not in urlsplit(given["PERDURE_STORE"]["value"]).netloc.partition("@")[0]
    assert owned == ["migrate"]
    labels = manifests()["Deployment/shop-engines"]["spec"]["template"]["metadata"]["labels"]
    for name in ("PodDisruptionBudget/shop-engines", "Service/shop-engines"):
        selector = manifests()[name]["spec"]["selector"]
        assert selector.get("matchLabels", selector) == labels
