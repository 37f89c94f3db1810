"""A rule that finds nothing wrong may look at nothing. Each of these mistakes has to be found by its rule."""

import pytest
import rules
import ways
from rendered import labels, name, named, of_kind, pod, render, workloads

PLANTED = []


def planted(rule, overlay="ha"):
    """Registers a function that spoils the rendered objects."""

    def register(spoil):
        PLANTED.append(pytest.param(rule, overlay, spoil, id=spoil.__name__))
        return spoil

    return register


def _workload(objects, wanted):
    return next(each for each in workloads(objects) if name(each) == wanted)


def _container(objects, wanted):
    return pod(_workload(objects, wanted))["containers"][0]


def _policy(objects, wanted):
    return named(objects, "NetworkPolicy", wanted)["spec"]


def _set(container, variable, value):
    others = [one for one in container["env"] if one["name"] != variable]
    container["env"] = [*others, {"name": variable, "value": value}]


@planted(rules.pods_are_restricted)
def a_pod_may_run_as_root(objects):
    pod(_workload(objects, "worker"))["securityContext"]["runAsNonRoot"] = False


@planted(rules.pods_are_restricted)
def a_pod_runs_as_uid_0(objects):
    pod(_workload(objects, "worker"))["securityContext"]["runAsUser"] = 0


@planted(rules.pods_are_restricted)
def a_pod_without_seccomp(objects):
    del pod(_workload(objects, "library"))["securityContext"]["seccompProfile"]


@planted(rules.pods_are_restricted)
def a_pod_with_a_token(objects):
    del pod(_workload(objects, "scheduler"))["automountServiceAccountToken"]


@planted(rules.pods_are_restricted)
def a_pod_in_the_network_of_its_host(objects):
    pod(_workload(objects, "scheduler"))["hostNetwork"] = True


@planted(rules.pods_are_restricted)
def a_pod_under_the_default_account(objects):
    del pod(_workload(objects, "scheduler"))["serviceAccountName"]


@planted(rules.containers_are_restricted)
def privileges_may_be_gained(objects):
    del _container(objects, "worker")["securityContext"]["allowPrivilegeEscalation"]


@planted(rules.containers_are_restricted)
def the_image_may_be_written_to(objects):
    _container(objects, "worker")["securityContext"]["readOnlyRootFilesystem"] = False


@planted(rules.containers_are_restricted)
def a_capability_is_kept(objects):
    _container(objects, "worker")["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]


@planted(rules.the_namespace_takes_restricted_pods_only)
def the_namespace_takes_what_comes(objects):
    of_kind(objects, "Namespace")[0]["metadata"]["labels"].clear()


@planted(rules.only_volumes_are_written_to, "embedded")
def the_volume_is_mounted_elsewhere(objects):
    mounts = _container(objects, "scheduler")["volumeMounts"]
    next(one for one in mounts if one["name"] == "data")["mountPath"] = "/data"


@planted(rules.only_volumes_are_written_to)
def a_secret_is_mounted_to_be_written(objects):
    del _container(objects, "worker")["volumeMounts"][0]["readOnly"]


@planted(rules.only_volumes_are_written_to, "embedded")
def a_scratch_folder_without_bound(objects):
    volumes = pod(_workload(objects, "worker"))["volumes"]
    next(one for one in volumes if "emptyDir" in one)["emptyDir"] = {}


@planted(rules.memory_is_bounded)
def no_limit_of_memory(objects):
    del _container(objects, "worker")["resources"]["limits"]


@planted(rules.memory_is_bounded)
def no_requests(objects):
    del _container(objects, "worker")["resources"]["requests"]["cpu"]


@planted(rules.readers_find_their_memory)
def a_reader_per_core(objects):
    _set(_container(objects, "worker"), "DOCKET_READER__CHILDREN", "0")


@planted(rules.readers_find_their_memory)
def more_readers_than_memory(objects):
    _set(_container(objects, "worker"), "DOCKET_READER__CHILDREN", "4")


@planted(rules.health_is_asked_for)
def no_readiness(objects):
    del _container(objects, "scheduler")["readinessProbe"]


@planted(rules.health_is_asked_for)
def liveness_depends_on_the_store(objects):
    _container(objects, "scheduler")["livenessProbe"]["httpGet"]["path"] = "/readyz"


@planted(rules.health_is_asked_for)
def no_time_to_load(objects):
    del _container(objects, "scheduler")["startupProbe"]


@planted(rules.health_is_asked_for)
def a_probe_of_a_port_that_is_not_there(objects):
    _container(objects, "scheduler")["livenessProbe"]["httpGet"]["port"] = "health"


@planted(rules.pods_may_end_in_peace)
def killed_while_it_drains(objects):
    pod(_workload(objects, "worker"))["terminationGracePeriodSeconds"] = 20


@planted(rules.pods_may_end_in_peace)
def pre_stop_eats_the_time_to_drain(objects):
    _container(objects, "worker")["lifecycle"]["preStop"]["sleep"]["seconds"] = 30


@planted(rules.images_have_a_version)
def the_latest_image(objects):
    _container(objects, "worker")["image"] = "registry.example.com:5000/docket/worker-svc:latest"


@planted(rules.images_have_a_version)
def an_image_without_a_tag(objects):
    _container(objects, "worker")["image"] = "registry.example.com:5000/docket/worker-svc"


@planted(rules.secrets_are_not_written_down)
def a_secret_in_the_manifests(objects):
    objects.append({"kind": "Secret", "metadata": {"name": "docket-redis"}, "stringData": {"url": "x"}})


@planted(rules.secrets_are_not_written_down)
def a_password_in_a_url(objects):
    _set(_container(objects, "scheduler"), "DOCKET_STORE__URL", "rediss://docket:s3cret@redis:6379")


@planted(rules.secrets_are_not_written_down)
def a_password_in_the_settings(objects):
    config = next(each for each in of_kind(objects, "ConfigMap") if name(each).startswith("worker-settings"))
    config["data"]["DOCKET_ARCHIVE__DATABASE_URL"] = "postgres://docket:s3cret@db/docket"


@planted(rules.secrets_are_not_written_down)
def a_key_in_the_environment(objects):
    _set(_container(objects, "worker"), "AWS_SECRET_ACCESS_KEY", "abc")


@planted(rules.secrets_are_read_by_their_group_only)
def a_key_file_that_all_may_read(objects):
    volumes = pod(_workload(objects, "worker"))["volumes"]
    next(one for one in volumes if one["name"] == "credentials")["secret"]["defaultMode"] = 0o444


@planted(rules.secrets_are_read_by_their_group_only)
def secrets_of_another_group(objects):
    pod(_workload(objects, "worker"))["securityContext"]["fsGroup"] = 1


@planted(rules.settings_are_known)
def a_setting_with_a_slip_of_the_pen(objects):
    _set(_container(objects, "worker"), "DOCKET_WORKER__SLOT", "16")


@planted(rules.settings_are_known)
def a_setting_of_the_other_service(objects):
    _set(_container(objects, "scheduler"), "DOCKET_WORKER__SLOTS", "16")


@planted(rules.services_find_their_pods)
def a_service_without_pods(objects):
    labels(_workload(objects, "library")).pop("docket/serves")


@planted(rules.services_find_their_pods)
def a_service_of_a_port_that_is_not_there(objects):
    named(objects, "Service", "scheduler")["spec"]["ports"][0]["targetPort"] = "rpc"


@planted(rules.names_of_services_are_there)
def workers_look_for_another_scheduler(objects):
    _set(_container(objects, "worker"), "DOCKET_SCHEDULER__URL", "https://schedule:7310")


@planted(rules.names_of_services_are_there, "embedded")
def a_set_without_its_service(objects):
    _workload(objects, "scheduler")["spec"]["serviceName"] = "peers"


@planted(rules.names_of_services_are_there)
def an_autoscaler_of_nothing(objects):
    of_kind(objects, "HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"]["name"] = "workers"


@planted(rules.every_pod_is_scraped_once)
def a_monitor_of_another_port(objects):
    of_kind(objects, "ServiceMonitor")[0]["spec"]["endpoints"][0]["port"] = "metrics"


@planted(rules.every_pod_is_scraped_once)
def a_monitor_without_a_token(objects):
    del of_kind(objects, "ServiceMonitor")[0]["spec"]["endpoints"][0]["authorization"]


@planted(rules.every_pod_is_scraped_once)
def a_monitor_of_all_services(objects):
    of_kind(objects, "ServiceMonitor")[0]["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component")


@planted(rules.every_pod_is_scraped_once)
def a_pod_that_nobody_scrapes(objects):
    labels(_workload(objects, "library")).pop("app.kubernetes.io/part-of")


@planted(rules.budgets_leave_room)
def a_budget_that_blocks_every_drain(objects):
    named(objects, "PodDisruptionBudget", "scheduler")["spec"]["minAvailable"] = 2


@planted(rules.budgets_leave_room)
def a_budget_of_other_pods(objects):
    named(objects, "PodDisruptionBudget", "library")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] = "x"


@planted(rules.budgets_leave_room, "embedded")
def a_budget_over_one_pod(objects):
    budget = named(render("ha"), "PodDisruptionBudget", "scheduler")
    objects.append(budget)


@planted(rules.the_autoscaler_has_the_last_word)
def a_number_of_workers_beside_the_autoscaler(objects):
    _workload(objects, "worker")["spec"]["replicas"] = 3


@planted(rules.replicas_are_spread)
def both_schedulers_on_one_node(objects):
    del pod(_workload(objects, "scheduler"))["topologySpreadConstraints"]


@planted(rules.replicas_are_spread)
def a_spread_over_other_pods(objects):
    constraint = pod(_workload(objects, "library"))["topologySpreadConstraints"][0]
    constraint["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] = "worker"


@planted(rules.a_folder_has_one_process, "embedded")
def two_schedulers_over_one_folder(objects):
    _workload(objects, "scheduler")["spec"]["replicas"] = 2


@planted(rules.a_folder_has_one_process, "embedded")
def a_deployment_over_one_folder(objects):
    _workload(objects, "worker")["kind"] = "Deployment"


@planted(rules.a_folder_has_one_process, "embedded")
def a_volume_that_may_be_mounted_twice(objects):
    claim = _workload(objects, "scheduler")["spec"]["volumeClaimTemplates"][0]
    claim["spec"]["accessModes"] = ["ReadWriteOnce"]


@planted(ways.what_is_inside_is_not_reached)
def metadata_is_reached(objects):
    _policy(objects, "mail")["egress"][0]["to"][0]["ipBlock"]["except"].remove("169.254.0.0/16")


@planted(ways.what_is_inside_is_not_reached)
def private_networks_are_reached(objects):
    _policy(objects, "mail")["egress"][0]["to"][0]["ipBlock"].pop("except")


@planted(ways.what_is_inside_is_not_reached)
def private_networks_are_reached_over_ipv6(objects):
    _policy(objects, "mail")["egress"][0]["to"][1]["ipBlock"]["cidr"] = "::/0"


@planted(ways.what_is_inside_is_not_reached)
def mail_goes_anywhere(objects):
    del _policy(objects, "mail")["egress"][0]["to"]


@planted(ways.mail_is_reached_by_those_who_read_it)
def all_ports_are_open(objects):
    del _policy(objects, "mail")["egress"][0]["ports"]


@planted(ways.mail_is_reached_by_those_who_read_it)
def imap_is_closed(objects):
    _policy(objects, "mail")["egress"][0]["ports"].pop(1)


@planted(ways.mail_is_reached_by_those_who_read_it)
def the_scheduler_reaches_the_internet(objects):
    _policy(objects, "mail")["podSelector"] = {}


@planted(ways.callers_and_monitoring_come_in_and_nobody_else)
def nothing_is_denied(objects):
    objects[:] = [each for each in objects if each["kind"] != "NetworkPolicy"]


@planted(ways.callers_and_monitoring_come_in_and_nobody_else)
def anybody_may_call(objects):
    _policy(objects, "scheduler")["ingress"][0]["from"].append({"namespaceSelector": {}})


@planted(ways.callers_and_monitoring_come_in_and_nobody_else)
def workers_are_turned_away(objects):
    _policy(objects, "scheduler")["ingress"][0]["from"].pop(0)


@planted(ways.callers_and_monitoring_come_in_and_nobody_else)
def metrics_are_for_all(objects):
    del _policy(objects, "monitoring")["ingress"][0]["from"]


@planted(ways.stores_are_reached_by_those_who_keep_something_there)
def workers_reach_redis(objects):
    _policy(objects, "scheduler-to-redis")["podSelector"] = {}


@planted(ways.stores_are_reached_by_those_who_keep_something_there)
def the_archive_is_cut_off(objects):
    objects.remove(named(objects, "NetworkPolicy", "archive"))


@planted(ways.stores_are_reached_by_those_who_keep_something_there)
def names_are_not_resolved(objects):
    objects.remove(named(objects, "NetworkPolicy", "dns"))


@pytest.mark.parametrize("rule, overlay, spoil", PLANTED)
def test_a_planted_mistake_is_found(rule, overlay, spoil):
    objects = render(overlay)
    spoil(objects)
    assert list(rule(objects)), f"{rule.__name__} has not noticed"


def test_each_rule_has_a_planted_mistake():
    without = {rule.__name__ for rule in rules.RULES} - {param.values[0].__name__ for param in PLANTED}
    assert not without
