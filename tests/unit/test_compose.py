"""compose.yaml alone is for production, and with compose.override.yaml for development."""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.processes import ROOT

ROLES = {"prepare", "web", "master", "worker", "tasks"}
PRODUCTION: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
DEVELOPMENT: dict[str, Any] = yaml.safe_load((ROOT / "compose.override.yaml").read_text())["services"]


def test_production_has_the_roles_and_no_server() -> None:
    assert set(PRODUCTION) == ROLES
    for service in PRODUCTION.values():
        assert set(service["depends_on"]) <= ROLES


def test_every_setting_is_passed_and_no_credentials_are_made_up() -> None:
    for service in PRODUCTION.values():
        assert service["env_file"] == [{"path": ".env", "required": False}]
        # What is named here wins over .env, so that it must be what containers alone determine.
        assert set(service["environment"]) == {"DATA_DIR", "WEB_HOST", "WEB_PORT"}


def test_data_is_mounted_only_where_it_is_needed() -> None:
    assert {name for name, service in PRODUCTION.items() if "volumes" in service} == {"prepare", "web", "tasks"}


def test_development_adds_servers_for_every_role() -> None:
    assert set(DEVELOPMENT) == ROLES | {"mongo", "sqs"}
    assert set(DEVELOPMENT["prepare"]["depends_on"]) == {"mongo", "sqs"}
    for role in ROLES:
        assert {"MONGODB_URI", "AWS_SQS_ENDPOINT"} <= set(DEVELOPMENT[role]["environment"])
