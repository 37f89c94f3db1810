"""Each overlay renders, is what Kubernetes takes, and keeps all rules."""

import kubernetes_validate
import pytest
import rules
import ways  # noqa: F401: adds its rules
import yaml
from rendered import OVERLAYS, ROOT, containers, render

# The oldest that has preStop.sleep by default, and the newest that the schemas know.
KUBERNETES = ["1.30", "1.37"]
# Of the Prometheus operator: Kubernetes has no schema of them.
OPERATOR = {"ServiceMonitor", "PrometheusRule"}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_are_valid(overlay, version):
    for each in render(overlay):
        if each["kind"] not in OPERATOR:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rules_are_kept(overlay, rule):
    assert list(rule(render(overlay))) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_in_the_namespace(overlay):
    outside = [each["metadata"]["name"] for each in render(overlay) if each["metadata"].get("namespace") != "docket"]
    assert outside == ["docket"], "the namespace itself, and nothing else"


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_copy_is_a_valid_job_that_keeps_the_rules_of_pods(version):
    job = yaml.safe_load((ROOT / "k8s/jobs/copy.yaml").read_text())
    kubernetes_validate.validate(job, version, strict=True)
    # To the rules a Job is a workload like others.
    objects = [*render("ha"), job | {"kind": "Deployment"}]
    for rule in [rules.pods_are_restricted, rules.containers_are_restricted, rules.memory_is_bounded]:
        assert list(rule(objects)) == []
    assert list(rules.settings_are_known(objects)) == list(rules.images_have_a_version(objects)) == []
    image = next(one for _, one, _ in containers(objects) if one["name"] == "scheduler-svc")["image"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == image
