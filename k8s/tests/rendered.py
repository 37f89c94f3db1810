"""What an overlay installs, as kustomize renders it, and the few ways in which the rules look at it."""

import copy
import functools
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ["embedded", "ha"]


@functools.cache
def _text(overlay):
    folder = ROOT / "k8s/overlays" / overlay
    command = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    if not shutil.which(command[0]):
        raise FileNotFoundError("neither kustomize nor kubectl is on the path; version 5 or later is needed")
    done = subprocess.run([*command, folder], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


@functools.cache
def _objects(overlay):
    return list(yaml.load_all(_text(overlay), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def render(overlay):
    """Each call has its own copy, so that a test may change it."""
    return copy.deepcopy(_objects(overlay))


def of_kind(objects, *kinds):
    return [each for each in objects if each["kind"] in kinds]


def workloads(objects):
    return of_kind(objects, "Deployment", "StatefulSet")


def named(objects, kind, wanted):
    return next(each for each in of_kind(objects, kind) if name(each) == wanted)


def name(workload):
    return workload["metadata"]["name"]


def pod(workload):
    """The spec of its pods."""
    return workload["spec"]["template"]["spec"]


def labels(workload):
    """Those of its pods."""
    return workload["spec"]["template"]["metadata"]["labels"]


def replicas(objects, workload):
    """The least number that there is to be: an autoscaler's, or its own."""
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        if scaler["spec"]["scaleTargetRef"]["name"] == name(workload):
            return scaler["spec"]["minReplicas"]
    return workload["spec"].get("replicas", 1)


def containers(objects):
    """(where, container, workload) of each container there is."""
    for workload in workloads(objects):
        for one in pod(workload).get("initContainers", []) + pod(workload)["containers"]:
            yield f"{name(workload)}/{one['name']}", one, workload


def settings(objects, container):
    """Variables of a container: those of ConfigMaps with their values, those of Secrets as None."""
    found = {}
    for source in container.get("envFrom", []):
        if config := source.get("configMapRef", {}).get("name"):
            found |= named(objects, "ConfigMap", config)["data"]
    for one in container.get("env", []):
        found[one["name"]] = one.get("value")
    return found


def selects(selector, its_labels):
    """A label selector of Kubernetes, as far as it is used here."""
    wanted = selector.get("matchLabels", {})
    if any(its_labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(each, its_labels) for each in selector.get("matchExpressions", []))


def _expression(expression, its_labels):
    value = its_labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "Exists":
            return value is not None
        case other:
            raise NotImplementedError(other)


def mebibytes(quantity):
    for unit, factor in {"Mi": 1, "Gi": 1024}.items():
        if str(quantity).endswith(unit):
            return int(quantity.removesuffix(unit)) * factor
    raise ValueError(f"{quantity} is not in Mi or Gi")
