# syntax=docker/dockerfile:1
# The operator: `slaplanner run`. Other subcommands work too: `docker run --rm -i slaplanner validate -`.
# `make image` builds it with docker, podman or buildah.
ARG PYTHON_VERSION=3.12
# For a build that can be repeated, name the base by digest: --build-arg BASE=python@sha256:...
ARG BASE=python:${PYTHON_VERSION}-slim

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/ requirements/
# Dependencies come first, locked by hash: this layer is built again only when the lock files change.
# Their own tests take 120 MB and nothing imports them.
RUN python -m venv /opt/slaplanner && python -m venv /opt/build \
 && /opt/slaplanner/bin/pip install --require-hashes --requirement requirements/image.txt \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/build.txt \
 && find /opt/slaplanner/lib -type d -name tests -prune -exec rm -r {} +
COPY pyproject.toml README.md LICENSE ./
# Without the laboratory (operator/slaplanner_lab), which tries policies out and needs none of this to run.
COPY operator/slaplanner/ operator/slaplanner/
# Extras, such as EXTRAS=prophet, are not in the lock file.
ARG EXTRAS=""
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
 && /opt/slaplanner/bin/pip install --no-deps dist/*.whl \
 && if [ -n "$EXTRAS" ]; then /opt/slaplanner/bin/pip install "slaplanner[$EXTRAS]" --find-links dist; fi \
 && /opt/slaplanner/bin/pip uninstall --yes pip

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="slaplanner" \
      org.opencontainers.image.description="Kubernetes operator that keeps LLM serving inside its latency targets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/slaplanner /opt/slaplanner
# The root file system is read-only where this runs: no byte code, and scratch files go to /tmp.
# Matrices here are small: several threads for linear algebra would be slower than one.
ENV PATH=/opt/slaplanner/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    HOME=/tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["slaplanner"]
CMD ["run"]
