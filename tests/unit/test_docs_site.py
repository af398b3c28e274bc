"""The docs build as a site, strictly: a link or an anchor that leads nowhere fails it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return directory


def test_no_page_loads_anything_from_another_server(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 10
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]+src="?(https?:[^">\s]+)', text)
        loaded += re.findall(
            r'<link[^>]+rel="?(?:stylesheet|preconnect|preload|icon)[^>]+href="?(https?:[^">\s]+)', text
        )
        loaded += re.findall(r"(?:url\(|@import )[\"']?(https?:[^)\"']+)", text)
        assert loaded == [], page


def test_the_search_knows_the_readme_the_guides_and_the_changes(site: Path) -> None:
    places = {entry["location"] for entry in json.loads((site / "search" / "search_index.json").read_text())["docs"]}
    assert {"index.html", "changelog.html", "guides/celery.html", "handlers.html", "tutorial.html"} <= places


def test_links_between_readme_and_docs_stay_on_the_site(site: Path) -> None:
    first = (site / "index.html").read_text()
    assert 'href="handlers.html' in first
    assert "docs/handlers.md" not in re.findall(r'href="([^"]+)"', first)
    assert 'href="index.html#going-to-production"' in (site / "deployment.html").read_text()
