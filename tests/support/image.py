"""Carries out the steps of the Dockerfile in a directory, for want of an engine that builds images.

A path such as /opt is a directory below the root of the pretended image. Steps run word for word, except that uv stands
for pip, with the same files and hashes, since it keeps what it has downloaded once.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

from tests.support.environment import SETTINGS
from tests.support.processes import ROOT

#: As the Dockerfile says: `USER 1000:1000`.
USER = 1000
_UV = Path(sys.executable).with_name("uv")
_PATHS = re.compile(r"(?<![\w.])/(opt|src|srv|tmp|data)(?=[/\s]|$)")


def python_for_all() -> Path | None:
    """A Python that the image's user may run: that of a person may lie in a home that only its owner enters."""
    for found in (Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve()):
        if os.geteuid() and found.exists():
            return found
        if found.exists() and all(parent.stat().st_mode & 0o001 for parent in found.parents):
            return found
    return None


#: Makes a virtualenv, as `python -m venv DIRECTORY` does, with a pip that is uv.
_PYTHON = f"""#!/bin/sh
set -e
[ "$1 $2" = "-m venv" ]
{_UV} venv --quiet --python {python_for_all()} "$3"
printf '#!/bin/sh\\nset -e\\n[ "$1" = install ]\\nshift\\n' > "$3/bin/pip"
install="{_UV} pip install --quiet --link-mode {"copy" if os.geteuid() else "hardlink"} --python $3/bin/python"
echo "$install --offline \\"\\$@\\" 2>/dev/null || exec $install \\"\\$@\\"" >> "$3/bin/pip"
chmod +x "$3/bin/pip"
"""


def steps(stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage of the Dockerfile, with what follows them."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    lines = re.split(rf"^FROM \S+ AS {stage}\n", text, flags=re.MULTILINE)[1].partition("\nFROM ")[0].splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line.strip()]


class Image:
    """What the stages leave, in a directory that its user can read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {"PATH": os.pathsep.join((str(root / "shims"), os.environ["PATH"]))}
        self.folder = root
        self.command: list[str] = []
        shim = root / "shims" / "python"
        shim.parent.mkdir()
        shim.write_text(_PYTHON)
        shim.chmod(0o755)
        for directory in ("tmp", "data", "home"):
            (root / directory).mkdir(mode=0o777)
            (root / directory).chmod(0o777)

    def build(self, stage: str) -> None:
        """Carry out a stage. What comes before its environment is that of the stage before."""
        for instruction, rest in steps(stage):
            text = _PATHS.sub(rf"{self.root}/\1", rest)
            match instruction:
                case "ENV":
                    pairs = (pair.partition("=") for pair in shlex.split(text))
                    self.environment |= {name: Template(value).substitute(self.environment) for name, _, value in pairs}
                case "WORKDIR":
                    self.folder = Path(text)
                    self.folder.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(text.split())
                case "RUN":
                    # An engine would have the machine's certificates and proxies too, but none of our settings.
                    mine = {k: v for k, v in os.environ.items() if k not in SETTINGS and not k.startswith("PYTHON")}
                    done = subprocess.run(
                        ["sh", "-ec", text],
                        cwd=self.folder, env={**mine, **self.environment, "DJANGO_SETTINGS_MODULE": ""},
                        capture_output=True, text=True, timeout=300, check=False,
                    )  # fmt: skip
                    assert done.returncode == 0, f"RUN {text}\n{done.stdout}{done.stderr}"
                case "CMD":
                    self.command = shlex.split(text.strip("[]").replace(",", " "))

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):
            return  # all stages share the directory
        *sources, target = words
        for source in sources if sources != ["."] else sent():
            to = self.folder / target / source
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / source, to)

    def seal(self) -> None:
        """Nobody may write into it but where the image's user may: a root file system that is read-only."""
        if os.geteuid() == 0:
            os.chown(self.root / "data", USER, USER)  # all else is root's
        else:
            self._permit(0o222, False)
        self.root.chmod(0o755)

    def unseal(self) -> None:
        """Let it be removed."""
        if os.geteuid():
            self._permit(0o200, True)

    def _permit(self, bits: int, on: bool) -> None:
        for path in (*(self.root / "opt").rglob("*"), *(self.root / "srv").rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | bits if on else mode & ~bits)

    def start(self, *command: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """A container: a command in the sealed image, as its user; none means the image's own."""
        user = USER if os.geteuid() == 0 else None
        with log.open("wb") as out:
            return subprocess.Popen(
                command or self.command,
                cwd=self.folder,
                env={**self.environment, "HOME": "/nonexistent", **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )


def sent() -> list[str]:
    """The files that `docker build` would send: those that git knows, less those of .dockerignore."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    patterns = [rule for rule in rules if not rule.startswith("!")]

    def ignored(file: str) -> bool:
        parts = Path(file).parts
        places = {"/".join(parts[: length + 1]) for length in range(len(parts))}
        return any(fnmatch.fnmatch(place, pattern) for place in places for pattern in patterns)

    return [file for file in files if file and (ROOT / file).is_file() and (file in kept or not ignored(file))]
