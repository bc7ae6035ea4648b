"""deploy/ and its two documents kept true: files parse, name what exists, and fit the code's limits."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from openglm.asgi.run import GRACE_S
from openglm.maas.files.files import MAX_BYTES
from openglm.maas.operate.metrics import GatewayMetrics
from openglm.maas.platform import STOP_S
from openglm.maas.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCUMENTS = [ROOT / "docs" / "private-deployment.md", ROOT / "docs" / "scale.md"]
FILES = [path for path in DEPLOY.rglob("*") if path.is_file()] + DOCUMENTS
STOP_AT_MOST_S = GRACE_S + 2 * 30 + STOP_S  # answers, rows of batches and of tasks, the last bills


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["compose.yaml", "prometheus-rules.yaml", "helm/openglm/values.yaml", "helm/openglm/Chart.yaml"]
)
def test_yaml_parses(name):
    assert yaml.safe_load(text(DEPLOY / name))


def test_every_value_of_the_chart_is_used_and_every_one_that_is_used_is_there():
    template = text(DEPLOY / "helm/openglm/templates/openglm.yaml")
    values = yaml.safe_load(text(DEPLOY / "helm/openglm/values.yaml"))
    for path in re.findall(r"\.Values\.([\w.]+)", template):
        found = values
        for name in path.split("."):
            assert name in found, f"values.yaml has no {path}"
            found = found[name]
    assert set(re.findall(r"\.Values\.(\w+)", template)) == set(values)


@pytest.mark.skipif(not shutil.which("helm"), reason="helm is not installed")
@pytest.mark.parametrize("switch", ["ingress.enabled=false", "noModel=false", "serviceMonitor=true"])
def test_the_chart_is_a_chart(switch):
    chart = str(DEPLOY / "helm/openglm")
    subprocess.run(["helm", "lint", "--strict", chart], check=True, capture_output=True)
    made = subprocess.run(
        ["helm", "template", "glm", chart, "--set", switch], check=True, capture_output=True, text=True
    )
    assert "StatefulSet" in [part["kind"] for part in yaml.safe_load_all(made.stdout)]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this system has no systemd")
def test_the_unit_is_one_that_systemd_takes(tmp_path):
    unit = tmp_path / "openglm.service"
    program = shutil.which("true")
    unit.write_text(text(DEPLOY / "openglm.service").replace("/opt/openglm/bin/glm", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "openglm.service" not in done.stderr


def test_weights_are_not_in_the_folder_that_backups_carry():
    unit = text(DEPLOY / "openglm.service")
    assert "CacheDirectory=openglm" in unit
    assert "OPENGLM_CACHE=/var/cache/openglm" in unit
    assert "OPENGLM_CACHE=/cache" in text(DEPLOY / "Containerfile")
    for mount in ("cache:/cache", "data:/data"):
        assert mount in yaml.safe_load(text(DEPLOY / "compose.yaml"))["services"]["openglm"]["volumes"]


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    """Tests run from the tree, installations from the wheel: what is missing there is missed at the start."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "openglm", source / "openglm", ignore=shutil.ignore_patterns("__pycache__"))
    files = [path for path in (source / "openglm").rglob("*") if path.is_file()]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "-w",
            tmp_path,
            source,
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("openglm/")}
    assert packed == {path.relative_to(source).as_posix() for path in files}


def test_an_image_is_built_from_the_package_alone():
    kept = [line for line in text(ROOT / ".dockerignore").splitlines() if not line.startswith("#")]
    assert kept[0] == "*"
    assert all((ROOT / line[1:]).exists() for line in kept if line.startswith("!"))
    assert not [line for line in kept if re.search(r"deploy|git|venv|secret|\btls", line)]


def test_the_proxy_of_compose_is_the_only_one_that_is_believed():
    compose = yaml.safe_load(text(DEPLOY / "compose.yaml"))["services"]
    trusted = compose["openglm"]["environment"]["FORWARDED_ALLOW_IPS"]
    assert trusted == compose["nginx"]["networks"]["inside"]["ipv4_address"]
    assert "$proxy_add_x_forwarded_for" not in text(DEPLOY / "nginx.conf")


def test_every_setting_stands_in_the_document_and_every_variable_in_the_code():
    document = text(DOCUMENTS[0])
    for field in dataclasses.fields(Settings):
        if field.name != "data":
            assert f"`{field.name}`" in document or f"[{field.name}." in document, field.name
    sources = "".join(text(path) for path in (ROOT / "openglm").rglob("*.py"))
    for path in FILES:
        for name in re.findall(r"OPENGLM_[A-Z_]+", text(path)):
            assert name in sources or name == "OPENGLM_OIDC_NAME_SECRET", f"{path.name}: {name}"


def test_every_metric_of_the_rules_exists():
    metrics = GatewayMetrics().text().decode()
    known = set(re.findall(r"^# TYPE (\w+) ", metrics, re.MULTILINE))
    for rule in yaml.safe_load(text(DEPLOY / "prometheus-rules.yaml"))["groups"][0]["rules"]:
        for name in re.findall(r"\bopenglm_\w+", rule["expr"]):
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert base in known, f"{name}: {sorted(known)}"


def test_stopping_has_the_time_that_it_may_take():
    unit = text(DEPLOY / "openglm.service")
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit).group(1)) > STOP_AT_MOST_S
    compose = yaml.safe_load(text(DEPLOY / "compose.yaml"))["services"]["openglm"]
    assert int(compose["stop_grace_period"].removesuffix("s")) > STOP_AT_MOST_S
    chart = text(DEPLOY / "helm/openglm/templates/openglm.yaml")
    assert int(re.search(r"terminationGracePeriodSeconds: (\d+)", chart).group(1)) > STOP_AT_MOST_S


def test_the_proxy_lets_the_largest_file_through_and_holds_no_token_back():
    for path in (DEPLOY / "nginx.conf", DEPLOY / "helm/openglm/templates/openglm.yaml"):
        megabytes = re.search(r"(?:client_max_body_size|proxy-body-size:) (\d+)m", text(path))
        assert int(megabytes.group(1)) << 20 > MAX_BYTES
    assert "proxy_buffering off" in text(DEPLOY / "nginx.conf")
