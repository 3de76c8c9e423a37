# The base is pinned by its tag; pin its digest too with --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python3 -m venv tools \
    && tools/bin/pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
    && python3 -m venv --without-pip /opt/exporter \
    && tools/bin/pip --python /opt/exporter/bin/python install --no-cache-dir --no-compile --require-hashes \
        --requirement requirements/runtime.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY exporter exporter
# Bytecode is made here, once: the root file system may be read-only. Its sources never change, so none are checked.
RUN tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheel . \
    && tools/bin/pip --python /opt/exporter/bin/python install --no-cache-dir --no-compile --no-deps --no-index wheel/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/exporter/lib \
    && install --directory --mode=0700 storage

FROM ${PYTHON_IMAGE}
ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="office365-activations-exporter" \
      org.opencontainers.image.description="Prometheus exporter for Microsoft 365's report of assigned, activated and shared-computer Office licences" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /opt/exporter /opt/exporter
COPY --from=build --chown=65532:65532 /build/storage /var/lib/office365-activations-exporter
# A variable, so that reports are kept whatever the arguments are; it outranks storage.path in a configuration file.
ENV PATH=/opt/exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SOURCE_REVISION=${REVISION} \
    OFFICE365_EXPORTER_STORAGE__PATH=/var/lib/office365-activations-exporter
VOLUME ["/var/lib/office365-activations-exporter"]
USER 65532:65532
EXPOSE 9365
# With TLS or another port, give your own: --health-cmd, or the orchestrator's probes on /-/healthy.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9365/-/healthy', timeout=4)"]
ENTRYPOINT ["office365-activations-exporter"]
CMD ["serve"]
