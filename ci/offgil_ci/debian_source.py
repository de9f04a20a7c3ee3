"""CPython's release tarball from Debian's source packages, verified by apt.

The machine's own apt configuration says which mirror to ask and whose signatures to trust; nothing
here names either.  We only add the suites that have a newer CPython than Debian 12, and keep apt's
state in a folder of our own, so that the machine's package lists stay as they are.  apt checks the
mirror's signature on the index and the index's checksum on the tarball; that is never switched off.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offgil_ci.process import StepFailed, Words, run

SUITES = ("trixie", "testing")
TIMEOUT = 300
RETRY_AFTER = 24 * 3600
_ARCHIVE = ("stable", "testing", "unstable", "sid")


@dataclass(frozen=True)
class Mirror:
    """Where this machine gets Debian's packages, and the keyring that it trusts for them."""

    uri: str
    signed_by: str | None  # None: apt's default keyrings

    def stanza(self, suites: tuple[str, ...]) -> str:
        """A deb822 source for `suites`."""
        lines = ["Types: deb-src", f"URIs: {self.uri}", f"Suites: {' '.join(suites)}", "Components: main"]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def find_mirror(etc: Path = Path("/etc")) -> Mirror:
    """The mirror in this machine's apt configuration; raise StepFailed where it is no Debian."""
    release = (etc / "os-release").read_text() if (etc / "os-release").exists() else ""
    facts = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release, flags=re.MULTILINE))
    if facts.get("ID") != "debian":
        raise StepFailed("this is not Debian, so its CPython sources are not at hand")
    archive = {facts.get("VERSION_CODENAME", ""), *_ARCHIVE}
    for uri, suites, signed_by in _entries(etc / "apt"):
        if archive & set(suites):
            return Mirror(uri, signed_by)
    raise StepFailed(f"no entry for Debian's archive in {etc}/apt/sources.list or {etc}/apt/sources.list.d")


def _entries(apt: Path) -> Iterator[tuple[str, list[str], str | None]]:
    """(URI, suites, keyring) of each `deb` entry in either of apt's two formats."""
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            text = re.sub(r"^#.*\n?", "", stanza, flags=re.MULTILINE)
            lines = re.findall(r"^([\w-]+):(.*)$", text, re.MULTILINE)
            # A keyring written out in the stanza itself is on lines of its own; paths only are passed on.
            fields = {key.lower(): value.strip() for key, value in lines}
            if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
                for uri in fields.get("uris", "").split():
                    yield uri, fields.get("suites", "").split(), fields.get("signed-by") or None
    for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        text = path.read_text() if path.exists() else ""
        line = re.compile(r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)", re.MULTILINE)
        for options, uri, suite in line.findall(text):
            signed_by = re.search(r"signed-by=(\S+)", options)
            yield uri, [suite], signed_by.group(1) if signed_by else None


def fetch(package: str, folder: Path, log: Path, *, believe_refusal: bool) -> Path:
    """Download the newest source of `package` ("python3.13") that the mirror has.  Returns its tarball.

    The caller holds the lock on `folder`, which keeps apt's state between runs.  With believe_refusal=True
    the mirror is not asked again on the day when it said that it has none.
    """
    if shutil.which("apt-get") is None:
        raise StepFailed("this system has no apt")
    refusal = folder / f"{package}.refused"
    if believe_refusal and refusal.exists() and time.time() - refusal.stat().st_mtime < RETRY_AFTER:
        raise StepFailed(f"{refusal.read_text()} (asked earlier; ci/interpreters --refresh asks again)")
    apt = _private_apt(folder)
    run([*apt, "update"], log=log, timeout=TIMEOUT)
    versions = _versions(folder, package)
    # A mirror's index can be ahead of or behind its pool, so the newest version is not always there.
    for version in versions:
        download = [*apt, "source", "--download-only", f"{package}={version}"]
        try:
            run(download, log=log, timeout=TIMEOUT, cwd=folder)
        except StepFailed:
            continue
        upstream = version.split(":")[-1].rsplit("-", 1)[0]
        return folder / f"{package}_{upstream}.orig.tar.xz"
    listed = ", ".join(versions) or "no version"
    refusal.write_text(f"Debian's {' and '.join(SUITES)} list {listed} of {package}, the mirror has none to download")
    raise StepFailed(refusal.read_text())


def _private_apt(folder: Path) -> Words:
    """The apt-get command that uses `folder` instead of the machine's lists and sources."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "offgil.sources").write_text(find_mirror().stanza(SUITES))
    configuration = folder / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::SourceList "{folder}/offgil.sources";\n'
        'Dir::Etc::SourceParts "/dev/null";\n'
        f'Dir::State::Lists "{folder}/lists";\n'
        f'Dir::Cache "{folder}/cache";\n'
        # The machine's hooks are for the machine's lists.
        "#clear APT::Update::Pre-Invoke;\n"
        "#clear APT::Update::Post-Invoke;\n"
        "#clear APT::Update::Post-Invoke-Success;\n"
        # Fail fast where there is no network.
        'Acquire::Retries "1";\n'
        'Acquire::http::Timeout "20";\n'
        'Acquire::https::Timeout "20";\n'
        # A stale index must not pass for a fresh one: without this, `update` exits 0 with no network.
        'APT::Update::Error-Mode "any";\n'
    )
    return ["apt-get", "-q", "-c", configuration]


def _versions(folder: Path, package: str) -> list[str]:
    """Versions of the source package that the lists know, newest first."""
    command = ["apt-cache", "-c", str(folder / "apt.conf"), "showsrc", "--only-source", package]
    text = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT).stdout
    versions = set(re.findall(r"^Version: (\S+)$", text, re.MULTILINE))

    def numbers(version: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", version)]

    return sorted(versions, key=numbers, reverse=True)
