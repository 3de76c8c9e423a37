"""Writes the image's SBOM (CycloneDX 1.6, JSON): Python, its packages, and Debian's packages of the base.

The same image gives the same bytes: neither time nor serial number is in it. Needs the standard library alone.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from urllib.parse import quote

_NAME = "office365-activations-exporter"
_FIELDS = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"
Component = dict[str, object]


def _component(kind: str, name: str, version: str, purl: str, **more: object) -> Component:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl, **more}


def _python(found: Distribution) -> Component:
    metadata = found.metadata
    name = metadata["Name"].lower().replace("_", "-").replace(".", "-")
    more: Component = {}
    if expression := metadata.get("License-Expression"):
        more = {"licenses": [{"expression": expression}]}
    elif (text := metadata.get("License")) and "\n" not in text:
        more = {"licenses": [{"license": {"name": text}}]}
    purl = f"pkg:pypi/{name}@{quote(found.version)}"
    return _component("application" if name == _NAME else "library", name, found.version, purl, **more)


def _debian() -> list[Component]:
    system = platform.freedesktop_os_release()
    suffix = f"distro={system['ID']}-{system['VERSION_ID']}"
    listed = subprocess.run(["dpkg-query", "--show", f"--showformat={_FIELDS}"], check=True, capture_output=True)
    made = []
    for line in listed.stdout.decode().splitlines():
        name, version, architecture, source = line.split("\t")
        purl = f"pkg:deb/{system['ID']}/{quote(name)}@{quote(version, safe='')}?arch={architecture}&{suffix}"
        made.append(_component("library", name, version, purl, properties=[{"name": "debian:source", "value": source}]))
    return made


def main() -> None:
    """Print the SBOM of the environment that runs this, and of the system under it."""
    installed = sorted((_python(found) for found in distributions()), key=lambda component: str(component["purl"]))
    (exporter,) = (component for component in installed if component["name"] == _NAME)
    version = platform.python_version()
    python = _component("platform", "python", version, f"pkg:generic/python@{version}")
    components = [python, *(component for component in installed if component is not exporter), *_debian()]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": exporter},
        "components": components,
    }
    json.dump(document, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
