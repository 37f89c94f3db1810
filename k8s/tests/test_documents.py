"""What is said in two places is the same in both."""

import re
import tomllib

import pytest
import yaml
from rendered import ROOT, named, render
from rules import is_known

ALERTS = yaml.safe_load((ROOT / "k8s/alerts.yaml").read_text())
PAGE = (ROOT / "docs/operations.md").read_text()


def _alerts():
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("overlay", ["embedded", "ha"])
def test_the_operator_gets_the_same_alerts(overlay):
    assert named(render(overlay), "PrometheusRule", "docket")["spec"] == ALERTS, "run `make k8s-alerts`"


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: alert["alert"])
def test_each_alert_has_its_entry_in_the_runbook(alert):
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert page == "docs/operations.md" and anchor == alert["alert"].lower()
    assert f"### {alert['alert']}\n" in PAGE


def test_the_runbook_has_no_alert_that_is_not_there():
    assert set(re.findall(r"^### (Docket\w+)$", PAGE, re.M)) == {alert["alert"] for alert in _alerts()}


def test_the_autoscaler_asks_for_a_metric_that_its_adapter_serves():
    values = yaml.safe_load((ROOT / "k8s/components/autoscaling/prometheus-adapter.yaml").read_text())
    scaler = named(render("ha"), "HorizontalPodAutoscaler", "worker")
    asked = [metric["external"]["metric"]["name"] for metric in scaler["spec"]["metrics"]]
    assert asked == [rule["name"]["as"] for rule in values["rules"]["external"]]
    metrics = (ROOT / "docs/metrics.md").read_text()
    for rule in values["rules"]["external"]:
        for metric in re.findall(r"docket_\w+", rule["seriesQuery"] + " " + rule["metricsQuery"]):
            assert f"| `{metric}` |" in metrics, metric


def test_images_are_built_with_the_projects_rust_and_version():
    dockerfile = (ROOT / "Dockerfile").read_text()
    rust = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert f"ARG RUST_VERSION={rust}\n" in dockerfile
    assert f"ARG VERSION={version}\n" in dockerfile
    for overlay in ["embedded", "ha"]:
        kustomization = yaml.safe_load((ROOT / "k8s/overlays" / overlay / "kustomization.yaml").read_text())
        assert {image["newTag"] for image in kustomization["images"]} == {version}


def test_variables_that_the_runbook_names_are_known():
    for variable in set(re.findall(r"DOCKET_[A-Z]+__[A-Z_]+", PAGE)):
        assert is_known("scheduler-svc", variable) or is_known("worker-svc", variable), variable
