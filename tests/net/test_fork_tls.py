"""A fork leaves the parent's TLS sessions as they are, whatever the child does and however it ends."""

import os
import ssl
import subprocess
import sys
import threading

import pytest

import offgil
from http2_servers import Http2Script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

# The child ends as any program does, by finalizing the interpreter, with a stream and a batch half-way.
PROGRAM = """
import os, sys, warnings
import offgil

warnings.simplefilter("ignore")
url, authority, tidy = sys.argv[1], sys.argv[2], sys.argv[3] == "tidy"
client = offgil.Client(verify=authority)
stream = client.stream("GET", f"{url}/stream")
pieces = stream.iter_bytes()
assert next(pieces) == b"first"
assert client.get(f"{url}/kept").content == b"ok"
batch = client.batch(1)
batch.add(offgil.Request("GET", f"{url}/batch"))
assert batch.wait(0.5) == []
pid = os.fork()
if pid == 0:
    assert client.get(f"{url}/child").content == b"ok"
    assert [answer.content for answer in client.map([f"{url}/child"])] == [b"ok"]
    for use in (lambda: next(pieces), lambda: batch.wait(1)):
        try:
            use()
        except offgil.Closed:
            continue
        sys.exit("the parent's connection was used")
    if tidy:
        stream.close()
        batch.close()
        client.close()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert client.get(f"{url}/go").content == b"ok"
assert next(pieces) == b"more"
[(_, answer)] = batch.wait(10)
assert answer.content == b"done"
client.close()
"""


@pytest.mark.parametrize("end", ["tidy", "untidy"])
def test_sessions_go_on(serve_tls, authority, end):
    """What the child sent on a connection of the parent's, if only a goodbye, would break the parent's next record."""
    asked = {}
    ends = {}
    go = threading.Event()

    def script(peer, number):
        peer.sock.suppress_ragged_eofs = False
        asked[number] = []
        try:
            while request := peer.read_request():
                path = request.split()[1].decode()
                asked[number].append(path)
                if path == "/stream":
                    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
                    go.wait(30)
                    ends[number] = heard(peer)
                    peer.send(b"more")
                elif path == "/batch":
                    go.wait(30)
                    ends[number] = heard(peer)
                    peer.answer(b"done")
                else:
                    if path == "/go":
                        go.set()
                    peer.answer()
            ends.setdefault(number, "goodbye")
        except ssl.SSLEOFError:
            ends.setdefault(number, "end")

    def heard(peer):
        peer.sock.setblocking(False)
        try:
            return peer.sock.recv(1)
        except ssl.SSLWantReadError:
            return "nothing"
        finally:
            peer.sock.setblocking(True)

    server = serve_tls(script=script)
    command = [sys.executable, "-c", PROGRAM, server.url, str(authority / "ca.pem"), end]
    subprocess.run(command, check=True, timeout=60)
    for thread in server.threads:
        thread.join()
    assert asked == {0: ["/stream"], 1: ["/kept", "/go"], 2: ["/batch"], 3: ["/child"], 4: ["/child"]}
    assert (ends[0], ends[2]) == ("nothing", "nothing")
    assert ends[1] == "goodbye"  # the parent's, at the end


def test_with_http2(serve_tls, authority):
    script = Http2Script(lambda stream: stream.answer(str(stream.talk.number).encode()))
    server = serve_tls(script=script, prepare=lambda context: context.set_alpn_protocols(["h2"]))
    with offgil.Client(verify=authority / "ca.pem", http2=True) as client:
        assert client.get(server.url).content == b"0"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if client.get(server.url).content == b"1":
                    client.close()
                    code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert client.get(server.url).content == b"0"
