# syntax=docker/dockerfile:1
# The operator as `slaplanner run`; `docker run --rm slaplanner validate -` and the other subcommands
# work from the same image.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
RUN python -m venv /opt/slaplanner
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml README.md LICENSE ./
COPY operator/ operator/
RUN /opt/slaplanner/bin/pip install . && /opt/slaplanner/bin/pip uninstall --yes pip

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="slaplanner" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/slaplanner /opt/slaplanner
# The root file system is read-only where this runs: no byte code, and scratch files go to /tmp.
# Matrices here are tiny: threads of the linear algebra would only take the cores from each other.
ENV PATH=/opt/slaplanner/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    HOME=/tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["slaplanner"]
CMD ["run"]
