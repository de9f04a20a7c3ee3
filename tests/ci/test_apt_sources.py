from __future__ import annotations

from pathlib import Path

import pytest

from offgil_ci.debian_source import Mirror, find_mirror
from offgil_ci.process import StepFailed

DEB822 = """
Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

# A comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg
"""
TOOLS = "deb [arch=amd64 signed-by=/etc/tools.gpg] http://tools.example/apt stable-tools main\n"
ONE_LINE = """
# deb http://old.example/debian bookworm main
deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME=bookworm\nNAME="Debian GNU/Linux"\n')
    (tmp_path / "apt" / "sources.list.d").mkdir(parents=True)
    (tmp_path / "apt" / "sources.list.d" / "tools.list").write_text(TOOLS)
    return tmp_path


def test_deb822(etc: Path) -> None:
    (etc / "apt" / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert find_mirror(etc) == Mirror("http://mirror.example/debian", "/usr/share/keyrings/debian.gpg")


def test_one_line(etc: Path) -> None:
    (etc / "apt" / "sources.list").write_text(ONE_LINE)
    assert find_mirror(etc) == Mirror("http://mirror.example/debian", "/k.gpg")


def test_one_line_with_the_default_keyring(etc: Path) -> None:
    (etc / "apt" / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    assert find_mirror(etc) == Mirror("http://mirror.example/debian", None)
    assert "Signed-By" not in find_mirror(etc).stanza(("trixie",))


def test_a_disabled_entry_does_not_count(etc: Path) -> None:
    stanza = DEB822.replace("Suites: bookworm bookworm-updates", "Suites: bookworm\nEnabled: no")
    (etc / "apt" / "sources.list.d" / "debian.sources").write_text(stanza)
    with pytest.raises(StepFailed, match="no entry for Debian's archive"):
        find_mirror(etc)


def test_another_system_has_no_mirror(etc: Path) -> None:
    (etc / "os-release").write_text("ID=fedora\n")
    with pytest.raises(StepFailed, match="not Debian"):
        find_mirror(etc)
