"""Django's settings follow from the configuration."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from queuesite.config import BASE_DIR
from tests.conftest import Configure


@pytest.fixture
def settings_of(configure: Configure, tmp_path: Path) -> Any:
    def build(**values: object) -> dict[str, Any]:
        configure(data_dir=tmp_path / "data", **values)
        return runpy.run_path(str(BASE_DIR / "queuesite" / "settings.py"))

    return build


def test_development(settings_of: Any, tmp_path: Path) -> None:
    settings = settings_of()

    assert settings["DEBUG"] is True
    assert settings["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert settings["SECRET_KEY"] == (tmp_path / "data" / "secret_key").read_text()
    default = settings["DATABASES"]["default"]
    assert default["ENGINE"] == "django.db.backends.sqlite3"
    assert default["NAME"] == tmp_path / "data" / "queuesite.sqlite3"
    assert default["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in default["OPTIONS"]["init_command"]
    assert settings["DATABASES"]["mongo"]["ENGINE"] == "django_mongodb_backend"
    assert "SECURE_SSL_REDIRECT" not in settings


def test_production_behind_a_proxy(settings_of: Any) -> None:
    settings = settings_of(
        debug=0,
        secret_key="k" * 50,
        allowed_hosts="queues.example.com",
        csrf_trusted_origins="https://queues.example.com",
        behind_tls_proxy=1,
        database_url="postgres://me:secret@db.example.com:5432/queuesite",
    )

    assert settings["DEBUG"] is False
    assert settings["SECRET_KEY"] == "k" * 50
    assert settings["ALLOWED_HOSTS"] == ["queues.example.com"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://queues.example.com"]
    assert settings["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")
    assert settings["SECURE_SSL_REDIRECT"] is True
    redirected = [re.compile(pattern) for pattern in settings["SECURE_REDIRECT_EXEMPT"]]
    for path, exempt in {
        "api/v1/health/live": True,
        "metrics": True,
        "api/v1/metrics": True,
        "api/v1/stats": False,
    }.items():
        assert any(pattern.search(path) for pattern in redirected) == exempt
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is True
    default = settings["DATABASES"]["default"]
    assert (default["HOST"], default["NAME"], default["CONN_HEALTH_CHECKS"]) == ("db.example.com", "queuesite", True)
    assert "Manifest" in settings["STORAGES"]["staticfiles"]["BACKEND"]


def test_background_tasks_are_not_given_out_twice(settings_of: Any) -> None:
    cluster = settings_of()["Q_CLUSTER"]

    assert cluster["orm"] == "default"
    assert cluster["retry"] > cluster["timeout"]


def test_root_leads_to_the_admin(client: Client) -> None:
    answer = client.get("/")

    assert answer.status_code == 302
    assert answer.headers["Location"] == "/admin/"


def test_one_heap_is_shared_where_the_c_library_can() -> None:
    import platform

    from queuesite.memory import share_one_heap

    assert share_one_heap() == (platform.libc_ver()[0] == "glibc")


def test_asgi_and_wsgi_applications_are_there() -> None:
    from queuesite import asgi, wsgi

    assert callable(asgi.application)
    assert callable(wsgi.application)
