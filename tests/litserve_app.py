"""The server of test_litserve.py: ``python litserve_app.py PORT SERVERS process|thread``.

What its APIs do, the request says.
"""

import os
import signal
import sys
import threading
import time

import litserve as ls

from offgil.adapters.litserve import install


def act(request):
    match request:
        case {"die": "exit"}:
            os._exit(1)
        case {"die": "kill"}:
            os.kill(os.getpid(), signal.SIGKILL)
        case {"die": "raise"}:
            raise Exception(threading.Lock())  # LitServe's loop ends with the attempt to send it
        case {"sleep": seconds}:
            time.sleep(seconds)
        case {"unsendable": _}:
            return threading.Lock()
        case {"large": nbytes}:
            return "x" * nbytes
    return os.getpid()


class Plain(ls.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request

    def predict(self, x):
        return [act(one) for one in x] if isinstance(x, list) else act(x)

    def encode_response(self, output):
        return {"output": output}


class Streamed(Plain):
    def predict(self, x):
        for number in range(x.get("tokens", 3)):
            yield f"{number} "
        yield f"pid {act(x)}"

    def encode_response(self, output):
        yield from output


class Chat(ls.LitAPI):
    def setup(self, device):
        pass

    def predict(self, x):
        yield from ("one ", "two ", "three")


def main():
    port, servers, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    apis = [
        Plain(api_path="/plain"),
        Plain(api_path="/batched", max_batch_size=4, batch_timeout=0.2),
        Streamed(api_path="/streamed", stream=True),
        Chat(spec=ls.OpenAISpec()),
    ]
    workers = [2, 1, 1, 1]
    if kind == "thread":
        apis, workers = apis[:1], 1
    server = ls.LitServer(apis, accelerator="cpu", workers_per_device=workers, restart_workers=True, timeout=60)
    server.monitor_internal = 0.2
    install(server, max_bytes=1 << 20)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=servers,
        api_server_worker_type=kind,
        generate_client_file=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
