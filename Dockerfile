# One image in which `rnnsearch study start studies/mnist.yaml` works.
#
#   docker build -t rnnsearch .
#   docker run --rm --shm-size=2g --stop-timeout=60 -v rnnsearch:/var/lib/rnnsearch rnnsearch
#
# torch comes without CUDA. With it, about 5 GB more:
#
#   docker build -t rnnsearch:gpu --build-arg TORCH_INDEX= --build-arg EXTRAS=cluster,s3,gpu .
#
# Studies, cached data and the MLflow store live in the volume. To use full data sets, mount them
# and name the mount: -v /path/to/data:/data:ro -e RNNSEARCH_DATA_DIR=/data
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS requirements
# cluster: PostgreSQL for the MLflow server; s3: its artifacts in S3; gpu: Triton.
ARG EXTRAS=cluster,s3
WORKDIR /
COPY pyproject.toml ./
COPY plugins/pyproject.toml ./zoo.toml
RUN python3 -c "import os, tomllib; \
core, zoo = (tomllib.load(open(path, 'rb'))['project'] for path in ('pyproject.toml', 'zoo.toml')); \
extras = filter(None, os.environ['EXTRAS'].split(',')); \
chosen = [text for name in extras for text in core['optional-dependencies'][name]]; \
zoo = [text for text in zoo['dependencies'] if not text.startswith('rnnsearch')]; \
print(*core['dependencies'], *zoo, *chosen, sep='\n')" >/requirements.txt

FROM ${PYTHON}

# The engine compiles cells with it.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*

# Group 0 may do what the user may: OpenShift gives a container any user number, in this group.
RUN useradd --create-home --uid 1000 --gid 0 rnnsearch \
 && mkdir -p /opt/rnnsearch /var/lib/rnnsearch \
 && chown 1000:0 /opt/rnnsearch /var/lib/rnnsearch \
 && chmod g=u /home/rnnsearch /var/lib/rnnsearch
ENV HOME=/home/rnnsearch \
    USER=rnnsearch \
    PATH=/opt/rnnsearch/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RNNSEARCH_HOME=/var/lib/rnnsearch
USER 1000
WORKDIR /opt/rnnsearch

# PyPI's torch has CUDA; this index's has not. It is asked for these two alone. Indexes of your own:
# in the other two arguments, or, where they need a password, in a pip.conf that stays out of the
# image: --secret id=pip.conf,src=pip.conf
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL

# Before the source, so that a change to that installs none of it again.
COPY --from=requirements /requirements.txt ./
COPY constraints.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,uid=1000 \
    python3 -m venv .venv \
 && .venv/bin/pip install --no-cache-dir -c constraints.txt --no-deps \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision \
 && .venv/bin/pip install --no-cache-dir -c constraints.txt -r requirements.txt

COPY pyproject.toml README.md ./
COPY rnnsearch ./rnnsearch
COPY plugins ./plugins
COPY studies ./studies
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,uid=1000 \
    .venv/bin/pip install --no-cache-dir --no-deps . ./plugins

COPY --chmod=755 deploy/entrypoint.sh /usr/local/bin/rnnsearch-node
ENTRYPOINT ["rnnsearch-node"]
CMD ["study", "start", "studies/mnist.yaml"]

ARG REVISION
LABEL org.opencontainers.image.title="rnnsearch" \
      org.opencontainers.image.description="Fair search and comparison of recurrent architectures" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION"
