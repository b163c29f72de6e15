"""What must agree across the objects of one deployment, and no schema knows.

`disagreements` takes rendered Kubernetes objects and says in sentences what does not fit.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from mammoscope.errors import ConfigurationError
from mammoscope.settings.service import ENVIRONMENT_PREFIX, ServiceSettings
from mammoscope.training.processes import EXIT_LOST
from tests.deployment.agreement_archive import archive_disagreements
from tests.deployment.agreement_metrics import METRICS, metrics_disagreements
from tests.deployment.objects import (
    Object,
    Workload,
    merged,
    names_of,
    of_kind,
    quantity,
    workloads,
)

ROOT = Path(__file__).resolve().parents[2]
RAY_VERSION = json.loads((ROOT / "Pipfile.lock").read_text("utf-8"))["bulk"]["ray"]["version"][2:]
ACTOR_MEMORY_BYTES = int(1.5 * 2**30)
"""Of `mammoscope.bulk.running`; a test compares them."""

INDEX = "JOB_COMPLETION_INDEX"

PROBES = "probes"
"""Name of the port for probes only."""


def disagreements(objects: list[Object], get_paths: set[str], user: int) -> list[str]:
    """Sentences about what does not fit.

    Parameters
    ----------
    objects
        All objects of one deployment, rendered.
    get_paths
        Paths that the service answers to GET.
    user
        Number of the image's user.
    """
    running = workloads(objects)
    found = [*_namespaces(objects), *_selectors(objects, running), *_references(objects)]
    found += [*_scaling(objects), *_ray(objects)]
    for each in running:
        told = [
            *([] if each.is_of_ray or each.is_of_archive else _probes(each, get_paths)),
            *([] if each.is_of_ray else _ports(objects, each)),
            *_volumes(objects, each),
            *_resources(each),
            *_security(each, user),
            *_sources(objects, each),
            *(archive_disagreements if each.is_of_archive else _settings)(objects, each),
            *_parts(each),
        ]
        found += [f"{each.name}: {sentence}" for sentence in told]
    return found


def _namespaces(objects: list[Object]) -> Iterator[str]:
    spaces = {each["metadata"].get("namespace") for each in objects if each["kind"] != "Namespace"}
    if len(spaces) > 1:
        yield f"objects are spread over namespaces {spaces}"
    elif names_of(objects, "Namespace") - spaces:
        yield "the Namespace is not the one of the objects"


def _selectors(objects: list[Object], running: list[Workload]) -> Iterator[str]:
    selecting = [
        *((each, each["spec"]["selector"]) for each in of_kind(objects, "Service")),
        *(
            (each, each["spec"]["selector"]["matchLabels"])
            for kind in ("Deployment", "PodDisruptionBudget")
            for each in of_kind(objects, kind)
        ),
        *(
            (each, each["spec"]["podSelector"]["matchLabels"])
            for each in of_kind(objects, "NetworkPolicy")
        ),
        *(
            (each.source, constraint["labelSelector"]["matchLabels"])
            for each in running
            for constraint in each.pod.get("topologySpreadConstraints", [])
        ),
    ]
    for source, selector in selecting:
        chosen = {
            each.name for each in running if selector and selector.items() <= each.labels.items()
        }
        if len(chosen) != 1:
            yield f"{source['kind']} selects the pods of {len(chosen)} workloads"
    for each in running:
        policies = of_kind(objects, "NetworkPolicy")
        if (each.labels or each.is_of_ray) and not any(
            policy["spec"]["podSelector"]["matchLabels"].items() <= each.labels.items()
            for policy in policies
        ):
            yield f"{each.name} stands under no NetworkPolicy"


def _parts(workload: Workload) -> Iterator[str]:
    spec = workload.source["spec"]
    given = {each["name"]: each.get("valueFrom", {}) for each in workload.container.get("env", [])}
    arguments = workload.container.get("args", [])
    asked = {name for each in arguments for name in re.findall(r"\$\((\w+)\)", each)}
    if asked - set(given):
        yield f"arguments name {asked - set(given)}, which nobody sets"
    if spec.get("completionMode") != "Indexed":
        return
    parts = spec["completions"]
    if spec["template"]["spec"].get("subdomain"):
        yield from _together(workload, arguments)
    elif f"--shard=$({INDEX})/{parts}" not in arguments:
        yield f"no pod takes its part of {parts}"
    field = given.get(INDEX, {}).get("fieldRef", {}).get("fieldPath")
    if field != "metadata.annotations['batch.kubernetes.io/job-completion-index']":
        yield f"{INDEX} is taken from {field}"
    outputs = [each for each in arguments if each.startswith("--json=")]
    if not all(f"$({INDEX})" in each for each in outputs):
        yield "pods write to one file"
    if outputs and "--resume" not in arguments:
        yield "a pod that is repeated finds results and refuses to write"
    if not 1 <= spec["parallelism"] <= parts:
        yield f"{spec['parallelism']} pods share {parts} parts"


def _together(workload: Workload, arguments: list[str]) -> Iterator[str]:
    """Sentences about pods that train together: each is a process, and pod 0 coordinates."""
    spec, name = workload.source["spec"], workload.source["metadata"]["name"]
    if spec["parallelism"] != spec["completions"]:
        yield "pods that train together run one after another"
    coordinator = f"--coordinator={name}-0.{workload.pod['subdomain']}:"
    if not any(each.startswith(coordinator) for each in arguments):
        yield f"nobody is told {coordinator}PORT"
    if not {f"--processes={spec['completions']}", f"--process=$({INDEX})"} <= set(arguments):
        yield "the pods are not the processes of a training"
    for rule in spec["podFailurePolicy"]["rules"]:
        if rule["action"] == "FailJob" and EXIT_LOST in rule["onExitCodes"]["values"]:
            yield "a pod that lost another one fails the Job"


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _references(objects: list[Object]) -> Iterator[str]:
    deployments = names_of(objects, "Deployment")
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for each in of_kind(objects, kind):
            target = each["spec"]["scaleTargetRef"]
            if (
                target["name"] not in deployments
                or target.get("kind", "Deployment") != "Deployment"
            ):
                yield f"{kind} scales {target}, which is not there"
    services = {each["metadata"]["name"]: each for each in of_kind(objects, "Service")}
    for each in of_kind(objects, "Ingress"):
        spec = each["spec"]
        for rule in spec["rules"]:
            if not any(rule["host"] in tls["hosts"] for tls in spec["tls"]):
                yield f"Ingress has no TLS for {rule['host']}"
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = services.get(backend["name"], {"spec": {"ports": []}})["spec"]["ports"]
                if backend["port"]["name"] not in {port["name"] for port in ports}:
                    yield f"Ingress names {backend}, which is not there"


def _scaling(objects: list[Object]) -> Iterator[str]:
    bounds = [
        (each["spec"]["minReplicas"], each["spec"]["maxReplicas"])
        for each in of_kind(objects, "HorizontalPodAutoscaler")
    ] + [
        (each["spec"]["minReplicaCount"], each["spec"]["maxReplicaCount"])
        for each in of_kind(objects, "ScaledObject")
    ]
    if len(bounds) > 1:
        yield "two autoscalers fight for one Deployment"
    for least, most in bounds:
        if not 1 <= least < most:
            yield f"the autoscaler's bounds are {least} and {most}"
        for budget in of_kind(objects, "PodDisruptionBudget"):
            if least - budget["spec"]["maxUnavailable"] < 1:
                yield "the PodDisruptionBudget lets the last pod go"
    for each in of_kind(objects, "Deployment"):
        yield from _replicas(each, scaled=bool(bounds))


def _replicas(deployment: Object, *, scaled: bool) -> Iterator[str]:
    spec = deployment["spec"]
    if scaled and "replicas" in spec:
        yield "the Deployment sets replicas that an autoscaler owns"
    if not scaled and "replicas" not in spec:
        yield "nobody says how many replicas there are"
    # Recreate is for pods with a claim of their own, which agreement_archive checks.
    update = spec["strategy"].get("rollingUpdate")
    if update and (update["maxUnavailable"] != 0 or update["maxSurge"] < 1):
        yield "a rolling update takes pods away before others are there"


def _ray(objects: list[Object]) -> Iterator[str]:
    """Sentences about RayJobs, RayClusters, and the versions and paths that they name."""
    clusters = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "RayCluster")}
    for job in of_kind(objects, "RayJob"):
        name = job["spec"]["clusterSelector"]["ray.io/cluster"]
        if name not in clusters:
            yield f"the RayJob asks for the cluster {name}, which is not there"
    for spec in clusters.values():
        if spec["rayVersion"] != RAY_VERSION:
            yield f"the RayCluster has Ray {spec['rayVersion']}, the lock {RAY_VERSION}"
        if spec.get("authOptions", {}).get("mode") != "token":
            yield "anybody who reaches the head can start work"
        if spec["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
            yield "actors may run on the head"
        yield from _ray_workers(spec)
    for policy in of_kind(objects, "NetworkPolicy") if clusters else []:
        peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
        if not peers or any(peer.get("podSelector") is None for peer in peers):
            yield "the NetworkPolicy lets others than pods into the cluster"


def _ray_workers(spec: Object) -> Iterator[str]:
    for group in spec["workerGroupSpecs"]:
        if not 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield "the number of workers is outside their bounds"
        (container,) = group["template"]["spec"]["containers"]
        asked = container["resources"]["requests"]
        if quantity(asked["memory"]) < quantity(asked["cpu"]) * ACTOR_MEMORY_BYTES:
            yield "a worker has no memory for an actor on each of its CPUs"


def _probes(workload: Workload, get_paths: set[str]) -> Iterator[str]:
    ports = workload.ports
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = workload.container.get(kind)
        if probe is None:
            if ports:
                yield f"there is no {kind}"
            continue
        if probe["httpGet"]["port"] not in ports or probe["httpGet"]["port"] != PROBES:
            yield f"{kind} asks port {probe['httpGet']['port']}"
        if probe["httpGet"]["path"] not in get_paths:
            yield f"{kind} asks for {probe['httpGet']['path']}"


def _ports(objects: list[Object], workload: Workload) -> Iterator[str]:
    ports = workload.ports
    for service in of_kind(objects, "Service"):
        if not service["spec"].get("ports"):  # only a name
            if workload.pod.get("subdomain") != service["metadata"]["name"]:
                yield "no pod has a name of the headless Service"
            if not service["spec"].get("publishNotReadyAddresses"):
                yield "pods find each other only once they are ready"
        for port in service["spec"].get("ports", []):
            if port["targetPort"] not in ports or port["targetPort"] == PROBES:
                yield f"the Service targets port {port['targetPort']}"
    for policy in of_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            among_themselves = rule.get("from") == [{"podSelector": policy["spec"]["podSelector"]}]
            let_in = {port["port"] for port in rule.get("ports", [])}
            if not among_themselves and (not let_in or let_in - set(ports)):
                yield "the NetworkPolicy lets in to another port"


def _volumes(objects: list[Object], workload: Workload) -> Iterator[str]:
    volumes = {each["name"]: each for each in workload.pod.get("volumes", [])}
    mounts = {each["name"]: each for each in workload.container.get("volumeMounts", [])}
    if set(volumes) != set(mounts):
        yield f"volumes are {sorted(volumes)}, mounts {sorted(mounts)}"
    if "/tmp" not in {each["mountPath"] for each in mounts.values()}:  # noqa: S108 a mount
        yield "nothing can be written to /tmp"
    claims = names_of(objects, "PersistentVolumeClaim")
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and claim not in claims:
            yield f"there is no claim {claim}"


def _resources(workload: Workload) -> Iterator[str]:
    resources = workload.container["resources"]
    for name in ("cpu", "memory", "ephemeral-storage"):
        asked, limit = resources["requests"].get(name), resources["limits"].get(name)
        if asked is None or limit is None or quantity(asked) > quantity(limit):
            yield f"{asked} of {name} are requested where {limit} is the limit"


def _security(workload: Workload, user: int) -> Iterator[str]:
    pod, container = workload.pod["securityContext"], workload.container["securityContext"]
    wanted = (
        (pod, "runAsNonRoot", True),
        (pod, "runAsUser", user),
        (pod, "runAsGroup", user),
        (pod, "seccompProfile", {"type": "RuntimeDefault"}),
        (container, "allowPrivilegeEscalation", False),
        (container, "readOnlyRootFilesystem", True),
        (container, "capabilities", {"drop": ["ALL"]}),
        (workload.pod, "automountServiceAccountToken", False),
        # Else a Service's variable MAMMOSCOPE_PORT is an unknown setting.
        (workload.pod, "enableServiceLinks", False),
    )
    for where, key, value in wanted:
        if where.get(key) != value:
            yield f"{key} is {where.get(key)}, not {value}"


def _sources(objects: list[Object], workload: Workload) -> Iterator[str]:
    maps, accounts = names_of(objects, "ConfigMap"), names_of(objects, "ServiceAccount")
    for source in workload.container.get("envFrom", []):
        if source["configMapRef"]["name"] not in maps:
            yield f"there is no ConfigMap {source['configMapRef']['name']}"
    if workload.pod.get("serviceAccountName", "default") not in {"default", *accounts}:
        yield "there is no such ServiceAccount"


def _listening(settings: ServiceSettings, workload: Workload) -> Iterator[str]:
    if _port(settings.probe_bind or ":0") != workload.ports.get(PROBES):
        yield f"probes are answered on {settings.probe_bind}, their port is another"
    listening = [settings.bind, settings.probe_bind, settings.metrics_bind]
    reached = {_port(each) for each in listening if each and not each.startswith("127.")}
    if reached != set(workload.ports.values()):
        yield f"the service listens on {listening}, its ports are {workload.ports}"


def _settings(objects: list[Object], workload: Workload) -> Iterator[str]:
    environment = merged(objects, workload.pod)
    try:
        settings = ServiceSettings.from_environment(environment)
    except ConfigurationError as err:
        yield str(err)
        return
    if not workload.ports:
        if any(key.startswith(ENVIRONMENT_PREFIX) for key in environment):
            yield "a Job reads no settings of the service"
        return
    yield from _listening(settings, workload)
    pause = workload.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    at_most = pause + settings.drain_s + settings.graceful_timeout_s
    if at_most >= workload.pod["terminationGracePeriodSeconds"]:
        yield "the grace period ends before requests in flight do"
    mounted = {each["mountPath"] for each in workload.container["volumeMounts"]}
    if settings.api_keys_file and str(settings.api_keys_file.parent) not in mounted:
        yield "no volume brings the API keys"
    if METRICS in workload.ports:
        yield from metrics_disagreements(objects)
    for policy in of_kind(objects, "NetworkPolicy"):
        if bool(policy["spec"].get("egress")) != settings.url_fetching:
            yield "the NetworkPolicy and MAMMOSCOPE_URL_FETCHING differ"
