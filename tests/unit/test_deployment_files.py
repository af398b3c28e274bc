"""The files of deploy/: what they name exists, and the programs that will read them accept them.

No Kubernetes, AWS or init system is at work here: the chart is rendered by Helm's own library and held against
Kubernetes' schemas, and the units are read by systemd's own parser.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from queuesite import __version__
from queuesite.foundation.config import Config
from queuesite.foundation.errors import ConfigError
from tests.support.processes import ROOT

CHART = ROOT / "deploy" / "chart"
SYSTEMD = ROOT / "deploy" / "systemd"
IAM = ROOT / "deploy" / "iam"
#: Of the oldest version that the chart is for, and of the newest that the schemas know.
KUBERNETES = ("1.25", "1.37")
#: Resources of operators, whose schemas are not Kubernetes' own.
OPERATORS = frozenset({"ScaledObject", "ServiceMonitor"})
EVERYTHING = {
    "image": {"digest": "sha256:" + "a" * 64},
    "workers": {
        "default": {"keda": {"enabled": True}},
        "gpu": {"replicas": 1, "maxLoad": 2, "config": {"HANDLER_MODULES": "shop.gpu"}, "nodeSelector": {"gpu": "yes"}},
    },
    "web": {"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"}},
    "serviceMonitor": {"enabled": True, "tokenSecret": {"name": "token"}, "labels": {"release": "prometheus"}},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/queuesite"}},
}


def library(name: str) -> ModuleType:
    """A module of the development requirements that does not exist for every platform."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} is not installed: {error}")


@cache
def rendered(overrides: str) -> tuple[dict[str, Any], ...]:
    """The resources that Helm makes with these values, in JSON."""
    chart = library("helm_python").Chart.load(str(CHART))
    files = chart.render(json.loads(overrides), name="prod", namespace="queues")
    documents = (yaml.safe_load_all(text) for name, text in files.items() if name.endswith(".yaml"))
    return tuple(one for file in documents for one in file if one)


def resources(**overrides: Any) -> list[dict[str, Any]]:
    return list(rendered(json.dumps(overrides)))


def of_kind(kind: str, **overrides: Any) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in resources(**overrides) if one["kind"] == kind}


def pods(**overrides: Any) -> dict[str, dict[str, Any]]:
    kinds = {**of_kind("Deployment", **overrides), **of_kind("Job", **overrides)}
    return {name: one["spec"]["template"]["spec"] for name, one in kinds.items()}


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["containers"][0]["env"] if "value" in one}


class TestChart:
    @pytest.mark.parametrize("version", KUBERNETES)
    @pytest.mark.parametrize("overrides", [{}, EVERYTHING], ids=["defaults", "everything"])
    def test_what_it_makes_fits_the_schemas_of_kubernetes(self, overrides: dict[str, Any], version: str) -> None:
        validate = library("kubernetes_validate").validate
        made = resources(**overrides)
        assert len({(one["kind"], one["metadata"]["name"]) for one in made}) == len(made)
        for one in made:
            if one["kind"] not in OPERATORS:
                validate(one, version, strict=True)

    def test_helm_finds_nothing_to_complain_about(self) -> None:
        found = library("helm_python").lint(str(CHART), strict=True)
        assert found["errors"] == []
        assert [one["error"] for one in found["messages"]] == ["icon is recommended"]

    def test_there_is_a_process_of_every_role(self) -> None:
        commands = {pod["containers"][0]["command"][-1] for pod in pods().values()}
        assert {"runweb", "runmaster", "runworker", "qcluster"} <= commands

    def test_every_setting_that_it_names_exists(self) -> None:
        known = {name.upper() for name in Config.model_fields}
        for pod in pods(**EVERYTHING).values():
            assert environment(pod).keys() <= known

    def test_its_version_is_that_of_queuesite(self) -> None:
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        assert chart["appVersion"] == __version__
        # A development version of Python, 1.0.0.dev0, is 1.0.0-dev.0 for Helm.
        assert chart["version"] == re.sub(r"\.dev(\d+)$", r"-dev.\1", __version__)

    def test_a_pod_has_more_time_to_end_than_its_handlers(self) -> None:
        gpu = {"replicas": 1, "maxLoad": 1, "config": {"SHUTDOWN_GRACE_SECONDS": 600}}
        found = pods(config={"SHUTDOWN_GRACE_SECONDS": "120.5"}, workers={"gpu": gpu})
        assert found["prod-queuesite-worker-default"]["terminationGracePeriodSeconds"] == 136
        assert found["prod-queuesite-worker-gpu"]["terminationGracePeriodSeconds"] == 615

    def test_numbers_reach_the_processes_as_they_are_written(self) -> None:
        found = environment(pods(config={"API_MAX_BULK": 2_000_000, "JITTER": 0.25})["prod-queuesite-master"])
        assert (found["API_MAX_BULK"], found["JITTER"]) == ("2000000", "0.25")

    def test_prometheus_may_ask_each_pod_by_its_address(self) -> None:
        found = pods(**EVERYTHING)["prod-queuesite-web"]["containers"][0]["env"]
        names = [one["name"] for one in found]
        assert environment(pods(**EVERYTHING)["prod-queuesite-web"])["ALLOWED_HOSTS"] == (
            "queues.example.com,$(POD_IP),[$(POD_IP)]"
        )
        # Kubernetes replaces only what stands before it.
        assert names.index("POD_IP") < names.index("ALLOWED_HOSTS")
        assert "POD_IP" not in str(pods()["prod-queuesite-web"])

    def test_only_the_web_server_can_be_reached_if_that_is_wanted(self) -> None:
        assert of_kind("NetworkPolicy") == {}
        policies = of_kind("NetworkPolicy", **EVERYTHING)
        assert "ingress" not in policies["prod-queuesite"]["spec"]
        selected = policies["prod-queuesite"]["spec"]["podSelector"]["matchLabels"].items()
        web = policies["prod-queuesite-web"]["spec"]
        for name, one in of_kind("Deployment", **EVERYTHING).items():
            labels = one["spec"]["template"]["metadata"]["labels"].items()
            assert selected <= labels
            assert (web["podSelector"]["matchLabels"].items() <= labels) == (name == "prod-queuesite-web")

    def test_each_pool_is_a_deployment_of_its_own(self) -> None:
        workers = {name: environment(pod) for name, pod in pods(**EVERYTHING).items() if "-worker-" in name}
        assert {one["WORKER_POOL"]: (one["MAX_LOAD"], one.get("HANDLER_MODULES")) for one in workers.values()} == {
            "default": ("5", None),
            "gpu": ("2", "shop.gpu"),
        }
        assert "replicas" not in of_kind("Deployment", **EVERYTHING)["prod-queuesite-worker-default"]["spec"]

    def test_no_pod_is_root_or_may_write_into_its_image(self) -> None:
        for pod in pods(**EVERYTHING).values():
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["securityContext"]["runAsUser"] == 1000
            assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in pod["containers"])
            assert not pod["automountServiceAccountToken"]

    def test_a_disruption_leaves_one_of_every_role_that_has_two(self) -> None:
        deployments = of_kind("Deployment", **EVERYTHING)
        protected = of_kind("PodDisruptionBudget", **EVERYTHING)
        several = {name for name, one in deployments.items() if one["spec"].get("replicas", 2) > 1}
        assert set(protected) == several
        for name, budget in protected.items():
            assert budget["spec"]["selector"] == deployments[name]["spec"]["selector"]

    def test_databases_are_prepared_before_what_uses_them_and_without_the_account_that_comes_later(self) -> None:
        job = next(iter(of_kind("Job").values()))
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert "serviceAccountName" not in job["spec"]["template"]["spec"]

    @pytest.mark.parametrize(
        ("overrides", "named"),
        [
            ({"config": {"SECRET_KEY": "x"}}, "config"),
            ({"config": {"log-format": "json"}}, "config"),
            ({"workers": {"Bad_Name": {"replicas": 1, "maxLoad": 1}}}, "Bad_Name"),
            ({"workers": {"default": {"maxload": 3}}}, "maxload"),
            ({"existingSecret": ""}, "existingSecret"),
            ({"image": {"digest": "sha256:short"}}, "digest"),
        ],
    )
    def test_wrong_values_are_refused(self, overrides: dict[str, Any], named: str) -> None:
        chart = library("helm_python").Chart.load(str(CHART))
        with pytest.raises(library("helm_python").HelmError) as caught:
            chart.validate_schema(chart.merge_values(overrides))
        assert named in str(caught.value)


class TestUnits:
    def test_systemd_understands_them(self, tmp_path: Path) -> None:
        program = shutil.which("systemd-analyze")
        if program is None:
            if os.environ.get("CI"):
                pytest.fail("systemd-analyze is missing: install Debian's systemd")
            pytest.skip("systemd-analyze is missing")
        program_there = "/srv/queuesite/.venv/bin/queuesite"
        for unit in SYSTEMD.glob("*.service"):
            text = unit.read_text()
            assert text.count(f"ExecStart={program_there} ") == 1
            (tmp_path / unit.name).write_text(text.replace(program_there, "/bin/true"))
        units = sorted(str(path) for path in tmp_path.glob("*.service"))
        assert len(units) == 4
        run = subprocess.run([program, "verify", *units], capture_output=True, text=True, timeout=110, check=False)
        said = [line for line in run.stderr.splitlines() if any(Path(unit).stem in line for unit in units)]
        assert said == []

    def test_a_worker_has_more_time_to_end_than_its_handlers(self) -> None:
        worker = (SYSTEMD / "queuesite-worker@.service").read_text()
        seconds = int(re.findall(r"^TimeoutStopSec=(\d+)$", worker, re.MULTILINE)[0])
        assert seconds >= Config.model_fields["shutdown_grace_seconds"].default + 10

    def test_none_is_restarted_if_its_configuration_is_wrong(self) -> None:
        for unit in SYSTEMD.glob("*.service"):
            assert f"RestartPreventExitStatus={ConfigError.exit_code}\n" in unit.read_text()


class TestImage:
    """No engine builds it here, so the steps are read: hadolint lints them, and test_image.py carries them out."""

    DOCKERFILE = (ROOT / "Dockerfile").read_text()

    def test_it_is_pinned_by_digest(self) -> None:
        [image] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", self.DOCKERFILE, re.MULTILINE)
        assert re.fullmatch(r"python:3\.1[123]-slim@sha256:[0-9a-f]{64}", image)
        assert set(re.findall(r"^FROM (\S+)", self.DOCKERFILE, re.MULTILINE)) == {"${PYTHON_IMAGE}", "base"}

    def test_every_package_has_a_hash(self) -> None:
        installs = re.findall(r"pip install ([^&\n]+)", self.DOCKERFILE)
        assert len(installs) == 4
        for what in installs:
            assert "--require-hashes" in what or "--no-deps /tmp/wheel/" in what or "ministack" in what

    @pytest.mark.parametrize("stage", ["sqs", "app"])
    def test_nobody_is_root_in_it(self, stage: str) -> None:
        steps = self.DOCKERFILE.partition(f"AS {stage}\n")[2].partition("\nFROM ")[0]
        assert re.findall(r"^USER (.*)$", steps, re.MULTILINE) == ["1000:1000"]
        assert "chown" not in steps

    def test_what_is_copied_is_there_and_not_ignored(self) -> None:
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", self.DOCKERFILE, re.MULTILINE):
            for source in line.split():
                assert (ROOT / source).exists(), source
        assert {".env", ".data", ".git", "tests", "!.ci/wheel_metadata.py"} <= set(ignored)

    def test_debug_is_off_and_no_secret_is_in_it(self) -> None:
        assert "ENV DEBUG=0 " in self.DOCKERFILE
        assert not re.search(r"^(ENV|ARG) .*(SECRET|PASSWORD|KEY)=", self.DOCKERFILE, re.MULTILINE)


class TestPolicies:
    @staticmethod
    def actions(name: str) -> set[str]:
        policy = json.loads((IAM / name).read_text())
        assert policy["Version"] == "2012-10-17"
        found: set[str] = set()
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            named = statement["Action"]
            found |= {named} if isinstance(named, str) else set(named)
        return found

    @staticmethod
    def requests() -> set[str]:
        """The permissions that the requests need that our code makes; a batch needs that of its single form."""
        sources = [path.read_text() for path in (ROOT / "queues" / "sqs").rglob("*.py")]
        methods = {
            name
            for text in sources
            for name in re.findall(r'client\.(?:get_paginator\(")?([a-z]+_[a-z_]+)(?:\(|")', text)
        }
        assert {"receive_message", "list_queues"} <= methods
        return {"sqs:" + "".join(map(str.title, name.removesuffix("_batch").split("_"))) for name in methods}

    def test_our_own_queues_need_what_the_code_asks_for_and_nothing_else(self) -> None:
        assert self.actions("own-queues.json") == self.requests()

    def test_adopted_queues_need_less_and_are_never_changed(self) -> None:
        adopted = self.actions("adopted-queues.json")
        assert adopted < self.requests()
        assert not {name for name in adopted if re.search("Create|DeleteQueue|Set|Purge|Tag|Permission", name)}
