"""Django's settings, all derived from the configuration (`queuesite.foundation.config`), never from the environment."""

from __future__ import annotations

import warnings
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.templatetags.static import static

from queuesite.foundation.config import get_config, secret_key
from queuesite.foundation.databases import MONGO, mongo_settings
from queuesite.foundation.home import CLONE, CODE, check, home
from queuesite.foundation.private import DATABASE, touch_private

check()
# The underscore hides it from Django, whose debug page shows every setting.
_config = get_config()

SECRET_KEY = secret_key(_config)
DEBUG = _config.debug
ALLOWED_HOSTS = list(_config.allowed_hosts)
DEFAULT_EXCEPTION_REPORTER_FILTER = "queuesite.debug.ReporterFilter"
CSRF_TRUSTED_ORIGINS = list(_config.csrf_trusted_origins)

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",  # queuesite.urls loads the pages, which workers do not need
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_q",
    "queuesite.apps.QueuesiteConfig",
    "queues.apps.QueuesConfig",
    "jobs.apps.JobsConfig",
]

MIDDLEWARE = [
    *(["queuesite.debug.loopback_only"] if DEBUG else []),
    "queuesite.no_store.no_store_middleware",
    "queuesite.api.middleware.api_middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",  # pads answers at random against BREACH; see also queuesite.live
    "queuesite.live.live_middleware",
    "jobs.shared.forgetting_middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "axes.middleware.AxesMiddleware",
    "queuesite.admin.outage.OutageMiddleware",
    "queuesite.acting.ActingMiddleware",
]

ROOT_URLCONF = "queuesite.urls"
ASGI_APPLICATION = "queuesite.asgi.application"
WSGI_APPLICATION = "queuesite.wsgi.application"

# The docs page's template and scripts. If ninja were an app, each command and worker would load it.
NINJA = Path(next(iter(find_spec("ninja").submodule_search_locations)))  # type: ignore[union-attr, arg-type]

# Some replace the theme's, which comes first among the apps. The wheel has them inside the package.
_templates = CODE / "templates" if CLONE else CODE / "queuesite" / "templates"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_templates, NINJA / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["queuesite.templatetags.program"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]


def _default_database() -> dict[str, Any]:
    if _config.database_url is not None:
        address = _config.database_url.get_secret_value()
        return dict(dj_database_url.parse(address, conn_max_age=60, conn_health_checks=True))
    path: Path = _config.data_dir / DATABASE
    touch_private(path)  # SQLite gives its journals the same mode
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        # In WAL mode, readers never wait for a writer. IMMEDIATE takes the write lock at the start of a transaction:
        # there SQLite waits for it, while in the middle of one it would give up at once.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


DATABASES = {"default": _default_database(), MONGO: mongo_settings(_config)}
DATABASE_ROUTERS = ["queuesite.foundation.databases.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Workers run the tasks that were enqueued on any of our queues; which these are is the business of who enqueues.
TASKS = {
    alias: {"BACKEND": "queues.django_tasks.SqsBackend", "QUEUES": []}
    for alias in dict.fromkeys(("default", *_config.task_backends))
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
] + [{"NAME": "queuesite.passwords.TokensEnd"}]

# Forms have the same limit as the API's requests, whether text is typed or uploaded.
DATA_UPLOAD_MAX_MEMORY_SIZE = _config.request_bytes

# The links of invitations are Django's for forgotten passwords.
PASSWORD_RESET_TIMEOUT = _config.invitation_hours * 3_600

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# Protection from password guessing: `queuesite.guard` has the counters, their limits and the reasons.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "queuesite.guard.Guard"
AXES_CLIENT_IP_CALLABLE = "queuesite.guard.client_address"
AXES_FAILURE_LIMIT = 5  # the scale of Guard.get_failures
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # what a successful login resets
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "admin/locked.html"
AXES_ENABLE_ADMIN = False  # queuesite.admin shows attempts in the theme
AXES_VERBOSE = False

# Pages may load only our own files, and no inline scripts. The theme needs two exceptions: Alpine compiles its
# attributes (unsafe-eval), and colours are in a <style> element and in style attributes.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# The API's counts for throttling. Each web process has its own, so no request waits for another machine.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 20_000}},
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
# The product's words for what Django and the theme say in English, and its form of dates.
LOCALE_PATHS = [CODE / "queuesite" / "locale"]
FORMAT_MODULE_PATH = ["queuesite.formats"]
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [NINJA / "static"]
STATIC_ROOT = home() / "staticfiles"
# If collectstatic has run, its files are served, under names that change with their content. Otherwise, as on a
# developer's machine, the apps' own files are served.
_collected = (STATIC_ROOT / "staticfiles.json").is_file() and not DEBUG
WHITENOISE_USE_FINDERS = not _collected
if not _collected:
    warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)
# Whitenoise reads its small files synchronously, about which Django warns under ASGI.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators", category=Warning)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _collected
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

SESSION_COOKIE_AGE = _config.session_hours * 3_600

if _config.behind_tls_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # Orchestrators and monitoring ask for these directly, not through the proxy.
    SECURE_REDIRECT_EXEMPT = [r"^api/v1/health/", r"^(api/v1/)?metrics$"]
    SECURE_HSTS_SECONDS = _config.hsts_seconds
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _config.hsts_seconds > 0
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

LOGGING_CONFIG = "queuesite.foundation.logs.configure_from_django"
LOGGING = {"level": _config.log_level, "fmt": _config.log_format}

# django-q2 runs the hourly sync and the long operations of admin and API, and never processes queues. Its broker is the
# relational database, since on MongoDB its lock is a no-op and two clusters would fire a schedule twice.
Q_CLUSTER = {
    "name": "queuesite",
    "orm": "default",
    "workers": 2,
    "timeout": 3_600,
    "retry": 3_700,  # must exceed the timeout, or else a running task is started again
    "max_attempts": 3,
    "ack_failures": True,
    "catch_up": False,
    "poll": 1,
    "save_limit": 1_000,
    "label": "Background tasks",
}

# Tailwind's blue with a lighter 500, the theme's text colour in dark mode, for a contrast of 4.5 in both modes.
_BLUE = {
    "50": "oklch(97% .014 254.604)",
    "100": "oklch(93.2% .032 255.585)",
    "200": "oklch(88.2% .059 254.128)",
    "300": "oklch(80.9% .105 251.813)",
    "400": "oklch(72% .15 254.624)",
    "500": "oklch(67% .18 257)",
    "600": "oklch(54.6% .245 262.881)",
    "700": "oklch(48.8% .243 264.376)",
    "800": "oklch(42.4% .199 265.638)",
    "900": "oklch(37.9% .146 265.522)",
    "950": "oklch(28.2% .091 267.935)",
}

UNFOLD = {
    "COLORS": {"primary": _BLUE},
    "STYLES": [
        lambda request: static("queuesite/admin.css"),
        lambda request: static("queuesite/health.css"),
        lambda request: static("queuesite/tables.css"),
    ],
    "SCRIPTS": [lambda request: static("queuesite/status.js")],
    "DASHBOARD_CALLBACK": "jobs.admin.overview.overview",
    "SIDEBAR": {"show_search": True, "navigation": "queuesite.navigation.sidebar"},
    "SITE_TITLE": "Queuesite",
    "SITE_HEADER": "Queuesite",
    "SITE_SYMBOL": "conveyor_belt",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("queuesite/favicon.svg")},
    ],
}
