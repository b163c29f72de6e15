"""Check that only Prometheus can get the metrics."""

from collections.abc import Iterator

from tests.deployment.objects import Object, of_kind

METRICS = "metrics"
"""Name of the metrics port."""


def metrics_disagreements(objects: list[Object]) -> Iterator[str]:
    """Describe differences between who may and who does scrape metrics."""
    port = METRICS
    offering = [
        service
        for service in of_kind(objects, "Service")
        if port in {each["targetPort"] for each in service["spec"]["ports"]}
    ]
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        chosen = [
            each
            for each in of_kind(objects, "Service")
            if wanted.items() <= each["metadata"].get("labels", {}).items()
        ]
        if chosen != offering:
            yield f"the ServiceMonitor selects {len(chosen)} Services, and not that of the metrics"
        asked = {each["port"] for each in monitor["spec"]["endpoints"]}
        if {(port, port)} != {
            (each["name"], each["targetPort"])
            for service in chosen
            for each in service["spec"]["ports"]
            if each["name"] in asked
        }:
            yield f"the ServiceMonitor asks at {asked}"
    public = {
        path["backend"]["service"]["name"]
        for ingress in of_kind(objects, "Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    if public & {each["metadata"]["name"] for each in offering}:
        yield "an Ingress reaches the metrics"
    for policy in of_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            if port in {each["port"] for each in rule["ports"]} and "from" not in rule:
                yield "the NetworkPolicy lets anybody ask for metrics"
