"""Hooks of the docs' site: the README is its first page, and the CHANGELOG another one.

In the repository both stand beside docs/, where people look for them. A link to any other file of the repository is
shown as its path, since the site does not hold that file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
#: Files beside docs/ by the pages that they become.
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand beside docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have links lead to where the site has what they name."""
    name = page.file.src_uri
    here = ROOT if name in PAGES else (ROOT / "docs" / name).parent
    up = "../" * name.count("/")

    def followed(link: re.Match[str]) -> str:
        target = link["target"]
        if ":" in target:
            return link[0]
        path = (here / target).resolve()
        if not path.exists():
            return link[0]  # the build reports it
        inside = str(path.relative_to(ROOT))
        anchor = link["anchor"] or ""
        for generated, source in PAGES.items():
            if inside == source:
                return f"{link['image']}[{link['text']}]({up}{generated}{anchor})"
        if inside.startswith("docs/"):
            return f"{link['image']}[{link['text']}]({up}{inside.removeprefix('docs/')}{anchor})"
        return f"`{inside}`" if link["text"].strip("`") == inside else f"{link['text']} (`{inside}`)"

    return _LINK.sub(followed, markdown)
