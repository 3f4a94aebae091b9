"""The files in deploy/: sound by their own schemas, and about the commands, ports, paths and metrics that there are."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client")):
    pytest.skip("the proxy's packages are not installed: pip install 'davsp[dev]'", allow_module_level=True)

from davsp.cli import app as cli
from davsp.serving.app import create_app
from davsp.serving.metrics import Metrics
from davsp.serving.proxy import Proxy
from davsp.serving.settings import ServeSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text("utf-8"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "davsp.json").read_text("utf-8"))


def manifest(kind: str) -> dict[str, Any]:
    return next(read for path in MANIFESTS if (read := yaml.safe_load(path.read_text("utf-8")))["kind"] == kind)


CONTAINER: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]


def entrypoint(stage: str) -> list[str]:
    """The command of a stage of the Dockerfile."""
    found = re.search(rf" AS {stage}\n.*?^ENTRYPOINT (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found
    command: list[str] = json.loads(found[1])
    return command


def default(text: str) -> str:
    """What compose makes of a text where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_valid_kubernetes_objects(path: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(path.read_text("utf-8")):
        validator.validate(document, "1.34", strict=True)


def test_the_compose_file_is_one_by_composes_own_schema() -> None:
    pytest.importorskip("check_jsonschema")
    from check_jsonschema import main

    with pytest.raises(SystemExit) as ended:
        main(["--builtin-schema", "vendor.compose-spec", str(DEPLOY / "docker-compose.yml")])
    assert ended.value.code == 0


@pytest.mark.parametrize(
    "arguments", [[default(text) for text in COMPOSE["services"]["proxy"]["command"]], CONTAINER["args"]]
)
def test_the_proxy_takes_the_arguments_it_is_given(arguments: list[str]) -> None:
    davsp, serve, *options = entrypoint("proxy")
    assert (davsp, serve) == ("davsp", "serve")
    command = typer.main.get_command(cli)
    assert hasattr(command, "commands")
    with command.commands["serve"].make_context("serve", [*options, *arguments]) as context:
        assert context.params["host"] == "0.0.0.0"
        assert context.params["upstream"].endswith(":8000/v1")


def test_every_port_is_the_one_that_is_listened_on() -> None:
    served = {stage: entrypoint(stage)[-1] for stage in ("proxy", "upstream")}
    assert served == {"proxy": "8080", "upstream": "8000"}
    for stage, port in served.items():
        own = re.search(rf" AS {stage}\n(.*?)(?:^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
        assert own
        assert f"EXPOSE {port}\n" in own[1]
        assert f"http://127.0.0.1:{port}/health" in own[1]
    assert [place["containerPort"] for place in CONTAINER["ports"]] == [8080]
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] == CONTAINER["ports"][0]["name"]
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == ["proxy:8080"]
    assert COMPOSE["services"]["proxy"]["ports"] == ["127.0.0.1:8080:8080"]
    annotations = manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "8080"


def test_the_probes_ask_for_paths_that_are_served() -> None:
    settings = ServeSettings(upstream="http://127.0.0.1:8000/v1", defence="none")
    paths = {route.path for route in create_app(lambda: Proxy(settings)).routes}  # type: ignore[attr-defined]
    probed = {CONTAINER[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probed == {"/health", "/ready"} <= paths
    assert "/metrics" in paths


def test_the_last_request_is_drained_before_the_process_is_killed() -> None:
    drain = int(next(text for text in CONTAINER["args"] if text.startswith("--drain=")).partition("=")[2])
    stop = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert drain + stop < manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_nothing_runs_as_root_or_can_write_but_where_it_is_said() -> None:
    stages = re.findall(r" AS (\w[\w-]*)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    for name, text in stages:
        if not name.startswith("build"):
            assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE), name
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    context = CONTAINER["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert manifest("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
    assert set(CONTAINER["resources"]) == {"requests", "limits"}


def test_every_file_and_stage_that_is_named_exists() -> None:
    stages = set(re.findall(r" AS (\S+)", DOCKERFILE))
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / source).exists() for source in line.split()), line
    for stage in re.findall(r"--from=(\S+)", DOCKERFILE):
        assert stage in stages
    assert (ROOT / "src/davsp/testbed/checkpoints/llava/config.json").is_file()
    kept = set((DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split())
    assert {f"!{name}" for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "src")} <= kept
    for service in COMPOSE["services"].values():
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
            assert build["target"] in stages
        for volume in service.get("volumes", []):
            source = default(volume).partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume


def test_labels_and_names_of_the_manifests_agree() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    volumes = {volume["name"] for volume in manifest("Deployment")["spec"]["template"]["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert set(mounts) == volumes
    assert f"--defence={mounts['prompt']}" in CONTAINER["args"]


def shown() -> Iterator[tuple[str, str]]:
    """Every metric that the board asks for, with the query."""
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r"davsp_\w+", target["expr"]):
                yield name, target["expr"]


def test_the_board_shows_metrics_that_the_proxy_counts_by_labels_that_they_have() -> None:
    metrics = vars(Metrics(None)).values()
    labels = {name: set(m._labelnames) for m in metrics if hasattr(m, "_labelnames") for name in _names(m)}
    asked = list(shown())
    assert len(asked) > 10
    for name, query in asked:
        assert name in labels, name
        by = re.search(r"by \(([\w, ]+)\)", query)
        assert by is None or set(by[1].split(", ")) <= labels[name] | {"le"}, query


def test_the_board_shows_every_metric() -> None:
    metrics = [m for m in vars(Metrics(None)).values() if hasattr(m, "_labelnames")]
    named = {name for name, _ in shown()}
    assert [m._name for m in metrics if not named & set(_names(m))] == []


def _names(metric: Any) -> set[str]:
    return {f"{metric._name}{suffix}" for suffix in ("", "_total", "_bucket", "_sum", "_count")}


def test_grafana_finds_its_data_and_its_board() -> None:
    source = yaml.safe_load((DEPLOY / "grafana" / "datasources.yml").read_text("utf-8"))["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {source["uid"]}
    folder = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yml").read_text("utf-8"))["providers"][0]["options"][
        "path"
    ]
    assert f"./grafana/davsp.json:{folder}/davsp.json:ro" in COMPOSE["services"]["grafana"]["volumes"]
