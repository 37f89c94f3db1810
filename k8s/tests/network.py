"""Which way NetworkPolicies leave open: a small evaluator of what the policies of this project use."""

import ipaddress

from rendered import of_kind, selects


class Peer:
    """One end: a pod of this namespace, a pod of another one, or an address outside."""

    def __init__(self, pod=None, namespace=None, address=None):
        self.pod, self.namespace, self.address = pod, namespace, address

    def matches(self, peer):
        if block := peer.get("ipBlock"):
            return self.address is not None and _in_block(self.address, block)
        if "namespaceSelector" in peer:
            here = self.namespace is not None and selects(peer["namespaceSelector"], self.namespace)
            return here and ("podSelector" not in peer or selects(peer["podSelector"], self.pod or {}))
        return self.pod is not None and self.namespace is None and selects(peer["podSelector"], self.pod)


def _in_block(address, block):
    address = ipaddress.ip_address(address)
    inside = [ipaddress.ip_network(one) for one in [block["cidr"], *block.get("except", [])]]
    hits = [address.version == one.version and address in one for one in inside]
    return hits[0] and not any(hits[1:])


def may(objects, its_labels, direction, other, port):
    """Whether a pod with these labels may be reached by (Ingress), or reach (Egress), the other end on that port."""
    policies = [
        each["spec"]
        for each in of_kind(objects, "NetworkPolicy")
        if direction in each["spec"]["policyTypes"] and selects(each["spec"]["podSelector"], its_labels)
    ]
    if not policies:
        return True
    rules = [rule for policy in policies for rule in policy.get(direction.lower(), [])]
    return any(_open(rule, "from" if direction == "Ingress" else "to", other, port) for rule in rules)


def _open(rule, side, other, port):
    ports = [one["port"] for one in rule.get("ports", [{"port": port}])]
    peers = rule.get(side)
    return port in ports and (peers is None or any(other.matches(peer) for peer in peers))
