"""Rules about the network: what has to be closed, and what open. They join those of rules.py."""

from network import Peer, may
from rendered import labels, name, workloads
from rules import rule

# Where mail must never lead: metadata services, private networks, and both in the dress of IPv6.
INSIDE = [
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254",
    "10.0.0.1", "172.16.0.1", "172.31.255.1", "192.168.1.1", "127.0.0.1", "fe80::1", "::1",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
]  # fmt: skip
OUTSIDE = ["93.184.216.34", "142.250.74.109", "2a00:1450:4001::6d"]
MAIL = [143, 443, 993]
OTHERS = [22, 25, 80, 5432, 6379, 8080]


def _namespace(label):
    return Peer(pod={"app": "x"}, namespace={label: "true"})


CLIENTS, MONITORING = _namespace("docket/clients"), _namespace("docket/monitoring")
REDIS, POSTGRESQL, OBJECTS = (_namespace(f"docket/{store}") for store in ("redis", "postgresql", "object-store"))
ANYBODY = _namespace("somebody/else")
DNS = Peer(pod={"k8s-app": "kube-dns"}, namespace={"kubernetes.io/metadata.name": "kube-system"})


def _component(workload):
    return labels(workload)["app.kubernetes.io/component"]


def _wrong(objects, workload, direction, ways):
    """Of (peer, port, whether it is to be open), those that are otherwise."""
    for peer, port, wanted in ways:
        if may(objects, labels(workload), direction, peer, port) != wanted:
            other = peer.address or peer.namespace or peer.pod
            yield f"{name(workload)}, {direction} {other}:{port}: not {'open' if wanted else 'closed'}"


@rule
def what_is_inside_is_not_reached(objects):
    for workload in workloads(objects):
        ways = [(Peer(address=address), port, False) for address in INSIDE for port in MAIL + OTHERS]
        yield from _wrong(objects, workload, "Egress", ways)


@rule
def mail_is_reached_by_those_who_read_it(objects):
    for workload in workloads(objects):
        reads = _component(workload) != "scheduler"
        ways = [(Peer(address=address), port, reads) for address in OUTSIDE for port in MAIL]
        ways += [(Peer(address=address), port, False) for address in OUTSIDE for port in OTHERS]
        yield from _wrong(objects, workload, "Egress", ways)


@rule
def callers_and_monitoring_come_in_and_nobody_else(objects):
    worker = Peer(pod={"app.kubernetes.io/component": "worker"})
    for workload in workloads(objects):
        schedules = _component(workload) == "scheduler"
        is_called = schedules or labels(workload).get("docket/serves") == "library"
        ways = [
            (CLIENTS, "grpc", is_called),
            (CLIENTS, "http", False),
            (MONITORING, "http", True),
            (MONITORING, "grpc", False),
            (ANYBODY, "grpc", False),
            (ANYBODY, "http", False),
            (worker, "grpc", schedules),
        ]
        yield from _wrong(objects, workload, "Ingress", ways)


@rule
def stores_are_reached_by_those_who_keep_something_there(objects):
    for workload in workloads(objects):
        schedules, folder = _component(workload) == "scheduler", workload["kind"] == "StatefulSet"
        scheduler = Peer(pod={"app.kubernetes.io/component": "scheduler"})
        ways = [
            (DNS, 53, True),
            (scheduler, 7310, _component(workload) != "library"),
            (REDIS, 6379, schedules and not folder),
            (POSTGRESQL, 5432, not schedules and not folder),
            (OBJECTS, 443, not schedules and not folder),
            (MONITORING, 4317, True),
            (ANYBODY, 443, False),
        ]
        yield from _wrong(objects, workload, "Egress", ways)
