# The one place that names the base. Renovate raises tag and digest together.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie@sha256:bb2988715db2cf7ace7b53f38f3cffbef7c7046a656bee66245eb0ed386e2e81

FROM ${PYTHON_IMAGE} AS build
# When the commit was made, in Unix seconds: two builds of a commit are one image.
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python3 -m venv tools \
    && tools/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement requirements/build.txt \
    && python3 -m venv --without-pip /opt/exporter \
    && tools/bin/pip --python /opt/exporter/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
        --requirement requirements/runtime.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY exporter exporter
COPY deploy/image/sbom.py ./
# Only what runs is kept. Bytecode is made here, once: the root file system may be read-only, and its sources never change.
RUN tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheel . \
    && tools/bin/pip --python /opt/exporter/bin/python install --no-cache-dir --no-compile --no-deps --no-index wheel/*.whl \
    && find /opt/exporter/bin -type f ! -name office365-activations-exporter -delete \
    && find /opt/exporter/lib -type f -regex '.*\.\(c\|h\|pxd\|pxi\|pyi\|pyx\)' -delete \
    && rm -rf /opt/exporter/include /opt/exporter/.gitignore \
    && PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash /opt/exporter/lib \
    && /opt/exporter/bin/python sbom.py >/opt/exporter/sbom.cdx.json \
    && install --directory --mode=0700 storage/office365-activations-exporter \
    && find /opt/exporter storage -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM ${PYTHON_IMAGE}
ARG REVISION=""
LABEL org.opencontainers.image.title="office365-activations-exporter" \
      org.opencontainers.image.description="Prometheus exporter for Microsoft 365's report of assigned, activated and shared-computer Office licences" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base's own pip is of no use here, and only something to scan.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip
COPY --from=build /opt/exporter /opt/exporter
COPY --from=build --chown=65532:65532 /build/storage/ /var/lib/
# A variable, so that reports are kept whatever the arguments are; it takes precedence over storage.path in a configuration file.
ENV PATH=/opt/exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SOURCE_REVISION=${REVISION} \
    OFFICE365_EXPORTER_STORAGE__PATH=/var/lib/office365-activations-exporter
VOLUME ["/var/lib/office365-activations-exporter"]
USER 65532:65532
EXPOSE 9365
# It reads the exporter's variables (OFFICE365_EXPORTER_WEB__…): give port, prefix and TLS by them rather than by flags.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["office365-activations-exporter", "healthcheck"]
ENTRYPOINT ["office365-activations-exporter"]
CMD ["serve"]
