"""Named stores: who finds them, who may not, and the commands that look at them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import offgil
from offgil.errors import Closed, CodecError, StoreCorrupted, StoreFull, StoreUnavailable

if sys.platform != "linux":
    pytest.skip("the managed-dict store needs Linux", allow_module_level=True)

from offgil.store import named
from offgil.store.managed import ManagedDictStore


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    # Of the real kind where there is one: a file system in memory.
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    folder = base / f"offgil-test-{os.getpid()}"
    folder.mkdir()
    monkeypatch.setenv("OFFGIL_STORE_DIR", str(folder))
    assert named.names() == []
    yield Path(named.folder())
    for name in named.names():
        named.remove(name)
    Path(named.folder()).rmdir()
    folder.rmdir()


def make(name: str = "jobs", **options: object) -> ManagedDictStore:
    return ManagedDictStore(name, max_bytes=2 << 20, **options)  # type: ignore[arg-type]


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)


def offgil_store(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "offgil.cli", "store", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_unrelated_processes_meet_and_the_store_outlives_them(home: Path) -> None:
    done = run("""
import offgil
store = offgil.open_store(name="jobs", max_bytes=2 << 20, max_entries=3, on_full="raise")
store.update(a=1, b=[2, {"c": None}])
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert (home / "jobs").stat().st_mode & 0o777 == 0o600
    with offgil.open_store("managed", name="jobs", max_entries=1000) as store:
        assert dict(store) == {"a": 1, "b": [2, {"c": None}]}
        # The bounds are those of the one who made it.
        store["c"] = 3
        with pytest.raises(StoreFull, match="3 results"):
            store["d"] = 4
    # Closing it here closed it here.
    assert make()["c"] == 3


def test_many_make_it_at_once(home: Path) -> None:
    program = "import offgil; offgil.open_store(name='jobs').put('k', 1, if_absent=True) and print('first')"
    children = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(4)]
    assert sorted(child.communicate(timeout=100)[0] for child in children) == [b"", b"", b"", b"first\n"]
    assert [child.returncode for child in children] == [0] * 4
    assert os.listdir(home) == ["jobs"]


def test_pickle_is_off_unless_asked_for() -> None:
    store, trusting = make(), make(pickle=True)
    with pytest.raises(CodecError, match="pickle=True"):
        store["k"] = {1, 2}
    trusting["k"] = {1, 2}
    assert trusting["k"] == {1, 2}
    with pytest.raises(CodecError, match="pickle=True"):
        store["k"]


def test_removing_it_wakes_all_who_wait() -> None:
    store = make()
    future = store.future("never")
    named.remove("jobs")
    with pytest.raises(Closed):
        future.result(60)
    with pytest.raises(Closed):
        store["k"] = 1
    assert len(make()) == 0
    with pytest.raises(StoreUnavailable, match="no store named 'gone'"):
        named.remove("gone")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\0b", "ä", "x" * 101, 5])
def test_names(name: str) -> None:
    with pytest.raises(ValueError, match="a store's name"):
        make(name)


def test_shared_state_stores_have_no_name() -> None:
    with pytest.raises(ValueError, match="open_store\\('managed', name='x'\\)"):
        offgil.open_store("shared", name="x")


def test_an_unsafe_folder_is_refused(home: Path) -> None:
    make()
    home.chmod(0o770)
    with pytest.raises(StoreUnavailable, match="mode 0700"):
        make()
    home.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(home, 12345, -1)
        with pytest.raises(StoreUnavailable, match="user 12345"):
            make()
        os.chown(home, 0, -1)


def test_a_folder_that_is_a_link_is_refused(home: Path, tmp_path: Path) -> None:
    home.rmdir()
    home.symlink_to(tmp_path)
    with pytest.raises(StoreUnavailable, match="not a folder"):
        make()
    home.unlink()
    home.mkdir(0o700)


def test_what_is_no_store_of_ours_is_refused(home: Path, tmp_path: Path) -> None:
    header = 4096

    def damaged(change: object) -> None:
        with pytest.raises(StoreCorrupted, match="offgil store rm jobs"):
            make()

    file = home / "jobs"
    for content in (b"", b"x" * 100, bytes(1 << 20)):
        file.write_bytes(content)
        file.chmod(0o600)
        damaged(content)
    file.unlink()
    make().close()
    good = file.read_bytes()[:header]
    for place, what in ((8, "version"), (16, "build"), (24, "boot"), (64, "user")):
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(b"\xee")
        damaged(what)
        with file.open("r+b") as opened:
            opened.write(good)
    make().close()
    os.truncate(file, file.stat().st_size - 4096)
    damaged("truncated")
    file.unlink()
    make().close()
    file.chmod(0o644)
    damaged("open to others")
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreCorrupted, match="remove that file"):
        make()
    file.unlink()
    if os.geteuid() == 0:
        make().close()
        os.chown(file, 12345, -1)
        damaged("foreign user")


def test_a_file_system_that_is_full_is_an_error_and_no_signal(home: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "offgil-test", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a file system to fill it: {done.stderr.strip()}")
    try:
        program = f"""
import os
os.environ["OFFGIL_STORE_DIR"] = {str(tmp_path)!r}
import offgil
try:
    offgil.open_store(name="too-large", max_bytes=1 << 37)
except offgil.StoreUnavailable as exc:
    assert "no room" in str(exc), exc
from offgil.store import named
for size in (100_000, 100):
    with offgil.open_store(name="jobs", max_bytes=1 << 30) as store:
        try:
            for i in range(1_000_000):
                store.put(f"{{size}}/{{i}}", bytes(size), topic=f"t{{i}}" if i < 900 else None)
        except offgil.StoreFull:
            print(i > 10)
        store.clear()
        store[f"{{size}}/0"] = bytes(size)  # in a shard that has memory for records
    named.remove("jobs")
    del store  # or its memory is still there
"""
        done = run(program)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "True\nTrue\n")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_handed_over_by_multiprocessing() -> None:
    import multiprocessing

    store = make()
    child = multiprocessing.get_context("spawn").Process(target=store.put, args=("k", [1]))
    child.start()
    assert store.wait("k", timeout=60) == [1]
    child.join()


def test_commands(home: Path) -> None:
    pytest.importorskip("click", reason="the command line needs click")
    assert offgil_store("ls").stdout == ""
    store = make()
    store.put("the key", "x" * 2000, topic="jobs", priority=3, ttl=1000)
    store.put_exception("failed", ValueError("no"))
    (home / "broken").write_bytes(b"x")
    listed = offgil_store("ls").stdout.splitlines()
    assert listed[0].startswith("broken")
    assert "damaged" in listed[0]
    assert listed[1].split() == ["jobs", "2", "results", "2.1", "KiB", "of", "2.0", "MiB", "1", "processes"]
    seen = offgil_store("inspect", "jobs").stdout
    assert "entries=2" in seen
    assert str(os.getpid()) in seen
    assert "'the key'" in seen
    assert "2.0 KiB  priority 3  topic 'jobs'" in seen
    assert "exception" in seen
    assert "… and 1 more" in offgil_store("inspect", "jobs", "--limit", "1").stdout
    for arguments in (("inspect", "none"), ("rm", "none"), ("inspect", "../x")):
        done = offgil_store(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
    assert offgil_store("rm", "jobs", "broken").returncode == 0
    assert store.closed
    assert os.listdir(home) == []
