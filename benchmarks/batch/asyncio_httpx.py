"""The plain script that `offgil batch` is measured beside: the same job with asyncio and httpx, nothing more.

``asyncio_httpx.py REQUESTS RESULTS BASE_URL CONCURRENCY``
"""

import asyncio
import json
import sys

import httpx


async def main(requests: str, results: str, base_url: str, concurrency: int) -> None:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    with open(requests) as source, open(results, "w") as target:
        async with httpx.AsyncClient(base_url=base_url, limits=limits, timeout=60) as client:

            async def worker() -> None:
                for text in source:
                    line = json.loads(text)
                    response = await client.request(line["method"], line["url"], json=line["body"])
                    answer = {"status_code": response.status_code, "body": response.json()}
                    target.write(json.dumps({"custom_id": line["custom_id"], "response": answer}) + "\n")

            await asyncio.gather(*(worker() for _ in range(concurrency)))


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
