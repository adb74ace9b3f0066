#!/usr/bin/env python3
"""Writes files of a release, whose bytes depend on nothing but what goes in.

pack.py zip OUT NAME=FILE...                 a zip of programs
pack.py image OUT VERSION ARCH=PROGRAM...    a container image as an OCI layout, in a tar
pack.py sbom OUT VERSION                     what the program is made of, as CycloneDX
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
TARGET = "x86_64-unknown-linux-musl"


def moment():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))


def write_zip(out, *members):
    # The form of zip has no moment before 1980.
    date = max(time.gmtime(EPOCH)[:6], (1980, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(out, "w") as archive:
        for member in sorted(members):
            name, path = member.split("=", 1)
            info = zipfile.ZipInfo(name, date)
            info.external_attr = 0o100755 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            with open(path, "rb") as file:
                archive.writestr(info, file.read())


def tar_of(members):
    """The bytes of a tar: a list of name, mode and bytes, of which those of a folder are None."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode, data in members:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, EPOCH
            if data is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def image_tree(program):
    """What the program needs to work: itself, whom to trust over TLS, and a folder for temporary files."""
    folders = ["etc", "etc/ssl", "etc/ssl/certs", "usr", "usr/bin", "var", "var/cache"]
    tree = [(name, 0o755, None) for name in folders]
    tree += [("tmp", 0o1777, None), ("var/tmp", 0o1777, None), ("usr/bin/ofedctl", 0o755, program)]
    with open(AUTHORITIES, "rb") as file:
        tree.append((AUTHORITIES[1:], 0o644, file.read()))
    return sorted(tree)


def write_image(out, version, *programs):
    blobs = {}

    def blob(kind, data, **more):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)} | more

    def document(value):
        return json.dumps(value, sort_keys=True).encode()

    manifests = []
    for architecture, path in (program.split("=", 1) for program in programs):
        with open(path, "rb") as file:
            layer = tar_of(image_tree(file.read()))
        platform = {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[architecture], "os": "linux"}
        settings = {
            "Entrypoint": ["/usr/bin/ofedctl"],
            "Env": ["PATH=/usr/bin", f"SSL_CERT_FILE={AUTHORITIES}"],
            "Labels": {"org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "MIT"},
        }
        diff = "sha256:" + hashlib.sha256(layer).hexdigest()
        config = platform | {"created": moment(), "config": settings, "rootfs": {"type": "layers", "diff_ids": [diff]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob("config.v1+json", document(config)),
            "layers": [blob("layer.v1.tar+gzip", gzip.compress(layer, 9, mtime=0))],
        }
        manifests.append(blob("manifest.v1+json", document(manifest), platform=platform))
    kind = "application/vnd.oci.image.index.v1+json"
    index = blob("index.v1+json", document({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}))
    index["annotations"] = {"org.opencontainers.image.ref.name": version}
    members = [("blobs", 0o755, None), ("blobs/sha256", 0o755, None)]
    members += [(f"blobs/sha256/{digest}", 0o644, data) for digest, data in sorted(blobs.items())]
    top = {"schemaVersion": 2, "mediaType": kind, "manifests": [index]}
    members += [("index.json", 0o644, document(top)), ("oci-layout", 0o644, b'{"imageLayoutVersion": "1.0.0"}')]
    with open(out, "wb") as file:
        file.write(tar_of(members))


def write_sbom(out, version):
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    # What is built in, without what only builds or tests it.
    found, left = set(), [root]
    while left:
        node = left.pop()
        if node in found:
            continue
        found.add(node)
        left += [dep["pkg"] for dep in nodes[node]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]

    def described(package):
        name, release = package["name"], package["version"]
        url = f"pkg:cargo/{name}@{release}"
        component = {"type": "library", "bom-ref": url, "name": name, "version": release, "purl": url}
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        return component

    components = sorted((described(packages[it]) for it in found if it != root), key=lambda it: it["bom-ref"])
    seed = hashlib.sha256(json.dumps([version, components]).encode()).hexdigest()
    serial = f"{seed[:8]}-{seed[8:12]}-8{seed[13:16]}-8{seed[17:20]}-{seed[20:32]}"
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": moment(),
            "component": {"type": "application", "bom-ref": "ofedctl", "name": "ofedctl", "version": version},
        },
        "components": components,
    }
    with open(out, "w") as file:
        file.write(json.dumps(bom, indent=2) + "\n")


{"zip": write_zip, "image": write_image, "sbom": write_sbom}[sys.argv[1]](*sys.argv[2:])
