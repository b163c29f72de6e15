"""The Dockerfile agrees with manifests, docs and Makefile."""

import json
import re

import yaml

from mammoscope.cli.sharding import Shard
from mammoscope.service.authorization import PROBES
from mammoscope.settings.service import ServiceSettings
from tests.deployment.agreement import INDEX
from tests.deployment.manifests import (
    DOCKERFILE,
    INIT,
    MANIFESTS,
    PROJECT,
    ROOT,
    deployables,
    entry,
    stage,
)
from tests.deployment.objects import Object, workloads


def test_images_match_the_dockerfile(rendered: dict[str, list[Object]]) -> None:
    targets = {"mammoscope": "serve", "mammoscope-train": "train", "mammoscope-bulk": "bulk",
               "mammoscope-archive": "archive"}  # fmt: skip
    stages = dict(re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)[::-1])
    assert set(targets.values()) <= set(re.findall(r" AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert stages["serve"] == "default"
    for objects in rendered.values():
        for each in workloads(objects):
            name, _, tag = each.container["image"].rpartition(":")
            assert name.rpartition("/")[2] in targets
            assert tag == PROJECT["version"]
    assert set(re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE)) == {PROJECT["version"]}


def test_jobs_run_commands_that_exist(rendered: dict[str, list[Object]]) -> None:
    from mammoscope.__main__ import parser

    words = {"train.py": ["train"], "-m mammoscope": []}
    jobs = [e for objects in rendered.values() for e in workloads(objects) if "Job" in e.name]
    assert len(jobs) == 3
    for job in jobs:
        init, program = job.container["command"][: len(INIT)], job.container["command"][len(INIT) :]
        assert init == INIT
        assert program.pop(0) == "python"
        arguments = [each.replace(f"$({INDEX})", "3") for each in job.container["args"]]
        options = parser().parse_args([*words[" ".join(program)], *arguments])
        if shard := getattr(options, "shard", None):
            Shard.parse(shard)
        mounted = [each["mountPath"] for each in job.container["volumeMounts"]]
        for argument in job.container["args"]:
            path = argument.rpartition("=")[2]
            assert not path.startswith("/") or any(path.startswith(m) for m in mounted)


def test_the_ray_job_runs_a_command_that_exists(rendered: dict[str, list[Object]]) -> None:
    from mammoscope.__main__ import parser

    (job,) = (each["spec"] for each in rendered["bulk"] if each["kind"] == "RayJob")
    python, module, name, *arguments = job["entrypoint"].split()
    assert [python, module, name] == ["python", "-m", "mammoscope"]
    options = parser().parse_args(arguments)
    assert options.address == "auto"
    mounted = {
        each["mountPath"] for each in workloads(rendered["bulk"])[0].container["volumeMounts"]
    }
    for path in (options.source, options.output, str(options.id_key)):
        assert any(path.startswith(each) for each in mounted)


def test_the_archive_runs_a_command_that_exists(rendered: dict[str, list[Object]]) -> None:
    from mammoscope.__main__ import parser
    from mammoscope.cli.archive_worker import run_worker

    program = entry("archive")
    assert program[: len(INIT)] == INIT
    for name in ("archive", "overlays/archive", "overlays/archive-listener"):
        (worker,) = workloads(rendered[name])
        assert worker.container["command"] == program[:-2]
        assert parser().parse_args(worker.container["args"]).run is run_worker


def test_image_starts_the_same_command_as_make_serve() -> None:
    command = entry("serve")[len(INIT) :]
    assert command[0] == "gunicorn"
    assert f"$(BIN)/{' '.join(command)}" in (ROOT / "Makefile").read_text("utf-8")


def test_a_locked_init_is_process_1(rendered: dict[str, list[Object]]) -> None:
    lock = json.loads((ROOT / "Pipfile.lock").read_text("utf-8"))
    assert lock["default"][INIT[0]]["hashes"]
    # gunicorn drains and stops its worker itself: only gunicorn must get the signal.
    assert "--single-child" in INIT
    assert entry("train")[: len(INIT)] == INIT
    running = [each for objects in rendered.values() for each in workloads(objects)]
    for each in running:
        if "command" in each.container:
            assert each.container["command"][: len(INIT)] == INIT
        else:  # the image's own command, which takes no other arguments
            assert "args" not in each.container
    assert {"command" in each.container for each in running} == {True, False}


def test_image_listens_on_the_exposed_port(get_paths: set[str]) -> None:
    port = ServiceSettings().bind.rpartition(":")[2]
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [port]
    (check,) = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program = json.loads(check)[-1]
    compile(program, "HEALTHCHECK", "exec")
    assert "os.environ['MAMMOSCOPE_PROBE_BIND']" in program
    assert re.findall(r"MAMMOSCOPE_BIND=(\S+)", DOCKERFILE) == [ServiceSettings().bind]
    assert re.findall(r"MAMMOSCOPE_PROBE_BIND=(\S+)", DOCKERFILE) == [ServiceSettings().probe_bind]
    assert set(re.findall(r"'GET', '([^']*)'", program)) <= PROBES & get_paths


def test_images_have_labels() -> None:
    titles = (
        ("serve", "Mammoscope"),
        ("train", "Mammoscope, training"),
        ("bulk", "Mammoscope, bulk prediction"),
        ("archive", "Mammoscope, archive"),
    )
    for target, title in titles:
        labels = dict(
            re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', stage(target), re.MULTILINE)
        )
        assert labels.pop("description").endswith("Research software, not a medical device.")
        assert labels == {
            "title": title,
            "licenses": PROJECT["license"],
            "version": "${VERSION}",
            "revision": "${REVISION}",
        }
        assert '      org.opencontainers.image.base.name="${BASE}"' in stage(target)
        assert "\nARG BASE\n" in f"\n{stage(target)}"


def test_every_stage_stands_on_the_base_that_is_given() -> None:
    assert re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim"]
    stages = re.findall(r" AS (\S+)$", DOCKERFILE, re.MULTILINE)
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(bases) <= {"${BASE}", *stages}


def test_pip_installs_nothing_without_its_hash() -> None:
    (command, *more) = re.findall(r"pip install (?:.|\\\n)*?\n", DOCKERFILE)
    for each in (command, *more):
        assert "--require-hashes" in each
        assert "--no-deps" in each


def test_build_context_has_only_copied_files() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_docs_deploy_what_exists() -> None:
    folder = ROOT / "docs" / "deployment"
    docs = "\n".join(page.read_text("utf-8") for page in sorted(folder.glob("*.md")))
    named = set(re.findall(r"kube-config/[a-z./-]*[a-z]|kube-config/", docs))
    assert named
    assert all((ROOT / name).exists() for name in named)
    table = set(re.findall(r"^\| `([a-z./-]+)` \|", docs, re.MULTILINE))
    optional = {f"components/{name}" for name in ("keda", "monitoring")}  # in observed
    components = {f"components/{path.name}" for path in (MANIFESTS / "components").iterdir()}
    assert table >= {*deployables(), *components} - optional - {"base"}
    assert all((MANIFESTS / name).exists() for name in table)
    tags = set(re.findall(r"(?:--tag|load docker-image|/tmp) (mammoscope\S*)", docs))
    assert tags == {
        f"{name}:{PROJECT['version']}"
        for name in ("mammoscope", "mammoscope-train", "mammoscope-bulk", "mammoscope-archive")
    }
    service = yaml.safe_load((MANIFESTS / "base" / "service.yaml").read_text("utf-8"))
    assert f"service/mammoscope {service['spec']['ports'][0]['port']}:" in docs
