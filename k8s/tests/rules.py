"""Rules that each overlay has to keep. A rule takes the rendered objects and yields what is wrong with them."""

import re
import tomllib

from rendered import ROOT, containers, labels, mebibytes, name, of_kind, pod, replicas, selects, settings, workloads

# What the services take after a signal, at most, in seconds (docs/durability.md).
DRAIN = 25
# A worker with mails of 50 MiB in all slots, and one reader that meets a bomb (docs/documents.md), in MiB.
WORKER_MEMORY, READER_MEMORY = 512, 256
# What the services write to.
WRITTEN = "/var/lib/docket"
RULES = []


def rule(check):
    RULES.append(check)
    return check


@rule
def pods_are_restricted(objects):
    for workload in workloads(objects):
        spec = pod(workload)
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) < 10_000:
            yield f"{name(workload)} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name(workload)} has no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name(workload)} gets a token of the cluster"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name(workload)} shares what is the host's"
        accounts = [name(each) for each in of_kind(objects, "ServiceAccount")]
        if spec.get("serviceAccountName") not in accounts:
            yield f"{name(workload)} has no account of its own"


@rule
def containers_are_restricted(objects):
    for where, container, _ in containers(objects):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{where} may gain privileges"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{where} may write to its image"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{where} keeps capabilities"


@rule
def the_namespace_takes_restricted_pods_only(objects):
    for namespace in of_kind(objects, "Namespace"):
        if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "the namespace takes any pod"


@rule
def only_volumes_are_written_to(objects):
    for where, container, workload in containers(objects):
        volumes = {one["name"]: one for one in pod(workload)["volumes"]}
        claims = [one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])]
        writable = set()
        for mount in container.get("volumeMounts", []):
            volume = volumes.get(mount["name"], {})
            if mount["name"] in claims or "emptyDir" in volume:
                writable.add(mount["mountPath"])
            elif not mount.get("readOnly"):
                yield f"{where} mounts {mount['name']} to write to it"
            if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
                yield f"{where}: {mount['name']} has no bound"
        values = settings(objects, container).values()
        if any(WRITTEN in (value or "") for value in values) and WRITTEN not in writable:
            yield f"{where} writes to {WRITTEN}, which is no volume"


@rule
def memory_is_bounded(objects):
    for where, container, _ in containers(objects):
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
            yield f"{where} does not say what it needs"
        if "memory" not in resources.get("limits", {}):
            yield f"{where} has no limit of memory"


@rule
def readers_find_their_memory(objects):
    for where, container, _ in containers(objects):
        its = settings(objects, container)
        if int(its.get("DOCKET_WORKER__SLOTS") or 0) == 0:
            continue
        children = int(its.get("DOCKET_READER__CHILDREN") or 0)
        limit = mebibytes(container.get("resources", {}).get("limits", {}).get("memory", "0Mi"))
        if children == 0:
            yield f"{where} starts a reader per core of its node"
        elif limit < WORKER_MEMORY + children * READER_MEMORY:
            yield f"{where}: {children} readers may need more than {limit} MiB"


@rule
def health_is_asked_for(objects):
    paths = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for where, container, _ in containers(objects):
        ports = [one["name"] for one in container.get("ports", [])]
        for probe, path in paths.items():
            get = container.get(probe, {}).get("httpGet", {})
            if get.get("path") != path or get.get("port") not in ports:
                yield f"{where} has no {probe} at {path}"


@rule
def pods_may_end_in_peace(objects):
    for where, container, workload in containers(objects):
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pod(workload).get("terminationGracePeriodSeconds", 30) < before + DRAIN:
            yield f"{where} is killed before it has drained"


@rule
def images_have_a_version(objects):
    for where, container, _ in containers(objects):
        image, _, digest = container["image"].partition("@")
        tag = image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest") and not digest:
            yield f"{where} runs any version: {container['image']}"


TELLING_VALUE = re.compile(r"://[^/\s]*:[^/\s]*@|PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b")
TELLING_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY)(_ID)?$")


def _tells(key, value):
    return value is not None and bool(TELLING_VALUE.search(value) or TELLING_NAME.search(key))


@rule
def secrets_are_not_written_down(objects):
    for secret in of_kind(objects, "Secret"):
        yield f"{name(secret)} is part of the manifests"
    for config in of_kind(objects, "ConfigMap"):
        for key, value in config.get("data", {}).items():
            if _tells(key, value):
                yield f"{name(config)} tells {key}"
    for where, container, _ in containers(objects):
        for one in container.get("env", []):
            if _tells(one["name"], one.get("value")):
                yield f"{where} tells {one['name']}"


@rule
def secrets_are_read_by_their_group_only(objects):
    for workload in workloads(objects):
        spec = pod(workload)
        for volume in spec["volumes"]:
            if "secret" in volume and volume["secret"].get("defaultMode") != 0o440:
                yield f"{name(workload)}: others may read {volume['name']}, or the service may not"
        if spec["securityContext"].get("fsGroup") != spec["securityContext"].get("runAsGroup"):
            yield f"{name(workload)} cannot read its secrets"


OAUTH = {"client_id", "client_secret", "client_secret_file", "token_url", "api_url"}


def is_known(service, variable):
    """Whether the service has such a setting. OAuth clients have names of the operator's choice."""
    section, *rest = variable.removeprefix("DOCKET_").lower().split("__")
    if service == "worker-svc" and section == "oauth":
        return len(rest) == 2 and rest[1] in OAUTH
    defaults = tomllib.loads((ROOT / service / "default.toml").read_text())
    known = {f"{one}.{key}" for one, keys in defaults.items() for key in keys}
    return ".".join([section, *rest]) in known


@rule
def settings_are_known(objects):
    for where, container, _ in containers(objects):
        for variable in settings(objects, container):
            if variable.startswith("DOCKET_") and not is_known(container["name"], variable):
                yield f"{where} sets {variable}, which {container['name']} does not know"


@rule
def services_find_their_pods(objects):
    for service in of_kind(objects, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        chosen = [each for each in workloads(objects) if selects(selector, labels(each))]
        if not chosen:
            yield f"service {name(service)} finds no pod"
        for port in service["spec"]["ports"]:
            for workload in chosen:
                if port["targetPort"] not in [one["name"] for one in pod(workload)["containers"][0]["ports"]]:
                    yield f"service {name(service)}: no port {port['targetPort']}"


@rule
def names_of_services_are_there(objects):
    services = [name(each) for each in of_kind(objects, "Service")]
    for where, container, workload in containers(objects):
        url = settings(objects, container).get("DOCKET_SCHEDULER__URL")
        if url and url.split("://")[1].split(":")[0] not in services:
            yield f"{where}: there is no service of {url}"
        if workload["kind"] == "StatefulSet" and workload["spec"]["serviceName"] not in services:
            yield f"{where}: there is no service {workload['spec']['serviceName']}"
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if target["name"] not in [name(each) for each in of_kind(objects, target["kind"])]:
            yield f"{name(scaler)} scales nothing"


@rule
def every_pod_is_scraped_once(objects):
    for monitor in of_kind(objects, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]
        chosen = [each for each in of_kind(objects, "Service") if selects(selector, each["metadata"]["labels"])]
        if len(chosen) != 1:
            yield f"{name(monitor)} scrapes {len(chosen)} services"
            continue
        ports = [one["name"] for one in chosen[0]["spec"]["ports"]]
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in ports:
                yield f"{name(monitor)}: no port {endpoint['port']}"
            if "credentials" not in endpoint.get("authorization", {}):
                yield f"{name(monitor)} asks without a token, and is refused"
        for workload in workloads(objects):
            if not selects({"matchLabels": chosen[0]["spec"]["selector"]}, labels(workload)):
                yield f"{name(workload)} is not scraped"


@rule
def budgets_leave_room(objects):
    for workload in workloads(objects):
        least = replicas(objects, workload)
        budgets = [
            each["spec"]
            for each in of_kind(objects, "PodDisruptionBudget")
            if selects(each["spec"]["selector"], labels(workload))
        ]
        for budget in budgets:
            if least - budget.get("minAvailable", 0) < 1 or budget.get("maxUnavailable", 1) < 1:
                yield f"{name(workload)}: its node can never be drained"
        if least > 1 and not budgets:
            yield f"{name(workload)} has {least} replicas and no budget"


@rule
def the_autoscaler_has_the_last_word(objects):
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        for workload in workloads(objects):
            if name(workload) == scaler["spec"]["scaleTargetRef"]["name"] and "replicas" in workload["spec"]:
                yield f"{name(workload)}: each apply sets back what the autoscaler has chosen"


@rule
def replicas_are_spread(objects):
    for workload in workloads(objects):
        constraints = pod(workload).get("topologySpreadConstraints", [])
        if replicas(objects, workload) > 1 and not constraints:
            yield f"{name(workload)} may be on one node altogether"
        if not all(selects(each["labelSelector"], labels(workload)) for each in constraints):
            yield f"{name(workload)} counts other pods"


@rule
def a_folder_has_one_process(objects):
    for where, container, workload in containers(objects):
        values = " ".join(value or "" for value in settings(objects, container).values())
        if "embedded:" not in values and "sqlite:" not in values:
            continue
        if workload["kind"] != "StatefulSet" or workload["spec"].get("replicas") != 1:
            yield f"{where} may run twice over one folder"
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            if claim["spec"]["accessModes"] != ["ReadWriteOncePod"]:
                yield f"{where}: its volume may be mounted twice"
