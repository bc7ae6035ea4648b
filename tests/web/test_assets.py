"""The committed page was built from the committed source, byte by byte; checked without Node."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
WEB = ROOT / "web"
STATIC = ROOT / "openglm" / "static"
REBUILD = "web/build.sh builds it again; commit web/ and openglm/static together"
MAX_SCRIPT_GZIP = 150_000  # bytes of script before the page can be used; issue 4's bound
MAX_STYLE_GZIP = 20_000
MAX_BYTES = (
    5_000_000  # of everything, unpacked: diagrams and formulas are most of it, fetched by who sees one
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """Path below `folder` -> sha256, sorted by path. What npm installs and the manifest itself stay out."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    kept = [name for name in paths if name != "manifest.json" and "node_modules/" not in name]
    return {name: sha256(paths[name]) for name in sorted(kept)}


@pytest.fixture(scope="module")
def manifest() -> dict:
    return json.loads((STATIC / "manifest.json").read_text())


def test_the_page_was_built_from_this_source(manifest: dict) -> None:
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes(WEB).items())
    source = hashlib.sha256(lines.encode()).hexdigest()
    assert source == manifest["source"], f"web/ changed after openglm/static was built; {REBUILD}"


def test_the_built_files_are_the_ones_that_the_build_wrote(manifest: dict) -> None:
    assert hashes(STATIC) == manifest["files"], f"openglm/static is not what the build wrote; {REBUILD}"


def test_the_page_asks_nothing_of_other_hosts_and_runs_nothing_inline() -> None:
    page = (STATIC / "index.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith("./assets/") for address in addresses)
    assert all((STATIC / address).is_file() for address in addresses)
    assert not re.search(r"<style|style=|<script(?![^>]*\bsrc=)|\son\w+=", page)


def test_the_page_stays_small(manifest: dict) -> None:
    sizes = {name: len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in manifest["files"]}
    first = reached_at_start()
    scripts = sum(size for name, size in sizes.items() if name in first and name.endswith(".js"))
    styles = sum(size for name, size in sizes.items() if name in first and name.endswith(".css"))
    assert scripts < MAX_SCRIPT_GZIP, f"{scripts:,} bytes of script before the first interaction"
    assert styles < MAX_STYLE_GZIP, f"{styles:,} bytes of style before the first interaction"
    assert sum((STATIC / name).stat().st_size for name in manifest["files"]) < MAX_BYTES


def reached_at_start() -> set[str]:
    """What the page names, what that imports, and the words of shell and chat in both languages."""
    wanted = re.findall(r'"\./(assets/[^"]*)"', (STATIC / "index.html").read_text())
    first: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in first:
            continue
        first.add(name)
        if name.endswith(".js"):
            text = (STATIC / name).read_text()
            imported = re.findall(r'(?:\bfrom|\bimport)\s*"\./([^"]+\.js)"', text)
            words = re.findall(r'import\("\./((?:en|zh)-[^"]+\.js)"', text) if "words" in name else []
            wanted += [f"assets/{one}" for one in [*imported, *words]]
    return first


def test_the_lock_file_names_no_registry_and_pins_every_package() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}
    assert not [name for name, package in installed.items() if "resolved" in package]
    assert not [name for name, package in installed.items() if "integrity" not in package]
