#!/usr/bin/env python3
"""Lists a container over and over: one line of JSON a look, with what is visible and how many blocks are staged.

`{"visible": {name: [size, md5]}, "staged": blocks}`, names under `_blobferry/` left out. It ends when its standard
output closes. The Azure SDK comes from the folder of scripts/install-test-tools.sh, by PYTHONPATH.
"""

import json
import sys

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient


def look(container):
    visible, staged = {}, 0
    for blob in container.list_blobs(include=["uncommittedblobs"]):
        if blob.name.startswith("_blobferry/"):
            continue
        md5 = blob.content_settings.content_md5
        if blob.size == 0 and not md5:
            _, blocks = container.get_blob_client(blob.name).get_block_list("uncommitted")
            staged += len(blocks)
        else:
            visible[blob.name] = [blob.size, bytes(md5).hex() if md5 else None]
    return {"visible": visible, "staged": staged}


def main():
    service = BlobServiceClient.from_connection_string(sys.argv[1], api_version="2025-11-05", retry_total=0)
    container = service.get_container_client(sys.argv[2])
    while True:
        try:
            print(json.dumps(look(container)), flush=True)
        except AzureError:
            # The container is not there yet, or a blob has just been committed: look again.
            print(json.dumps({"visible": {}, "staged": 0}), flush=True)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
