"""The home: where `.env`, data and a team's modules are, and what in it cannot be."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from queuesite.foundation import home
from queuesite.foundation.config import Config
from queuesite.foundation.errors import ConfigError


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, first on the import path for this test."""
    monkeypatch.setenv(home.VARIABLE, str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    home.enter(Path("/elsewhere"))
    importlib.invalidate_caches()
    return tmp_path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the code were in site-packages."""
    monkeypatch.setattr(home, "CLONE", False)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, and a working folder that is not a clone."""
    monkeypatch.delenv(home.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


class TestWhere:
    @pytest.mark.usefixtures("unset")
    def test_a_clone_is_its_own_home(self) -> None:
        assert home.CLONE
        assert home.home() == home.CODE

    @pytest.mark.usefixtures("installed", "unset")
    def test_installed_it_is_the_working_folder(self, tmp_path: Path) -> None:
        assert home.home() == tmp_path

    def test_the_variable_names_another(self, there: Path) -> None:
        assert home.home() == there
        assert sys.path[0] == str(there)
        assert Config(data_dir=Path("data")).data_dir == there / "data"

    def test_a_relative_one_is_the_same_for_children_elsewhere(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv(home.VARIABLE, "team")
        home.enter(Path("/elsewhere"))
        assert os.environ[home.VARIABLE] == str(tmp_path / "team")

    def test_the_servers_of_a_clone_serve_homes_elsewhere(self, there: Path) -> None:
        assert Config(servers_venv=Path("servers")).servers_venv == home.CODE / "servers"


class TestCheck:
    def test_an_ordinary_home(self, there: Path) -> None:
        (there / "handlers.py").touch()
        (there / "jobs").mkdir()  # no package: ours is found
        home.check()

    def test_one_that_does_not_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(home.VARIABLE, "/no/such/home")
        with pytest.raises(ConfigError, match=r"QUEUESITE_HOME=/no/such/home: no such directory; name one"):
            home.check()

    @pytest.mark.parametrize(
        ("path", "named"), [("jobs.py", "jobs.py"), ("queues/__init__.py", "queues"), ("queuesite.py", "queuesite.py")]
    )
    def test_what_shadows_our_packages_is_named(self, there: Path, path: str, named: str) -> None:
        (there / path).parent.mkdir(exist_ok=True)
        (there / path).touch()
        name = named.removesuffix(".py")
        with pytest.raises(ConfigError, match=rf"{there}/{named} shadows Queuesite's own package '{name}': rename it"):
            home.check()


class TestOwnModules:
    def test_a_module_or_package_of_the_home(self, there: Path) -> None:
        assert not home.own_module("module_of_this_test")
        (there / "module_of_this_test.py").touch()
        (there / "package_of_this_test").mkdir()
        (there / "package_of_this_test" / "__init__.py").touch()
        importlib.invalidate_caches()
        assert home.own_module("module_of_this_test")
        assert home.own_module("package_of_this_test")

    def test_one_from_elsewhere(self, there: Path) -> None:
        assert not home.own_module("json")


class TestChildren:
    def test_a_child_of_a_clone_finds_home_and_code(self, there: Path) -> None:
        found = home.environment({"A": "1", "PYTHONPATH": "/elsewhere"})
        assert found == {
            "A": "1",
            home.VARIABLE: str(there),
            "PYTHONPATH": os.pathsep.join((str(there), str(home.CODE), "/elsewhere")),
        }
        assert home.environment(found) == found

    @pytest.mark.usefixtures("installed")
    def test_site_packages_are_not_on_the_path_twice(self, there: Path) -> None:
        assert home.import_path("") == str(there)
