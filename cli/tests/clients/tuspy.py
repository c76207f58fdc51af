"""Uploads a file by tuspy in pieces with checksums, as a program would that knows nothing of the server but the protocol."""

import sys

from tusclient.client import TusClient

endpoint, host, key, file = sys.argv[1:]
client = TusClient(endpoint, headers={"X-API-Key": key, "Host": host})
uploader = client.uploader(
    file,
    chunk_size=20_000_000,
    retries=50,
    retry_delay=0.1,
    upload_checksum=True,
    metadata={"filename": "large.bmp", "filetype": "image/bmp"},
)
uploader.upload()
print(uploader.url)
