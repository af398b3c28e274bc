"""Django's settings follow from the configuration."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from queuesite.debug import ReporterFilter
from queuesite.foundation.config import BASE_DIR
from tests.conftest import Configure


@pytest.fixture
def settings_of(configure: Configure, tmp_path: Path) -> Any:
    def build(**values: object) -> dict[str, Any]:
        configure(data_dir=tmp_path / "data", **values)
        return runpy.run_path(str(BASE_DIR / "queuesite" / "settings.py"))

    return build


def test_development(settings_of: Any, tmp_path: Path) -> None:
    settings = settings_of()

    assert settings["DEBUG"] is False
    assert settings["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert settings["SECRET_KEY"] == (tmp_path / "data" / "secret_key").read_text()
    default = settings["DATABASES"]["default"]
    assert default["ENGINE"] == "django.db.backends.sqlite3"
    assert default["NAME"] == tmp_path / "data" / "queuesite.sqlite3"
    assert default["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in default["OPTIONS"]["init_command"]
    assert settings["DATABASES"]["mongo"]["ENGINE"] == "queuesite.foundation.mongodb"
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
    assert settings["SECURE_HSTS_SECONDS"] == 31_536_000
    assert settings["SESSION_COOKIE_AGE"] == 12 * 3_600


def test_how_long_logins_and_https_last(settings_of: Any) -> None:
    settings = settings_of(behind_tls_proxy=1, hsts_seconds=0, session_hours=2)

    assert settings["SESSION_COOKIE_AGE"] == 7_200
    assert not settings["SECURE_HSTS_SECONDS"]
    assert not settings["SECURE_HSTS_INCLUDE_SUBDOMAINS"]
    assert not settings["SECURE_HSTS_PRELOAD"]


@pytest.mark.parametrize(("collected", "debug"), [(True, 0), (True, 1), (False, 0), (False, 1)])
def test_collected_files_are_served_once_there_are_some(
    settings_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, collected: bool, debug: int
) -> None:
    monkeypatch.setenv("QUEUESITE_HOME", str(tmp_path))
    if collected:
        (tmp_path / "staticfiles").mkdir()
        (tmp_path / "staticfiles" / "staticfiles.json").write_text("{}")

    settings = settings_of(debug=debug)

    served = collected and not debug
    assert ("Manifest" in settings["STORAGES"]["staticfiles"]["BACKEND"]) == served
    assert settings["WHITENOISE_USE_FINDERS"] == (not served)


def test_no_setting_of_django_shows_a_secret(settings_of: Any) -> None:
    """Its debug page shows each of them, of which it hides the values that have names of secrets."""
    settings = settings_of(
        secret_key="hidden" * 9,
        aws_access_key_id="hidden",
        aws_secret_access_key="hidden",
        mongodb_uri="mongodb://me:hidden@host/?tlsCertificateKeyFilePassword=hidden",
        database_url="postgres://me:hidden@host/name?sslpassword=hidden",
        aws_sqs_endpoint="https://me:hidden@host",
        debug=1,
    )
    reporter = ReporterFilter()

    shown = {name: reporter.cleanse_setting(name, value) for name, value in settings.items() if name.isupper()}

    assert "me:********@host" in repr(shown["DATABASES"])
    assert "hidden" not in repr(shown)


@pytest.mark.django_db
def test_static_files_are_served_without_being_collected(client: Client) -> None:
    page = client.get("/admin/login/")
    [icon] = re.findall(rb'href="(/static/queuesite/favicon[^"]*)"', page.content)

    answer = client.get(icon.decode())
    answer.close()
    assert answer.status_code == 200


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
