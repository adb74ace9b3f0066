#!/usr/bin/env python3
"""Writes a cache with one small bundle, as the page docs/cache.md describes it: small_cache.py FOLDER"""

import hashlib
import json
import os
import sys

folder = sys.argv[1]
os.makedirs(f"{folder}/blobs/sha256")


def blob(kind, data, **more):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{folder}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)} | more


def document(value):
    return json.dumps(value, sort_keys=True).encode()


index = b"Package: nothing\nVersion: 1\nArchitecture: arm64\n" * 20
title = {"org.opencontainers.image.title": "Packages"}
layer = blob("application/vnd.ofedctl.repository.apt.v1", index, annotations=title)
served = {
    "schema_version": 1,
    "driver": "inbox",
    "distro": "ubuntu22.04",
    "arch": "aarch64",
    "repository": {"kind": "apt", "index": "Packages"},
}
config = {
    "architecture": "arm64",
    "os": "linux",
    "config": {},
    "created": "2026-01-01T00:00:00Z",
    "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    "ofedctl": served,
}
kind = "application/vnd.oci.image.manifest.v1+json"
manifest = {
    "schemaVersion": 2,
    "mediaType": kind,
    "artifactType": "application/vnd.ofedctl.bundle.v1",
    "config": blob("application/vnd.oci.image.config.v1+json", document(config)),
    "layers": [layer],
}
entry = blob(kind, document(manifest), artifactType=manifest["artifactType"])
entry["annotations"] = {"org.opencontainers.image.ref.name": "small"}
top = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
for name, value in [("index.json", top), ("oci-layout", {"imageLayoutVersion": "1.0.0"})]:
    with open(f"{folder}/{name}", "wb") as file:
        file.write(document(value))
